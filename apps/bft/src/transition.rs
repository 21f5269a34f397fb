//! How a number comes from a proposal to a decision (OSDI '99, section 4.2; TOCS, section 2.3.3).
//!
//! | transition | when | then |
//! |---|---|---|
//! | propose | primary: a request waits, and the window and the flow allow it | pre-prepare to a quorum |
//! | accept | backup: signature good, of this view, in the window, the first for its number | prepare |
//! | prepared | primary: q votes for one digest; backup: their certificate | commit |
//! | committed-local | primary: q commits for one digest; anybody: their certificate | execute in order |
//!
//! Votes go to the primary, which collects them into certificates: see the crate's documentation for why, and
//! `audience` for who gets them when.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::{Instant, limits};
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{QuorumCertificate, vote};
use crate::config::Mutant;
use crate::log::{Accepted, Entry};
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
use crate::output::{Event, Output};
use crate::persist::Recipient;
use crate::record::Record;
use crate::state::BftNode;
use crate::votes::{Verified, Votes};

impl BftNode {
    /// Proposes what waits, as far as the window and the flow allow.
    pub(crate) fn propose_batches(&mut self) {
        while self.leads() && self.may_sign() {
            let first_open = self.executed.max(self.log.low());
            let is_room = self.next_sequence <= first_open.plus(self.config.in_flight_max);
            if !is_room || !self.log.contains(self.next_sequence) {
                return;
            }
            let Some(batch) = self.requests.next_batch(self.view) else { return };
            let sequence = self.next_sequence;
            self.next_sequence = sequence.next();
            let vote = self.signed_vote(PhaseState::Prepare, self.view, sequence, batch.digest());
            self.accept(sequence, batch, vote.signature);
        }
    }

    /// Takes a proposal of the present view: records it, and votes for it.
    fn accept(&mut self, sequence: Sequence, batch: Batch, signature: Signature) {
        let (view, digest) = (self.view, batch.digest());
        let Some(entry) = self.log.entry(sequence) else { return };
        entry.accepted = Some(Accepted { view, digest, signature });
        entry.keep(batch);
        self.vote_prepare(sequence);
        // Its decision may have overtaken it.
        self.execute_decided();
    }

    /// Votes for the proposal of the present view, if its batch is known; the vote is recorded first.
    pub(crate) fn vote_prepare(&mut self, sequence: Sequence) {
        let view = self.view;
        if !self.is_active() || !self.may_sign() {
            return;
        }
        let Some(entry) = self.log.entry(sequence) else { return };
        let Some(&Accepted { digest, signature, .. }) = entry.accepted_in(view) else { return };
        let Some(batch) = entry.batch(digest).cloned() else { return };
        if entry.committed.as_ref().is_some_and(|proof| proof.digest != digest) {
            return; // Another batch is decided: nobody may vote against that.
        }
        if entry.recorded != Some(view) {
            entry.recorded = Some(view);
            let batch = batch.clone();
            self.record(Record::Accepted { view, sequence, batch, signature });
        }
        if self.primary() == self.slot {
            let proposal = Message::PrePrepare { view, sequence, batch, signature };
            let others = self.ask(sequence);
            self.send_when_durable(Recipient::Those(others), proposal);
            let own = Vote { phase: PhaseState::Prepare, view, sequence, digest, signature };
            self.send_when_durable(Recipient::One(self.slot), Message::Vote(own));
        } else {
            let vote = self.signed_vote(PhaseState::Prepare, view, sequence, digest);
            self.send_when_durable(Recipient::One(self.primary()), Message::Vote(vote));
        }
    }

    /// The primary proposes (OSDI '99, section 4.2: the conditions under which a backup accepts).
    pub(crate) fn handle_pre_prepare(
        &mut self,
        from: usize,
        view: ViewNumber,
        sequence: Sequence,
        batch: Batch,
        signature: Signature,
    ) {
        if view != self.view || !self.is_active() || from != self.primary() {
            self.note_other_view(from, view);
            return;
        }
        if sequence <= self.log.low() {
            return self.help_with_stable(from);
        }
        let digest = batch.digest();
        let Some(entry) = self.log.entry(sequence) else { return };
        if let Some(accepted) = entry.accepted_in(view) {
            if accepted.digest == digest {
                entry.keep(batch);
                self.vote_prepare(sequence);
                return self.execute_decided();
            }
            if !self.config.has_bug(Mutant::AcceptTwice) {
                return self.convict_if_signed(from, (view, sequence, digest), &signature);
            }
        }
        self.counters.verified += 1;
        let keyring = &self.config.keyring;
        let statement = vote(keyring, PhaseState::Prepare, view, sequence, digest, from);
        if keyring.verify(from, &statement, &signature).is_err() {
            return self.blame(from);
        }
        self.accept(sequence, batch, signature);
    }

