//! What is verified before a message is acted on, a few signatures at a time.
//!
//! A certificate has as many signatures as a quorum, and a new view several times as many. On a machine that
//! many share that takes longer than a heartbeat of the node's other services may be late. So such a message
//! stays in hand, and in each turn of the caller's loop a few of its signatures are looked at; when all are
//! good it is acted on, with nothing left to verify. What is of no use is not looked at.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::limits;
use crypto::{Digest, Signature};

use crate::certificate::{Check, QuorumCertificate};
use crate::change::NewView;
use crate::config::Mutant;
use crate::message::Message;
use crate::numbers::PhaseState;
use crate::state::BftNode;

/// A message in hand.
#[derive(Clone, Debug)]
pub(crate) struct Examination {
    from: usize,
    message: Message,
    needed: Needed,
    /// The next of the signatures.
    next: usize,
}

/// What is to be verified, and what is proven when all of it is good.
#[derive(Clone, Debug, Default)]
struct Needed {
    checks: Vec<Check>,
    certificates: Vec<Digest>,
    view: Option<ProvenView>,
}

/// Exactly which new view was proven: the digest of all but the signature, and that.
pub(crate) type ProvenView = (Digest, Signature);

impl BftNode {
    /// Whether a message is in hand of which signatures are still to be verified. Whoever brings another one
    /// has all of them verified at once.
    pub fn is_busy(&self) -> bool {
        self.examining.is_some()
    }

    /// Whether as many signatures as may be were verified since the last [`BftNode::handle_timeout`].
    pub fn is_spent(&self) -> bool {
        self.counters.verified >= self.turn_ends
    }

    /// The caller has verified a signature of a message of this peer.
    pub fn note_verified(&mut self, from: base::NodeId, is_good: bool) {
        self.counters.verified += 1;
        if let Some(slot) = self.config.keyring.slot(from).filter(|_| !is_good) {
            self.blame(slot);
        }
    }

    /// Whether nothing that this peer says is listened to now.
    pub fn is_muted(&self, peer: base::NodeId) -> bool {
        self.config.keyring.slot(peer).is_none_or(|slot| self.guard.is_muted(slot))
    }

    /// A turn of the caller begins.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_ends = self.counters.verified + limits::BFT_CHECKS_PER_TURN;
        self.examine();
    }

    /// Acts on a message, at once if there is little to verify.
    pub(crate) fn take_in_hand(&mut self, from: usize, message: Message) {
        while self.is_busy() {
            self.begin_turn();
        }
        match self.needed_for(&message) {
            Some(needed) => {
                self.examining = Some(Box::new(Examination { from, message, needed, next: 0 }));
                self.examine();
            }
            None => self.dispatch(from, message),
        }
    }

    fn examine(&mut self) {
        let Some(mut one) = self.examining.take() else { return };
        while let Some(check) = one.needed.checks.get(one.next) {
            if self.is_spent() {
                self.examining = Some(one);
                return;
            }
            one.next += 1;
            self.counters.verified += 1;
            if !check.passes(&self.config.keyring) {
                self.guard.note_wasted(one.from, one.next as u64);
                return self.blame(one.from);
            }
        }
        one.needed.certificates.into_iter().for_each(|identity| self.verified.insert(identity));
        self.proven_view = one.needed.view.or(self.proven_view);
        self.dispatch(one.from, one.message);
    }

    /// What is to be verified of a message; none if nothing, or if it is not even well-formed or of no use,
    /// which is seen without looking at signatures.
    fn needed_for(&self, message: &Message) -> Option<Needed> {
        match message {
            Message::Certificate(proof) => self.needed_for_certificate(proof, false),
            Message::Committed { batch, certificate } => {
                let is_it = batch.digest() == certificate.digest;
                is_it.then(|| self.needed_for_certificate(certificate, true)).flatten()
            }
            Message::NewView(new_view) => self.needed_for_view(new_view),
            _ => None,
        }
    }

    fn needed_for_certificate(&self, proof: &QuorumCertificate, has_batch: bool) -> Option<Needed> {
        let is_of_use = match proof.phase {
            _ if proof.is_decision(self.config.quorums) => self.awaits_decision(proof, has_batch),
            PhaseState::Prepare => self.awaits_prepared(proof),
            PhaseState::Checkpoint => self.awaits_stable(proof),
            PhaseState::PrePrepare | PhaseState::Commit => false,
        };
        let mut needed = Needed::default();
        let is_needed = is_of_use && self.add_certificate(proof, &mut needed);
        (is_needed && !needed.checks.is_empty()).then_some(needed)
    }

    fn needed_for_view(&self, new_view: &NewView) -> Option<Needed> {
        if !self.awaits_view(new_view) {
            return None;
        }
        let view = Some((new_view.content(), new_view.signature));
        let mut needed = Needed { checks: self.view_checks(new_view), view, ..Needed::default() };
        let mut proofs = new_view.stable.iter().chain(&new_view.proofs);
        proofs.all(|proof| self.add_certificate(proof, &mut needed)).then_some(needed)
    }

    /// False if the certificate has not the form of one.
    fn add_certificate(&self, proof: &QuorumCertificate, needed: &mut Needed) -> bool {
        let identity = proof.identity();
        if self.verified.contains(&identity) || self.config.has_bug(Mutant::TrustCertificates) {
            return true;
        }
        let is_known = |slot: usize, signature: &Signature| self.knows(proof, slot, signature);
        let (keyring, quorums) = (&self.config.keyring, self.config.quorums);
        let Ok(checks) = proof.checks(keyring, quorums, is_known) else { return false };
        needed.checks.extend(checks);
        needed.certificates.push(identity);
        true
    }
}
