//! Which entries of this member's disk are damaged, and what the others said when they were asked for them.
//!
//! Damaged is neither there nor absent: the header has survived, so it is known which entry it is (index and
//! term name it, by log matching), but not what it says. Who denies it is remembered for as long as it is
//! damaged (`void` says what for).

use alloc::collections::{BTreeMap, BTreeSet};

use base::limits::{DAMAGED_ENTRIES_MAX, REPAIR_ANSWER_WITHIN_MS, REPAIR_ROUND_MS};
use base::{Duration, Instant, LogIndex, NodeId, Term};

/// Why a peer did not give an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lack {
    /// It never had this entry, or not any more: there is another in its place, or none. So it was in this
    /// term.
    Absent { in_term: Term },
    /// It has it no more intact than this member.
    Damaged,
    /// Its log begins behind it: a snapshot stands for it.
    Compacted,
    /// It did not answer in time.
    Silent,
}

/// An entry that is to be had from somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    /// The term in which this member was when it found the damage: it has acknowledged the entry in no later
    /// one.
    noted_in: Term,
    /// Who has denied it in a later term.
    denied_by: BTreeSet<NodeId>,
    /// What was answered in this round.
    answers: BTreeMap<NodeId, Lack>,
    /// Nobody is asked before.
    due: Instant,
    /// Somebody's snapshot stands for it: it is committed.
    is_in_snapshot: bool,
    /// An intact copy has been given to the caller, to be written.
    is_being_written: bool,
    /// Everybody was asked, and nobody gave it.
    is_in_vain: bool,
    /// And everybody has answered in that round: nobody has it.
    is_nowhere: bool,
}

impl Wanted {
    fn new(noted_in: Term, due: Instant) -> Wanted {
        Wanted {
            noted_in,
            denied_by: BTreeSet::new(),
            answers: BTreeMap::new(),
            due,
            is_in_snapshot: false,
            is_being_written: false,
            is_in_vain: false,
            is_nowhere: false,
        }
    }

    /// Whether nothing can come of asking again what was answered so. Whoever denies it in an early term may
    /// still be given it by a leader of that term.
    fn is_final(&self, lack: Lack) -> bool {
        match lack {
            Lack::Absent { in_term } => in_term > self.noted_in,
            Lack::Damaged => true,
            Lack::Compacted | Lack::Silent => false,
        }
    }
}

/// A question that is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asked {
    peer: NodeId,
    from: LogIndex,
    deadline: Instant,
}

/// What is asked next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) peer: NodeId,
    pub(crate) from: LogIndex,
    /// The last damaged entry of the same run.
    pub(crate) to: LogIndex,
}

/// What comes of looking for something to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) question: Option<Question>,
    /// An entry of which it has just turned out that nobody has it.
    pub(crate) nowhere: Option<LogIndex>,
    /// An entry for which all peers were asked just now, and none gave it: perhaps one did not answer.
    pub(crate) in_vain: Option<LogIndex>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    entries: BTreeMap<LogIndex, Wanted>,
    asked: Option<Asked>,
}

impl Damage {
    /// Takes note of an entry that was found damaged in this term; answers whether that is news. Of very many
    /// the first are kept: the others are found again when they are read.
    pub(crate) fn note(&mut self, index: LogIndex, term: Term, now: Instant) -> bool {
        if self.entries.contains_key(&index) {
            return false;
        }
        if self.entries.len() >= DAMAGED_ENTRIES_MAX {
            match self.entries.last_entry() {
                Some(last) if *last.key() > index => drop(last.remove()),
                Some(_) | None => return false,
            }
        }
        self.entries.insert(index, Wanted::new(term, now));
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether somebody's snapshot stands for whatever is damaged.
    pub(crate) fn is_in_snapshots(&self) -> bool {
        self.entries.values().all(|wanted| wanted.is_in_snapshot)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, index: LogIndex) -> bool {
        self.entries.contains_key(&index)
    }

    /// The first damaged entry.
    pub(crate) fn first(&self) -> Option<LogIndex> {
        self.entries.first_key_value().map(|(index, _)| *index)
    }

    /// The first damaged entry from `index` on.
    pub(crate) fn first_from(&self, index: LogIndex) -> Option<LogIndex> {
        self.entries.range(index..).next().map(|(index, _)| *index)
    }

    /// The first entry that everybody was asked for, and nobody has.
    pub(crate) fn nowhere(&self) -> Option<LogIndex> {
        self.entries.iter().find(|(_, wanted)| wanted.is_nowhere).map(|(index, _)| *index)
    }

    /// Who has denied the first damaged entry, in a term after any in which this member has acknowledged it.
    pub(crate) fn deniers(&self) -> Option<(LogIndex, &BTreeSet<NodeId>)> {
        self.entries.first_key_value().map(|(index, wanted)| (*index, &wanted.denied_by))
    }

    /// Whether anybody has denied it in this round.
    pub(crate) fn is_denied_at_all(&self, index: LogIndex) -> bool {
        let answers = self.entries.get(&index).map(|wanted| wanted.answers.values());
        answers.into_iter().flatten().any(|lack| matches!(lack, Lack::Absent { .. }))
    }

    /// Whether all were asked for the first damaged entry in vain, and to ask in a later term may help.
    pub(crate) fn is_undecided(&self) -> bool {
        let first = self.entries.first_key_value();
        first.is_some_and(|(_, wanted)| wanted.is_in_vain && !wanted.is_nowhere)
    }

    /// All may be asked again now.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        self.entries.values_mut().for_each(|wanted| wanted.due = wanted.due.min(now));
    }

