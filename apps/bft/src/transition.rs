//! How a number comes from a proposal to a decision (OSDI '99, section 4.2; TOCS, section 2.3.3).
//!
//! | transition | when | then |
//! |---|---|---|
//! | propose | primary: a request waits, and the window and the flow allow it | pre-prepare to a quorum |
//! | accept | backup: signature good, of this view, in the window, the first for its number | prepare |
//! | prepared | primary: q votes for one digest; backup: their certificate | commit |
//! | committed-local | primary: q commits for one digest; anybody: their certificate | execute in order |
//! | decided fast | primary: F votes for one digest; anybody: their certificate | execute in order |
//!
//! Votes go to the primary, which collects them into certificates: see the crate's documentation for why,
//! `audience` for who gets them when, and `fast` for how long F votes are waited for.

use alloc::sync::Arc;

use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{QuorumCertificate, vote};
use crate::config::Mutant;
use crate::log::{Accepted, Ballot, Entry};
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
        entry.accepted = Some(Accepted { view, digest, signature, is_verified: true });
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
        // What is decided needs no vote, in no view: whoever lacks the decision is told of it. Another batch
        // may not be voted for at all.
        if entry.committed.is_some() {
            return;
        }
        if !entry.has_voted_in(view) {
            entry.voted = Some(Ballot { view, digest });
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
        if view == self.view
            && from == self.primary()
            && self.keep_early(sequence, &batch, signature)
        {
            return;
        }
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
                if let Some(proof) = entry.committed.clone() {
                    self.answer_with_decision(from, proof);
                }
                // The vote was lost, or is asked for without need: that costs a signature.
                if self.guard.may_answer(from) {
                    self.vote_prepare(sequence);
                }
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
        let Some(entry) = self.log.entry(vote.sequence) else { return };
        if entry.committed.as_ref().is_some_and(|proof| proof.view < vote.view) {
            return self.tell_voter(from, vote.sequence);
        }
        let keyring = &self.config.keyring;
        // Votes for anything but the own proposal can never make a quorum here.
        match entry.accepted_in(self.view) {
            None => return,
            Some(accepted) if accepted.digest != vote.digest => return self.judge_vote(from, vote),
            Some(_) => {}
        }
        let is_commit = vote.phase == PhaseState::Commit;
        let votes = if is_commit { &mut entry.commits } else { &mut entry.prepares };
        let votes = votes.get_or_insert_with(|| Votes::new(vote.phase, vote.view, vote.sequence));
        if !votes.has(from) && entry.asked.contains(from) {
            entry.heard_at = Some(self.now);
        }
        let verified = votes.add(from, vote, keyring);
        self.account(&verified);
        self.try_certify(vote.phase, vote.sequence);
    }

    /// What a peer asks to vote on was decided in an earlier view. It holds for ever.
    fn answer_with_decision(&mut self, to: usize, proof: Arc<QuorumCertificate>) {
        if self.guard.may_answer(to) {
            self.send(to, Message::Certificate(proof));
        }
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
    pub(crate) fn try_certify(&mut self, phase: PhaseState, sequence: Sequence) {
        let (view, quorums) = (self.view, self.config.quorums);
        let Some(entry) = self.log.entry(sequence) else { return };
        let Some(digest) = entry.accepted_in(view).map(|accepted| accepted.digest) else { return };
        let is_commit = phase == PhaseState::Commit;
        let quorum = match !is_commit && entry.is_fast {
            true => quorums.fast_quorum(),
            false => quorums.quorum(),
        };
        let votes = match is_commit {
            _ if entry.committed.is_some() => return,
            true => &mut entry.commits,
            false if entry.prepared_in(view).is_none() => &mut entry.prepares,
            false => return,
        };
        let Some(votes) = votes.as_mut().filter(|votes| votes.is_of(view)) else { return };
        if votes.voters().len() >= quorums.quorum() {
            entry.quorum_at.get_or_insert(self.now);
        }
        let verified = votes.certify(digest, quorum, &self.config.keyring);
        self.account(&verified);
        let Some(certificate) = verified.certificate.map(Arc::new) else { return };
        self.verified.insert(certificate.identity());
        if certificate.is_decision(quorums) {
            self.tell_decision(&certificate);
            self.decide(certificate, None);
        } else {
            self.ask_to_commit(&certificate);
            self.prepare(certificate);
        }
    }

    /// Whom a proposal of this primary goes to now: as many as may decide it; but what a new view orders goes
    /// to all, who vote on it anyway.
    fn ask(&mut self, sequence: Sequence) -> VoterSet {
        let (first, now, fast) = (self.first_asked(sequence), self.now, self.can_be_fast());
        let Some(entry) = self.log.entry(sequence) else { return first };
        if entry.asked.is_empty() {
            entry.asked = first;
        }
        // What is asked for again is overdue.
        entry.is_fast = fast && entry.asked_at.is_none();
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
        if !self.has_taken(&proof) {
            return;
        }
        if !self.awaits_prepared(&proof) {
            if self.guard.may_answer(from) {
                self.vote_commit(proof.sequence);
            }
            return;
        }
        if self.is_proven(from, &proof) {
            self.prepare(proof);
        }
    }

    /// Whether this replica has voted for what the certificate is of. Without the proposal there is nothing
    /// to commit to; the primary sends it again.
    fn has_taken(&self, proof: &QuorumCertificate) -> bool {
        self.is_active()
            && proof.view == self.view
            && self.log.contains(proof.sequence)
            && self.log.get(proof.sequence).is_some_and(|entry| {
                entry.has_voted_in(self.view)
                    && entry.accepted_in(self.view).is_some_and(|one| one.digest == proof.digest)
            })
    }

    /// Whether a certificate of prepares is of use.
    pub(crate) fn awaits_prepared(&self, proof: &QuorumCertificate) -> bool {
        let is_prepared = |entry: &Entry| entry.prepared_in(self.view).is_some();
        self.has_taken(proof) && !self.log.get(proof.sequence).is_some_and(is_prepared)
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

    pub(crate) fn vote_commit(&mut self, sequence: Sequence) {
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
        let is_decision = proof.is_decision(self.config.quorums);
        if !is_decision || batch.as_ref().is_some_and(|batch| batch.digest() != proof.digest) {
            self.counters.malformed += 1;
            return;
        }
        if proof.sequence > self.log.high() {
            // Far ahead, if it is true. Nothing is believed, but somebody is asked.
            return self.begin_fetch(from);
        }
        if !self.awaits_decision(&proof, batch.is_some()) || !self.is_proven(from, &proof) {
            return;
        }
        let is_settled = proof.sequence <= self.log.low();
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

    /// Whether the proof of a decision is of use, with its batch or without.
    pub(crate) fn awaits_decision(&self, proof: &QuorumCertificate, has_batch: bool) -> bool {
        let (next, entry) = (self.executed.next(), self.log.get(proof.sequence));
        if proof.sequence <= self.log.low() {
            return proof.sequence == next && has_batch;
        }
        if !self.log.contains(proof.sequence) {
            return false;
        }
        match entry.and_then(|entry| entry.committed.as_ref()) {
            _ if proof.sequence >= next && has_batch => true,
            Some(known) => proof.sequence >= next && known.digest != proof.digest,
            // After a restart what was executed may lack its proof, without which it is proposed on and on.
            None => {
                let is_open = |entry: &Entry| entry.accepted_in(self.view).is_some();
                proof.sequence >= next || entry.is_some_and(is_open)
            }
        }
    }

    pub(crate) fn decide(&mut self, proof: Arc<QuorumCertificate>, batch: Option<Batch>) {
        let sequence = proof.sequence;
        self.judge_primary(&proof);
        let view = self.view;
        let Some(entry) = self.log.entry(sequence) else { return };
        let is_news = match &entry.committed {
            Some(known) if known.digest != proof.digest => {
                return self.note(Event::Forked { sequence });
            }
            known => known.is_none(),
        };
        if is_news {
            entry.committed = Some(proof.clone());
        }
        if let Some(batch) = batch {
            entry.keep(batch);
        }
        // Proposed again in this view, although it was decided before: nobody need vote on it.
        let is_proposed = proof.view < view && entry.accepted_in(view).is_some();
        if is_news {
            self.persistence.note(Record::Committed(proof.clone()));
        }
        if is_news && is_proposed && self.leads() {
            self.tell_decision(&proof);
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
        self.counters.decided_fast += u64::from(certificate.phase == PhaseState::Prepare);
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
        entry.accepted = Some(Accepted { view, digest, signature, is_verified: false });
        entry.asked = all;
        let null = Batch::null();
        if null.digest() == digest {
            entry.keep(null);
        }
    }
}