    /// A vote has come; only a primary has use for it.
    pub(crate) fn handle_vote(&mut self, from: usize, vote: &Vote) {
        if vote.phase == PhaseState::Checkpoint {
            return self.handle_checkpoint_vote(from, vote);
        }
        if vote.view != self.view || !self.leads() {
            return self.note_other_view(from, vote.view);
        }
        let keyring = &self.config.keyring;
        let Some(entry) = self.log.entry(vote.sequence) else { return };
        // Votes for anything but the own proposal can never make a quorum here.
        match entry.accepted_in(self.view) {
            None => return,
            Some(accepted) if accepted.digest != vote.digest => return self.judge_vote(from, vote),
            Some(_) => {}
        }
        let is_commit = vote.phase == PhaseState::Commit;
        let votes = if is_commit { &mut entry.commits } else { &mut entry.prepares };
        let votes = votes.get_or_insert_with(|| Votes::new(vote.phase, vote.view, vote.sequence));
        let verified = votes.add(from, vote, keyring);
        self.account(&verified);
        self.try_certify(vote.phase, vote.sequence);
    }

    /// The own vote is durable, and counts.
    pub(crate) fn collect_own(&mut self, vote: &Vote) {
        if vote.phase == PhaseState::Checkpoint {
            return self.collect_own_checkpoint(vote);
        }
        if vote.view != self.view || !self.leads() {
            return;
        }
        let own = self.slot;
        let Some(entry) = self.log.entry(vote.sequence) else { return };
        let is_commit = vote.phase == PhaseState::Commit;
        let votes = if is_commit { &mut entry.commits } else { &mut entry.prepares };
        votes
            .get_or_insert_with(|| Votes::new(vote.phase, vote.view, vote.sequence))
            .add_own(own, vote);
        self.try_certify(vote.phase, vote.sequence);
    }

    pub(crate) fn account(&mut self, verified: &Verified) {
        self.counters.verified += verified.checked;
        verified.bad.iter().for_each(|slot| self.blame(slot));
    }

    /// Makes a certificate of the votes for the own proposal, when there is a quorum of them and none yet.
    fn try_certify(&mut self, phase: PhaseState, sequence: Sequence) {
        let (view, quorum) = (self.view, self.quorum());
        let Some(entry) = self.log.entry(sequence) else { return };
        let Some(digest) = entry.accepted_in(view).map(|accepted| accepted.digest) else { return };
        let is_commit = phase == PhaseState::Commit;
        let votes = match is_commit {
            true if entry.committed.as_ref().is_none_or(|proof| proof.view != view) => {
                &mut entry.commits
            }
            false if entry.prepared_in(view).is_none() => &mut entry.prepares,
            true | false => return,
        };
        let Some(votes) = votes.as_mut().filter(|votes| votes.is_of(view)) else { return };
        let verified = votes.certify(digest, quorum, &self.config.keyring);
        self.account(&verified);
        let Some(certificate) = verified.certificate.map(Arc::new) else { return };
        self.verified.insert(certificate.identity());
        if is_commit {
            self.tell_decision(&certificate);
            self.decide(certificate, None);
        } else {
            self.ask_to_commit(&certificate);
            self.prepare(certificate);
        }
    }

    /// Whom a proposal of this primary goes to now: as many as a quorum needs; but what a new view orders
    /// goes to all, who vote on it anyway.
    fn ask(&mut self, sequence: Sequence) -> VoterSet {
        let (first, now) = (self.first_asked(sequence), self.now);
        let Some(entry) = self.log.entry(sequence) else { return first };
        if entry.asked.is_empty() {
            entry.asked = first;
        }
        entry.asked_at = Some(now);
        entry.asked
    }

    /// Those who have signed it commit to it: more are not needed.
    fn ask_to_commit(&mut self, proof: &Arc<QuorumCertificate>) {
        let now = self.now;
        if let Some(entry) = self.log.entry(proof.sequence) {
            entry.asked_at = Some(now);
        }
        for slot in proof.signers.iter() {
            self.send(slot, Message::Certificate(proof.clone()));
        }
    }

