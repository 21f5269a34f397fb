//! One member: what came in, and whose business it is.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Ordering;

use base::{Duration, Instant, LogIndex, NodeId, Prng, Term, limits};
use bytes::Bytes;

use crate::commit::Applying;
use crate::config::Config;
use crate::damage::Damage;
use crate::election::Ballot;
use crate::errors::{ProposeError, ReadError};
use crate::heartbeats::Heartbeats;
use crate::install::{Part, Receiving};
use crate::log::Log;
use crate::membership::Membership;
use crate::message::{HardState, LogEntry, Message, Payload};
use crate::output::{Event, FetchId, Output, StepDown, Ticket};
use crate::persist::Persistence;
use crate::questions::PendingReads;
use crate::quorum::Quorum;
use crate::recall::{Recall, Recalled};
use crate::replication::Leadership;
use crate::status::{Counters, ElectionRecord};
use crate::suspicion::Suspicion;

/// What a member is at the moment.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Follower {
        leader: Option<NodeId>,
    },
    /// Asking whether it would be elected.
    PreCandidate(Ballot),
    /// Standing. Its own vote counts when the write with this ticket is durable.
    Candidate(Ballot, Ticket),
    Leader(Leadership),
}

/// One member of the group.
#[derive(Clone, Debug)]
pub struct RaftNode {
    pub(crate) config: Config,
    pub(crate) prng: Prng,
    pub(crate) hard_state: HardState,
    pub(crate) role: Role,
    pub(crate) log: Log,
    pub(crate) membership: Membership,
    pub(crate) persistence: Persistence,
    /// The last entry that is known to be committed. It never decreases while the member runs.
    pub(crate) commit: LogIndex,
    pub(crate) applying: Applying,
    /// What of the log is damaged on the disk.
    pub(crate) damage: Damage,
    /// How far the log is known to be that of the leader that is followed.
    pub(crate) matched: LogIndex,
    /// The last entry that was acknowledged to it, as far as that is intact still.
    pub(crate) acknowledged: LogIndex,
    /// The snapshot that comes in.
    pub(crate) receiving: Option<Receiving>,
    /// What is damaged was not decided lately: this member does not stand for that before.
    pub(crate) decide_after: Instant,
    /// The state is lost that the log goes on from.
    pub(crate) recall: Option<Recall>,
    /// What is being read for peers that have lost theirs.
    pub(crate) recalled: BTreeMap<FetchId, Recalled>,
    /// A snapshot of this entry, or of a later one, is wanted for them.
    pub(crate) snapshot_wanted: LogIndex,
    pub(crate) reads: PendingReads,
    /// For how long a follower does without a leader, drawn when it found this one.
    pub(crate) election_timeout: Duration,
    /// When a follower stands for election, and a candidate starts over.
    pub(crate) election_deadline: Instant,
    /// When the leader of this term last spoke.
    pub(crate) leader_heard: Option<Instant>,
    /// How late its words usually are.
    pub(crate) heartbeats: Heartbeats,
    /// The caller has said that the leader cannot be reached, and the leader has not spoken since.
    pub(crate) suspicion: Option<Suspicion>,
    /// When a suspicion last turned out to be wrong, after the others were asked.
    pub(crate) suspicion_refuted: Option<Instant>,
    /// The last term for which this member let another ask first.
    pub(crate) gave_way: Term,
    /// How many elections in a row this member stood in without a leader coming of it.
    pub(crate) fruitless: u64,
    /// When an election was last put off because the clock jumped.
    pub(crate) put_off: Option<Instant>,
    /// When this member started, or its clock jumped: what it promised before is not known.
    pub(crate) started: Instant,
    /// The time, as the latest call told it.
    pub(crate) now: Instant,
    pub(crate) outputs: VecDeque<Output>,
    /// Empty: where `prepare_appends` sorts the followers that are served next.
    pub(crate) turn: Vec<(LogIndex, NodeId)>,
    pub(crate) fetches: BTreeMap<FetchId, FetchPurpose>,
    pub(crate) next_fetch: u64,
    pub(crate) is_log_full: bool,
    pub(crate) counters: Counters,
    pub(crate) elections: VecDeque<ElectionRecord>,
}

/// What old entries are wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FetchPurpose {
    Apply,
    Append(NodeId),
    /// Entries that are damaged on the disk of this member, from this index on.
    Repair {
        peer: NodeId,
        from: LogIndex,
    },
}

