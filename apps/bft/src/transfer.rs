//! How a replica catches up: with what was decided, or if that is forgotten with a state (TOCS, section
//! 2.3.6).
//!
//! Everything proves itself, so one peer is enough at a time: a decision by its certificate, a batch by
//! its digest, a state by the digest in the certificate of its checkpoint. A peer that does not answer,
//! or sends a state that is not right, is followed by the next.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::{Duration, Instant, limits};
use bytes::Bytes;
use crypto::Digest;

use crate::certificate::QuorumCertificate;
use crate::message::Message;
use crate::numbers::{Sequence, ViewNumber};
use crate::output::{Event, Output};
use crate::state::{BftNode, Mode};

/// What is being fetched.
#[derive(Clone, Debug, Default)]
pub(crate) enum Transfer {
    /// Nothing.
    #[default]
    Idle,
    /// What was decided behind what was executed.
    Decisions { peer: usize, first: Sequence, deadline: Instant },
    /// The state at a stable checkpoint.
    State { certificate: Arc<QuorumCertificate>, peer: usize, next: u64, deadline: Instant },
    /// All of a state is with the caller, which puts it in place.
    Installing { certificate: Arc<QuorumCertificate>, peer: usize },
}

impl BftNode {
    fn fetch_deadline(&self) -> Instant {
        self.now + Duration::from_millis(limits::BFT_FETCH_WITHIN_MS)
    }

    /// Whether this peer was asked for decisions and has not answered with all that there are.
    pub(crate) fn is_asked(&self, slot: usize) -> bool {
        matches!(self.transfer, Transfer::Decisions { peer, .. } if peer == slot)
    }

    /// Whether another state is being put in place: nothing is executed meanwhile.
    pub(crate) fn is_installing(&self) -> bool {
        matches!(self.transfer, Transfer::Installing { .. })
    }

    /// Whether something is known to be decided that this replica cannot execute.
    pub(crate) fn is_behind(&self) -> bool {
        self.executed < self.log.low()
            || self.log.open().any(|(at, entry)| at > self.executed && entry.committed.is_some())
    }

    pub(crate) fn fetch_if_behind(&mut self) {
        if self.is_behind() {
            self.begin_fetch(self.next_peer(self.slot));
        }
    }

    fn next_peer(&self, slot: usize) -> usize {
        let next = (slot + 1) % self.config.keyring.size();
        if next == self.slot { (next + 1) % self.config.keyring.size() } else { next }
    }

    /// Asks a peer for what was decided, unless somebody is asked already.
    pub(crate) fn begin_fetch(&mut self, peer: usize) {
        if !matches!(self.transfer, Transfer::Idle) || peer == self.slot {
            return;
        }
        let first = self.executed.next();
        self.transfer = Transfer::Decisions { peer, first, deadline: self.fetch_deadline() };
        self.send(peer, Message::Fetch { from: first });
    }

    /// The peer that was asked has said how far it is, as it does at the end of an answer. It is asked on
    /// if the answer was of use. One that was not is left to the deadline: a liar is not asked for ever.
    fn end_answer(&mut self, peer: usize, executed: Sequence) {
        let Transfer::Decisions { first, .. } = self.transfer else { return };
        let lacks_more = executed > self.executed || self.is_behind();
        if self.executed >= first || !lacks_more {
            self.transfer = Transfer::Idle;
        }
        if lacks_more {
            self.begin_fetch(peer);
        }
    }

    /// A peer lacks decisions. Those that are kept are sent, a few at a time, and then how far this replica
    /// is; if the first is not kept, the peer is told of the checkpoint that has taken its place.
    pub(crate) fn handle_fetch(&mut self, peer: usize, first: Sequence) {
        if !self.guard.may_answer(peer) {
            return;
        }
        if first <= self.log.kept() {
            return self.help_with_stable(peer);
        }
        self.help_over_checkpoint(peer, first);
        let mut room = limits::BFT_FETCH_MAX_BYTES;
        let mut answers = Vec::new();
        for sequence in (first.0..).take(limits::BFT_FETCH_BATCHES_MAX).map(Sequence) {
            let Some((batch, proof)) = self.log.get(sequence).and_then(|entry| entry.decided())
            else {
                break;
            };
            if batch.length() > room && !answers.is_empty() {
                break;
            }
            room = room.saturating_sub(batch.length());
            answers.push(Message::Committed { batch: batch.clone(), certificate: proof.clone() });
        }
        self.guard.note_answers(peer, answers.len());
        for answer in answers {
            self.send(peer, answer);
        }
        self.send_status(peer);
    }

