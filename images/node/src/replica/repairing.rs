//! Damage on the disk: what the store finds is told to Raft, which has intact copies from the others, and
//! they are written in its place. The scrubber looks for damage before somebody needs what is damaged: a
//! little at a time, and seldom, so that an idle node stays idle.

use base::limits::{SCRUB_EVERY_MS, SCRUB_STEP_MAX_BYTES};
use base::{Duration, Instant, LogIndex};
use raft::LogEntry;
use store::{Damage, SNAPSHOT_BLOCK_BYTES};

use super::{Replica, ReplicaOutput, record_of};
use crate::journal::Level;

/// How far the scrubber is.
#[derive(Debug)]
pub(super) struct Scrubber {
    /// The next record to be verified.
    next: LogIndex,
    due: Instant,
    is_under_way: bool,
    /// The log is verified; now the snapshot is, from this byte on.
    snapshot: Option<u64>,
}

/// The name of the scrubber's questions for parts of the snapshot. Raft's own count from 1.
const QUESTION: u64 = u64::MAX - 1;

impl Scrubber {
    pub(super) fn new(now: Instant) -> Scrubber {
        Scrubber { next: LogIndex(0), due: now, is_under_way: false, snapshot: None }
    }

    /// A part of the snapshot is verified, or damaged; answers whether this was the scrubber's question.
    pub(super) fn note_snapshot(&mut self, id: u64, end: u64, total: u64) -> bool {
        if id != QUESTION {
            return false;
        }
        self.is_under_way = false;
        self.snapshot = (end < total).then_some(end);
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_under_way).then_some(self.due)
    }

    /// Everything before `next` is verified.
    pub(super) fn note_done(&mut self, next: LogIndex) {
        self.is_under_way = false;
        self.next = next;
    }
}

impl Replica {
    /// Verifies a little more of the log, if it is time; at its end the snapshot, and then it begins anew.
    pub(super) fn scrub(&mut self, now: Instant) {
        if now < self.scrubber.due || self.scrubber.is_under_way || self.member.is_none() {
            return;
        }
        self.scrubber.due = now + Duration::from_millis(SCRUB_EVERY_MS);
        let status = self.store.status();
        if self.scrubber.next > status.durable_last {
            (self.scrubber.next, self.scrubber.snapshot) = (LogIndex(0), Some(0));
        }
        if let Some(offset) = self.scrubber.snapshot.take() {
            let asked = self.store.read_snapshot(QUESTION, offset, SNAPSHOT_BLOCK_BYTES);
            self.scrubber.is_under_way = asked.is_ok();
            return;
        }
        self.scrubber.next = self.scrubber.next.max(status.first_index);
        // An empty log has nothing to verify.
        self.scrubber.is_under_way =
            self.store.scrub(self.scrubber.next, SCRUB_STEP_MAX_BYTES).is_ok();
    }

    /// A record is not what was written.
    pub(super) fn take_damage(&mut self, damage: Damage, now: Instant) {
        let text = alloc::format!("{damage}");
        self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
        if let Some(loading) = &mut self.loading {
            loading.damaged.push(damage);
        } else {
            self.tell_damage(damage, now);
        }
    }

    pub(super) fn tell_damage(&mut self, damage: Damage, now: Instant) {
        if let (Some(member), Some(term)) = (&mut self.member, damage.term) {
            member.raft.handle_damaged(damage.index, term, now);
        }
    }

    /// Writes an intact copy in the place of a damaged entry.
    pub(super) fn repair(&mut self, entry: LogEntry, now: Instant) {
        let index = entry.index;
        if self.store.repair(record_of(entry)).is_err() {
            self.note_not_repaired(index, now);
        }
    }

    pub(super) fn note_repaired(&mut self, index: LogIndex) {
        if let Some(member) = &mut self.member {
            member.raft.handle_repaired(index);
        }
    }

    pub(super) fn note_not_repaired(&mut self, index: LogIndex, now: Instant) {
        if let Some(member) = &mut self.member {
            member.raft.handle_repair_failed(index, now);
        }
    }
}