impl FetchPurpose {
    pub(crate) fn is_repair_of(self, of: NodeId) -> bool {
        match self {
            FetchPurpose::Repair { peer, .. } => peer == of,
            FetchPurpose::Apply | FetchPurpose::Append(_) => false,
        }
    }
}

impl RaftNode {
    /// A message has arrived. Whatever it says, the member stays in a legal state. It may come from a node
    /// that this member does not know: the group may have changed without it.
    pub fn handle_message(&mut self, from: NodeId, message: Message, now: Instant) {
        if self.is_stranger(from) {
            self.counters.strangers += 1;
            return;
        }
        self.note_time(now);
        if message.term() > Term(limits::TERM_MAX) {
            self.counters.malformed += 1;
            return;
        }
        let message = match message {
            Message::Repair { term, from: first, to } => {
                return self.handle_repair(from, term, first, to);
            }
            Message::Repaired { from: first, answer, .. } => {
                return self.handle_repair_answer(from, first, answer);
            }
            Message::Recall { term, index, offset } => {
                return self.handle_recall(from, (index, term), offset);
            }
            Message::Recalled { meta, total_bytes, offset, bytes } => {
                let part = Part { meta: *meta, total_bytes, offset, bytes };
                return self.handle_recalled(from, part);
            }
            message => message,
        };
        match message.term().cmp(&self.hard_state.term) {
            Ordering::Less => self.answer_stale(from, &message),
            Ordering::Equal => self.dispatch(from, message, now),
            Ordering::Greater => self.meet_later_term(from, message, now),
        }
    }

    /// A message of a term that has passed. Its sender is told of the present one, so that a leader that
    /// nobody follows any more does not keep a member out for ever.
    fn answer_stale(&mut self, from: NodeId, message: &Message) {
        self.counters.stale += 1;
        let term = self.hard_state.term;
        let reply = match message {
            Message::Append { .. } | Message::Heartbeat { .. } | Message::Snapshot { .. } => {
                Message::HeartbeatReply { term, round: 0, is_bound: false }
            }
            Message::PreVote { .. } => Message::PreVoteReply { term, granted: false },
            Message::Vote { .. } => Message::VoteReply { term, granted: false },
            Message::ReadIndex { context, .. } => {
                Message::ReadIndexReply { term, context: *context, index: None }
            }
            Message::PreVoteReply { .. }
            | Message::VoteReply { .. }
            | Message::AppendAccepted { .. }
            | Message::AppendRejected { .. }
            | Message::HeartbeatReply { .. }
            | Message::Commit { .. }
            | Message::TimeoutNow { .. }
            | Message::SnapshotAccepted { .. }
            | Message::ReadIndexReply { .. }
            | Message::Repair { .. }
            | Message::Repaired { .. }
            | Message::Recall { .. }
            | Message::Recalled { .. } => return,
        };
        // It reveals the term, which may not be on the disk yet.
        self.persistence.withhold(from, reply, &self.log);
    }