    /// Whether nobody has given an entry up to here, and all were asked.
    pub(crate) fn is_in_vain_up_to(&self, index: LogIndex) -> bool {
        self.entries.range(..=index).any(|(_, wanted)| wanted.is_in_vain)
    }

    /// It is intact again; answers whether it was damaged.
    pub(crate) fn remove(&mut self, index: LogIndex) -> bool {
        self.entries.remove(&index).is_some()
    }

    /// The log was cut at `index`: nobody needs what was there.
    pub(crate) fn forget_from(&mut self, index: LogIndex) {
        self.entries.split_off(&index);
    }

    /// A snapshot stands for everything up to `index`; answers whether something there was damaged.
    pub(crate) fn forget_up_to(&mut self, index: LogIndex) -> bool {
        let before = self.entries.len();
        self.entries = self.entries.split_off(&index.next());
        self.entries.len() < before
    }

    /// An intact copy is being written; false if that is so already, or the entry is not damaged.
    pub(crate) fn begin_writing(&mut self, index: LogIndex) -> bool {
        let wanted = self.entries.get_mut(&index).filter(|wanted| !wanted.is_being_written);
        wanted.map(|wanted| wanted.is_being_written = true).is_some()
    }

    /// What was to be written was not what had been there.
    pub(crate) fn fail_writing(&mut self, index: LogIndex, due: Instant) {
        if let Some(wanted) = self.entries.get_mut(&index) {
            (wanted.is_being_written, wanted.due) = (false, due);
        }
    }

    /// A peer has answered; answers whether it was asked for just that.
    pub(crate) fn end_question(&mut self, peer: NodeId, from: LogIndex) -> bool {
        self.asked.take_if(|asked| (asked.peer, asked.from) == (peer, from)).is_some()
    }

    /// A peer cannot give it.
    pub(crate) fn note_lack(&mut self, peer: NodeId, index: LogIndex, lack: Lack) {
        if let Some(wanted) = self.entries.get_mut(&index) {
            wanted.answers.insert(peer, lack);
            if let Lack::Absent { in_term } = lack
                && in_term > wanted.noted_in
            {
                wanted.denied_by.insert(peer);
            }
            wanted.is_in_snapshot |= lack == Lack::Compacted;
        }
    }

    /// The next question, if one is due: `peers` are asked in this order, one after another. When all have
    /// answered in vain they are asked again, but not at once.
    pub(crate) fn next_question(&mut self, peers: &[NodeId], now: Instant) -> Turn {
        if let Some(asked) = self.asked.take_if(|asked| now >= asked.deadline) {
            self.note_lack(asked.peer, asked.from, Lack::Silent);
        }
        let mut turn = Turn::default();
        while self.asked.is_none() {
            let is_due = |(_, wanted): &(&LogIndex, &mut Wanted)| {
                !wanted.is_being_written && wanted.due <= now
            };
            let Some((&from, wanted)) = self.entries.iter_mut().find(is_due) else { break };
            if let Some(&peer) = peers.iter().find(|peer| !wanted.answers.contains_key(peer)) {
                let deadline = now + Duration::from_millis(REPAIR_ANSWER_WITHIN_MS);
                self.asked = Some(Asked { peer, from, deadline });
                turn.question = Some(Question { peer, from, to: self.end_of_run(from) });
                break;
            }
            (turn.in_vain, wanted.is_in_vain) = (Some(from), true);
            let is_nowhere = wanted.answers.values().all(|lack| wanted.is_final(*lack));
            if is_nowhere && !wanted.is_nowhere {
                turn.nowhere = turn.nowhere.or(Some(from));
            }
            wanted.is_nowhere = is_nowhere;
            wanted.answers.clear();
            wanted.due = now + Duration::from_millis(REPAIR_ROUND_MS);
        }
        turn
    }

    /// The last of the damaged entries that follow each other from `from` on, and are wanted.
    fn end_of_run(&self, from: LogIndex) -> LogIndex {
        let wanted = self.entries.range(from..).filter(|(_, wanted)| !wanted.is_being_written);
        let run = (from.0..).zip(wanted).take_while(|(place, (index, _))| *place == index.0);
        run.last().map_or(from, |(place, _)| LogIndex(place))
    }

