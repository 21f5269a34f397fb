//! What the primary of a view that is to come hears of those who leave the views before (OSDI '99, section
//! 4.4).
//!
//! Claims are kept as they came, those too that come before this replica has left its own view, and verified
//! when a quorum may be there: no more of them than the new view is made of.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::certificate::QuorumCertificate;
use crate::change::ViewChange;
use crate::departures::Departure;
use crate::numbers::{PhaseState, ViewNumber};
use crate::state::{BftNode, Mode};

/// The claims of one replica, and the proofs of them.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) change: ViewChange,
    pub(crate) proofs: Vec<Arc<QuorumCertificate>>,
    is_proven: bool,
}

/// The claims of all, for one view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    of: BTreeMap<usize, Claims>,
}

impl Collected {
    /// Lets go of all that is for other views.
    pub(crate) fn keep_of(&mut self, view: ViewNumber) {
        self.of.retain(|_, claims| claims.change.view == view);
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Claims> {
        self.of.get(&slot)
    }

    /// Those that are proven.
    pub(crate) fn proven(&self) -> impl Iterator<Item = usize> {
        self.of.iter().filter(|(_, claims)| claims.is_proven).map(|(slot, _)| *slot)
    }

    fn first_unproven(&self) -> Option<usize> {
        self.of.iter().find(|(_, claims)| !claims.is_proven).map(|(slot, _)| *slot)
    }

    pub(crate) fn check_invariants(&self) {
        let views = self.of.values().map(|claims| claims.change.view);
        assert!(views.clone().min() == views.max(), "they are for one view");
    }
}

impl BftNode {
    /// The view for which this replica collects: the one that is to come if that is its own, or the next that
    /// is.
    fn collects_for(&self) -> ViewNumber {
        let replicas = self.config.keyring.size();
        let mut view = if self.is_active() { self.view.next() } else { self.view };
        while view.primary(replicas) != self.slot {
            view = view.next();
        }
        view
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
        let departure = Departure::of(&change);
        if view == self.collects_for() {
            self.collect(from, change, proofs);
        }
        self.handle_leaving(from, departure);
        self.begin_view();
    }

    /// Keeps what a replica claims. If it has claimed something else before, one of the two may be forged:
    /// the first stays if it is proven.
    fn collect(&mut self, from: usize, change: ViewChange, proofs: Vec<Arc<QuorumCertificate>>) {
        let view = change.view;
        self.collected.keep_of(view);
        let held = self.collected.of.get(&from);
        let is_other = held.is_some_and(|held| !held.is_proven && held.change != change);
        if is_other {
            self.prove(from);
        }
        let new = Claims { change, proofs, is_proven: false };
        self.collected.of.entry(from).or_insert(new);
    }

    /// The own claims are on the disk, and count.
    pub(crate) fn collect_own_claims(
        &mut self,
        change: ViewChange,
        proofs: Vec<Arc<QuorumCertificate>>,
    ) {
        if change.view == self.view && matches!(self.mode, Mode::Changing(_)) {
            self.collected.of.insert(self.slot, Claims { change, proofs, is_proven: true });
            self.begin_view();
        }
    }

    /// Verifies claims until those of a quorum are proven, too few are left, or the turn is over. Answers
    /// whether a quorum's are.
    pub(crate) fn prove_claims(&mut self) -> bool {
        let quorum = self.quorum();
        while self.collected.of.len() >= quorum {
            if self.collected.proven().count() >= quorum {
                return true;
            }
            match self.collected.first_unproven() {
                // The rest in the next turn.
                Some(_) if self.is_spent() => return false,
                Some(slot) => self.prove(slot),
                None => return false,
            }
        }
        false
    }

    /// Verifies the claims of a replica. One that does not prove them is a liar, and a quorum is found
    /// without it.
    fn prove(&mut self, slot: usize) {
        let Some(Claims { change, proofs, .. }) = self.collected.of.get(&slot).cloned() else {
            return;
        };
        let departure = Departure::of(&change);
        let is_signed = self.departures.knows(slot, &departure) || {
            self.counters.verified += 1;
            departure.verifies(slot, &self.config.keyring)
        };
        if !is_signed {
            self.blame(slot);
        }
        if is_signed && self.is_change_proven(slot, &change, &proofs) {
            if let Some(claims) = self.collected.of.get_mut(&slot) {
                claims.is_proven = true;
            }
        } else {
            self.collected.of.remove(&slot);
        }
    }

    /// Whether a replica proves everything that it claims.
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
        } else if change.state != crypto::Digest::default() {
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
}
