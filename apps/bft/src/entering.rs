//! How a view begins (OSDI '99, section 4.4; TOCS, section 2.3.5).

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::limits;
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{Check, QuorumCertificate};
use crate::change::{Claim, NewView, ViewChange};
use crate::collecting::Collected;
use crate::departures::Departure;
use crate::message::Message;
use crate::numbers::{PhaseState, Sequence, ViewNumber};
use crate::order::Order;
use crate::output::Event;
use crate::persist::Recipient;
use crate::record::Record;
use crate::state::{BftNode, Mode};

impl BftNode {
    /// As the next primary: makes the new view of a quorum's claims, this replica's own included.
    pub(crate) fn begin_view(&mut self) {
        let (own, quorum) = (self.slot, self.quorum());
        let is_to_come = !self.is_active() && self.primary() == own;
        // Without the own claims nothing is looked at.
        if !is_to_come || self.collected.get(own).is_none() || !self.prove_claims() {
            return;
        }
        // The own claims and those of the first others: a quorum, in the order of slots.
        let others = self.collected.proven().filter(|slot| *slot != own).take(quorum - 1);
        let mut slots: Vec<usize> = others.chain([own]).collect();
        slots.sort_unstable();
        let collected = slots.iter().filter_map(|slot| self.collected.get(*slot));
        let changes: Vec<ViewChange> = collected.clone().map(|one| one.change.clone()).collect();
        let proofs: Vec<_> = collected.flat_map(|one| one.proofs.iter().cloned()).collect();
        if let Some(new_view) = self.make_view(changes, &proofs) {
            let new_view = Arc::new(new_view);
            self.enter(new_view.clone());
            self.announce_view(new_view);
        }
    }

    /// Those who are asked first in the new view are told of it first: all have many signatures to verify,
    /// and the next decision needs no more of them.
    fn announce_view(&mut self, new_view: Arc<NewView>) {
        let first = self.first_asked(self.next_sequence);
        let rest = self.all_others().without(first);
        let at = self.now + self.config.tell_after.times(2);
        self.audience.tell_of_view(at, rest);
        self.send_when_durable(Recipient::Those(first), Message::NewView(new_view));
    }

    fn make_view(
        &mut self,
        changes: Vec<ViewChange>,
        proofs: &[Arc<QuorumCertificate>],
    ) -> Option<NewView> {
        let view = self.view;
        let order = Order::of(changes.iter(), self.config.quorums);
        let stable = proofs.iter().find(|proof| {
            proof.phase == PhaseState::Checkpoint && (proof.sequence, proof.digest) == order.stable
        });
        let proof = |claim: &Claim| proofs.iter().find(|proof| claim.is_proven_by(proof)).cloned();
        let chosen: Option<Vec<_>> = order.prepared().map(proof).collect();
        let null = Batch::null().digest();
        let proposals: Vec<(_, Digest)> = order.proposals(null).collect();
        let proposals = proposals
            .into_iter()
            .map(|(sequence, digest)| {
                self.signed_vote(PhaseState::Prepare, view, sequence, digest).signature
            })
            .collect();
        let signature = Signature([0; crypto::SIGNATURE_BYTES]);
        let (stable, proofs) = (stable.cloned(), chosen?);
        let mut new_view = NewView { view, changes, stable, proofs, proposals, signature };
        let statement = NewView::statement(&self.config.keyring, view, new_view.content());
        self.counters.signed += 1;
        new_view.signature = self.key.sign(&statement);
        Some(new_view)
    }

    /// A view begins, if all of it can be proven.
    pub(crate) fn handle_new_view(&mut self, from: usize, new_view: Arc<NewView>) {
        if self.is_next(&new_view) && self.is_view_proven(from, &new_view) {
            self.enter(new_view);
        }
    }

    fn is_next(&self, new_view: &NewView) -> bool {
        new_view.view > self.view || !self.is_active() && new_view.view == self.view
    }

    /// Whether a new view is of use, and has the form of one.
    pub(crate) fn awaits_view(&self, new_view: &NewView) -> bool {
        self.is_next(new_view) && new_view.is_well_formed(self.config.quorums, self.config.window)
    }

