//! How a view begins (OSDI '99, section 4.4; TOCS, section 2.3.5).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{QuorumCertificate, vote};
use crate::change::{Claim, NewView, Order, ViewChange};
use crate::message::Message;
use crate::numbers::{PhaseState, ViewNumber};
use crate::output::Event;
use crate::persist::Recipient;
use crate::record::Record;
use crate::state::{BftNode, Mode};

impl BftNode {
    /// As the next primary: makes the new view of a quorum's claims, this replica's own included.
    pub(crate) fn begin_view(&mut self) {
        let quorum = self.quorum();
        let Mode::Changing(changing) = &self.mode else { return };
        let own = self.slot;
        if changing.changes.len() < quorum || !changing.changes.contains_key(&own) {
            return;
        }
        // The own claims and those of the first others: a quorum, in the order of slots.
        let others = changing.changes.keys().filter(|slot| **slot != own).take(quorum - 1);
        let mut slots: Vec<usize> = others.copied().chain([own]).collect();
        slots.sort_unstable();
        let collected = slots.iter().map(|slot| &changing.changes[slot]);
        let changes: Vec<ViewChange> = collected.clone().map(|(one, _)| one.clone()).collect();
        let proofs: Vec<_> = collected.flat_map(|(_, proofs)| proofs.iter().cloned()).collect();
        if let Some(new_view) = self.make_view(changes, &proofs) {
            let new_view = Arc::new(new_view);
            self.enter(new_view.clone());
            self.send_when_durable(Recipient::Others, Message::NewView(new_view));
        }
    }

    fn make_view(
        &mut self,
        changes: Vec<ViewChange>,
        proofs: &[Arc<QuorumCertificate>],
    ) -> Option<NewView> {
        let view = self.view;
        let order = Order::of(changes.iter());
        let stable = proofs.iter().find(|proof| {
            proof.phase == PhaseState::Checkpoint && (proof.sequence, proof.digest) == order.stable
        });
        let proof = |claim: &Claim| proofs.iter().find(|proof| claim.is_proven_by(proof)).cloned();
        let chosen: Option<Vec<_>> = order.chosen.iter().flatten().map(proof).collect();
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
        let is_next = new_view.view > self.view || !self.is_active() && new_view.view == self.view;
        if is_next && self.is_view_proven(from, &new_view) {
            self.enter(new_view);
        }
    }

    fn is_view_proven(&mut self, from: usize, new_view: &NewView) -> bool {
        let view = new_view.view;
        let primary = view.primary(self.config.keyring.size());
        if !new_view.is_well_formed(self.quorum(), self.config.window) {
            self.counters.malformed += 1;
            return false;
        }
        let keyring = &self.config.keyring;
        let mut signed =
            Vec::from([(primary, NewView::statement(keyring, view, new_view.content()))]);
        let mut signatures = Vec::from([new_view.signature]);
        for change in &new_view.changes {
            signed.push((change.slot, ViewChange::statement(keyring, view, change.content())));
            signatures.push(change.signature);
        }
        let order = new_view.order();
        let proposals = order.proposals(Batch::null().digest());
        for ((sequence, digest), signature) in proposals.zip(&new_view.proposals) {
            let phase = PhaseState::Prepare;
            signed.push((primary, vote(keyring, phase, view, sequence, digest, primary)));
            signatures.push(*signature);
        }
        for ((slot, statement), signature) in signed.iter().zip(&signatures) {
            self.counters.verified += 1;
            if self.config.keyring.verify(*slot, statement, signature).is_err() {
                self.blame(from);
                return false;
            }
        }
        new_view.stable.iter().chain(&new_view.proofs).all(|proof| self.is_proven(from, proof))
    }

    /// The view has begun: its order is voted on, and what waits is given to its primary.
    pub(crate) fn enter(&mut self, new_view: Arc<NewView>) {
        let view = new_view.view;
        self.record(Record::Entered(new_view.clone()));
        if let Some(stable) = &new_view.stable {
            self.stabilise(stable.clone());
        }
        self.adopt(new_view);
        self.counters.views_entered += 1;
        self.note(Event::Entered { view, primary: self.member(self.primary()) });
        self.requests.restart(self.now);
        self.progress = self.now;
        let open: Vec<_> = self.log.open().map(|(sequence, _)| sequence).collect();
        for sequence in open {
            self.vote_prepare(sequence);
        }
        for request in self.requests.waiting(self.slot) {
            self.send(self.primary(), Message::Request(request));
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
        self.log.forget_votes();
        let order = new_view.order();
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
