//! How a view ends (OSDI '99, section 4.4 and 4.5.2; TOCS, section 2.3.5).
//!
//! A replica leaves its view when it has waited too long, or when f + 1 others have left it: one of them is
//! honest. It then votes in no view before the one that it moves to, and says what it has prepared.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::Instant;
use crypto::{Digest, Signature};

use crate::certificate::QuorumCertificate;
use crate::change::{Claim, ViewChange};
use crate::config::Mutant;
use crate::message::Message;
use crate::numbers::{PhaseState, ViewNumber};
use crate::output::Event;
use crate::persist::Recipient;
use crate::record::Record;
use crate::state::{BftNode, Mode};

/// A replica between two views.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changing {
    /// What this replica said; none if it does not know what it signed.
    pub(crate) own: Option<ViewChange>,
    /// The certificates of it, as they were then.
    pub(crate) proofs: Vec<Arc<QuorumCertificate>>,
    /// What others said to it, as the primary of the view that is to come.
    pub(crate) changes: BTreeMap<usize, (ViewChange, Vec<Arc<QuorumCertificate>>)>,
    /// When the new view is no longer waited for: known once a quorum has left the views before.
    pub(crate) deadline: Option<Instant>,
}

impl Changing {
    pub(crate) fn check_invariants(&self, view: ViewNumber) {
        assert!(self.own.as_ref().is_none_or(|own| own.view == view));
        assert!(self.changes.values().all(|(change, _)| change.view == view));
    }
}

impl BftNode {
    /// Leaves all views before `view`. The record of it is on the disk before anybody hears of it.
    pub(crate) fn leave_for(&mut self, view: ViewNumber) {
        if view <= self.view || self.abstention.is_some() {
            return;
        }
        self.view = view;
        self.fruitless_views = self.fruitless_views.saturating_add(1);
        let change = self.own_change(view);
        self.counters.views_left += 1;
        self.record(Record::Left(Box::new(change.clone())));
        self.note(Event::Leaving { view });
        let proofs = self.proofs();
        let changing = Changing { own: Some(change), proofs, ..Changing::default() };
        self.mode = Mode::Changing(Box::new(changing));
        self.left_for[self.slot] = view;
        self.log.forget_votes();
        self.announce_change();
        self.time_change();
    }

    fn own_change(&mut self, view: ViewNumber) -> ViewChange {
        let (stable, state) = self
            .stable
            .as_ref()
            .map_or_else(Default::default, |proof| (proof.sequence, proof.digest));
        let claim = |proof: &Arc<QuorumCertificate>| Claim {
            sequence: proof.sequence,
            view: proof.view,
            digest: proof.digest,
        };
        let prepared = self.log.open().filter_map(|(_, entry)| entry.prepared.as_ref().map(claim));
        let forgets = self.config.has_bug(Mutant::ForgetPrepared);
        let prepared = prepared.filter(|_| !forgets).collect();
        let signature = Signature([0; crypto::SIGNATURE_BYTES]);
        let mut change = ViewChange { view, slot: self.slot, stable, state, prepared, signature };
        let statement = ViewChange::statement(&self.config.keyring, view, change.content());
        self.counters.signed += 1;
        change.signature = self.key.sign(&statement);
        change
    }

    /// Tells the next primary what was prepared, with the proofs, and all others that the view is left.
    pub(crate) fn announce_change(&mut self) {
        let Mode::Changing(changing) = &self.mode else { return };
        let Some(change) = changing.own.clone() else { return };
        let proofs = changing.proofs.clone();
        let primary = self.primary();
        let (view, content, signature) = (change.view, change.content(), change.signature);
        for slot in self.others().filter(|slot| *slot != primary) {
            let leaving = Message::Leaving { view, content, signature };
            self.send_when_durable(Recipient::One(slot), leaving);
        }
        let message = Message::ViewChange { change: Box::new(change), proofs };
        self.send_when_durable(Recipient::One(primary), message);
    }

    /// The certificates of the stable checkpoint, and of everything that is prepared above it.
    pub(crate) fn proofs(&self) -> Vec<Arc<QuorumCertificate>> {
        let prepared = self.log.open().filter_map(|(_, entry)| entry.prepared.clone());
        self.stable.iter().cloned().chain(prepared).collect()
    }

    /// A replica says that it has left all views before `view`.
    pub(crate) fn handle_leaving(
        &mut self,
        from: usize,
        view: ViewNumber,
        content: Digest,
        signature: Signature,
    ) {
        if self.is_active() && view <= self.view {
            return self.help_with_view(from);
        }
        if view <= self.left_for[from] {
            return;
        }
        self.counters.verified += 1;
        let statement = ViewChange::statement(&self.config.keyring, view, content);
        if self.config.keyring.verify(from, &statement, &signature).is_err() {
            return self.blame(from);
        }
        self.note_left(from, view);
    }

