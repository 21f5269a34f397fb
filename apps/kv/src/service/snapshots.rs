//! Snapshots of the data: taken while the service goes on, and put in its place.

use base::{Instant, LogIndex};

use super::{Config, KvService};
use crate::KvMachine;
use crate::machine::{RequestId, SnapshotPart};

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
    /// whose log begins behind our end. Clients notice nothing: what they wrote is answered if the
    /// snapshot knows that it was executed, and sent once more if not.
    ///
    /// # Panics
    /// If the snapshot is older than the data.
    pub fn handle_restored(&mut self, machine: KvMachine, now: Instant) {
        let (from, to): (LogIndex, LogIndex) = (self.machine.applied(), machine.applied());
        assert!(to >= from, "a snapshot of {to} does not take the place of {from}");
        self.machine = machine.with_counters(self.machine.counters());
        self.clock.observe(self.machine.clock_ms(), now);
        self.now = self.now.max(now);
        self.hear_from_snapshot();
        self.writes.rewind(self.now);
        self.settle_down(now);
    }

    /// Answers the writes under way that were executed before the snapshot was taken: their entries
    /// do not come any more, and the leader takes no notice of another try.
    fn hear_from_snapshot(&mut self) {
        for sequence in self.writes.sequences() {
            let Config { id: origin, epoch } = self.config;
            let outcome = self.machine.outcome_of(RequestId { origin, epoch, sequence });
            if let Some(outcome) = outcome {
                self.hear(sequence, outcome);
            }
        }
    }
}
