//! The way of writes through the log: to the leader, between nodes, and back as applied entries.

use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId, Term};
use bytes::Bytes;

use super::flow::{NOT_EXECUTED, UNKNOWN_OUTCOME};
use super::message::{Message, Refusal};
use super::relay::Advice;
use super::writes::Stage;
use super::{KvService, Output, Proposal, REFUSED_RETRY_AFTER, RETRY_AFTER};
use crate::machine::{Entry, Outcome, Request, RequestId};
use crate::resp::Reply;

const LOG_FULL: Reply = Reply::error(
    "MISCONF the log on disk is full: writes are refused until there is room (reads still work)",
);
const TOO_LARGE: Reply = Reply::error("ERR the command does not fit an entry of the log");
const REPLY_LOST: Reply = Reply::error(
    "CLUSTERDOWN the command was executed, but its reply was too long to be kept for a late answer",
);

impl KvService {
    /// Who leads, as far as this node knows; to be told after every change of either.
    pub fn handle_leader(&mut self, leader: Option<NodeId>, term: Term, now: Instant) {
        if (self.leader, self.term) != (leader, term) {
            (self.leader, self.term) = (leader, term);
            self.relay.clear();
            self.clock.forget_stamps();
            self.writes.rewind(now);
            self.reads.restart(now);
        }
        self.settle_down(now);
    }

    /// A message from the service of another node. Whatever is in it does no harm.
    pub fn handle_forward(&mut self, from: NodeId, message: &Bytes, now: Instant) {
        self.now = self.now.max(now);
        match Message::decode(message) {
            Ok(Message::Request { request, encoded }) if request.id.origin == from => {
                self.relay_request(&request, &encoded);
            }
            Ok(Message::Refused { epoch, sequence, refusal }) if epoch == self.config.epoch => {
                self.retreat(sequence, refusal);
            }
            // An earlier life of ours asked: nobody waits for that any more.
            Ok(Message::Refused { .. }) => {}
            Ok(Message::Request { .. }) | Err(_) => self.counters.malformed_messages += 1,
        }
        self.settle_down(now);
    }

    /// A write of another node wants to be proposed.
    fn relay_request(&mut self, request: &Request, encoded: &Bytes) {
        if !self.is_leader() {
            return self.send_back(request.id, Refusal::NotLeader);
        }
        match self.relay.admit(request, &self.machine) {
            Advice::Propose => {
                self.counters.relayed += 1;
                self.propose(request.id, encoded);
            }
            Advice::Ignore => {}
            Advice::OutOfOrder => self.send_back(request.id, Refusal::OutOfOrder),
        }
    }

    fn send_back(&mut self, id: RequestId, refusal: Refusal) {
        self.counters.sent_back += 1;
        let bytes = Message::refused(id.epoch, id.sequence, refusal);
        self.outputs.push_back(Output::Forward { to: id.origin, bytes });
    }

    fn propose(&mut self, id: RequestId, encoded: &[u8]) {
        let payload = Entry::request(self.clock.stamp(self.now), encoded);
        self.outputs.push_back(Output::Propose { payload, proposal: Proposal::Request(id) });
    }

    /// Proposes that the clock go on, if a key is due and this node leads.
    pub(super) fn propose_tick(&mut self) {
        if self.tick_at().is_some_and(|at| at <= self.now) {
            self.counters.ticks += 1;
            let payload = Entry::tick(self.clock.stamp(self.now));
            self.outputs.push_back(Output::Propose { payload, proposal: Proposal::Tick });
        }
    }

    /// An [`Output::Propose`] certainly did not come into the log.
    pub fn handle_propose_failed(&mut self, proposal: Proposal, refusal: Refusal, now: Instant) {
        self.now = self.now.max(now);
        match proposal {
            // If the key is still there, the clock is stamped again after a while.
            Proposal::Tick => {}
            Proposal::Request(id) if id.origin == self.config.id => {
                self.retreat(id.sequence, refusal);
            }
            Proposal::Request(id) => {
                self.relay.forget(id);
                self.send_back(id, refusal);
            }
        }
        self.settle_down(now);
    }

    /// One try of an own write certainly did not come into a log.
    fn retreat(&mut self, sequence: u64, refusal: Refusal) {
        let again_at = match refusal {
            Refusal::NotLeader | Refusal::Busy | Refusal::OutOfOrder => {
                self.now + REFUSED_RETRY_AFTER
            }
            Refusal::LogFull | Refusal::TooLarge => self.now + RETRY_AFTER,
        };
        let Some(unresolved) = self.writes.refuse(sequence, again_at) else {
            return;
        };
        match refusal {
            // While another try may be in a log, only that it is executed, or time, tells the
            // outcome.
            Refusal::LogFull if unresolved == 0 => self.conclude(sequence, LOG_FULL),
            Refusal::TooLarge if unresolved == 0 => self.conclude(sequence, TOO_LARGE),
            Refusal::LogFull
            | Refusal::TooLarge
            | Refusal::NotLeader
            | Refusal::Busy
            | Refusal::OutOfOrder => {}
        }
    }