    /// A message of a term that is yet to come for this member.
    fn meet_later_term(&mut self, from: NodeId, message: Message, now: Instant) {
        match message {
            // Asking changes nothing, and a promise is about a term that has not come.
            Message::PreVote { .. } | Message::PreVoteReply { granted: true, .. } => {}
            Message::Repair { .. } | Message::Repaired { .. } => {}
            Message::Recall { .. } | Message::Recalled { .. } => {}
            // While a leader is heard, nobody is elected: a member that was cut off must not disturb. But
            // the leader itself may have asked the candidate to stand.
            Message::Vote { on_transfer: false, .. } if self.is_leader_heard(now) => {
                self.counters.votes_ignored += 1;
                return;
            }
            Message::PreVoteReply { granted: false, term }
            | Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendAccepted { term, .. }
            | Message::AppendRejected { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::Commit { term, .. }
            | Message::TimeoutNow { term }
            | Message::Snapshot { term, .. }
            | Message::SnapshotAccepted { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. } => {
                self.enter_term(term, StepDown::LaterTerm, now);
            }
        }
        self.dispatch(from, message, now);
    }

    fn dispatch(&mut self, from: NodeId, message: Message, now: Instant) {
        match message {
            Message::PreVote { term, last_index, last_term } => {
                self.handle_pre_vote(from, term, last_index, last_term, now);
            }
            Message::PreVoteReply { term, granted } => {
                self.handle_pre_vote_reply(from, term, granted, now);
            }
            Message::Vote { on_transfer: false, .. } if self.is_bound_by_lease(now) => {
                self.counters.votes_ignored += 1;
            }
            Message::Vote { last_index, last_term, .. } => {
                self.handle_vote(from, last_index, last_term, now);
            }
            Message::VoteReply { granted, .. } => self.handle_vote_reply(from, granted, now),
            Message::Append { prev_index, prev_term, commit, entries, .. } => {
                if self.follow(from, now) {
                    self.handle_append(from, prev_index, prev_term, commit, &entries);
                }
            }
            Message::AppendAccepted { match_index, .. } => {
                self.handle_accepted(from, match_index, now);
            }
            Message::AppendRejected { prev_index, hint_index, hint_term, .. } => {
                self.handle_rejected(from, prev_index, hint_index, hint_term, now);
            }
            Message::Heartbeat { commit, round, .. } => {
                if self.follow(from, now) {
                    self.follow_commit(commit);
                    let (term, is_bound) = (self.hard_state.term, self.config.lease_reads);
                    let reply = Message::HeartbeatReply { term, round, is_bound };
                    self.persistence.withhold(from, reply, &self.log);
                }
            }
            Message::HeartbeatReply { round, is_bound, .. } => {
                self.handle_heartbeat_reply(from, round, is_bound, now);
            }
            Message::Commit { commit, .. } => {
                if self.follow(from, now) {
                    self.follow_commit(commit);
                }
            }
            Message::TimeoutNow { .. } => {
                if self.follow(from, now) {
                    self.stand_at_once(now);
                }
            }
            Message::Snapshot { meta, total_bytes, offset, bytes, .. } => {
                if self.follow(from, now) {
                    let part = Part { meta: *meta, total_bytes, offset, bytes };
                    self.handle_snapshot(from, part);
                }
            }
            Message::SnapshotAccepted { index, snapshot_term, next_offset, .. } => {
                self.handle_snapshot_accepted(from, (index, snapshot_term), next_offset, now);
            }
            Message::ReadIndex { context, .. } => self.handle_read_index(from, context, now),
            Message::ReadIndexReply { context, index, .. } => {
                self.handle_read_index_reply(context, index);
            }
            // They are of no term, and were seen to.
            Message::Repair { .. } | Message::Repaired { .. } => {}
            Message::Recall { .. } | Message::Recalled { .. } => {}
        }
    }

    /// A deadline that [`RaftNode::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.note_time(now);
        self.expire_questions(now);
        if let Role::Leader(_) = self.role {
            self.lead(now);
            return;
        }
        self.watch_leader(now);
        if now >= self.election_deadline {
            self.ask_before_standing(now);
        }
        self.ask_reserve(now);
    }

    /// The disk has everything up to and including this ticket.
    pub fn handle_persisted(&mut self, ticket: Ticket, now: Instant) {
        self.note_time(now);
        if self.persistence.confirm(ticket) {
            self.count_own_vote(now);
            self.advance_commit();
            self.evict();
        }
    }

    /// Old entries were read from the disk, as [`Output::Fetch`] asked: consecutive, from the first wanted
    /// on. None at all if they could not be read.
    pub fn handle_fetched(&mut self, id: FetchId, entries: Vec<LogEntry>) {
        match self.fetches.remove(&id) {
            Some(FetchPurpose::Apply) => self.apply_fetched(entries),
            Some(FetchPurpose::Append(peer)) => self.append_fetched(peer, entries),
            Some(FetchPurpose::Repair { peer, from }) => self.copies_fetched(peer, from, entries),
            None => {}
        }
    }

    /// The caller has applied everything up to `index`.
    pub fn handle_applied(&mut self, index: LogIndex) {
        self.applying.finish(index);
        self.membership.forget_before(self.applying.applied());
        self.evict();
    }

