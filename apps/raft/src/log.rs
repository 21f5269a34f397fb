//! Which entries there are: the terms of all of them, and the recent ones in memory.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::{LogIndex, Term};

use crate::message::LogEntry;

/// The terms of consecutive entries, run by run: a log of a million entries of three leaders takes three
/// runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TermRuns {
    /// The first index of each run and its term; both strictly ascending.
    runs: Vec<(LogIndex, Term)>,
}

impl TermRuns {
    /// Runs as they were found on the disk, or `None` if they do not ascend.
    pub fn new(runs: Vec<(LogIndex, Term)>) -> Option<TermRuns> {
        let ascends = runs.is_sorted_by(|(a, x), (b, y)| a < b && x < y);
        ascends.then_some(TermRuns { runs })
    }

    /// The runs.
    pub fn as_slice(&self) -> &[(LogIndex, Term)] {
        &self.runs
    }

    /// The term at `index`, which is not before the first run. Nothing is known about an end.
    fn at(&self, index: LogIndex) -> Option<Term> {
        let behind = self.runs.partition_point(|(first, _)| *first <= index);
        behind.checked_sub(1).map(|run| self.runs[run].1)
    }

    /// Takes in the entry behind the last.
    fn push(&mut self, index: LogIndex, term: Term) {
        if self.runs.last().is_none_or(|(_, last)| *last < term) {
            self.runs.push((index, term));
        }
    }

    /// Forgets the entries up to and including `index`.
    fn forget(&mut self, index: LogIndex) {
        let first = index.next();
        let begun = self.runs.partition_point(|(start, _)| *start <= first);
        self.runs.drain(..begun.saturating_sub(1));
        if let Some((start, _)) = self.runs.first_mut() {
            *start = first.max(*start);
        }
    }

    /// Forgets the entries from `index` on.
    fn truncate(&mut self, index: LogIndex) {
        let kept = self.runs.partition_point(|(first, _)| *first < index);
        self.runs.truncate(kept);
    }
}

/// The log of a member.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The entry before the first: 0, or the end of a snapshot.
    base: LogIndex,
    base_term: Term,
    /// The terms of the entries behind `base`.
    terms: TermRuns,
    last: LogIndex,
    /// The entries `last - len + 1 ..= last`.
    ///
    /// Invariant: every entry that is not durable, or not applied, was in here when it was appended, and
    /// leaves only when it is both.
    recent: VecDeque<LogEntry>,
    recent_bytes: usize,
}

impl Log {
    /// A log as it was found on the disk, behind a snapshot that ends at `base`. `recent` is its end, or a
    /// part of the end.
    pub(crate) fn new(
        (base, base_term): (LogIndex, Term),
        terms: TermRuns,
        last: LogIndex,
        recent: Vec<LogEntry>,
    ) -> Log {
        let recent_bytes = recent.iter().map(LogEntry::weight).sum();
        let start = (LogIndex(0), Term(0));
        let mut log = Log {
            base: start.0,
            base_term: start.1,
            terms,
            last,
            recent: recent.into(),
            recent_bytes,
        };
        if (base, base_term) != start {
            let known = if last < base { None } else { log.terms.at(base) };
            // The entry itself may be gone from the disk already, but not what follows it.
            let is_before_first = log.terms.runs.first().is_some_and(|(first, _)| *first > base);
            if known == Some(base_term) || (last > base && is_before_first) {
                log.begin_behind(base, base_term);
            } else {
                log.reset(base, base_term);
            }
        }
        log.check_invariants();
        log
    }

    /// The entry before the first.
    pub(crate) fn base(&self) -> LogIndex {
        self.base
    }

    /// Forgets the entries up to and including `index`, which is in the log: a snapshot has them.
    pub(crate) fn compact(&mut self, index: LogIndex) {
        let term = self.term_at(index).expect("what is compacted is in the log");
        self.begin_behind(index, term);
    }

    fn begin_behind(&mut self, index: LogIndex, term: Term) {
        (self.base, self.base_term) = (index, term);
        if index == self.last {
            self.terms = TermRuns::default();
        } else {
            self.terms.forget(index);
        }
        self.forget_recent(index);
    }