    /// Whoever has executed all up to a checkpoint may stand at the end of its window. It can take nothing
    /// that is beyond before it knows of a later checkpoint than its own, and nobody else may tell it: it
    /// may have left the view of those who decide, and a lying primary may leave it out.
    fn help_over_checkpoint(&mut self, peer: usize, first: Sequence) {
        if first.0.saturating_sub(1).is_multiple_of(self.config.checkpoint_every) {
            self.help_with_stable(peer);
        }
    }

    pub(crate) fn handle_fetch_batch(&mut self, peer: usize, sequence: Sequence, digest: Digest) {
        let batch = self.log.get(sequence).and_then(|entry| entry.batch(digest)).cloned();
        if let Some(batch) = batch
            && self.guard.may_answer(peer)
        {
            self.send(peer, Message::Batch { sequence, batch });
        }
    }

    /// Asks for batches of which only the digest is known: each time somebody else.
    pub(crate) fn fetch_batches(&mut self) {
        let view = self.view;
        let lacking: Vec<_> = self
            .log
            .open()
            .filter_map(|(sequence, entry)| Some((sequence, entry.lacks(view)?)))
            .take(limits::BFT_FETCH_BATCHES_MAX)
            .collect();
        let peers = self.config.keyring.size() as u64;
        for (sequence, digest) in lacking {
            let peer = self.prng.below(peers) as usize;
            self.send(peer, Message::FetchBatch { sequence, digest });
        }
    }

    /// Fetches a state: of whoever, beginning behind this replica.
    pub(crate) fn begin_state_transfer(&mut self, certificate: Arc<QuorumCertificate>) {
        let peer = self.next_peer(self.slot);
        self.begin_state_transfer_from(peer, certificate);
    }

    pub(crate) fn begin_state_transfer_from(
        &mut self,
        peer: usize,
        certificate: Arc<QuorumCertificate>,
    ) {
        if peer == self.slot || matches!(self.transfer, Transfer::Installing { .. }) {
            return;
        }
        let sequence = certificate.sequence;
        let deadline = self.fetch_deadline();
        self.transfer = Transfer::State { certificate, peer, next: 0, deadline };
        self.send(peer, Message::FetchState { sequence, offset: 0 });
    }

    pub(crate) fn handle_fetch_state(&mut self, slot: usize, sequence: Sequence, offset: u64) {
        if self.stable.as_ref().is_none_or(|stable| stable.sequence != sequence)
            || self.executed < sequence
        {
            return self.help_with_stable(slot);
        }
        if self.guard.may_answer(slot) {
            let (peer, max_bytes) = (self.member(slot), limits::SNAPSHOT_PART_MAX_BYTES);
            self.outputs.push_back(Output::ReadState { peer, sequence, offset, max_bytes });
        }
    }

    /// A part of the state was read, as [`Output::ReadState`] asked. It is not empty.
    pub fn handle_state_part(
        &mut self,
        peer: base::NodeId,
        sequence: Sequence,
        offset: u64,
        total_bytes: u64,
        bytes: Bytes,
    ) {
        if let Some(slot) = self.config.keyring.slot(peer) {
            self.send(slot, Message::State { sequence, total_bytes, offset, bytes });
        }
    }

    pub(crate) fn handle_state(
        &mut self,
        from: usize,
        sequence: Sequence,
        total_bytes: u64,
        offset: u64,
        bytes: Bytes,
    ) {
        let late = self.fetch_deadline();
        let Transfer::State { certificate, peer, next, deadline } = &mut self.transfer else {
            return;
        };
        let is_it = *peer == from && certificate.sequence == sequence && *next == offset;
        if !is_it || total_bytes > limits::SNAPSHOT_MAX_BYTES as u64 {
            return;
        }
        *next += bytes.len() as u64;
        *deadline = late;
        let (next, certificate) = (*next, certificate.clone());
        let is_last = next >= total_bytes;
        if is_last {
            self.transfer = Transfer::Installing { certificate: certificate.clone(), peer: from };
        } else {
            self.send(from, Message::FetchState { sequence, offset: next });
        }
        self.outputs.push_back(Output::StoreState { certificate, offset, bytes, is_last });
    }

