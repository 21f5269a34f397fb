//! Snapshots of the data: taken while the service goes on, and put in its place.

use base::{Instant, LogIndex};

use super::KvService;
use crate::KvMachine;
use crate::machine::SnapshotPart;

impl KvService {
    /// Begins a snapshot of the data as it is now, after the entry whose position is answered.
    /// Another one that is under way is given up.
    pub fn begin_snapshot(&mut self) -> LogIndex {
        self.machine.begin_snapshot()
    }

    /// The next bytes of the snapshot, `bytes_max` at the most; work in proportion.
    pub fn snapshot_part(&mut self, bytes_max: usize) -> SnapshotPart {
        self.machine.snapshot_part(bytes_max)
    }

    /// Gives up a snapshot that is under way.
    pub fn abandon_snapshot(&mut self) {
        self.machine.abandon_snapshot();
    }

    /// A snapshot takes the place of the data: this node's own when it starts, or that of a leader
    /// whose log begins behind our end. Clients notice nothing: what they wrote is sent once more,
    /// and the snapshot knows whether it was executed.
    ///
    /// # Panics
    /// If the snapshot is older than the data.
    pub fn handle_restored(&mut self, machine: KvMachine, now: Instant) {
        let (from, to): (LogIndex, LogIndex) = (self.machine.applied(), machine.applied());
        assert!(to >= from, "a snapshot of {to} does not take the place of {from}");
        self.machine = machine.with_counters(self.machine.counters());
        self.clock.observe(self.machine.clock_ms(), now);
        self.writes.rewind(now);
        self.settle_down(now);
    }
}