    /// A quorum has taken the proposal: the predicate `prepared` (OSDI '99, section 4.2).
    pub(crate) fn handle_prepared(&mut self, from: usize, proof: Arc<QuorumCertificate>) {
        if proof.view != self.view || !self.is_active() {
            return self.note_other_view(from, proof.view);
        }
        let Some(entry) = self.log.entry(proof.sequence) else { return };
        // Without the proposal there is nothing to commit to; the primary sends it again.
        let is_ours = entry.recorded == Some(self.view)
            && entry.accepted_in(self.view).is_some_and(|one| one.digest == proof.digest);
        if !is_ours {
            return;
        }
        if entry.prepared_in(self.view).is_some() {
            return self.vote_commit(proof.sequence);
        }
        if self.is_proven(from, &proof) {
            self.prepare(proof);
        }
    }

    /// Keeps the certificate, and votes to commit once it is on the disk.
    fn prepare(&mut self, proof: Arc<QuorumCertificate>) {
        let sequence = proof.sequence;
        if !self.may_sign() {
            return;
        }
        let Some(entry) = self.log.entry(sequence) else { return };
        entry.prepared = Some(proof.clone());
        self.record(Record::Prepared(proof));
        self.vote_commit(sequence);
    }

    fn vote_commit(&mut self, sequence: Sequence) {
        let view = self.view;
        let Some(proof) = self.log.get(sequence).and_then(|entry| entry.prepared_in(view)) else {
            return;
        };
        let digest = proof.digest;
        let vote = self.signed_vote(PhaseState::Commit, view, sequence, digest);
        self.send_when_durable(Recipient::One(self.primary()), Message::Vote(vote));
    }

    /// A batch is decided: the predicate `committed-local`. Whatever the view is, and whether this replica
    /// takes part in it: a decision holds for ever.
    pub(crate) fn handle_committed(
        &mut self,
        from: usize,
        proof: Arc<QuorumCertificate>,
        batch: Option<Batch>,
    ) {
        let is_commit = proof.phase == PhaseState::Commit;
        if !is_commit || batch.as_ref().is_some_and(|batch| batch.digest() != proof.digest) {
            self.counters.malformed += 1;
            return;
        }
        let next = self.executed.next();
        if proof.sequence < next {
            return;
        }
        let is_settled = proof.sequence <= self.log.low();
        if is_settled && (proof.sequence != next || batch.is_none()) {
            return;
        }
        if !is_settled && !self.log.contains(proof.sequence) {
            // Far ahead, if it is true. Nothing is believed, but somebody is asked.
            return self.begin_fetch(from);
        }
        let known = self.log.get(proof.sequence).and_then(|entry| entry.committed.as_ref());
        if known.is_some_and(|known| known.digest == proof.digest) && batch.is_none() {
            return;
        }
        if !self.is_proven(from, &proof) {
            return;
        }
        match batch {
            // Behind the window there is no entry: it is executed as it comes, in order.
            Some(batch) if is_settled => {
                if !self.is_installing() {
                    self.execute(batch, proof);
                }
            }
            batch => self.decide(proof, batch),
        }
        self.execute_decided();
    }

    fn decide(&mut self, proof: Arc<QuorumCertificate>, batch: Option<Batch>) {
        let sequence = proof.sequence;
        self.judge_primary(&proof);
        let Some(entry) = self.log.entry(sequence) else { return };
        match &entry.committed {
            Some(known) if known.digest != proof.digest => {
                return self.note(Event::Forked { sequence });
            }
            // Decided in an earlier view, and now in this one too.
            Some(known) if known.view < proof.view => entry.committed = Some(proof),
            Some(_) => {}
            None => {
                entry.committed = Some(proof.clone());
                self.persistence.note(Record::Committed(proof));
            }
        }
        if let Some(batch) = batch {
            entry.keep(batch);
        }
        self.execute_decided();
    }

    /// Gives out what is decided and comes next.
    pub(crate) fn execute_decided(&mut self) {
        if self.is_installing() {
            return;
        }
        while let Some((batch, proof)) =
            self.log.get(self.executed.next()).and_then(|entry| entry.decided())
        {
            let (batch, proof) = (batch.clone(), proof.clone());
            self.execute(batch, proof);
        }
    }

