//! Snapshots that stand for the beginning of the log: this node's own, and those of a leader whose log begins
//! behind our end.
//!
//! Its own are written while the node goes on working, a part at a time, when enough has come into the log
//! since the last one; then the log is given up as far as the snapshot before it, so that one of the two may
//! be lost. A leader's is checked while it comes in. It is installed when everything that was written before
//! is durable, in the order that a crash at any point survives: the snapshot, then the log that begins behind
//! it.

use alloc::collections::VecDeque;
use alloc::format;

use base::{Duration, Instant, LogIndex};
use bytes::Bytes;
use kv::KvMachine;
use kv::machine::Restore;
use raft::{FetchId, SnapshotMeta};
use store::SnapshotError;

use super::loading::{meta_of, stored_meta_of};
use super::{Replica, ReplicaOutput};
use crate::journal::Level;

/// A snapshot is taken when this share of the log's room was used since the last one: one in so many.
const ROOM_SHARE: u64 = 4;
/// When more than half of the log's room is used, nothing is kept for the loss of a snapshot.
const TIGHT_SHARE: u64 = 2;
/// After one that came to nothing the next one waits.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is being done.
#[derive(Debug, Default)]
enum Activity {
    #[default]
    Idle,
    /// This node's state is being written.
    Taking { waiting: Option<Bytes>, is_complete: bool },
    /// A leader's snapshot comes in.
    Receiving(Receiving),
    /// It is written, and takes the place of the log.
    Installing { meta: SnapshotMeta, machine: KvMachine, step: Step },
}

#[derive(Debug)]
struct Receiving {
    meta: SnapshotMeta,
    total_bytes: u64,
    restore: Restore,
    /// Parts that the store has no room for yet.
    waiting: VecDeque<Bytes>,
    /// When the last part came: a leader that has died sends no more.
    heard: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The snapshot is not durable yet.
    Snapshot,
    /// Something that was written before is not durable yet.
    Earlier,
    /// The log that begins behind it is not durable yet.
    Log,
}

/// What has become of snapshots since the node started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotCounts {
    /// Own snapshots that became durable.
    pub taken: u64,
    /// Own snapshots that came to nothing.
    pub abandoned: u64,
    /// Snapshots of leaders that took the place of the log.
    pub installed: u64,
    /// How long the last own one took.
    pub last: Option<Duration>,
    /// How long the node took from its start until its disk was read and loaded.
    pub recovery: Option<Duration>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    activity: Activity,
    /// The snapshot before the newest: the log is kept from there on.
    before: LogIndex,
    newest: LogIndex,
    /// Bytes of bodies that were written since the newest was begun.
    bytes_since: u64,
    begun: Instant,
    retry_at: Instant,
    counts: SnapshotCounts,
    /// The newest one is damaged.
    is_damaged: bool,
    /// The log may be given up further than it is.
    is_compaction_due: bool,
    pub(super) ticket_issued: u64,
    pub(super) ticket_durable: u64,
}

impl Snapshots {
    pub(super) fn restored(&mut self, newest: LogIndex, first: LogIndex, took: Duration) {
        self.counts.recovery = Some(took);
        self.newest = newest;
        self.before = first.previous().unwrap_or(LogIndex(0));
    }

    pub(super) fn note_written(&mut self, bytes: u64) {
        self.bytes_since += bytes;
    }

    /// The newest one cannot be read: another is to be taken soon.
    pub(super) fn set_damaged(&mut self) {
        self.is_damaged = true;
    }

    pub(crate) fn counts(&self) -> SnapshotCounts {
        self.counts
    }
}

impl Replica {
    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Whether a snapshot of the state after `applied` should be taken now.
    pub(crate) fn wants_snapshot(&self, applied: LogIndex, now: Instant) -> bool {
        let Some(member) = &self.member else { return false };
        let snapshots = &self.snapshots;
        let is_idle = match &snapshots.activity {
            Activity::Idle => true,
            Activity::Receiving(receiving) => now.since(receiving.heard) >= RETRY_AFTER,
            Activity::Taking { .. } | Activity::Installing { .. } => false,
        };
        let is_free = is_idle && now >= snapshots.retry_at;
        // What stands for the log must not know more than the log.
        let is_durable = applied <= member.raft.persisted_index();
        if !is_free || !is_durable || applied <= snapshots.newest || member.raft.lacks_state() {
            return false;
        }
        let status = self.store.status();
        let entries = applied.0 - snapshots.newest.0;
        entries >= self.config.snapshot_entries.min(status.slots / ROOM_SHARE)
            || snapshots.is_damaged
            || member.raft.is_mended_by_snapshot()
            || (snapshots.newest.next()..=applied).contains(&member.raft.snapshot_wanted())
            || snapshots.bytes_since >= status.body_bytes / ROOM_SHARE
    }

