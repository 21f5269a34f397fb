//! What came in, and whose business it is.

use base::{Instant, NodeId, limits};
use bytes::Bytes;
use core::fmt;
use crypto::{Digest, SigningKey};

use crate::config::{Config, ConfigError, Mutant};
use crate::departures::Departure;
use crate::message::Message;
use crate::numbers::{PhaseState, Sequence};
use crate::output::{Output, Ticket};
use crate::persist::Recipient;
use crate::requests::Refusal;
use crate::state::BftNode;

/// Why a request is refused. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// It is longer than a request may be.
    TooLarge,
    /// Too many requests wait: try again later.
    Busy,
    /// It waits already, or was executed lately.
    Known,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProposeError::TooLarge => "the request is too long",
            ProposeError::Busy => "too many requests wait to be executed",
            ProposeError::Known => "the request was made before",
        })
    }
}

impl core::error::Error for ProposeError {}

impl BftNode {
    /// A replica that has never signed anything. One that has is [`BftNode::restore`]d.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(
        config: Config,
        key: SigningKey,
        seed: u64,
        now: Instant,
    ) -> Result<BftNode, ConfigError> {
        config.validate()?;
        Ok(BftNode::blank(config, key, seed, now))
    }

    /// Has a request ordered, of a client of this node. It is executed once it is given out with
    /// [`Output::Apply`]; until then this replica makes sure that it is not forgotten.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn propose(&mut self, request: Bytes, now: Instant) -> Result<Digest, ProposeError> {
        if request.len() > limits::BFT_REQUEST_MAX_BYTES {
            return Err(ProposeError::TooLarge);
        }
        let digest =
            self.requests.add(request.clone(), self.slot, self.slot, now).map_err(|refusal| {
                match refusal {
                    Refusal::Known => ProposeError::Known,
                    Refusal::Full => ProposeError::Busy,
                }
            })?;
        self.note_time(now);
        // Also while a view is to come: its primary has it when it begins.
        self.send(self.primary(), Message::Request(request));
        self.hasten_if_muted();
        Ok(digest)
    }

    /// A message has arrived. Whatever it says, the replica stays in a legal state.
    pub fn handle_message(&mut self, from: NodeId, message: Message, now: Instant) {
        if let Some(slot) = self.listen_to(from, now) {
            self.take_in_hand(slot, message);
        }
    }

    /// The same for a request, if the caller knows which replica's clients it is from: whoever passes it on.
    /// It counts as that one's, if it is a replica.
    pub fn handle_request_of(&mut self, asker: NodeId, from: NodeId, request: Bytes, now: Instant) {
        if let Some(slot) = self.listen_to(from, now) {
            let asker = self.config.keyring.slot(asker).unwrap_or(slot);
            self.handle_request(slot, asker, request);
        }
    }

    /// Whether one more request of this replica's clients may wait: otherwise nothing more needs to be known
    /// of it.
    pub fn has_room_for(&self, asker: NodeId) -> bool {
        let slot = self.config.keyring.slot(asker);
        slot.is_none_or(|slot| self.requests.has_room(slot, self.slot))
    }

    /// Whether a question of this peer that the caller understands may be answered: it counts with those that
    /// this replica answers.
    pub fn may_answer(&mut self, peer: NodeId) -> bool {
        self.config.keyring.slot(peer).is_some_and(|slot| self.guard.may_answer(slot))
    }

    /// The slot of a peer that has said something, if it is one and is listened to.
    fn listen_to(&mut self, from: NodeId, now: Instant) -> Option<usize> {
        let Some(slot) = self.config.keyring.slot(from).filter(|slot| *slot != self.slot) else {
            self.counters.strangers += 1;
            return None;
        };
        self.note_time(now);
        self.counters.received += 1;
        if self.guard.is_muted(slot) {
            self.counters.muted += 1;
            return None;
        }
        self.audience.note_heard(slot);
        Some(slot)
    }

    pub(crate) fn dispatch(&mut self, from: usize, message: Message) {
        match message {
            Message::Request(request) => self.handle_request(from, from, request),
            Message::PrePrepare { view, sequence, batch, signature } => {
                self.handle_pre_prepare(from, view, sequence, batch, signature);
            }
            Message::Vote(vote) => self.handle_vote(from, &vote),
            Message::Certificate(proof) => match proof.phase {
                _ if proof.is_decision(self.config.quorums) => {
                    self.handle_committed(from, proof, None);
                }
                PhaseState::Prepare => self.handle_prepared(from, proof),
                PhaseState::Checkpoint => self.handle_stable(from, proof),
                PhaseState::PrePrepare | PhaseState::Commit => self.counters.malformed += 1,
            },
            Message::Leaving { view, content, signature } => {
                self.handle_leaving(from, Departure { view, content, signature });
            }
            Message::ViewChange { change, proofs } => {
                self.handle_view_change(from, *change, proofs);
            }
            Message::NewView(new_view) => self.handle_new_view(from, new_view),
            Message::Status { view, is_active, executed } => {
                self.handle_status(from, view, is_active, executed);
            }
            Message::Fetch { from: first } => self.handle_fetch(from, first),
            Message::Committed { batch, certificate } => {
                self.handle_committed(from, certificate, Some(batch));
            }
            Message::FetchBatch { sequence, digest } => {
                self.handle_fetch_batch(from, sequence, digest);
            }
            Message::Batch { sequence, batch } => self.handle_batch(sequence, batch),
            Message::FetchState { sequence, offset } => {
                self.handle_fetch_state(from, sequence, offset);
            }
            Message::State { sequence, total_bytes, offset, bytes } => {
                self.handle_state(from, sequence, total_bytes, offset, bytes);
            }
            Message::AskPosition => self.handle_ask_position(from),
            Message::Position { view, certificate } => {
                self.handle_position(from, view, certificate);
            }
        }
    }

    /// A request of another replica's client. Whoever has seen it waits for it, and makes sure that the
    /// primary has it (OSDI '99, section 4.4: a backup that waits starts a timer).
    fn handle_request(&mut self, from: usize, asker: usize, request: Bytes) {
        if self.requests.add(request.clone(), asker, self.slot, self.now).is_ok()
            && self.is_active()
            && self.primary() != from
        {
            self.send(self.primary(), Message::Request(request));
        }
    }

    /// Whether the request waits here already, or was executed lately: then nothing more needs to be known of
    /// it, such as whether it is signed.
    pub fn knows_request(&self, request: &[u8]) -> bool {
        self.requests.knows(request)
    }

    /// The disk has everything up to and including this ticket.
    pub fn handle_persisted(&mut self, ticket: Ticket, now: Instant) {
        self.note_time(now);
        self.persistence.confirm(ticket);
    }

    /// The caller has executed everything up to this number.
    pub fn handle_applied(&mut self, sequence: Sequence) {
        self.applied = self.applied.max(sequence.min(self.executed));
    }

    /// The next thing to do. Call it until there is none, after every other call.
    pub fn poll_output(&mut self) -> Option<Output> {
        while self.outputs.is_empty() {
            self.propose_batches();
            // The write comes first, so that the disk and the network work at the same time.
            if let Some(persist) = self.persistence.take_write() {
                return Some(Output::Persist(persist));
            }
            let is_impatient = self.config.has_bug(Mutant::NoPersistBeforeVote);
            let (to, message) = self.persistence.release(is_impatient)?;
            self.deliver(to, message);
        }
        self.outputs.pop_front()
    }

    /// A message that has waited for the disk leaves. Votes of one's own count from here on.
    fn deliver(&mut self, to: Recipient, message: Message) {
        match to {
            Recipient::Those(slots) => slots.iter().for_each(|to| self.send(to, message.clone())),
            Recipient::One(slot) if slot != self.slot => self.send(slot, message),
            Recipient::One(_) => match message {
                Message::Vote(vote) => self.collect_own(&vote),
                Message::ViewChange { change, proofs } => self.collect_own_claims(*change, proofs),
                other => unreachable!("{other:?} is not for oneself"),
            },
        }
    }

    pub(crate) fn note_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
        // What is sent from now on has a whole span to be answered in.
        if !self.has_unanswered() {
            self.resend_at = self.now + self.config.resend_every;
        }
        self.guard.note_time(self.now);
    }

    /// The last number that was given out to be executed.
    pub fn executed(&self) -> Sequence {
        self.executed
    }
}
