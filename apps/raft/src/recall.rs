//! What if the snapshot that a member begins with cannot be read?
//!
//! Its head has survived: the snapshot was of entry S. So it is known that all up to S is committed, what the
//! log behind S is, and what this member has promised. What is lost is the state after S. Such a member
//!
//! - **votes, and acknowledges** what comes behind S: of that it lacks nothing. What is before S was
//!   committed before this member gave up its entries, and no acknowledgement is needed for it any more;
//! - **does not stand, and applies nothing**: it has no state to apply anything to;
//! - **asks the others for a snapshot** of S or later, the leader first, one after another, with or without a
//!   leader, a part at a time.
//!
//! Whoever is asked learns from the question that S is committed, and may apply it if its log has that very
//! entry (log matching): so a member that has the log and does not know how far it is committed, because
//! nobody can be elected without the one that asks, has the state in a moment, and takes a snapshot of it.
//! Whoever lacks S says nothing: it has nothing to give.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::limits::{REPAIR_ANSWER_WITHIN_MS, SNAPSHOT_PART_MAX_BYTES};
use base::{Duration, Instant, LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::install::{Part, Receiving};
use crate::message::{Message, SnapshotMeta};
use crate::node::RaftNode;
use crate::output::{Event, FetchId, Output};

/// The state that a member lacks, and whom it asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recall {
    /// The state is wanted that follows this entry, or a later one.
    pub(crate) index: LogIndex,
    term: Term,
    /// Who is asked, or was asked last.
    peer: Option<NodeId>,
    /// Something of its snapshot has come and been stored since it was asked.
    has_come: bool,
    /// The next question is due.
    due: Instant,
}

/// A question of a peer's, of which a part is being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Recalled {
    peer: NodeId,
    index: LogIndex,
}

impl Recall {
    pub(crate) fn new((index, term): (LogIndex, Term), due: Instant) -> Recall {
        Recall { index, term, peer: None, has_come: false, due }
    }

    /// A part is stored, or something came to nothing: it is time for the next question.
    pub(crate) fn go_on(&mut self, has_come: bool, now: Instant) {
        (self.has_come, self.due) = (has_come, now);
    }
}

/// Whose turn it is after `last`: the first, if it was the last one's.
fn next_peer(peers: &[NodeId], last: Option<NodeId>) -> Option<NodeId> {
    let place = peers.iter().position(|peer| Some(*peer) == last);
    peers.get(place.map_or(0, |place| (place + 1) % peers.len())).copied()
}

impl RaftNode {
    /// Whether this member has no state: the snapshot that it begins with cannot be read.
    pub fn lacks_state(&self) -> bool {
        self.recall.is_some()
    }

    /// When the next question for the lost state is due.
    pub(crate) fn recall_due(&self) -> Option<Instant> {
        let recall = self.recall.filter(|_| self.installing().is_none());
        recall.map(|recall| recall.due)
    }

    /// Asks for the next part of somebody's snapshot, if it is time.
    pub(crate) fn prepare_recall(&mut self) {
        let Some(recall) = self.recall else { return };
        let Some(due) = self.recall_due() else { return };
        if self.now < due {
            return;
        }
        let is_pushed = self.receiving.as_ref().is_some_and(Receiving::is_pushed);
        let due = self.now + Duration::from_millis(REPAIR_ANSWER_WITHIN_MS);
        if is_pushed && recall.has_come {
            // The leader sends one, and gets on with it.
            self.recall = Some(Recall { has_come: false, due, ..recall });
            return;
        }
        let peer = match recall.peer.filter(|_| recall.has_come) {
            Some(peer) => Some(peer),
            None => {
                // Half of a snapshot of somebody who has fallen silent is of no use to the next.
                self.receiving = None;
                next_peer(&self.peers_to_ask(), recall.peer)
            }
        };
        self.recall = Some(Recall { peer, has_come: false, due, ..recall });
        let Some(peer) = peer else { return };
        let offset = self.receiving.as_ref().map_or(0, Receiving::stored);
        let Recall { index, term, .. } = recall;
        self.send(peer, Message::Recall { term, index, offset });
    }

    /// The other members, the leader first.
    pub(crate) fn peers_to_ask(&self) -> Vec<NodeId> {
        let leader = self.leader().filter(|leader| *leader != self.config.id);
        let members = self.membership.current().members();
        let others = members.filter(|id| *id != self.config.id && Some(*id) != leader);
        leader.into_iter().chain(others).collect()
    }

    /// A peer has lost its state after this entry: it wants a snapshot of it or of a later one, from `offset`
    /// on.
    pub(crate) fn handle_recall(
        &mut self,
        peer: NodeId,
        (index, term): (LogIndex, Term),
        offset: u64,
    ) {
        let is_known = index <= self.log.base() || self.log.term_at(index) == Some(term);
        if !is_known || self.lacks_state() || self.installing().is_some() {
            return;
        }
        if !self.is_leader() {
            // Snapshots are of what is committed.
            self.follow_commit(index);
        }
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.recalled.retain(|_, recalled| recalled.peer != peer);
        self.recalled.insert(id, Recalled { peer, index });
        let max_bytes = SNAPSHOT_PART_MAX_BYTES;
        self.outputs.push_back(Output::FetchSnapshot { id, peer, offset, max_bytes });
    }

    /// The caller's snapshot was read for a peer that has lost its state; false if it was read for somebody
    /// else.
    pub(crate) fn give_recalled(
        &mut self,
        id: FetchId,
        meta: &SnapshotMeta,
        offset: u64,
        total_bytes: u64,
        bytes: &Bytes,
    ) -> bool {
        let Some(Recalled { peer, index }) = self.recalled.remove(&id) else { return false };
        if meta.index < index {
            // The caller takes one, and the peer asks again.
            self.snapshot_wanted = self.snapshot_wanted.max(index);
        } else if !bytes.is_empty() && bytes.len() <= SNAPSHOT_PART_MAX_BYTES {
            self.counters.snapshot_parts_sent += 1;
            let (meta, bytes) = (Box::new(meta.clone()), bytes.clone());
            self.send(peer, Message::Recalled { meta, total_bytes, offset, bytes });
        }
        true
    }

    /// A peer has lost its state and wants a snapshot of this entry, or of a later one: take one when that is
    /// applied, if there is none.
    pub fn snapshot_wanted(&self) -> LogIndex {
        self.snapshot_wanted
    }

    /// A part of a peer's snapshot has come.
    pub(crate) fn handle_recalled(&mut self, from: NodeId, part: Part) {
        let index = part.meta.index;
        let is_wanted = |recall: &Recall| recall.peer == Some(from) && index >= recall.index;
        let is_pushed = self.receiving.as_ref().is_some_and(Receiving::is_pushed);
        let is_free = self.installing().is_none() && !is_pushed;
        if is_free && self.recall.as_ref().is_some_and(is_wanted) {
            self.take_part(part, false);
        }
    }

    /// The state is there again.
    pub(crate) fn end_recall(&mut self) {
        if let Some(recall) = self.recall.take() {
            self.counters.states_recalled += 1;
            self.note(Event::StateRecalled { index: recall.index });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_his_turn() {
        let node = |number| NodeId::new(number).unwrap();
        let peers = [node(3), node(1)];
        assert_eq!(next_peer(&peers, None), Some(node(3)));
        assert_eq!(next_peer(&peers, Some(node(3))), Some(node(1)));
        assert_eq!(next_peer(&peers, Some(node(1))), Some(node(3)));
        assert_eq!(next_peer(&peers, Some(node(7))), Some(node(3)), "who is no member any more");
        assert_eq!(next_peer(&[], None), None);
    }
}