    /// A snapshot of the state after `index` was begun; false if the disk takes none now.
    pub(crate) fn begin_snapshot(&mut self, index: LogIndex, now: Instant) -> bool {
        let Some(member) = &self.member else { return false };
        let (Some(term), Some(configuration)) =
            (member.raft.term_at(index), member.raft.configuration_at(index))
        else {
            return false;
        };
        if !configuration.is_valid() {
            // This node is on its way in: as of there it knows of no group, and could not start from that.
            self.snapshots.retry_at = now + RETRY_AFTER;
            return false;
        }
        let meta = SnapshotMeta { index, term, configuration: configuration.clone() };
        if let Activity::Receiving(_) = self.snapshots.activity {
            // Nothing came of it. If more of it comes after all, it begins anew.
            self.snapshots.activity = Activity::Idle;
            let _ = self.store.abandon_snapshot();
        }
        if self.store.begin_snapshot(stored_meta_of(&meta)).is_err() {
            self.snapshots.retry_at = now + RETRY_AFTER;
            return false;
        }
        self.snapshots.activity = Activity::Taking { waiting: None, is_complete: false };
        (self.snapshots.begun, self.snapshots.bytes_since) = (now, 0);
        true
    }

    /// Whether the next part of this node's snapshot is wanted.
    pub(crate) fn wants_snapshot_part(&self) -> bool {
        let activity = &self.snapshots.activity;
        matches!(activity, Activity::Taking { waiting: None, is_complete: false })
    }

    /// The next part of this node's snapshot.
    pub(crate) fn append_snapshot(&mut self, bytes: Bytes, now: Instant) {
        match self.store.append_snapshot(&bytes) {
            Ok(()) => {}
            Err(SnapshotError::Busy) => {
                self.snapshots.activity =
                    Activity::Taking { waiting: Some(bytes), is_complete: false };
            }
            Err(error) => {
                let text = format!("the snapshot is given up: {error}");
                self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
                self.abandon_snapshot(now);
            }
        }
    }

    /// All parts of this node's snapshot are there.
    pub(crate) fn finish_snapshot(&mut self, now: Instant) {
        match self.store.finish_snapshot() {
            Ok(()) => {
                self.snapshots.activity = Activity::Taking { waiting: None, is_complete: true };
            }
            Err(_) => self.abandon_snapshot(now),
        }
    }

    /// This node's snapshot cannot be gone on with.
    pub(crate) fn abandon_snapshot(&mut self, now: Instant) {
        // It may be too late, and then it counts; that does no harm.
        let _ = self.store.abandon_snapshot();
        if let Activity::Taking { .. } = self.snapshots.activity {
            self.snapshots.activity = Activity::Idle;
            self.snapshots.counts.abandoned += 1;
            self.snapshots.retry_at = now + RETRY_AFTER;
            self.outputs.push_back(ReplicaOutput::SnapshotAbandoned);
        }
    }

    /// A part of a leader's snapshot.
    pub(super) fn take_part(
        &mut self,
        meta: SnapshotMeta,
        total_bytes: u64,
        offset: u64,
        bytes: Bytes,
        now: Instant,
    ) {
        if offset == 0 && !self.begin_receiving(&meta, total_bytes, now) {
            return self.refuse_snapshot(&meta, now);
        }
        let Activity::Receiving(receiving) = &mut self.snapshots.activity else {
            return self.refuse_snapshot(&meta, now);
        };
        if receiving.meta != meta || receiving.restore.take(&bytes).is_err() {
            return self.refuse_snapshot(&meta, now);
        }
        receiving.heard = now;
        receiving.waiting.push_back(bytes);
        self.store_parts(now);
    }

    fn begin_receiving(&mut self, meta: &SnapshotMeta, total_bytes: u64, now: Instant) -> bool {
        if let Activity::Installing { .. } = self.snapshots.activity {
            return false;
        }
        self.abandon_snapshot(now);
        let (restore, waiting) = (Restore::default(), VecDeque::new());
        let (meta, heard) = (meta.clone(), now);
        let stored_meta = stored_meta_of(&meta);
        let receiving = Receiving { meta, total_bytes, restore, waiting, heard };
        self.snapshots.activity = Activity::Receiving(receiving);
        self.store.begin_snapshot(stored_meta).is_ok()
    }

