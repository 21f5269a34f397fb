//! What must always hold, looked at after every step.
//!
//! | property | in words | where |
//! |---|---|---|
//! | election safety | at most one leader in a term | [`Checkers`] |
//! | leader append-only | a leader never cuts its log | [`Checkers`] |
//! | log matching | entries with the same index and term are the same, and so is all before them | [`Logs`] |
//! | leader completeness | what was committed in earlier terms is in a leader's log | [`Commits`] |
//! | state machine safety | one entry is committed at an index, and one state follows it | [`Commits`] |
//! | durability | what is committed is on the disks of a majority; a disk forgets nothing | [`Checkers`] |
//!
//! The first five are those of figure 3 of the Raft paper. A checker looks only at what has changed since
//! it looked last.

mod commits;
mod logs;

use std::collections::{BTreeMap, BTreeSet};

use base::{LogIndex, NodeId, Term};

use commits::Commits;
use logs::Logs;

/// A node's log by the first index of each run of entries of one term, as `raft::TermRuns` has it.
pub type Terms = [(LogIndex, Term)];

/// What a node shows at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look<'a> {
    /// Which node.
    pub id: NodeId,
    /// Its so-many-th start.
    pub life: u64,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Whether it leads.
    pub is_leader: bool,
    /// The last entry that only its snapshot has, or 0.
    pub base: LogIndex,
    /// The terms of its entries, those that only its snapshot has included.
    pub terms: &'a Terms,
    /// Its last entry.
    pub last: LogIndex,
    /// The last entry that is on its disk.
    pub durable: LogIndex,
    /// The last entry that it knows to be committed.
    pub commit: LogIndex,
    /// The last entry that its state machine has applied.
    pub applied: LogIndex,
}

/// What a node showed when it was looked at last.
#[derive(Clone, Debug)]
struct Seen {
    life: u64,
    term: Term,
    vote: Option<NodeId>,
    is_leader: bool,
    base: LogIndex,
    terms: Vec<(LogIndex, Term)>,
    last: LogIndex,
    durable: LogIndex,
    commit: LogIndex,
    applied: LogIndex,
}

impl Seen {
    fn new(look: &Look<'_>, terms: Vec<(LogIndex, Term)>) -> Seen {
        Seen {
            life: look.life,
            term: look.term,
            vote: look.vote,
            is_leader: look.is_leader,
            base: look.base,
            terms,
            last: look.last,
            durable: look.durable,
            commit: look.commit,
            applied: look.applied,
        }
    }

    fn as_look(&self, id: NodeId) -> Look<'_> {
        Look {
            id,
            life: self.life,
            term: self.term,
            vote: self.vote,
            is_leader: self.is_leader,
            base: self.base,
            terms: &self.terms,
            last: self.last,
            durable: self.durable,
            commit: self.commit,
            applied: self.applied,
        }
    }
}

impl Look<'_> {
    /// The term of an entry, if the log has it.
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let behind = self.terms.partition_point(|(first, _)| *first <= index);
        behind.checked_sub(1).map(|run| self.terms[run].1)
    }

    /// The first index at which two logs differ: behind the end of the shorter one, if nowhere before.
    fn first_difference(&self, other: &Look<'_>) -> LogIndex {
        let same = self.terms.iter().zip(other.terms).take_while(|(a, b)| a == b).count();
        let end = |look: &Look<'_>| look.terms.get(same).map_or(look.last.next(), |run| run.0);
        end(self).min(end(other))
    }
}

/// What has changed since the last look at a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct News {
    /// It has given its vote to another node.
    pub voted_for: Option<NodeId>,
    /// It leads, and did not before.
    pub was_elected: bool,
    /// It leads, and has committed something …
    pub has_committed: bool,
    /// … for the first time in its term.
    pub is_first_commit: bool,
    /// Its log was cut.
    pub was_cut: bool,
}

/// What has been seen of the cluster so far.
#[derive(Debug, Default)]
pub struct Checkers {
    nodes: BTreeMap<NodeId, Seen>,
    /// Who led in each term.
    leaders: BTreeMap<Term, NodeId>,
    /// The terms whose leaders have committed something.
    committed_in: BTreeSet<Term>,
    logs: Logs,
    commits: Commits,
}

impl Checkers {
    /// The terms of all entries of a log that begins behind a snapshot, which ends with an entry of this
    /// term: what the snapshot stands for was committed, and so is known. They are put into `whole`.
    ///
    /// # Panics
    /// If it was not.
    pub fn whole_terms(
        &self,
        (base, base_term): (LogIndex, Term),
        terms: &Terms,
        whole: &mut Vec<(LogIndex, Term)>,
    ) {
        whole.clear();
        whole.extend_from_slice(self.commits.terms_up_to(base));
        let last = whole.last().map_or(Term(0), |(_, term)| *term);
        assert!(last == base_term, "a snapshot ends with entry {base}, which is of another term");
        whole.extend(terms.iter().copied().filter(|(_, term)| *term > base_term));
    }