    /// When the next question is due, or an answer overdue.
    pub(crate) fn due(&self) -> Option<Instant> {
        if let Some(asked) = self.asked.as_ref().filter(|_| !self.entries.is_empty()) {
            return Some(asked.deadline);
        }
        let wanted = self.entries.values().filter(|wanted| !wanted.is_being_written);
        wanted.map(|wanted| wanted.due).min()
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.entries.len() <= DAMAGED_ENTRIES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn damage(indices: &[u64]) -> Damage {
        let mut damage = Damage::default();
        for index in indices {
            assert!(damage.note(LogIndex(*index), Term(4), Instant::ORIGIN));
        }
        damage
    }

    #[test]
    fn peers_are_asked_in_turn_and_then_not_for_a_while() {
        let mut damage = damage(&[5, 6, 7, 9]);
        let peers = [node(2), node(3)];
        let mut now = Instant::ORIGIN;
        let question = damage.next_question(&peers, now).question.unwrap();
        let (from, to) = (LogIndex(5), LogIndex(7));
        assert_eq!(question, Question { peer: node(2), from, to });
        assert_eq!(damage.next_question(&peers, now), Turn::default(), "one at a time");
        assert!(!damage.end_question(node(3), LogIndex(5)), "it was not asked");
        assert!(damage.end_question(node(2), LogIndex(5)));
        damage.note_lack(node(2), LogIndex(5), Lack::Damaged);
        let question = damage.next_question(&peers, now).question.unwrap();
        assert_eq!((question.peer, question.from), (node(3), LogIndex(5)));
        // It does not answer, and the others are asked for what else is wanted.
        now = damage.due().unwrap();
        let turn = damage.next_question(&peers, now);
        assert_eq!(turn.question.unwrap().from, LogIndex(6));
        assert!(
            turn.in_vain == Some(LogIndex(5)) && turn.nowhere.is_none(),
            "silence proves nothing"
        );
    }

    #[test]
    fn what_nobody_has_is_named_once() {
        let mut damage = damage(&[5]);
        let peers = [node(2), node(3)];
        let mut now = Instant::ORIGIN;
        let mut told = Vec::new();
        for _ in 0..3 {
            for lack in [Lack::Absent { in_term: Term(5) }, Lack::Damaged] {
                let turn = damage.next_question(&peers, now);
                told.extend(turn.nowhere);
                let Question { peer, from, .. } = turn.question.unwrap();
                assert!(damage.end_question(peer, from));
                damage.note_lack(peer, from, lack);
            }
            let turn = damage.next_question(&peers, now);
            assert_eq!(turn.question, None);
            told.extend(turn.nowhere);
            assert_eq!(damage.nowhere(), Some(LogIndex(5)));
            now = damage.due().unwrap();
        }
        assert_eq!(told, [LogIndex(5)]);
    }

    /// Whoever denies it in the term of the damage, or an earlier one, may still come to have it.
    #[test]
    fn only_who_denies_it_in_a_later_term_counts() {
        let mut damage = damage(&[5]);
        let peers = [node(2), node(3)];
        let mut now = Instant::ORIGIN;
        for (in_term, denied_by) in [(Term(4), 0), (Term(5), 2)] {
            for _ in peers {
                let Question { peer, from, .. } =
                    damage.next_question(&peers, now).question.unwrap();
                assert!(damage.end_question(peer, from));
                damage.note_lack(peer, from, Lack::Absent { in_term });
            }
            assert_eq!(damage.next_question(&peers, now).question, None);
            assert_eq!(damage.deniers().unwrap().1.len(), denied_by);
            assert_eq!(damage.nowhere().is_some(), denied_by > 0);
            assert_eq!(damage.is_undecided(), denied_by == 0);
            now = damage.due().unwrap();
        }
    }

    #[test]
    fn what_is_being_written_is_not_asked_for() {
        let mut damage = damage(&[5, 6]);
        assert!(damage.begin_writing(LogIndex(5)) && !damage.begin_writing(LogIndex(5)));
        let question = damage.next_question(&[node(2)], Instant::ORIGIN).question.unwrap();
        assert_eq!((question.from, question.to), (LogIndex(6), LogIndex(6)));
        assert!(damage.remove(LogIndex(5)) && !damage.remove(LogIndex(5)));
        damage.forget_from(LogIndex(6));
        assert!(damage.is_empty());
        assert_eq!(damage.due(), None, "nobody waits for an answer any more");
    }

    #[test]
    fn of_very_many_the_first_are_kept() {
        let mut damage = Damage::default();
        for index in (1..=2 * DAMAGED_ENTRIES_MAX as u64).rev() {
            assert!(damage.note(LogIndex(index), Term(1), Instant::ORIGIN));
        }
        assert_eq!(damage.len(), DAMAGED_ENTRIES_MAX);
        assert_eq!(damage.first(), Some(LogIndex(1)));
        let beyond = LogIndex(DAMAGED_ENTRIES_MAX as u64 + 1);
        assert!(!damage.note(beyond, Term(1), Instant::ORIGIN));
    }
}