    /// Stores as many parts as there is room for.
    fn store_parts(&mut self, now: Instant) {
        let Activity::Receiving(receiving) = &mut self.snapshots.activity else { return };
        while let Some(part) = receiving.waiting.front() {
            match self.store.append_snapshot(part) {
                Ok(()) => drop(receiving.waiting.pop_front()),
                Err(SnapshotError::Busy) => return,
                Err(_) => {
                    let meta = receiving.meta.clone();
                    return self.refuse_snapshot(&meta, now);
                }
            }
        }
    }

    fn refuse_snapshot(&mut self, meta: &SnapshotMeta, now: Instant) {
        if let Activity::Receiving(receiving) = &self.snapshots.activity
            && receiving.meta == *meta
        {
            self.snapshots.activity = Activity::Idle;
            self.abandon_snapshot(now);
        }
        if let Some(member) = &mut self.member {
            member.raft.handle_snapshot_refused(meta);
        }
    }

    /// The store has taken in so much.
    pub(super) fn snapshot_stored(
        &mut self,
        meta: &store::SnapshotMeta,
        offset: u64,
        now: Instant,
    ) {
        match &mut self.snapshots.activity {
            Activity::Taking { waiting, .. } => {
                if let Some(bytes) = waiting.take() {
                    self.append_snapshot(bytes, now);
                }
            }
            Activity::Receiving(receiving) if stored_meta_of(&receiving.meta) == *meta => {
                let is_whole = offset == receiving.total_bytes;
                if let Some(member) = &mut self.member {
                    member.raft.handle_snapshot_stored(&receiving.meta, offset);
                }
                if is_whole { self.finish_receiving(now) } else { self.store_parts(now) }
            }
            Activity::Receiving(_) | Activity::Installing { .. } | Activity::Idle => {}
        }
    }

    /// All of a leader's snapshot is there: is it what it says?
    fn finish_receiving(&mut self, now: Instant) {
        let Activity::Receiving(receiving) = &mut self.snapshots.activity else { return };
        let meta = receiving.meta.clone();
        let machine = core::mem::take(&mut receiving.restore).finish().ok();
        let Some(machine) = machine.filter(|machine| machine.applied() == meta.index) else {
            return self.refuse_snapshot(&meta, now);
        };
        match self.store.finish_snapshot() {
            Ok(()) => {
                let step = Step::Snapshot;
                self.snapshots.activity = Activity::Installing { meta, machine, step };
            }
            Err(_) => self.refuse_snapshot(&meta, now),
        }
    }

    /// This snapshot is durable.
    pub(super) fn snapshot_durable(&mut self, meta: &store::SnapshotMeta, now: Instant) {
        let snapshots = &mut self.snapshots;
        (snapshots.before, snapshots.newest) = (snapshots.newest, meta.index);
        snapshots.is_damaged = false;
        match &mut snapshots.activity {
            Activity::Installing { step, .. } => {
                *step = Step::Earlier;
                self.go_on_installing(now);
            }
            Activity::Taking { .. } => {
                snapshots.activity = Activity::Idle;
                snapshots.counts.taken += 1;
                snapshots.counts.last = Some(now.since(snapshots.begun));
                snapshots.is_compaction_due = true;
                self.compact(now);
            }
            Activity::Receiving(_) | Activity::Idle => {}
        }
    }

    /// Something that was written is durable.
    pub(super) fn go_on_installing(&mut self, now: Instant) {
        let is_settled = self.snapshots.ticket_durable == self.snapshots.ticket_issued;
        let Activity::Installing { meta, step, .. } = &mut self.snapshots.activity else {
            return self.compact(now);
        };
        let Some(member) = &self.member else { return };
        match step {
            Step::Snapshot => {}
            Step::Earlier if !is_settled => {}
            Step::Earlier if member.raft.term_at(meta.index) == Some(meta.term) => {
                self.installed(now)
            }
            Step::Earlier => {
                let ticket = self.snapshots.ticket_issued;
                *step = Step::Log;
                let reset = self.store.reset_log(meta.index, meta.term).is_ok();
                // A write of nothing: when it is durable, so is the reset.
                if !reset || self.store.persist(ticket, None, alloc::vec::Vec::new()).is_err() {
                    self.fail("a leader's snapshot cannot be installed".into());
                }
            }
            Step::Log => self.installed(now),
        }
    }