    /// Looks at a node. `content` is a fingerprint of an entry's content, if it is at hand; `state` is one
    /// of the state machine; `has_quorum` says whether nodes are enough to commit something.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn look(
        &mut self,
        look: &Look<'_>,
        content: impl Fn(LogIndex) -> Option<u64>,
        state: impl FnOnce() -> u64,
        has_quorum: impl FnOnce(&BTreeSet<NodeId>) -> bool,
    ) -> News {
        if self.nodes.get(&look.id).is_some_and(|seen| seen.as_look(look.id) == *look) {
            return News::default();
        }
        let seen = self.nodes.remove(&look.id);
        let before = seen.as_ref().map(|seen| seen.as_look(look.id));
        let same_life = before.filter(|before| before.life == look.life);
        if let (Some(before), None) = (&before, &same_life) {
            check_restart(before, look);
        }
        let changed_from = same_life.map_or(LogIndex(1), |before| before.first_difference(look));
        let was_cut = same_life.is_some_and(|before| changed_from <= before.last);
        let led = same_life.is_some_and(|before| before.is_leader && before.term == look.term);
        if look.is_leader && led {
            let id = look.id;
            assert!(!was_cut, "leader append-only: node {id} cut its log at {changed_from}");
        }
        if look.is_leader && !led {
            self.check_leader(look);
        }
        self.logs.check(look, changed_from, content);
        let committed = same_life.map_or(LogIndex(0), |before| before.commit);
        let leaders = self.nodes.iter().map(|(id, seen)| seen.as_look(*id));
        self.commits.check(look, committed, leaders.filter(|look| look.is_leader));
        let has_committed = look.is_leader && look.commit > committed;
        if has_committed {
            self.check_durability(look, has_quorum);
        }
        if same_life.is_none_or(|before| before.applied != look.applied) {
            self.commits.check_state(look, state);
        }
        let had_voted =
            same_life.is_some_and(|before| (before.term, before.vote) == (look.term, look.vote));
        let voted_for = look.vote.filter(|vote| *vote != look.id && !had_voted);
        // What has changed is most often not the list of terms.
        let terms = seen.filter(|seen| seen.terms == look.terms).map(|seen| seen.terms);
        self.nodes.insert(look.id, Seen::new(look, terms.unwrap_or_else(|| look.terms.to_vec())));
        let is_first_commit = has_committed && self.committed_in.insert(look.term);
        let was_elected = look.is_leader && !led;
        News { voted_for, was_elected, has_committed, is_first_commit, was_cut }
    }

    fn check_leader(&mut self, look: &Look<'_>) {
        let term = look.term;
        let known = *self.leaders.entry(term).or_insert(look.id);
        let id = look.id;
        assert!(known == id, "election safety: nodes {known} and {id} lead in term {term}");
        self.commits.check_completeness(look);
    }

    /// What a leader has committed is on the disks of a majority, those of machines that are off included.
    fn check_durability(
        &self,
        look: &Look<'_>,
        has_quorum: impl FnOnce(&BTreeSet<NodeId>) -> bool,
    ) {
        let wanted = look.term_at(look.commit);
        let has_it =
            |other: &Look<'_>| other.durable >= look.commit && other.term_at(look.commit) == wanted;
        let others = self.nodes.iter().filter(|(id, seen)| has_it(&seen.as_look(**id)));
        let own = has_it(look).then_some(look.id);
        let holders: BTreeSet<NodeId> = others.map(|(id, _)| *id).chain(own).collect();
        let (id, commit) = (look.id, look.commit);
        assert!(
            has_quorum(&holders),
            "durability: node {id} committed entry {commit}, which only {holders:?} have on their disks"
        );
    }

    /// Who led in each term.
    pub fn leaders(&self) -> &BTreeMap<Term, NodeId> {
        &self.leaders
    }

    /// The terms of all entries that were seen committed: for each run its first index.
    pub fn committed_terms(&self) -> &[(LogIndex, Term)] {
        self.commits.terms_up_to(self.commits.last())
    }

    /// The last entry that was seen committed.
    pub fn committed(&self) -> LogIndex {
        self.commits.last()
    }
}

/// A node has started again: what was on its disk is there.
fn check_restart(before: &Look<'_>, look: &Look<'_>) {
    let durable = Look { last: before.durable.min(before.last), ..*before };
    let terms: Vec<_> =
        durable.terms.iter().copied().filter(|(first, _)| *first <= durable.last).collect();
    let durable = Look { terms: &terms, ..durable };
    let (id, kept) = (look.id, durable.first_difference(look));
    // A snapshot may have taken the place of what contradicted it.
    assert!(
        kept > durable.last || kept <= look.base,
        "durability: node {id} started without entry {kept}, though {} were on its disk",
        durable.last
    );
}

#[cfg(test)]
mod tests;
