//! How a leader hands over (thesis, section 3.10): it takes no more commands, brings the next leader's log
//! up to date, and tells it to stand at once. The others would refuse, because they hear a leader; the
//! candidate's question says that the leader itself wants it.

use base::{Instant, NodeId};

use crate::errors::TransferError;
use crate::message::Message;
use crate::node::{RaftNode, Role};
use crate::output::{Event, StepDown};
use crate::progress::Progress;

/// A hand-over under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Transfer {
    /// To whom.
    pub(crate) to: NodeId,
    /// When the leader goes on as if nothing had happened.
    pub(crate) deadline: Instant,
}

impl RaftNode {
    /// Hands leadership over, to `to` or to the follower that has the most of the log, and answers to whom.
    /// Proposals are refused until that node leads, or has not managed to within one election timeout.
    ///
    /// # Errors
    /// If it cannot be; then nothing has changed.
    pub fn transfer_leadership(
        &mut self,
        to: Option<NodeId>,
        now: Instant,
    ) -> Result<NodeId, TransferError> {
        let Role::Leader(leadership) = &self.role else {
            return Err(TransferError::NotLeader { leader: self.leader() });
        };
        if let Some(to) = leadership.transferring_to() {
            return Err(TransferError::InProgress { to });
        }
        let to = match to {
            Some(to) if to == self.config.id => return Err(TransferError::AlreadyLeads),
            Some(to) if !self.membership.current().voters.contains(&to) => {
                return Err(TransferError::NotAVoter(to));
            }
            Some(to) => to,
            None => self.most_advanced_follower(now).ok_or(TransferError::NobodyElse)?,
        };
        self.note_time(now);
        self.start_transfer(to, now);
        Ok(to)
    }

    pub(crate) fn start_transfer(&mut self, to: NodeId, now: Instant) {
        let deadline = now + self.config.election_timeout_max;
        let Role::Leader(leadership) = &mut self.role else { return };
        leadership.transfer = Some(Transfer { to, deadline });
        self.counters.transfers += 1;
        self.note(Event::Transferring { term: self.hard_state.term, to });
        self.push_transfer(to);
    }

    /// The voter that has the most of the log, of those that were heard of lately.
    pub(crate) fn most_advanced_follower(&self, now: Instant) -> Option<NodeId> {
        let Role::Leader(leadership) = &self.role else { return None };
        let patience = self.config.election_timeout_max;
        let is_near = |progress: &Progress| {
            progress.last_heard.is_some_and(|heard| now.since(heard) < patience)
        };
        let voters = &self.membership.current().voters;
        let near = leadership.followers.iter().filter(|(id, p)| voters.contains(id) && is_near(p));
        // Of equals, the first.
        near.rev().max_by_key(|(_, progress)| progress.match_index).map(|(id, _)| id)
    }

    /// The follower has said something: if it is the one that is to lead, and has everything, it is told. It
    /// is told again whenever it answers, for the word may have been lost.
    pub(crate) fn push_transfer(&mut self, from: NodeId) {
        let term = self.hard_state.term;
        let Role::Leader(leadership) = &mut self.role else { return };
        let matched = leadership.followers.get(from).map(|progress| progress.match_index);
        let is_ready = matched == Some(self.log.last_index());
        if leadership.transferring_to() == Some(from) && is_ready {
            leadership.lease.give_up();
            self.send(from, Message::TimeoutNow { term });
        }
    }

    /// The next leader has had its time.
    pub(crate) fn expire_transfer(&mut self, now: Instant) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(transfer) = leadership.transfer.take_if(|transfer| now >= transfer.deadline)
        else {
            return;
        };
        self.counters.transfers_failed += 1;
        self.note(Event::TransferFailed { term: self.hard_state.term, to: transfer.to });
        if !self.is_voter(self.config.id) {
            // It was removed, and there is nothing that it could go on with.
            self.step_down(StepDown::Removed, now);
        }
    }

    /// Steps down for a reason of its own, and names a successor so that nobody waits for a timeout.
    pub(crate) fn resign(&mut self, reason: StepDown, now: Instant) {
        if reason == StepDown::DiskStalled {
            self.counters.disk_stalls += 1;
        }
        let term = self.hard_state.term;
        if let Some(next) = self.most_advanced_follower(now) {
            self.send(next, Message::TimeoutNow { term });
        }
        self.step_down(reason, now);
    }

    /// The leader wants this member to lead.
    pub(crate) fn stand_at_once(&mut self, now: Instant) {
        let is_unfit =
            self.is_disk_stalled(now) || self.installing().is_some() || !self.is_fit_to_lead();
        if !self.may_stand() || is_unfit {
            self.counters.stands_withheld += 1;
            return;
        }
        self.fail_reads();
        self.stand(true, now);
    }
}