    fn installed(&mut self, now: Instant) {
        let activity = core::mem::take(&mut self.snapshots.activity);
        let Activity::Installing { meta, machine, .. } = activity else { return };
        self.snapshots.counts.installed += 1;
        self.snapshots.bytes_since = 0;
        self.restoring = Some(machine);
        if let Some(member) = &mut self.member {
            member.raft.handle_snapshot_installed(&meta);
        }
        self.snapshots.is_compaction_due = true;
        self.compact(now);
        self.note_room();
    }

    /// Gives up the log before the newest snapshot, if something in it is damaged that nobody else has.
    pub(super) fn give_up_damaged(&mut self, now: Instant) {
        let Some(member) = &self.member else { return };
        if self.snapshots.newest >= member.raft.first_index() && member.raft.is_mended_by_snapshot()
        {
            self.snapshots.is_compaction_due = true;
            self.compact(now);
        }
    }

    /// Gives up what a snapshot stands for, as far as nobody needs it.
    fn compact(&mut self, now: Instant) {
        if !self.snapshots.is_compaction_due {
            return;
        }
        let Some(member) = &mut self.member else { return };
        let status = self.store.status();
        let is_tight = status.slots_used > status.slots / TIGHT_SHARE
            || status.body_bytes_used > status.body_bytes / TIGHT_SHARE;
        // Nothing is kept before what nobody can read any more.
        let limit = match is_tight || member.raft.is_mended_by_snapshot() {
            true => self.snapshots.newest,
            false => self.snapshots.before.min(member.raft.compaction_limit(now)),
        };
        member.raft.compact(limit);
        let first = member.raft.first_index().min(limit.next());
        self.snapshots.is_compaction_due = self.store.compact(first).is_err();
        self.note_room();
    }

    /// A block of the newest snapshot is not what was written. For a follower there is none, then; the next
    /// own snapshot, which is taken at once, mends that. A start goes on from the snapshot before.
    pub(super) fn snapshot_damaged(
        &mut self,
        id: u64,
        meta: &store::SnapshotMeta,
        offset: u64,
        now: Instant,
    ) {
        let text = format!("the snapshot of entry {} is damaged at byte {offset}", meta.index);
        if self.loading.is_some() {
            return self.load_older_snapshot(text, now);
        }
        self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
        self.scrubber.note_snapshot(id, 0, 0);
        // The state is at hand: it is written down again, and until then the snapshot before will do.
        self.snapshots.is_damaged = true;
        if let Ok(older) = self.store.fall_back() {
            self.snapshots.newest = older.map_or(LogIndex(0), |older| older.meta.index);
        }
        self.answer_fetch(FetchId(id), &SnapshotMeta::default(), 0, 0, Bytes::new());
    }

    /// Reads a part of the newest snapshot for a follower.
    pub(super) fn fetch_snapshot(&mut self, id: FetchId, offset: u64, max_bytes: usize) {
        if self.store.read_snapshot(id.0, offset, max_bytes).is_err() {
            self.answer_fetch(id, &SnapshotMeta::default(), 0, 0, Bytes::new());
        }
    }

    pub(super) fn answer_fetch(
        &mut self,
        id: FetchId,
        meta: &SnapshotMeta,
        offset: u64,
        total_bytes: u64,
        bytes: Bytes,
    ) {
        if let Some(member) = &mut self.member {
            member.raft.handle_snapshot_part(id, meta, offset, total_bytes, bytes);
        }
    }

    /// A part of the newest snapshot was read: for the start, or for a follower.
    pub(super) fn snapshot_read(
        &mut self,
        id: u64,
        meta: &store::SnapshotMeta,
        offset: u64,
        total_bytes: u64,
        bytes: Bytes,
        now: Instant,
    ) {
        let end = offset + bytes.len() as u64;
        if self.scrubber.note_snapshot(id, end, total_bytes) {
            return;
        }
        if self.load_part(id, end, total_bytes, &bytes, now) {
            return;
        }
        match meta_of(meta) {
            Some(meta) => self.answer_fetch(FetchId(id), &meta, offset, total_bytes, bytes),
            None => self.answer_fetch(FetchId(id), &SnapshotMeta::default(), 0, 0, Bytes::new()),
        }
    }
}
