//! Damage on the disk: what the store finds is told to Raft, which has intact copies from the others, and
//! they are written in its place. The scrubber looks for damage before somebody needs what is damaged: a
//! little at a time, and seldom, so that an idle node stays idle.

use base::limits::{SCRUB_EVERY_MS, SCRUB_STEP_MAX_BYTES};
use base::{Duration, Instant, LogIndex};
use raft::LogEntry;
use store::Damage;

use super::{Replica, ReplicaOutput, record_of};
use crate::journal::Level;

/// How far the scrubber is.
#[derive(Debug)]
pub(super) struct Scrubber {
    /// The next record to be verified.
    next: LogIndex,
    due: Instant,
    is_under_way: bool,
}

impl Scrubber {
    pub(super) fn new(now: Instant) -> Scrubber {
        Scrubber { next: LogIndex(0), due: now, is_under_way: false }
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
    /// Verifies a little more of the log, if it is time; at its end it begins anew.
    pub(super) fn scrub(&mut self, now: Instant) {
        if now < self.scrubber.due || self.scrubber.is_under_way || self.member.is_none() {
            return;
        }
        self.scrubber.due = now + Duration::from_millis(SCRUB_EVERY_MS);
        let status = self.store.status();
        if self.scrubber.next < status.first_index || self.scrubber.next > status.durable_last {
            self.scrubber.next = status.first_index;
        }
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