    /// Joins when f + 1 others have left: the latest view to which so many have moved. When a quorum has,
    /// the time for the new view begins (section 4.5.2).
    fn note_left(&mut self, from: usize, view: ViewNumber) {
        self.left_for[from] = self.left_for[from].max(view);
        let weak = self.config.quorums.weak();
        let mut views: Vec<ViewNumber> = self.others().map(|slot| self.left_for[slot]).collect();
        views.sort_unstable_by(|one, other| other.cmp(one));
        if let Some(joint) = views.get(weak - 1).copied().filter(|joint| *joint > self.view) {
            self.leave_for(joint);
        }
        self.time_change();
    }

    fn time_change(&mut self) {
        let gone = self.left_for.iter().filter(|view| **view >= self.view).count();
        let (deadline, quorum) = (self.now + self.patience(), self.quorum());
        if let Mode::Changing(changing) = &mut self.mode
            && changing.deadline.is_none()
            && gone >= quorum
        {
            changing.deadline = Some(deadline);
        }
    }

    /// A view change for this replica as the next primary.
    pub(crate) fn handle_view_change(
        &mut self,
        from: usize,
        change: ViewChange,
        proofs: Vec<Arc<QuorumCertificate>>,
    ) {
        let view = change.view;
        if change.slot != from || view.primary(self.config.keyring.size()) != self.slot {
            self.counters.malformed += 1;
            return;
        }
        if view < self.view || self.is_active() && view == self.view {
            return self.help_with_view(from);
        }
        if let Mode::Changing(changing) = &self.mode
            && view == self.view
            && changing.changes.contains_key(&from)
        {
            return;
        }
        self.counters.verified += 1;
        let statement = ViewChange::statement(&self.config.keyring, view, change.content());
        if self.config.keyring.verify(from, &statement, &change.signature).is_err() {
            return self.blame(from);
        }
        self.note_left(from, view);
        if view == self.view && self.is_change_proven(from, &change, &proofs) {
            self.collect_change(change, proofs);
        }
    }

    /// Whether a replica proves everything that it claims. One that does not is a liar, and a quorum is
    /// found without it.
    fn is_change_proven(
        &mut self,
        from: usize,
        change: &ViewChange,
        proofs: &[Arc<QuorumCertificate>],
    ) -> bool {
        if !change.is_well_formed(self.config.window) {
            self.counters.malformed += 1;
            return false;
        }
        let mut needed: Vec<&Arc<QuorumCertificate>> = Vec::new();
        if change.stable.0 > 0 {
            let is_it = |proof: &&Arc<QuorumCertificate>| {
                proof.phase == PhaseState::Checkpoint
                    && (proof.sequence, proof.digest) == (change.stable, change.state)
            };
            let Some(proof) = proofs.iter().find(is_it) else { return false };
            needed.push(proof);
        } else if change.state != Digest::default() {
            return false;
        }
        for claim in &change.prepared {
            let Some(proof) = proofs.iter().find(|proof| claim.is_proven_by(proof)) else {
                return false;
            };
            needed.push(proof);
        }
        needed.into_iter().all(|proof| self.is_proven(from, proof))
    }

    /// Keeps what a replica claims, and begins the view when a quorum's claims are here.
    pub(crate) fn collect_change(
        &mut self,
        change: ViewChange,
        proofs: Vec<Arc<QuorumCertificate>>,
    ) {
        let view = self.view;
        let Mode::Changing(changing) = &mut self.mode else { return };
        if change.view != view {
            return;
        }
        changing.changes.insert(change.slot, (change, proofs));
        self.begin_view();
    }

    /// A peer is in an earlier view, or waits for this one.
    pub(crate) fn help_with_view(&mut self, to: usize) {
        let resend = self.config.resend_every;
        if self.helped[to].is_some_and(|at| self.now.since(at) < resend) {
            return;
        }
        if self.is_active()
            && let Some(new_view) = self.new_view.clone()
        {
            self.helped[to] = Some(self.now);
            self.send(to, Message::NewView(new_view));
        }
    }

    /// A message of another view: whoever is behind is told so.
    pub(crate) fn note_other_view(&mut self, from: usize, view: ViewNumber) {
        self.counters.other_view += 1;
        if view < self.view {
            self.help_with_view(from);
        } else if (view > self.view || !self.is_active()) && self.guard.may_answer(from) {
            self.send_status(from);
        }
    }
}