    /// Forgets all entries: the log begins behind a snapshot that ends with this one.
    pub(crate) fn reset(&mut self, index: LogIndex, term: Term) {
        (self.base, self.base_term, self.last) = (index, term, index);
        self.terms = TermRuns::default();
        self.recent.clear();
        self.recent_bytes = 0;
    }

    fn forget_recent(&mut self, index: LogIndex) {
        while let Some(entry) = self.recent.pop_front_if(|entry| entry.index <= index) {
            self.recent_bytes -= entry.weight();
        }
    }

    pub(crate) fn last_index(&self) -> LogIndex {
        self.last
    }

    pub(crate) fn terms(&self) -> &TermRuns {
        &self.terms
    }

    pub(crate) fn entry_in_memory(&self, index: LogIndex) -> Option<&LogEntry> {
        let position = index.0.checked_sub(self.recent_first().0)?;
        self.recent.get(usize::try_from(position).ok()?)
    }

    pub(crate) fn last_term(&self) -> Term {
        self.term_at(self.last).expect("the last entry has a term")
    }

    /// The first entry that is in the log, if any is.
    pub(crate) fn first_index(&self) -> LogIndex {
        self.base.next()
    }

    pub(crate) fn recent_bytes(&self) -> usize {
        self.recent_bytes
    }

