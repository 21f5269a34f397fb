//! Who leads (section 5.2), with PreVote (thesis, section 9.6) and a leader's lease on its followers
//! (section 6, last paragraph; thesis, section 4.2.3).
//!
//! - Before a member stands it asks whether it would be elected, which changes nobody's state: a member that
//!   was cut off comes back without pushing the others into a later term.
//! - A member that hears a leader grants nothing. So a leader that is heard by a majority stays.
//! - A leader that does not hear a majority steps down (`replication`), and a candidate that was not elected
//!   in time asks again before it stands again: terms do not race ahead while no majority is in reach.
//!
//! What this does not give (etcd's issue 8334 and its kin): while a leader reaches a bridging node but no
//! majority, that node's promise to it can keep a majority on the other side from electing another for at
//! most one longest election timeout, after which the leader has stepped down.

use alloc::collections::BTreeSet;

use base::{Instant, LogIndex, NodeId, Term, limits};

use crate::canvass::Reserve;
use crate::config::Mutant;
use crate::message::{HardState, Message};
use crate::node::{RaftNode, Role};
use crate::output::{Event, StepDown};
use crate::quorum::Quorum;
use crate::replication::Leadership;
use crate::status::{ElectionOutcome, ElectionRecord};

/// The votes that a candidate has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ballot {
    granted: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    /// Whom a candidate has not asked yet.
    pub(crate) reserve: Option<Reserve>,
}

impl Ballot {
    fn cast(&mut self, voter: NodeId, is_granted: bool) {
        // The first answer counts; a duplicate says the same.
        if !self.granted.contains(&voter) && !self.refused.contains(&voter) {
            let side = if is_granted { &mut self.granted } else { &mut self.refused };
            side.insert(voter);
        }
    }

    pub(crate) fn has(&self, voter: NodeId) -> bool {
        self.granted.contains(&voter)
    }

    pub(crate) fn votes(&self) -> usize {
        self.granted.len()
    }

    fn wins(&self, quorum: Quorum<'_>) -> bool {
        quorum.has(|id| self.has(id))
    }
}

