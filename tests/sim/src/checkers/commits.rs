//! What was decided: once, for all, and with one result.

use std::collections::BTreeMap;

use base::{LogIndex, Term};

use super::Look;

/// An entry that some node knew to be committed.
#[derive(Clone, Copy, Debug)]
struct Committed {
    term: Term,
    /// A term in which that was known: leaders of later terms have the entry.
    known_in: Term,
}

/// Every entry that was committed, and what followed.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// By index, from 1 on.
    entries: Vec<Committed>,
    /// Their terms: the first index of each run of entries of one term.
    runs: Vec<(LogIndex, Term)>,
    /// A fingerprint of the state after an entry.
    states: BTreeMap<LogIndex, u64>,
}

impl Commits {
    /// Looks at what a node has learnt to be committed since `known`.
    pub(super) fn check<'a>(
        &mut self,
        look: &Look<'_>,
        known: LogIndex,
        leaders: impl Iterator<Item = Look<'a>> + Clone,
    ) {
        let id = look.id;
        assert!(look.commit <= look.last, "node {id} committed what it does not have");
        for index in (known.0 + 1..=look.commit.0).map(LogIndex) {
            let term = look.term_at(index).expect("the log has it");
            match self.entries.get(index.0 as usize - 1) {
                Some(committed) => assert!(
                    committed.term == term,
                    "state machine safety: node {id} committed another entry {index}"
                ),
                None => {
                    assert_eq!(index.0 as usize, self.entries.len() + 1, "commits have no gaps");
                    self.entries.push(Committed { term, known_in: look.term });
                    if self.runs.last().is_none_or(|(_, last)| *last != term) {
                        self.runs.push((index, term));
                    }
                    leaders.clone().for_each(|leader| self.check_entry(&leader, index));
                }
            }
        }
    }

    /// A new leader has everything that was committed in earlier terms.
    pub(super) fn check_completeness(&self, leader: &Look<'_>) {
        let indices = (1..=self.entries.len() as u64).map(LogIndex);
        indices.for_each(|index| self.check_entry(leader, index));
    }

    fn check_entry(&self, leader: &Look<'_>, index: LogIndex) {
        let Committed { term, known_in } = self.entries[index.0 as usize - 1];
        let (id, leads) = (leader.id, leader.term);
        assert!(
            known_in >= leads || leader.term_at(index) == Some(term),
            "leader completeness: node {id} leads term {leads} without entry {index} of term {term}"
        );
    }

    /// Nodes that have applied the same entries are in the same state.
    pub(super) fn check_state(&mut self, look: &Look<'_>, state: impl FnOnce() -> u64) {
        let (id, applied) = (look.id, look.applied);
        assert!(applied <= look.commit, "node {id} applied entry {applied}, not committed yet");
        if applied == LogIndex(0) {
            return;
        }
        let state = state();
        let known = *self.states.entry(applied).or_insert(state);
        assert!(known == state, "state machine safety: node {id} differs after entry {applied}");
    }

    /// The terms of the committed entries up to this one: for each run its first index.
    ///
    /// # Panics
    /// If not all of them are committed.
    pub(super) fn terms_up_to(&self, last: LogIndex) -> &[(LogIndex, Term)] {
        assert!(last <= self.last(), "a snapshot of entry {last}, which is not committed");
        &self.runs[..self.runs.partition_point(|(first, _)| *first <= last)]
    }

    pub(super) fn last(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }
}
