//! Whom a candidate asks for its vote, and when.
//!
//! In a large group it asks those first who have just said that they would elect it: they are a majority.
//! Each vote is a write that must be durable, and on a host that all machines share the writes of those whose
//! votes are not needed would keep the needed ones waiting (the thrifty optimisation of Moraru, Andersen and
//! Kaminsky, "There Is More Consensus in Egalitarian Parliaments", section 4, for elections). Whoever has not
//! been asked is, if nobody was elected in good time.

use alloc::vec::Vec;

use base::{Duration, Instant, NodeId, limits};

use crate::election::Ballot;
use crate::message::Message;
use crate::node::{RaftNode, Role};

/// Those who are asked later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reserve {
    members: Vec<NodeId>,
    due: Instant,
}

impl RaftNode {
    /// Asks for votes: those who are `willing` first, if there are many voters, otherwise all.
    pub(crate) fn canvass(
        &mut self,
        willing: &Ballot,
        on_transfer: bool,
        now: Instant,
    ) -> Option<Reserve> {
        let voters = self.membership.current().all_voters();
        let is_small = voters.len() < limits::CANVASS_ALL_BELOW_VOTERS;
        let others = voters.into_iter().filter(|id| *id != self.config.id);
        let is_first = |id: &NodeId| is_small || on_transfer || willing.has(*id);
        let (first, members): (Vec<_>, Vec<_>) = others.partition(is_first);
        self.ask_for_votes(first, on_transfer);
        let due = now + Duration::from_millis(limits::CANVASS_REST_AFTER_MS);
        (!members.is_empty()).then_some(Reserve { members, due })
    }

    fn ask_for_votes(&mut self, members: Vec<NodeId>, on_transfer: bool) {
        let message = Message::Vote {
            term: self.hard_state.term,
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
            on_transfer,
        };
        members.into_iter().for_each(|id| self.send(id, message.clone()));
    }

    fn reserve(&mut self) -> Option<&mut Option<Reserve>> {
        match &mut self.role {
            Role::Candidate(ballot, _) => Some(&mut ballot.reserve),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Leader(_) => None,
        }
    }

    /// Asks the rest, if it is time.
    pub(crate) fn ask_reserve(&mut self, now: Instant) {
        let is_due = |reserve: &mut Reserve| reserve.due <= now;
        if let Some(reserve) = self.reserve().and_then(|reserve| reserve.take_if(is_due)) {
            self.ask_for_votes(reserve.members, false);
        }
    }

    /// When [`RaftNode::ask_reserve`] has something to do.
    pub(crate) fn reserve_due(&self) -> Option<Instant> {
        match &self.role {
            Role::Candidate(ballot, _) => ballot.reserve.as_ref().map(|reserve| reserve.due),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Leader(_) => None,
        }
    }
}
