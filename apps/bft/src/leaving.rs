//! How a view ends (OSDI '99, section 4.4 and 4.5.2; TOCS, section 2.3.5).
//!
//! A replica leaves its view when it has waited too long, or when f + 1 others have left it: one of them is
//! honest. It then votes in no view before the one that it moves to, and says what it has prepared.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::{Instant, limits};
use crypto::Signature;

use crate::batch::Batch;
use crate::certificate::QuorumCertificate;
use crate::change::{Claim, ViewChange};
use crate::config::Mutant;
use crate::departures::{Departure, Looked};
use crate::log::Entry;
use crate::message::Message;
use crate::numbers::{Sequence, ViewNumber};
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
    /// What its primary has proposed: it may come before the view itself, which is longer.
    pub(crate) early: Vec<(Sequence, Batch, Signature)>,
    /// When the new view is no longer waited for: known once a quorum has left the views before.
    pub(crate) deadline: Option<Instant>,
}

impl Changing {
    pub(crate) fn check_invariants(&self, view: ViewNumber) {
        assert!(self.own.as_ref().is_none_or(|own| own.view == view));
        assert!(self.early.len() as u64 <= limits::BFT_IN_FLIGHT_MAX);
    }
}

impl BftNode {
    /// Leaves all views before `view`. The record of it is on the disk before anybody hears of it.
    pub(crate) fn leave_for(&mut self, view: ViewNumber) {
        if view <= self.view || self.abstention.is_some() {
            return;
        }
        // Whoever it was, it is not asked first in the view that is to come.
        self.audience.note_silent(self.primary(), self.now);
        self.view = view;
        self.fruitless_views = self.fruitless_views.saturating_add(1);
        let change = self.own_change(view);
        self.counters.views_left += 1;
        self.record(Record::Left(Box::new(change.clone())));
        self.note(Event::Leaving { view });
        self.departures.note_own(self.slot, Departure::of(&change));
        let proofs = self.proofs();
        let changing = Changing { own: Some(change), proofs, ..Changing::default() };
        self.mode = Mode::Changing(Box::new(changing));
        self.collected.keep_of(view);
        self.log.forget_votes();
        self.announce_change();
        self.tell_next_primary();
        self.time_change();
    }

    /// What this replica's clients wait for is there when the view begins.
    pub(crate) fn tell_next_primary(&mut self) {
        for request in self.requests.waiting(self.slot) {
            self.send(self.primary(), Message::Request(request));
        }
    }

    fn own_change(&mut self, view: ViewNumber) -> ViewChange {
        let (stable, state) = self
            .stable
            .as_ref()
            .map_or_else(Default::default, |proof| (proof.sequence, proof.digest));
        let (prepared, voted) = self.claims(view);
        let signature = Signature([0; crypto::SIGNATURE_BYTES]);
        let slot = self.slot;
        let mut change = ViewChange { view, slot, stable, state, prepared, voted, signature };
        let statement = ViewChange::statement(&self.config.keyring, view, change.content());
        self.counters.signed += 1;
        change.signature = self.key.sign(&statement);
        change
    }

    /// What was prepared before this view, and what was voted for after that.
    fn claims(&self, view: ViewNumber) -> (Vec<Claim>, Vec<Claim>) {
        let (mut prepared, mut voted) = (Vec::new(), Vec::new());
        for (sequence, entry) in self.log.open() {
            let proof = entry.prepared_before(view);
            let ballot = entry.voted_since(proof.map(|proof| proof.view));
            let claim = |view, digest| Claim { sequence, view, digest };
            prepared.extend(proof.map(|one| claim(one.view, one.digest)));
            voted.extend(ballot.map(|one| claim(one.view, one.digest)));
        }
        if self.config.has_bug(Mutant::ForgetPrepared) {
            prepared.clear();
        }
        if self.config.has_bug(Mutant::ForgetVotes) {
            voted.clear();
        }
        (prepared, voted)
    }

    /// Tells the next primary what was prepared, with the proofs, and all others that the view is left.
    pub(crate) fn announce_change(&mut self) {
        let Mode::Changing(changing) = &self.mode else { return };
        let Some(change) = changing.own.clone() else { return };
        let proofs = changing.proofs.clone();
        let primary = self.primary();
        let Departure { view, content, signature } = Departure::of(&change);
        for slot in self.others().filter(|slot| *slot != primary) {
            let leaving = Message::Leaving { view, content, signature };
            self.send_when_durable(Recipient::One(slot), leaving);
        }
        let message = Message::ViewChange { change: Box::new(change), proofs };
        self.send_when_durable(Recipient::One(primary), message);
    }

    /// The certificates of the stable checkpoint, and of everything that is prepared above it.
    pub(crate) fn proofs(&self) -> Vec<Arc<QuorumCertificate>> {
        let proof = |entry: &Entry| entry.prepared_before(self.view).cloned();
        let prepared = self.log.open().filter_map(|(_, entry)| proof(entry));
        self.stable.iter().cloned().chain(prepared).collect()
    }

    /// A replica says that it has left all views before `view`.
    pub(crate) fn handle_leaving(&mut self, from: usize, departure: Departure) {
        if self.is_active() && departure.view <= self.view {
            return self.help_with_view(from);
        }
        self.note_departure(from, departure);
    }

    fn note_departure(&mut self, from: usize, departure: Departure) {
        let looked = self.departures.add(from, departure, &self.config.keyring);
        self.account_departure(from, looked);
        self.join();
        self.time_change();
    }

    fn account_departure(&mut self, from: usize, looked: Looked) {
        self.counters.verified += looked.checked;
        (0..looked.bad).for_each(|_| self.blame(from));
    }

    fn verify_departure(&mut self, slot: usize) {
        let looked = self.departures.verify(slot, &self.config.keyring);
        self.account_departure(slot, looked);
    }

    /// Joins when f + 1 others have left: the latest view to which so many have moved. Their words are
    /// verified when there are as many.
    fn join(&mut self) {
        let weak = self.config.quorums.weak();
        loop {
            let joint = self.departures.joint_view(self.slot, weak);
            if joint <= self.view {
                return;
            }
            // This replica has said nothing of that view itself: only others are counted.
            match self.departures.doubtful(joint, weak) {
                Some(slot) => self.verify_departure(slot),
                None => return self.leave_for(joint),
            }
        }
    }

    /// When a quorum has left, as far as it says so, the time for the new view begins (section 4.5.2).
    fn time_change(&mut self) {
        let gone = self.departures.count(self.view);
        let (deadline, quorum) = (self.now + self.patience(), self.quorum());
        if let Mode::Changing(changing) = &mut self.mode
            && changing.deadline.is_none()
            && gone >= quorum
        {
            changing.deadline = Some(deadline);
        }
    }

    /// The time for the new view is over. It is given up only if a quorum has really left for it: those who
    /// were believed so far are looked at now.
    pub(crate) fn give_up_view(&mut self) {
        let quorum = self.quorum();
        while let Some(slot) = self.departures.doubtful(self.view, quorum) {
            self.verify_departure(slot);
        }
        if self.departures.count(self.view) >= quorum {
            self.leave_for(self.view.next());
        } else if let Mode::Changing(changing) = &mut self.mode {
            changing.deadline = None;
        }
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