    /// What a new view has of signatures besides its certificates, without those that were verified before:
    /// the words of those who have left are the same.
    pub(crate) fn view_checks(&self, new_view: &NewView) -> Vec<Check> {
        let (keyring, view) = (&self.config.keyring, new_view.view);
        let slot = view.primary(keyring.size());
        let statement = NewView::statement(keyring, view, new_view.content());
        let mut checks = Vec::from([Check { slot, statement, signature: new_view.signature }]);
        for change in &new_view.changes {
            let departure = Departure::of(change);
            if !self.departures.knows(change.slot, &departure) {
                let statement = ViewChange::statement(keyring, view, departure.content);
                checks.push(Check { slot: change.slot, statement, signature: change.signature });
            }
        }
        checks
    }

    fn is_view_proven(&mut self, from: usize, new_view: &NewView) -> bool {
        if !new_view.is_well_formed(self.config.quorums, self.config.window) {
            self.counters.malformed += 1;
            return false;
        }
        if self.proven_view != Some((new_view.content(), new_view.signature)) {
            for check in self.view_checks(new_view) {
                self.counters.verified += 1;
                if !check.passes(&self.config.keyring) {
                    self.blame(from);
                    return false;
                }
            }
        }
        new_view.stable.iter().chain(&new_view.proofs).all(|proof| self.is_proven(from, proof))
    }

    /// Keeps a proposal for the view that is waited for. Nothing of it is looked at before.
    pub(crate) fn keep_early(
        &mut self,
        sequence: Sequence,
        batch: &Batch,
        signature: Signature,
    ) -> bool {
        // Whoever abstains says nothing that the view itself would answer.
        let Mode::Changing(changing) = &mut self.mode else { return false };
        if changing.own.is_none() {
            return false;
        }
        let has_room = (changing.early.len() as u64) < limits::BFT_IN_FLIGHT_MAX;
        if has_room && changing.early.iter().all(|(known, ..)| *known != sequence) {
            changing.early.push((sequence, batch.clone(), signature));
        }
        has_room
    }

    /// The view has begun: its order is voted on, and what waits is given to its primary.
    pub(crate) fn enter(&mut self, new_view: Arc<NewView>) {
        let view = new_view.view;
        let has_told_requests = !self.is_active() && self.view == view;
        let early = match &mut self.mode {
            Mode::Changing(changing) if has_told_requests => core::mem::take(&mut changing.early),
            Mode::Changing(_) | Mode::Active => Vec::new(),
        };
        self.record(Record::Entered(new_view.clone()));
        if let Some(stable) = &new_view.stable {
            self.stabilise(stable.clone());
        }
        let quorums = self.config.quorums;
        let decided = new_view.proofs.iter().filter(|proof| proof.is_decision(quorums));
        let decided: Vec<_> = decided.cloned().collect();
        self.adopt(new_view);
        for proof in decided {
            self.decide(proof, None);
        }
        self.counters.views_entered += 1;
        self.note(Event::Entered { view, primary: self.member(self.primary()) });
        self.requests.restart(self.now);
        self.progress = self.now;
        let open: Vec<_> = self.log.open().map(|(sequence, _)| sequence).collect();
        for sequence in open {
            self.vote_prepare(sequence);
        }
        if !has_told_requests {
            self.tell_next_primary();
        }
        for (sequence, batch, signature) in early {
            self.handle_pre_prepare(self.primary(), view, sequence, batch, signature);
        }
        self.resend_checkpoints();
        self.consider_signing();
        self.fetch_batches();
    }

    /// The view is this one, and its proposals are taken, but not voted on yet.
    pub(crate) fn adopt(&mut self, new_view: Arc<NewView>) {
        let view: ViewNumber = new_view.view;
        self.view = view;
        self.mode = Mode::Active;
        self.collected = Collected::default();
        self.departures.forget(view);
        self.log.forget_votes();
        let order = new_view.order(self.config.quorums);
        let null = Batch::null().digest();
        self.next_sequence = self.log.low().next();
        for ((sequence, digest), signature) in order.proposals(null).zip(&new_view.proposals) {
            self.take_order(view, sequence, digest, *signature);
            if let Some(batch) = self.log.get(sequence).and_then(|entry| entry.batch(digest)) {
                let batch = batch.clone();
                self.requests.note_proposed(&batch, view);
            }
            self.next_sequence = self.next_sequence.max(sequence.next());
        }
        self.new_view = Some(new_view);
    }
}
