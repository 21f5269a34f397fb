//! How a leader changes who belongs to the group (thesis, chapter 4).
//!
//! One change at a time, and none before the leader has committed an entry of its own term: only then does
//! it know the configuration that it changes (pitfall 29). A new configuration holds as soon as it is in
//! the log; a joint one is left when it is committed. Whoever is removed is fed until it has the entry that
//! removes it. A leader that is removed leads until that is committed, without counting itself, and then
//! hands over.

use alloc::boxed::Box;

use base::{Instant, LogIndex, NodeId, limits};

use crate::configuration::{Change, Configuration};
use crate::errors::ChangeError;
use crate::message::{Message, Payload};
use crate::node::{RaftNode, Role};
use crate::output::{Event, Output, StepDown};
use crate::progress::{Progress, ProgressState};

impl RaftNode {
    /// Changes who belongs to the group, and answers where the change is in the log. It is done when that
    /// entry, and the one that leaves the joint configuration if there is one, is committed.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn change_membership(&mut self, changes: &[Change]) -> Result<LogIndex, ChangeError> {
        let Role::Leader(leadership) = &self.role else {
            return Err(ChangeError::NotLeader { leader: self.leader() });
        };
        if let Some(to) = leadership.transferring_to() {
            return Err(ChangeError::Transferring { to });
        }
        if self.commit < leadership.first_own {
            return Err(ChangeError::TooEarly);
        }
        if !self.may_change(leadership.first_own) {
            return Err(ChangeError::InProgress);
        }
        let next = self.membership.current().changed(changes)?;
        for change in changes {
            if let Change::Promote(id) = change
                && !leadership.followers.get(*id).is_some_and(|learner| self.has_caught_up(learner))
            {
                return Err(ChangeError::NotCaughtUp(*id));
            }
        }
        Ok(self.append_configuration(next))
    }

    /// Whether a learner lacks little enough. It has the entry that made it one on its disk: a voter knows
    /// that it belongs to the group.
    fn has_caught_up(&self, learner: &Progress) -> bool {
        let lag = self.log.last_index().0 - learner.match_index.0;
        learner.state == ProgressState::Replicate
            && lag <= limits::PROMOTION_LAG_MAX_ENTRIES
            && learner.match_index >= self.membership.current_index()
    }

    /// A learner that this leader may promote now, and that has been heard of lately: a voter that is not
    /// there makes the group weaker. The caller decides whether it is to vote.
    pub fn promotable(&self, now: Instant) -> Option<NodeId> {
        let Role::Leader(leadership) = &self.role else { return None };
        let is_present = |learner: &Progress| {
            let heard = learner.last_heard.map(|heard| now.since(heard));
            heard.is_some_and(|silent| silent <= self.config.election_timeout_min)
        };
        let is_ready = |id: &&NodeId| {
            let learner = leadership.followers.get(**id);
            learner.is_some_and(|learner| self.has_caught_up(learner) && is_present(learner))
        };
        let current = self.membership.current();
        let is_free = leadership.transfer.is_none() && self.may_change(leadership.first_own);
        if is_free { current.learners.iter().find(is_ready).copied() } else { None }
    }

    /// Whether no change is under way, and this leader knows that.
    fn may_change(&self, first_own: LogIndex) -> bool {
        let is_settled = self.membership.current_index() <= self.commit;
        self.commit >= first_own
            && is_settled
            && !self.membership.current().is_joint()
            && !self.membership.is_full()
    }

    fn append_configuration(&mut self, next: Configuration) -> LogIndex {
        let last = self.log.last_index();
        let index = self.append_own(Payload::Configuration(Box::new(next.clone())));
        // A majority of other voters has confirmed it.
        self.forget_lease();
        self.adopt(index, next);
        let Role::Leader(leadership) = &mut self.role else { return index };
        for id in self.membership.current().members().filter(|id| *id != self.config.id) {
            leadership.followers.add(id, Progress::new(last));
        }
        self.note_departing();
        index
    }

    /// Looks whether somebody is fed who does not belong to the group any more.
    fn note_departing(&mut self) {
        let current = self.membership.current();
        let Role::Leader(leadership) = &mut self.role else { return };
        leadership.has_departing = leadership.followers.ids().any(|id| !current.contains(id));
    }

    /// A configuration has come into the log, and holds.
    pub(crate) fn adopt(&mut self, index: LogIndex, configuration: Configuration) {
        let (voters, learners) = (configuration.voters.len(), configuration.learners.len());
        let is_joint = configuration.is_joint();
        self.membership.push(index, configuration);
        self.note(Event::MembershipChanged { index, voters, learners, is_joint });
    }

    /// The leader has committed more: perhaps the configuration.
    pub(crate) fn settle_membership(&mut self) {
        if self.membership.current_index() > self.commit {
            return;
        }
        let current = self.membership.current();
        if current.is_joint() {
            let next = current.left();
            self.append_configuration(next);
            return;
        }
        let is_voter = current.is_voter(self.config.id);
        self.dismiss_removed();
        if !is_voter {
            self.leave_office();
        }
    }

    /// Those that are removed, and know it, are told that it is final, and then nothing any more.
    pub(crate) fn dismiss_removed(&mut self) {
        let (index, commit, term) =
            (self.membership.current_index(), self.commit, self.hard_state.term);
        let current = self.membership.current();
        let Role::Leader(leadership) = &mut self.role else { return };
        if !leadership.has_departing || index > commit || current.is_joint() {
            return;
        }
        let knows = |id, peer: &Progress| !current.contains(id) && peer.match_index >= index;
        for (to, peer) in leadership.followers.iter().filter(|(id, peer)| knows(*id, peer)) {
            let message = Message::Commit { term, commit: commit.min(peer.match_index) };
            self.outputs.push_back(Output::Send { to, message });
        }
        leadership.followers.retain(|id, peer| !knows(id, peer));
        self.note_departing();
    }

    /// Those that are removed, and have not been heard of for a while, will not hear of it from this leader.
    pub(crate) fn abandon_removed(&mut self) {
        let is_final = self.membership.current_index() <= self.commit;
        let current = self.membership.current();
        let Role::Leader(leadership) = &mut self.role else { return };
        if is_final && !current.is_joint() {
            leadership.followers.retain(|id, peer| current.contains(id) || peer.is_active);
        }
        self.note_departing();
    }

    /// This leader is no voter any more, and that is final.
    fn leave_office(&mut self) {
        let Role::Leader(leadership) = &self.role else { return };
        if leadership.transfer.is_some() {
            return;
        }
        match self.most_advanced_follower(self.now) {
            Some(to) => self.start_transfer(to, self.now),
            None => self.step_down(StepDown::Removed, self.now),
        }
    }

    /// Whether this member's vote counts.
    pub(crate) fn is_voter(&self, id: NodeId) -> bool {
        self.membership.current().is_voter(id)
    }

    /// Whether this member may stand. One that is being removed may, as long as that is not known to be
    /// final: it may be the only one in reach whose log is long enough (pitfall 8).
    pub(crate) fn may_stand(&self) -> bool {
        let id = self.config.id;
        self.is_voter(id) || self.membership.at(self.commit).is_voter(id)
    }

    /// A node that was removed has said something. [`RaftNode::handle_message`] would find that out too; a
    /// caller that answers such nodes need not call it.
    pub fn note_stranger(&mut self) {
        self.counters.strangers += 1;
    }

    /// Whether what this node says concerns nobody here: it was removed, and that is final. A leader that was
    /// removed is listened to as long as it leads, and a follower as long as it is fed.
    pub fn is_stranger(&self, from: NodeId) -> bool {
        let is_retired = self.membership.at(self.commit).retired.contains(&from);
        let is_fed = || match &self.role {
            Role::Leader(leadership) => leadership.followers.contains(from),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => false,
        };
        from == self.config.id || (is_retired && !is_fed() && self.leader() != Some(from))
    }
}