    /// Appends a command to the log, if this member leads. That it is committed is seen when it is applied,
    /// at the index and in the term that are answered; if another entry is applied there, it is lost.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn propose(&mut self, command: Bytes) -> Result<(LogIndex, Term), ProposeError> {
        let Role::Leader(leadership) = &self.role else {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        };
        if command.len() > limits::ENTRY_PAYLOAD_MAX_BYTES {
            return Err(ProposeError::TooLarge);
        }
        if let Some(to) = leadership.transferring_to() {
            return Err(ProposeError::Transferring { to });
        }
        if self.is_log_full {
            return Err(ProposeError::LogFull);
        }
        let weight = command.len() + limits::ENTRY_OVERHEAD_BYTES;
        if leadership.uncommitted_bytes() + weight > self.config.uncommitted_max_bytes {
            return Err(ProposeError::Busy);
        }
        self.counters.proposals += 1;
        let index = self.append_own(Payload::Command(command));
        Ok((index, self.hard_state.term))
    }

    /// Asks from which index on a read may be answered; the answer is an output with the same `context`,
    /// which must never have been used before.
    ///
    /// # Errors
    /// If it cannot be asked; then nothing has changed.
    pub fn read_index(&mut self, context: u64, now: Instant) -> Result<(), ReadError> {
        self.ask_read_index(context, now)
    }

    /// Tells whether the disk has room for commands. A member whose disk is full takes no new ones; as a
    /// leader it refuses proposals, as a follower it does not acknowledge entries.
    pub fn set_log_full(&mut self, is_full: bool) {
        self.is_log_full = is_full;
    }

    /// The next thing to do. Call it until there is none, after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() {
            self.prepare_outputs();
        }
        self.outputs.pop_front()
    }

    /// Turns what has changed since the last call into outputs: one write, and for each peer as few messages
    /// as will do. The write comes first, so that the disk and the network work at the same time.
    fn prepare_outputs(&mut self) {
        if self.persistence.is_dirty(&self.log) {
            let persist = self.persistence.take_write(self.hard_state, &self.log, self.now);
            self.outputs.push_back(Output::Persist(persist));
        }
        while let Some((to, message)) = self.persistence.release() {
            let message = self.without_damaged(message);
            self.send(to, message);
        }
        self.prepare_repairs();
        self.prepare_recall();
        match self.role {
            Role::Leader(_) => {
                self.prepare_appends();
                self.prepare_reads();
            }
            Role::Follower { leader: Some(leader) } => self.prepare_questions(leader),
            Role::Follower { leader: None } | Role::PreCandidate(_) | Role::Candidate(..) => {}
        }
        self.prepare_apply();
    }

    /// When [`RaftNode::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = match &self.role {
            Role::Leader(leadership) => leadership.next_deadline(),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => {
                let deadline = Some(self.election_deadline);
                let asking = Instant::earliest([self.questions_due(), self.reserve_due()]);
                Instant::earliest([deadline, self.silence_due(), asking])
            }
        };
        Instant::earliest([deadline, self.damage.due(), self.recall_due()])
    }

    /// Who leads, if that is known. This member itself, perhaps.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.config.id),
            Role::Follower { leader } => *leader,
            Role::PreCandidate(_) | Role::Candidate(..) => None,
        }
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The present term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// The term of an entry, that before the first included; `None` before that, and behind the end.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Whose agreement is needed.
    pub(crate) fn quorum(&self) -> Quorum<'_> {
        self.membership.current().quorum()
    }

    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }

    pub(crate) fn note(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Lets go of entries that are durable, applied, and too many.
    fn evict(&mut self) {
        let durable = self.persistence.durable_index();
        // Without a state nothing is applied for a while: what is on the disk is read from there then.
        let applied = if self.lacks_state() { durable } else { self.applying.applied() };
        let needed = durable.min(applied);
        self.log.evict(self.config.entry_cache_max_bytes, needed);
    }

    /// Asserts everything that must hold between calls.
    ///
    /// # Panics
    /// If something does not: a bug.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        self.persistence.check_invariants(&self.log);
        self.membership.check_invariants();
        assert!(self.membership.current_index() <= self.log.last_index(), "it is in the log");
        assert!(self.commit <= self.log.last_index(), "what is committed is in the log");
        assert!(self.applying.applied() <= self.commit, "what is applied is committed");
        assert!(self.log.base() <= self.applying.applied(), "what is given up is applied");
        assert!(self.log.base() <= self.persistence.durable_index(), "and durable");
        let applied = self.applying.applied();
        let is_forward = |index| applied < index || self.lacks_state();
        assert!(self.installing().is_none_or(is_forward), "it goes forward");
        self.receiving.iter().for_each(Receiving::check_invariants);
        self.damage.check_invariants();
        assert!(self.damage.first().is_none_or(|index| index > self.log.base()), "it is needed");
        assert!(self.acknowledged <= self.whole_index(), "what is acknowledged is not damaged");
        if let Role::Leader(leadership) = &self.role {
            leadership.check_invariants(self.log.last_index());
            assert_eq!(self.hard_state.vote, Some(self.config.id), "a leader voted for itself");
        }
    }
}