impl RaftNode {
    /// Whether this member leads, or has heard its leader so recently that nobody else may be elected.
    pub(crate) fn is_leader_heard(&self, now: Instant) -> bool {
        if self.is_bound_by_lease(now) {
            return true;
        }
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower { leader: Some(_) } => {
                // Who was told that the leader is out of reach is not bound by having heard it.
                self.suspicion.is_none()
                    && self
                        .leader_heard
                        .is_some_and(|heard| now.since(heard) < self.config.election_timeout_min)
            }
            Role::Follower { leader: None } | Role::PreCandidate(_) | Role::Candidate(..) => false,
        }
    }

    /// Becomes a follower in a later term, without a leader yet.
    pub(crate) fn enter_term(&mut self, term: Term, reason: StepDown, now: Instant) {
        assert!(term > self.hard_state.term, "terms only go forward");
        self.step_down(reason, now);
        self.hard_state = HardState { term, vote: None };
        self.persistence.note_hard_state();
        // What was kept back speaks of a term that has passed.
        self.persistence.drop_withheld();
        self.suspicion = None;
        self.role = Role::Follower { leader: None };
        (self.matched, self.acknowledged) = (LogIndex(0), LogIndex(0));
    }

    /// Ends leading or standing, within the term or before a later one. Its vote stays what it was.
    pub(crate) fn step_down(&mut self, reason: StepDown, now: Instant) {
        self.fail_reads();
        let was = core::mem::replace(&mut self.role, Role::Follower { leader: None });
        match was {
            Role::Leader(_) => self.draw_election_deadline(now),
            Role::Candidate(ballot, _) => {
                self.close_election(ElectionOutcome::Lost, Some(ballot.votes()), now);
            }
            Role::PreCandidate(_) | Role::Follower { .. } => return,
        }
        self.note(Event::SteppedDown { term: self.hard_state.term, reason });
    }

    /// A message of the leader of this term has come. False if this member leads, which cannot be.
    pub(crate) fn follow(&mut self, leader: NodeId, now: Instant) -> bool {
        match self.role {
            Role::Leader(_) => {
                // Two leaders in one term: somebody lies, or runs another program.
                self.counters.malformed += 1;
                return false;
            }
            Role::PreCandidate(_) | Role::Candidate(..) => {
                self.step_down(StepDown::OtherLeader, now);
            }
            Role::Follower { .. } => {}
        }
        if self.leader() != Some(leader) {
            self.fail_reads();
            self.role = Role::Follower { leader: Some(leader) };
            (self.matched, self.acknowledged) = (LogIndex(0), LogIndex(0));
            self.note(Event::Leader { term: self.hard_state.term, leader });
            self.remember_leader(leader, now);
            self.fruitless = 0;
            self.draw_election_timeout();
        }
        self.refute_suspicion(now);
        self.leader_heard = Some(now);
        self.put_off_election(now);
        self.heartbeats.note_word(leader, self.config.heartbeat, now);
        true
    }

    /// The election timeout has passed: would the others vote for this member?
    pub(crate) fn ask_before_standing(&mut self, now: Instant) {
        match &self.role {
            Role::Follower { leader: Some(_) } => {
                self.note(Event::LeaderLost { term: self.hard_state.term });
                self.fail_reads();
            }
            Role::Candidate(..) => {
                self.fruitless = (self.fruitless + 1).min(limits::ELECTION_BACKOFF_MAX);
                self.step_down(StepDown::NotElected, now);
            }
            Role::Follower { leader: None } | Role::PreCandidate(_) | Role::Leader(_) => {}
        }
        if !self.may_stand() {
            self.role = Role::Follower { leader: None };
            self.draw_election_deadline(now);
            return;
        }
        if self.is_disk_stalled(now) || self.installing().is_some() || !self.is_fit_to_lead() {
            // It could not keep what it would promise (pitfall 9), or does not have its state together.
            self.counters.stands_withheld += 1;
            self.role = Role::Follower { leader: None };
            self.draw_election_deadline(now);
            return;
        }
        self.note_asking();
        self.counters.pre_candidacies += 1;
        self.draw_election_deadline(now);
        let mut ballot = Ballot::default();
        ballot.cast(self.config.id, true);
        let is_enough = ballot.wins(self.quorum());
        self.role = Role::PreCandidate(ballot);
        if is_enough {
            self.stand(false, now);
            return;
        }
        let message = Message::PreVote {
            term: self.hard_state.term.next(),
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
        };
        let own = self.config.id;
        let voters = self.membership.current().all_voters();
        voters.into_iter().filter(|id| *id != own).for_each(|id| self.send(id, message.clone()));
    }

    /// Whether a candidate whose log ends so may lead, as far as this member's log is concerned.
    fn would_elect(&self, last_index: LogIndex, last_term: Term) -> bool {
        self.log.is_up_to_date(last_index, last_term)
            || self.config.has_bug(Mutant::VoteForStaleLog)
            || (self.config.has_bug(Mutant::DamagedIsAbsent) && last_index >= self.whole_index())
    }

    pub(crate) fn handle_pre_vote(
        &mut self,
        from: NodeId,
        term: Term,
        last_index: LogIndex,
        last_term: Term,
        now: Instant,
    ) {
        if self.is_leader_heard(now) {
            self.counters.votes_ignored += 1;
            return;
        }
        let granted = term > self.hard_state.term && self.would_elect(last_index, last_term);
        if granted {
            self.give_way(from, term, now);
        }
        let term = if granted { term } else { self.hard_state.term };
        self.persistence.withhold(from, Message::PreVoteReply { term, granted }, &self.log);
    }

    pub(crate) fn handle_pre_vote_reply(
        &mut self,
        from: NodeId,
        term: Term,
        granted: bool,
        now: Instant,
    ) {
        let asked = self.hard_state.term.next();
        let quorum = self.membership.current().quorum();
        let Role::PreCandidate(ballot) = &mut self.role else { return };
        if granted && term != asked {
            return;
        }
        ballot.cast(from, granted);
        if ballot.wins(quorum) {
            self.stand(false, now);
        }
    }

    /// Whether the disk has been busy with one write for so long that nothing can be built on it.
    pub(crate) fn is_disk_stalled(&self, now: Instant) -> bool {
        let oldest = self.persistence.oldest_write();
        oldest.is_some_and(|issued| now.since(issued) >= self.config.persist_stall_max)
    }

    /// Stands for election in the next term, perhaps because the leader has asked for it.
    pub(crate) fn stand(&mut self, on_transfer: bool, now: Instant) {
        let term = self.hard_state.term.next();
        self.hard_state = HardState { term, vote: Some(self.config.id) };
        self.persistence.note_hard_state();
        self.persistence.drop_withheld();
        let ticket = self.persistence.ticket_for_now(&self.log);
        let before = core::mem::replace(&mut self.role, Role::Follower { leader: None });
        let willing = match before {
            Role::PreCandidate(ballot) => ballot,
            Role::Follower { .. } | Role::Candidate(..) | Role::Leader(_) => Ballot::default(),
        };
        self.counters.candidacies += 1;
        self.draw_election_deadline(now);
        self.open_election(now);
        self.note(Event::Standing { term });
        // The question may leave before the disk has the term: it promises nothing. Only this member's own
        // vote must be durable before it counts.
        let reserve = self.canvass(&willing, on_transfer, now);
        self.role = Role::Candidate(Ballot { reserve, ..Ballot::default() }, ticket);
    }

    /// The disk has confirmed something: perhaps this member's vote for itself.
    pub(crate) fn count_own_vote(&mut self, now: Instant) {
        if let Role::Candidate(ballot, ticket) = &mut self.role
            && self.persistence.is_durable(*ticket)
        {
            ballot.cast(self.config.id, true);
            self.lead_if_elected(now);
        }
    }

    /// Whoever is asked votes, a learner too: perhaps it has been promoted and has not heard of it, and its
    /// vote is needed (pitfall 4). Whether it counts is for the candidate to know.
    pub(crate) fn handle_vote(
        &mut self,
        from: NodeId,
        last_index: LogIndex,
        last_term: Term,
        now: Instant,
    ) {
        let term = self.hard_state.term;
        let is_free = self.hard_state.vote.is_none_or(|vote| vote == from)
            || self.config.has_bug(Mutant::VoteTwice);
        // A follower that already has a leader in this term has no vote to give.
        let is_led = matches!(self.role, Role::Follower { leader: Some(_) } | Role::Leader(_));
        let granted = is_free && !is_led && self.would_elect(last_index, last_term);
        if granted {
            if self.hard_state.vote.is_none() {
                self.hard_state.vote = Some(from);
                self.persistence.note_hard_state();
            }
            self.draw_election_deadline(now);
        }
        let reply = Message::VoteReply { term, granted };
        if self.config.has_bug(Mutant::NoPersistBeforeVote) {
            self.send(from, reply);
        } else {
            self.persistence.withhold(from, reply, &self.log);
        }
    }

    pub(crate) fn handle_vote_reply(&mut self, from: NodeId, granted: bool, now: Instant) {
        if let Role::Candidate(ballot, _) = &mut self.role {
            ballot.cast(from, granted);
            self.lead_if_elected(now);
        }
    }

    fn lead_if_elected(&mut self, now: Instant) {
        let Role::Candidate(ballot, _) = &self.role else { return };
        if !ballot.wins(self.quorum()) {
            return;
        }
        let votes = ballot.votes();
        self.close_election(ElectionOutcome::Won, Some(votes), now);
        let (term, leader) = (self.hard_state.term, self.config.id);
        self.fruitless = 0;
        let peers = self.membership.current().members().filter(|id| *id != leader);
        self.role = Role::Leader(Leadership::new(&self.config, peers, &self.log, now));
        self.note(Event::Leader { term, leader });
        // The others are in this term now: what they say of damaged entries counts for more.
        self.damage.ask_again(now);
        self.start_leading(now);
    }

    fn open_election(&mut self, now: Instant) {
        self.remember(ElectionRecord {
            term: self.hard_state.term,
            candidate: self.config.id,
            outcome: ElectionOutcome::Open,
            started: now,
            ended: None,
            votes: None,
        });
    }

    fn close_election(&mut self, outcome: ElectionOutcome, votes: Option<usize>, now: Instant) {
        let open = |record: &&mut ElectionRecord| record.outcome == ElectionOutcome::Open;
        if let Some(record) = self.elections.iter_mut().rev().find(open) {
            record.outcome = outcome;
            record.ended = Some(now);
            record.votes = votes;
        }
    }

    /// Somebody else was elected: when and by whom is theirs to know.
    fn remember_leader(&mut self, leader: NodeId, now: Instant) {
        let term = self.hard_state.term;
        if self.elections.back().is_some_and(|last| (last.term, last.candidate) == (term, leader)) {
            // It was lost for a while, and is back.
            return;
        }
        self.remember(ElectionRecord {
            term,
            candidate: leader,
            outcome: ElectionOutcome::Won,
            started: now,
            ended: None,
            votes: None,
        });
    }

    fn remember(&mut self, record: ElectionRecord) {
        if self.elections.len() == limits::ELECTIONS_REMEMBERED {
            self.elections.pop_front();
        }
        self.elections.push_back(record);
    }
}
