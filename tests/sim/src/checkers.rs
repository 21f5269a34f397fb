//! What must always hold, looked at after every step.

use std::collections::BTreeMap;

use base::{LogIndex, NodeId, Term};
use node::Node;

/// The invariants inside the services are checked after every so-manyth step.
const INVARIANTS_EVERY: u64 = 16;

/// What has been seen of the cluster so far.
#[derive(Debug, Default)]
pub struct Checkers {
    /// Election safety: who led in each term (Raft, figure 3).
    leaders: BTreeMap<Term, NodeId>,
    /// State machine safety: the digest of the state after each entry that was seen applied, and a term in
    /// which that entry was known to be committed.
    states: BTreeMap<LogIndex, (u64, Term)>,
    looks: u64,
    /// Terms of entries that were known to be committed.
    committed: BTreeMap<LogIndex, (Term, Term)>,
}

impl Checkers {
    /// Looks at a node.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check(&mut self, id: NodeId, node: &Node) {
        // The services look through all that they hold, which takes longer than a step.
        self.looks += 1;
        if self.looks.is_multiple_of(INVARIANTS_EVERY) {
            node.check_invariants();
        }
        let (Some(raft), Some(kv)) = (node.raft(), node.kv()) else { return };
        self.check_leader(id, raft);
        self.check_state(id, raft, kv);
    }

    fn check_leader(&mut self, id: NodeId, raft: &raft::RaftNode) {
        if !raft.is_leader() {
            return;
        }
        let term = raft.term();
        let first_look = !self.leaders.contains_key(&term);
        let known = *self.leaders.entry(term).or_insert(id);
        assert_eq!(known, id, "election safety: two leaders in term {term}");
        if first_look {
            self.check_completeness(id, raft);
        }
    }

    /// Leader completeness: what was committed in an earlier term is in a new leader's log.
    fn check_completeness(&self, id: NodeId, raft: &raft::RaftNode) {
        for (&index, &(entry_term, committed_in)) in &self.committed {
            if committed_in < raft.term() {
                let here = raft.term_at(index);
                assert_eq!(
                    here,
                    Some(entry_term),
                    "leader completeness: node {id} leads term {} without entry {index}",
                    raft.term()
                );
            }
        }
    }

    fn check_state(&mut self, id: NodeId, raft: &raft::RaftNode, kv: &kv::KvService) {
        let applied = kv.applied();
        if applied == LogIndex(0) {
            return;
        }
        let digest = kv.machine().digest();
        let (known, _) = *self.states.entry(applied).or_insert((digest, raft.term()));
        assert_eq!(known, digest, "state machine safety: node {id} differs after entry {applied}");
        let Some(entry_term) = raft.term_at(applied) else { return };
        let (known, _) = *self.committed.entry(applied).or_insert((entry_term, raft.term()));
        assert_eq!(known, entry_term, "log matching: node {id} has another entry {applied}");
    }

    /// How many terms had a leader.
    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    /// The last entry that was seen applied.
    pub fn applied(&self) -> LogIndex {
        self.states.last_key_value().map_or(LogIndex(0), |(index, _)| *index)
    }
}
