//! Which record of the disk holds which entries.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::LogIndex;
use crypto::Digest;
use ledger::{Decision, Executed};

/// The entries of one request, as they lie in a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// The position of the first, and how many there are.
    pub(super) first: u64,
    pub(super) count: u64,
    /// The record, and the request's place in its batch.
    pub(super) record: LogIndex,
    pub(super) place: usize,
    /// The head after the first.
    pub(super) head: Digest,
}

/// All entries that this node holds, and the records that are not durable yet.
#[derive(Debug, Default)]
pub(super) struct History {
    /// In ascending order of their positions.
    runs: Vec<Run>,
    recent: BTreeMap<LogIndex, Decision>,
}

impl History {
    /// A request of the decision in this record was executed.
    pub(super) fn note(&mut self, executed: &Executed, record: LogIndex) {
        let Some(head) = executed.heads.first().copied() else { return };
        let (first, place) = (executed.first, executed.place);
        self.runs.push(Run { first, count: executed.heads.len() as u64, record, place, head });
    }

    /// The decision in a record that is on its way to the disk.
    pub(super) fn keep(&mut self, record: LogIndex, decision: Decision) {
        self.recent.insert(record, decision);
    }

    /// Everything up to this record can be read.
    pub(super) fn note_durable(&mut self, last: LogIndex) {
        self.recent = self.recent.split_off(&last.next());
    }

    pub(super) fn recent(&self, record: LogIndex) -> Option<&Decision> {
        self.recent.get(&record)
    }

    /// Where the entry at this position is, if this node holds it.
    pub(super) fn find(&self, position: u64) -> Option<Run> {
        let behind = self.runs.partition_point(|run| run.first <= position);
        let run = *self.runs.get(behind.checked_sub(1)?)?;
        (position < run.first + run.count).then_some(run)
    }
}

#[cfg(test)]
mod tests {
    use base::NodeId;

    use super::*;

    #[test]
    fn positions_are_found_and_gaps_are_not() {
        let mut history = History::default();
        for (first, count, record) in [(1, 2, 3), (3, 1, 3), (9, 4, 7)] {
            let author = ledger::Author::Gateway(NodeId::new(1).unwrap());
            let heads = alloc::vec![Digest::default(); count];
            let executed = Executed { author, serial: 1, place: 0, first, heads };
            history.note(&executed, LogIndex(record));
        }
        let found = |position| history.find(position).map(|run| (run.first, run.record.0));
        let all: Vec<_> = (0..14).map(found).collect();
        let (a, b, c) = (Some((1, 3)), Some((3, 3)), Some((9, 7)));
        let n = None;
        assert_eq!(all, [n, a, a, b, n, n, n, n, n, c, c, c, c, n]);
    }
}