    /// The state at this checkpoint is in place of the caller's own.
    pub fn handle_state_installed(&mut self, sequence: Sequence, now: Instant) {
        self.note_time(now);
        let Transfer::Installing { certificate, .. } = &self.transfer else { return };
        if certificate.sequence != sequence {
            return;
        }
        let certificate = certificate.clone();
        self.transfer = Transfer::Idle;
        self.executed = sequence;
        self.applied = sequence;
        self.progress = now;
        self.counters.states_installed += 1;
        self.note(Event::StateInstalled { sequence });
        self.outputs.push_back(Output::Stable { certificate });
        self.execute_decided();
        self.fetch_if_behind();
    }

    /// What came in is not the state at this checkpoint: it is fetched from another peer.
    pub fn handle_state_refused(&mut self, sequence: Sequence, now: Instant) {
        self.note_time(now);
        let Transfer::Installing { certificate, peer } = &self.transfer else { return };
        if certificate.sequence != sequence {
            return;
        }
        let (certificate, peer) = (certificate.clone(), *peer);
        self.note(Event::StateRefused { from: self.member(peer) });
        self.transfer = Transfer::Idle;
        self.begin_state_transfer_from(self.next_peer(peer), certificate);
    }

    /// Somebody was asked and has not answered: the next one is.
    pub(crate) fn retry_transfer(&mut self) {
        match &self.transfer {
            Transfer::Decisions { peer, deadline, .. } if *deadline <= self.now => {
                let next = self.next_peer(*peer);
                self.transfer = Transfer::Idle;
                if self.is_behind() {
                    self.begin_fetch(next);
                }
            }
            Transfer::State { certificate, peer, deadline, .. } if *deadline <= self.now => {
                // The latest checkpoint is the one that others still have.
                let certificate = self.stable.clone().unwrap_or_else(|| certificate.clone());
                let next = self.next_peer(*peer);
                self.transfer = Transfer::Idle;
                self.begin_state_transfer_from(next, certificate);
            }
            Transfer::Idle
            | Transfer::Decisions { .. }
            | Transfer::State { .. }
            | Transfer::Installing { .. } => {}
        }
    }

    pub(crate) fn transfer_deadline(&self) -> Option<Instant> {
        match &self.transfer {
            Transfer::Idle | Transfer::Installing { .. } => None,
            Transfer::Decisions { deadline, .. } | Transfer::State { deadline, .. } => {
                Some(*deadline)
            }
        }
    }

    pub(crate) fn send_status(&mut self, to: usize) {
        let (view, is_active, executed) = (self.view, self.is_active(), self.executed);
        self.send(to, Message::Status { view, is_active, executed });
    }

    /// A peer says how far it is. Nothing of it is believed: it is asked, or helped.
    pub(crate) fn handle_status(
        &mut self,
        from: usize,
        view: ViewNumber,
        is_active: bool,
        executed: Sequence,
    ) {
        if self.is_asked(from) {
            self.end_answer(from, executed);
        } else if executed > self.executed {
            self.begin_fetch(from);
        }
        let is_peer_behind = executed < self.executed;
        let wants_view = view > self.view || view == self.view && is_active && !self.is_active();
        if (is_peer_behind || wants_view) && self.guard.may_answer(from) {
            self.send_status(from);
        }
        if view < self.view || view == self.view && !is_active {
            self.help_with_view(from);
            self.repeat_leaving(from);
        }
    }

    /// A peer has not heard that this replica has left its view.
    fn repeat_leaving(&mut self, to: usize) {
        if let Mode::Changing(changing) = &self.mode
            && let Some(own) = &changing.own
            && self.guard.may_answer(to)
        {
            let (view, content, signature) = (own.view, own.content(), own.signature);
            let leaving = Message::Leaving { view, content, signature };
            self.send_when_durable(crate::persist::Recipient::One(to), leaving);
        }
    }
}