    /// Does what is due for the writes under way, in the order of their sequences.
    pub(super) fn send_writes(&mut self) {
        while let Some(sequence) = self.writes.due(self.now) {
            let pending = self.writes.get(sequence).expect("what is due is pending");
            if pending.deadline <= self.now {
                self.counters.timed_out += 1;
                let reply = if pending.unresolved == 0 { NOT_EXECUTED } else { UNKNOWN_OUTCOME };
                self.conclude(sequence, reply);
            } else {
                self.send_write(sequence);
            }
        }
    }

    /// Sends one write to the leader, unless there is none, or the write before it is not sent.
    fn send_write(&mut self, sequence: u64) {
        let pending = self.writes.get(sequence).expect("the caller names a pending write");
        let deadline = pending.deadline;
        let Some(leader) = self.leader else {
            return self.writes.postpone(sequence, deadline);
        };
        let before = self.writes.predecessor(sequence);
        let waits = before
            .and_then(|before| self.writes.get(before))
            .is_some_and(|before| before.stage == Stage::Waiting);
        if waits {
            return self.writes.postpone(sequence, self.now + REFUSED_RETRY_AFTER);
        }
        let id = RequestId { origin: self.config.id, epoch: self.config.epoch, sequence };
        let mut encoded = Vec::new();
        let low_water = self.writes.low_water();
        Request::encode(id, before.unwrap_or(0), low_water, &pending.encoded, &mut encoded);
        if leader == self.config.id {
            // As long as we lead in this term, what we proposed is in our log: no try is lost.
            self.writes.mark_sent(sequence, deadline);
            self.propose(id, &encoded);
        } else {
            self.writes.mark_sent(sequence, self.now + RETRY_AFTER);
            let bytes = Message::request(&encoded);
            self.outputs.push_back(Output::Forward { to: leader, bytes });
        }
    }

    /// The committed entry at `index`: applies it, and answers who waits for it.
    ///
    /// # Panics
    /// If `index` does not come after the last one.
    pub fn handle_applied(&mut self, index: LogIndex, payload: &Bytes, now: Instant) {
        self.now = self.now.max(now);
        let applied = self.machine.apply(index, payload);
        self.clock.observe(self.machine.clock_ms(), self.now);
        if let Some(id) = applied.request {
            if id.origin == self.config.id && id.epoch == self.config.epoch {
                self.hear(id.sequence, applied.outcome);
            } else if applied.outcome == Outcome::OutOfOrder {
                self.relay.forget(id);
            }
        }
        self.settle_down(now);
    }

    /// An own write came out of the log.
    pub(super) fn hear(&mut self, sequence: u64, outcome: Outcome) {
        match outcome {
            Outcome::Executed(reply) | Outcome::Repeated(reply) => self.conclude(sequence, reply),
            Outcome::Forgotten => self.conclude(sequence, REPLY_LOST),
            Outcome::OutOfOrder => {
                if self.writes.get(sequence).is_some() {
                    self.writes.postpone(sequence, self.now + REFUSED_RETRY_AFTER);
                }
            }
            Outcome::Ticked | Outcome::Malformed => {
                unreachable!("neither of these names a request")
            }
        }
    }

    /// A write is over: its client hears, and another may start.
    fn conclude(&mut self, sequence: u64, reply: Reply) {
        if let Some(pending) = self.writes.settle(sequence) {
            self.answer(pending.client, pending.slot, reply);
            self.feed_starved();
        }
    }

    /// The committed entry at `index` is not ours: a leader's no-op, for example.
    ///
    /// # Panics
    /// If `index` does not come after the last one.
    pub fn handle_skipped(&mut self, index: LogIndex, now: Instant) {
        self.machine.skip(index);
        self.settle_down(now);
    }

    /// The log was committed up to `index` when the round of this context began.
    pub fn handle_read_ready(&mut self, context: u64, index: LogIndex, now: Instant) {
        self.reads.confirm(context, index);
        self.settle_down(now);
    }

    /// The round of this context has no answer.
    pub fn handle_read_failed(&mut self, context: u64, now: Instant) {
        self.now = self.now.max(now);
        self.reads.fail(context, self.now);
        self.settle_down(now);
    }
}
