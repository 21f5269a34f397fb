//! Which configuration holds: the latest in the log, committed or not (thesis, section 4.1). It goes when
//! its entry is cut off, and then the one before holds again (pitfall 29).
//!
//! A leader makes no configuration before the one before is committed. So of those in a log only the last may
//! ever be cut off, and a member that finds very many when it starts may forget the first of them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::{LogIndex, limits};

use crate::configuration::Configuration;

/// The configurations that may still hold at some point of the log that matters.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// The configurations and where they are in the log.
    ///
    /// Invariant: at least one; indexes ascend.
    known: VecDeque<(LogIndex, Configuration)>,
    /// How often another configuration has come to hold.
    changes: u64,
}

impl Membership {
    /// `first` holds until the first of `entries`. Of very many the last are kept.
    pub(crate) fn new(
        first: (LogIndex, Configuration),
        entries: Vec<(LogIndex, Configuration)>,
    ) -> Membership {
        let behind = first.0;
        let later = entries.into_iter().filter(|(index, _)| *index > behind);
        let mut known: VecDeque<(LogIndex, Configuration)> =
            core::iter::once(first).chain(later).collect();
        let surplus = known.len().saturating_sub(limits::CONFIGURATIONS_REMEMBERED);
        known.drain(..surplus);
        let membership = Membership { known, changes: 0 };
        membership.check_invariants();
        membership
    }

    /// The configuration that holds.
    pub(crate) fn current(&self) -> &Configuration {
        &self.known.back().expect("one is always known").1
    }

    /// Where it is in the log.
    pub(crate) fn current_index(&self) -> LogIndex {
        self.known.back().expect("one is always known").0
    }

    /// A number that grows whenever another configuration comes to hold, one that held before included.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The configuration that holds at `index`, or the earliest that is remembered.
    pub(crate) fn at(&self, index: LogIndex) -> &Configuration {
        if index >= self.current_index() {
            return self.current();
        }
        let behind = self.known.partition_point(|(at, _)| *at <= index);
        &self.known[behind.saturating_sub(1)].1
    }

    /// The configuration that holds at `index`, if that is remembered.
    pub(crate) fn exactly_at(&self, index: LogIndex) -> Option<&Configuration> {
        let is_remembered = self.known.front().is_some_and(|(first, _)| *first <= index);
        is_remembered.then(|| self.at(index))
    }

    /// Whether no more configurations can be remembered before some are applied.
    pub(crate) fn is_full(&self) -> bool {
        self.known.len() >= limits::CONFIGURATIONS_REMEMBERED
    }

    /// A configuration was appended to the log.
    pub(crate) fn push(&mut self, index: LogIndex, configuration: Configuration) {
        self.known.push_back((index, configuration));
        self.changes += 1;
    }

    /// The configuration of an entry that could not be read before; nothing if it is known.
    pub(crate) fn insert(&mut self, index: LogIndex, configuration: Configuration) {
        let behind = self.known.partition_point(|(at, _)| *at <= index);
        let is_known = behind.checked_sub(1).is_none_or(|place| self.known[place].0 == index);
        if is_known {
            return;
        }
        self.known.insert(behind, (index, configuration));
        if self.known.len() > limits::CONFIGURATIONS_REMEMBERED {
            self.known.pop_front();
        }
    }

    /// The log was cut at `index`.
    pub(crate) fn truncate(&mut self, index: LogIndex) {
        while self.known.len() > 1 && self.known.pop_back_if(|(at, _)| *at >= index).is_some() {
            self.changes += 1;
        }
    }

    /// A snapshot that ends at `index` has taken the place of the log up to there, or of all of it.
    pub(crate) fn restore(&mut self, index: LogIndex, first: Configuration, keeps_rest: bool) {
        self.known.retain(|(at, _)| keeps_rest && *at > index);
        self.known.push_front((index, first));
        self.changes += 1;
    }

    /// Nobody will ask for what held before `index`.
    pub(crate) fn forget_before(&mut self, index: LogIndex) {
        while self.known.get(1).is_some_and(|(at, _)| *at <= index) {
            self.known.pop_front();
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(!self.known.is_empty(), "a configuration is known");
        assert!(self.known.iter().is_sorted_by(|(a, _), (b, _)| a < b), "in the order of the log");
        assert!(self.known.len() <= limits::CONFIGURATIONS_REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use base::NodeId;

    use super::*;

    fn of(number: u16) -> Configuration {
        Configuration::of_voters(NodeId::new(number).into_iter().collect())
    }

    #[test]
    fn the_latest_holds_until_it_is_cut_off() {
        let mut membership = Membership::new((LogIndex(0), of(1)), vec![(LogIndex(4), of(2))]);
        membership.push(LogIndex(9), of(3));
        assert_eq!((membership.current(), membership.current_index()), (&of(3), LogIndex(9)));
        assert_eq!(membership.at(LogIndex(8)), &of(2));
        assert_eq!(membership.at(LogIndex(3)), &of(1));
        membership.truncate(LogIndex(9));
        assert_eq!(membership.current(), &of(2));
        membership.truncate(LogIndex(1));
        assert_eq!(membership.current(), &of(1));
        membership.check_invariants();
    }

    #[test]
    fn one_that_could_not_be_read_comes_to_its_place() {
        let mut membership = Membership::new((LogIndex(3), of(1)), vec![(LogIndex(9), of(3))]);
        membership.insert(LogIndex(5), of(2));
        membership.insert(LogIndex(9), of(7));
        membership.insert(LogIndex(2), of(7));
        assert_eq!((membership.at(LogIndex(6)), membership.current()), (&of(2), &of(3)));
        membership.insert(LogIndex(12), of(4));
        assert_eq!(membership.current(), &of(4));
        membership.check_invariants();
    }

    #[test]
    fn of_very_many_the_last_are_kept() {
        let count = limits::CONFIGURATIONS_REMEMBERED as u64;
        let entries = (1..=2 * count).map(|index| (LogIndex(10 * index), of(3))).collect();
        let membership = Membership::new((LogIndex(0), of(1)), entries);
        assert!(membership.is_full());
        assert_eq!(membership.current_index(), LogIndex(20 * count));
        assert_eq!(membership.exactly_at(LogIndex(10)), None);
        assert_eq!(membership.exactly_at(LogIndex(20 * count)), Some(&of(3)));
    }

    #[test]
    fn a_snapshot_brings_its_own_and_what_lies_behind_it_stays_or_goes() {
        let entries = vec![(LogIndex(4), of(2)), (LogIndex(9), of(3))];
        let membership = Membership::new((LogIndex(0), of(1)), entries);
        let mut kept = membership.clone();
        kept.restore(LogIndex(7), of(5), true);
        assert_eq!((kept.current(), kept.at(LogIndex(8))), (&of(3), &of(5)));
        let mut reset = membership;
        reset.restore(LogIndex(7), of(5), false);
        assert_eq!((reset.current(), reset.current_index()), (&of(5), LogIndex(7)));
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let entries = (1..10).map(|index| (LogIndex(10 * index), of(index as u16 + 1))).collect();
        let mut membership = Membership::new((LogIndex(0), of(1)), entries);
        membership.forget_before(LogIndex(35));
        assert_eq!(membership.at(LogIndex(35)), &of(4));
        assert_eq!(membership.at(LogIndex(40)), &of(5));
        membership.forget_before(LogIndex(1_000));
        assert_eq!(membership.current(), &of(10));
        membership.check_invariants();
    }
}
