//! What is decided (sections 5.3 and 5.4.2), and what may be applied.

use alloc::vec::Vec;

use base::limits::{APPLY_BATCH_MAX_BYTES, APPLY_BATCH_MAX_ENTRIES};
use base::{LogIndex, NodeId};

use crate::config::Mutant;
use crate::message::LogEntry;
use crate::node::{FetchPurpose, RaftNode, Role};
use crate::output::Output;

/// What the caller has applied, and is applying.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applying {
    applied: LogIndex,
    /// The last entry that the caller was given, until it says that it is done.
    given: Option<LogIndex>,
    is_fetching: bool,
}

impl Applying {
    /// Everything up to `index` is in the state that the caller has, or is about to restore.
    pub(crate) fn restore(&mut self, index: LogIndex) {
        *self = Applying { applied: index, given: None, is_fetching: false };
    }

    pub(crate) fn applied(self) -> LogIndex {
        self.applied
    }

    /// The caller is done with what it was given.
    pub(crate) fn finish(&mut self, index: LogIndex) {
        if self.given == Some(index) {
            self.applied = index;
            self.given = None;
        }
    }
}

impl RaftNode {
    /// A leader looks whether a majority has more than it has committed: counting itself for what is on its
    /// own disk, and counting only entries of its own term (figure 8; pitfall 23).
    pub(crate) fn advance_commit(&mut self) {
        if self.commit == self.log.last_index() {
            // The answer of one follower more than a majority.
            return;
        }
        let own = self.persistence.durable_index().min(self.whole_index());
        let Role::Leader(leadership) = &mut self.role else { return };
        let has = |id: NodeId| match leadership.followers.get(id) {
            Some(progress) => progress.match_index,
            None if id == self.config.id => own,
            None => LogIndex(0),
        };
        let Some(candidate) = self.membership.current().quorum().reached(has) else { return };
        let is_own = self.log.term_at(candidate) == Some(self.hard_state.term);
        let may_count = is_own || self.config.has_bug(Mutant::CommitOldTermByCount);
        if candidate > self.commit && may_count {
            self.commit = candidate;
            leadership.note_committed(candidate);
            self.settle_membership();
        }
    }

    /// Gives the caller what it may apply next. Nothing while a snapshot is being installed: its state takes
    /// the place of all that, and the entries may be gone from the disk already.
    pub(crate) fn prepare_apply(&mut self) {
        let from = self.applying.applied.next();
        let is_busy = self.applying.given.is_some() || self.applying.is_fetching;
        if from > self.commit || is_busy || self.installing().is_some() || self.lacks_state() {
            return;
        }
        let damaged = self.damage.first_from(from).and_then(LogIndex::previous);
        let end = self.commit.min(damaged.unwrap_or(self.commit));
        if from > end {
            return;
        }
        let (bytes, count) = (APPLY_BATCH_MAX_BYTES, APPLY_BATCH_MAX_ENTRIES);
        match self.log.recent(from, end, bytes, count) {
            Some(entries) => self.give(entries),
            None => {
                self.applying.is_fetching = true;
                self.fetch(from, end, bytes, count, FetchPurpose::Apply);
            }
        }
    }

    fn give(&mut self, entries: Vec<LogEntry>) {
        self.applying.given = entries.last().map(|entry| entry.index);
        self.outputs.push_back(Output::Apply(entries));
    }

    /// Committed entries have come from the disk.
    pub(crate) fn apply_fetched(&mut self, entries: Vec<LogEntry>) {
        self.applying.is_fetching = false;
        let mut index = self.applying.applied;
        let mut is_next = |entry: &LogEntry| {
            index = index.next();
            entry.index == index
                && entry.index <= self.commit
                && self.log.term_at(entry.index) == Some(entry.term)
        };
        let entries: Vec<LogEntry> = entries
            .into_iter()
            .take(APPLY_BATCH_MAX_ENTRIES)
            .take_while(|entry| is_next(entry))
            .collect();
        if !entries.is_empty() {
            self.give(entries);
        }
    }
}
