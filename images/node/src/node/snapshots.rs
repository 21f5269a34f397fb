//! The state of the services as a snapshot: a part at a time, between other work.

use base::Instant;
use kv::KvService;
use kv::machine::SnapshotPart;

use super::Node;

/// How much is written down between two looks at everything else.
const PART_BYTES: usize = store::SNAPSHOT_BLOCK_BYTES;

impl Node {
    /// Whether there is something for [`Node::advance_snapshot`] to do.
    pub(super) fn has_snapshot_to_advance(&self, now: Instant) -> bool {
        let is_due = |kv: &KvService| self.replica.wants_snapshot(kv.applied(), now);
        self.replica.wants_snapshot_part() || self.kv.as_ref().is_some_and(is_due)
    }

    /// Begins a snapshot when it is time, and goes on with one.
    pub(super) fn advance_snapshot(&mut self, now: Instant) {
        let Some(kv) = &mut self.kv else { return };
        if self.replica.wants_snapshot(kv.applied(), now) {
            let index = kv.begin_snapshot();
            if !self.replica.begin_snapshot(index, now) {
                kv.abandon_snapshot();
            }
        }
        if !self.replica.wants_snapshot_part() {
            return;
        }
        match kv.snapshot_part(PART_BYTES) {
            SnapshotPart::Bytes(bytes) => self.replica.append_snapshot(bytes, now),
            SnapshotPart::End => self.replica.finish_snapshot(now),
            SnapshotPart::Lost => self.replica.abandon_snapshot(now),
        }
    }
}