    /// The term of the entry at `index`, that before the first included; `None` before that, and behind the
    /// end.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.base {
            return Some(self.base_term);
        }
        if index < self.base || index > self.last { None } else { self.terms.at(index) }
    }

    /// Whether a log that ends so is at least as up to date as this one (section 5.4.1).
    pub(crate) fn is_up_to_date(&self, last_index: LogIndex, last_term: Term) -> bool {
        (last_term, last_index) >= (self.last_term(), self.last)
    }

    /// The greatest index up to `index` whose term is at most `term`, and its term: where another log that
    /// has `term` at `index` may agree with this one (section 5.3, last paragraphs). Before the first entry
    /// nothing is known, and both may be what the other says.
    pub(crate) fn agreement(&self, index: LogIndex, term: Term) -> (LogIndex, Term) {
        let mut index = index.min(self.last);
        loop {
            let Some(here) = self.term_at(index) else { return (index, term) };
            if here <= term || index == self.base {
                return (index, here);
            }
            let run = self.terms.runs.partition_point(|(first, _)| *first <= index) - 1;
            index = self.terms.runs[run].0.previous().expect("runs start behind the base");
        }
    }

    /// Appends the entry behind the last.
    ///
    /// # Panics
    /// If it is not that, or of an earlier term.
    pub(crate) fn append(&mut self, entry: LogEntry) {
        assert_eq!(entry.index, self.last.next(), "entries are appended without gaps");
        assert!(entry.term >= self.last_term(), "terms never go back in a log");
        self.last = entry.index;
        self.terms.push(entry.index, entry.term);
        self.recent_bytes += entry.weight();
        self.recent.push_back(entry);
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: LogIndex) {
        assert!(index > self.base, "what is in a snapshot is never cut off");
        while let Some(entry) = self.recent.pop_back_if(|entry| entry.index >= index) {
            self.recent_bytes -= entry.weight();
        }
        self.terms.truncate(index);
        self.last = self.last.min(index.previous().expect("the log starts at 1"));
    }

    fn recent_first(&self) -> LogIndex {
        LogIndex(self.last.0 + 1 - self.recent.len() as u64)
    }

    /// Consecutive entries from `from` to at most `to`, from memory: as many as fit, one at the least. `None`
    /// if the first is no longer in memory.
    pub(crate) fn recent(
        &self,
        from: LogIndex,
        to: LogIndex,
        max_bytes: usize,
        max_entries: usize,
    ) -> Option<Vec<LogEntry>> {
        let skip = usize::try_from(from.0.checked_sub(self.recent_first().0)?).ok()?;
        let wanted = usize::try_from((to.0 + 1).saturating_sub(from.0)).unwrap_or(usize::MAX);
        let end = self.recent.len().min(skip.saturating_add(wanted.min(max_entries)));
        let start = skip.min(end);
        let (mut count, mut bytes) = (0, 0);
        for entry in self.recent.range(start..end) {
            bytes += entry.weight();
            if count > 0 && bytes > max_bytes {
                break;
            }
            count += 1;
        }
        Some(self.recent.range(start..start + count).cloned().collect())
    }

    /// All entries from `from` on, or `None` if the first is no longer in memory.
    pub(crate) fn tail(&self, from: LogIndex) -> Option<Vec<LogEntry>> {
        let skip = usize::try_from(from.0.checked_sub(self.recent_first().0)?).ok()?;
        Some(self.recent.range(skip.min(self.recent.len())..).cloned().collect())
    }

    /// Lets go of old entries while there are more than `max_bytes`, but of none behind `needed`.
    pub(crate) fn evict(&mut self, max_bytes: usize, needed: LogIndex) {
        while self.recent_bytes > max_bytes {
            let Some(entry) = self.recent.pop_front_if(|entry| entry.index <= needed) else {
                return;
            };
            self.recent_bytes -= entry.weight();
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.base <= self.last);
        let count = self.last.0 - self.base.0;
        assert!(self.recent.len() as u64 <= count, "no more in memory than there are");
        for (index, entry) in (self.recent_first().0..).zip(&self.recent) {
            assert_eq!(entry.index, LogIndex(index), "the entries in memory have no gaps");
            assert_eq!(self.term_at(entry.index), Some(entry.term), "and the terms that are noted");
        }
        assert_eq!(count == 0, self.terms.runs.is_empty(), "every entry has a term");
        let first = self.terms.runs.first();
        assert!(first.is_none_or(|(index, _)| *index == self.first_index()), "and no other has");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Payload;

    fn entry(index: u64, term: u64) -> LogEntry {
        let payload = Payload::Command(vec![0; 10].into());
        LogEntry { index: LogIndex(index), term: Term(term), payload }
    }

    fn log(terms: &[u64]) -> Log {
        let start = (LogIndex(0), Term(0));
        let mut log = Log::new(start, TermRuns::default(), LogIndex(0), Vec::new());
        for (index, term) in (1..).zip(terms) {
            log.append(entry(index, *term));
        }
        log.check_invariants();
        log
    }

    #[test]
    fn terms_are_known_for_every_entry() {
        let log = log(&[1, 1, 2, 5, 5]);
        let terms: Vec<_> = (0..=6).map(|i| log.term_at(LogIndex(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [Some(0), Some(1), Some(1), Some(2), Some(5), Some(5), None]);
    }

    /// Pitfall 3: the last term decides, then the length; never field by field.
    #[test]
    fn up_to_date_compares_the_term_first() {
        let log = log(&[1, 1, 3]);
        assert!(log.is_up_to_date(LogIndex(1), Term(4)));
        assert!(log.is_up_to_date(LogIndex(3), Term(3)));
        assert!(!log.is_up_to_date(LogIndex(2), Term(3)));
        assert!(!log.is_up_to_date(LogIndex(9), Term(2)));
    }

    #[test]
    fn agreement_skips_whole_terms() {
        let log = log(&[1, 1, 4, 4, 4, 6]);
        assert_eq!(log.agreement(LogIndex(6), Term(5)), (LogIndex(5), Term(4)));
        assert_eq!(log.agreement(LogIndex(9), Term(3)), (LogIndex(2), Term(1)));
        assert_eq!(log.agreement(LogIndex(4), Term(4)), (LogIndex(4), Term(4)));
        assert_eq!(log.agreement(LogIndex(4), Term(0)), (LogIndex(0), Term(0)));
    }

    #[test]
    fn compaction_forgets_the_start_and_nothing_else() {
        let mut log = log(&[1, 1, 2, 5, 5]);
        log.compact(LogIndex(2));
        log.check_invariants();
        let terms: Vec<_> = (0..=6).map(|i| log.term_at(LogIndex(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [None, None, Some(1), Some(2), Some(5), Some(5), None]);
        log.compact(LogIndex(4));
        log.check_invariants();
        assert_eq!((log.base(), log.term_at(LogIndex(4))), (LogIndex(4), Some(Term(5))));
        assert_eq!(log.agreement(LogIndex(5), Term(3)), (LogIndex(4), Term(5)), "no further back");
        assert_eq!(log.agreement(LogIndex(2), Term(3)), (LogIndex(2), Term(3)), "who knows");
        log.truncate(LogIndex(5));
        log.check_invariants();
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(4), Term(5)));
        log.append(entry(5, 7));
        log.check_invariants();
        log.reset(LogIndex(9), Term(8));
        log.check_invariants();
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(9), Term(8)));
    }

    /// Every way in which a disk's log and its snapshot can lie to each other.
    #[test]
    fn a_log_is_restored_behind_its_snapshot() {
        let runs = |runs: &[(u64, u64)]| {
            TermRuns::new(runs.iter().map(|(i, t)| (LogIndex(*i), Term(*t))).collect()).unwrap()
        };
        let restored = |base, runs, last| Log::new(base, runs, LogIndex(last), Vec::new());
        let base = (LogIndex(5), Term(3));
        let whole = restored(base, runs(&[(1, 1), (4, 3), (7, 4)]), 9);
        assert_eq!((whole.first_index(), whole.last_index()), (LogIndex(6), LogIndex(9)));
        assert_eq!(whole.term_at(LogIndex(6)), Some(Term(3)));
        let behind = restored(base, runs(&[(6, 3), (7, 4)]), 9);
        assert_eq!(
            (behind.term_at(LogIndex(5)), behind.last_index()),
            (Some(Term(3)), LogIndex(9))
        );
        let short = restored(base, runs(&[(1, 1)]), 3);
        assert_eq!((short.first_index(), short.last_index()), (LogIndex(6), LogIndex(5)));
        let another = restored(base, runs(&[(1, 1), (4, 2)]), 9);
        assert_eq!(another.last_index(), LogIndex(5), "what conflicts with the snapshot is void");
    }

    #[test]
    fn truncation_forgets_the_end_and_nothing_else() {
        let mut log = log(&[1, 1, 2, 5]);
        log.truncate(LogIndex(3));
        log.check_invariants();
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(2), Term(1)));
        log.append(entry(3, 7));
        assert_eq!(log.term_at(LogIndex(3)), Some(Term(7)));
        log.truncate(LogIndex(1));
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(0), Term(0)));
        log.check_invariants();
    }

    /// Found by the simulator: a member whose snapshot ends where its log does could not start.
    #[test]
    fn a_log_that_ends_with_its_snapshot_is_empty() {
        let terms = || TermRuns::new(vec![(LogIndex(3), Term(1)), (LogIndex(5), Term(4))]).unwrap();
        for last in [6, 7] {
            let log = Log::new((LogIndex(6), Term(4)), terms(), LogIndex(last), Vec::new());
            assert_eq!(
                (log.base(), log.last_index(), log.last_term()),
                (LogIndex(6), LogIndex(last), Term(4))
            );
        }
        let log = Log::new((LogIndex(6), Term(2)), terms(), LogIndex(7), Vec::new());
        assert_eq!((log.base(), log.last_index()), (LogIndex(6), LogIndex(6)), "another log");
    }

    #[test]
    fn memory_is_bounded_but_what_is_needed_stays() {
        let mut log = log(&[1; 10]);
        let weight = entry(1, 1).weight();
        log.evict(3 * weight + 5, LogIndex(4));
        assert_eq!(log.recent_bytes(), 6 * weight, "entries 5 to 10 are needed");
        log.evict(3 * weight + 5, LogIndex(10));
        assert_eq!(log.recent_bytes(), 3 * weight);
        log.check_invariants();
        let enough = 10 * weight;
        assert_eq!(log.recent(LogIndex(7), LogIndex(10), enough, 10), None);
        let got = log.recent(LogIndex(8), LogIndex(10), 2 * weight, 10).unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(log.recent(LogIndex(8), LogIndex(10), 1, 10).unwrap().len(), 1);
        assert_eq!(log.recent(LogIndex(8), LogIndex(8), enough, 10).unwrap().len(), 1);
        assert_eq!(log.recent(LogIndex(11), LogIndex(10), enough, 10).unwrap().len(), 0);
    }
}