    fn execute(&mut self, batch: Batch, certificate: Arc<QuorumCertificate>) {
        let sequence = certificate.sequence;
        self.executed = sequence;
        self.requests.note_executed(&batch, sequence);
        self.counters.executed += 1;
        self.counters.requests += batch.requests().len() as u64;
        self.progress = self.now;
        // Something was decided: the next view may be given up as early as the first (section 4.5.2).
        self.fruitless_views = 0;
        self.outputs.push_back(Output::Apply { sequence, batch, certificate });
        if sequence.0.is_multiple_of(self.config.checkpoint_every) {
            self.outputs.push_back(Output::TakeCheckpoint { sequence });
        }
    }

    /// A batch that was asked for. Its digest proves it.
    pub(crate) fn handle_batch(&mut self, sequence: Sequence, batch: Batch) {
        let view = self.view;
        let wanted = self.log.get(sequence).and_then(|entry| entry.lacks(view));
        if wanted != Some(batch.digest()) {
            return;
        }
        if let Some(entry) = self.log.entry(sequence) {
            entry.keep(batch);
        }
        self.vote_prepare(sequence);
        self.execute_decided();
    }

    /// Sends what the backups have not answered again, as the primary, and to those that were not asked. Its
    /// own votes are among what it lacks when it has started anew.
    pub(crate) fn resend_proposals(&mut self) {
        let view = self.view;
        let open = self.log.open().take(limits::BFT_IN_FLIGHT_MAX as usize * 2);
        let (now, patience) = (self.now, self.config.resend_every);
        let is_due = |at: Instant| now.since(at).times(2) >= patience;
        let is_open = |entry: &Entry| {
            entry.recorded == Some(view)
                && entry.asked_at.is_none_or(is_due)
                && entry.committed.as_ref().is_none_or(|proof| proof.view != view)
        };
        let open: Vec<_> =
            open.filter(|(_, entry)| is_open(entry)).map(|(sequence, _)| sequence).collect();
        for sequence in open {
            self.resend_proposal(sequence);
        }
    }

    fn resend_proposal(&mut self, sequence: Sequence) {
        let (view, own) = (self.view, self.slot);
        let Some(entry) = self.log.get(sequence) else { return };
        let Some(&Accepted { digest, signature, .. }) = entry.accepted_in(view) else { return };
        let Some(batch) = entry.batch(digest).cloned() else { return };
        let lacks = |votes: &Option<Votes>| -> Vec<usize> {
            let has = |slot: &usize| votes.as_ref().is_some_and(|votes| votes.has(*slot));
            self.others().chain([own]).filter(|slot| !has(slot)).collect()
        };
        let (prepares, commits) = (lacks(&entry.prepares), lacks(&entry.commits));
        let prepared = entry.prepared_in(view).cloned();
        let (asked, waited_for) = match &prepared {
            Some(proof) => (proof.signers, &commits),
            None => (entry.asked, &prepares),
        };
        let silent: Vec<usize> =
            waited_for.iter().copied().filter(|slot| asked.contains(*slot)).collect();
        self.widen(sequence, &silent);
        for slot in prepares {
            let message = if slot == own {
                let phase = PhaseState::Prepare;
                Message::Vote(Vote { phase, view, sequence, digest, signature })
            } else {
                Message::PrePrepare { view, sequence, batch: batch.clone(), signature }
            };
            self.send_when_durable(Recipient::One(slot), message);
        }
        let Some(prepared) = prepared else { return };
        for slot in commits {
            if slot == own {
                self.vote_commit(sequence);
            } else {
                let message = Message::Certificate(prepared.clone());
                self.send_when_durable(Recipient::One(slot), message);
            }
        }
    }

    /// Those who were asked first and are silent are doubted, and all are asked.
    fn widen(&mut self, sequence: Sequence, silent: &[usize]) {
        let (all, now) = (self.all_others(), self.now);
        for slot in silent.iter().filter(|slot| **slot != self.slot) {
            self.audience.note_silent(*slot, now);
        }
        if let Some(entry) = self.log.entry(sequence) {
            entry.asked = all;
            entry.asked_at = Some(now);
        }
    }

    /// The null request, or a batch that is known, for a number of a new view.
    pub(crate) fn take_order(
        &mut self,
        view: ViewNumber,
        sequence: Sequence,
        digest: Digest,
        signature: Signature,
    ) {
        let all = self.all_others();
        let Some(entry) = self.log.entry(sequence) else { return };
        if entry.accepted_in(view).is_some() {
            return;
        }
        entry.accepted = Some(Accepted { view, digest, signature });
        entry.asked = all;
        let null = Batch::null();
        if null.digest() == digest {
            entry.keep(null);
        }
    }
}
