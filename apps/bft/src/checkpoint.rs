//! Which states a quorum agrees on, and what may be forgotten (OSDI '99, section 4.3).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crypto::Digest;

use crate::certificate::QuorumCertificate;
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence, ViewNumber};
use crate::output::{Event, Output};
use crate::persist::Recipient;
use crate::record::Record;
use crate::state::BftNode;
use crate::votes::Votes;

impl BftNode {
    /// The caller has a copy of its state after everything up to `sequence`, as [`Output::TakeCheckpoint`]
    /// asked, and this is its digest. It must cover everything that answers to clients depend on.
    pub fn handle_checkpoint(&mut self, sequence: Sequence, digest: Digest) {
        self.handle_applied(sequence);
        if sequence <= self.log.low() || sequence > self.executed {
            return self.compare_with_stable(sequence, digest);
        }
        // What was said before a restart is not said otherwise after it.
        if self.states.get(&sequence).is_some_and(|said| *said != digest) {
            return self.note(Event::Diverged { sequence });
        }
        if self.states.insert(sequence, digest).is_none() {
            self.record(Record::Checkpoint { sequence, digest });
        }
        self.vote_checkpoint(sequence);
    }

    /// The checkpoint was stable before this replica came to it: its own state must be that of the quorum.
    fn compare_with_stable(&mut self, sequence: Sequence, digest: Digest) {
        let Some(stable) = self.stable.clone() else { return };
        if stable.sequence == sequence && stable.digest != digest {
            self.note(Event::Diverged { sequence });
            self.begin_state_transfer(stable);
        }
    }

    fn vote_checkpoint(&mut self, sequence: Sequence) {
        let Some(digest) = self.states.get(&sequence).copied() else { return };
        if !self.may_sign() {
            return;
        }
        let phase = PhaseState::Checkpoint;
        let vote = self.signed_vote(phase, ViewNumber(0), sequence, digest);
        self.send_when_durable(Recipient::One(self.primary()), Message::Vote(vote));
    }

    /// Votes for checkpoints that are not stable go to the primary again: to a new one, or in case they
    /// were lost.
    pub(crate) fn resend_checkpoints(&mut self) {
        let sequences: Vec<Sequence> = self.states.keys().copied().collect();
        for sequence in sequences {
            self.vote_checkpoint(sequence);
        }
    }

    /// The votes on a checkpoint in the window; there are none on other numbers.
    fn open_checkpoint(&mut self, sequence: Sequence) -> bool {
        let is_one =
            sequence.0.is_multiple_of(self.config.checkpoint_every) && self.log.contains(sequence);
        if is_one {
            let new = || Votes::new(PhaseState::Checkpoint, ViewNumber(0), sequence);
            self.checkpoints.entry(sequence).or_insert_with(new);
        }
        is_one
    }

    pub(crate) fn handle_checkpoint_vote(&mut self, from: usize, vote: &Vote) {
        if vote.sequence <= self.log.low() {
            return self.help_with_stable(from);
        }
        if vote.view != ViewNumber(0) || !self.open_checkpoint(vote.sequence) {
            self.counters.malformed += 1;
            return;
        }
        let Some(votes) = self.checkpoints.get_mut(&vote.sequence) else { return };
        let verified = votes.add(from, vote, &self.config.keyring);
        self.account(&verified);
        self.try_stabilise(vote.sequence);
    }

    pub(crate) fn collect_own_checkpoint(&mut self, vote: &Vote) {
        let own = self.slot;
        if self.open_checkpoint(vote.sequence)
            && let Some(votes) = self.checkpoints.get_mut(&vote.sequence)
        {
            votes.add_own(own, vote);
            self.try_stabilise(vote.sequence);
        }
    }

    /// Makes a certificate, when a quorum has voted for one state.
    fn try_stabilise(&mut self, sequence: Sequence) {
        let quorum = self.quorum();
        let digests = self.checkpoints.get(&sequence).map_or_else(Vec::new, Votes::digests);
        for digest in digests {
            let Some(votes) = self.checkpoints.get_mut(&sequence) else { return };
            let verified = votes.certify(digest, quorum, &self.config.keyring);
            self.account(&verified);
            if let Some(certificate) = verified.certificate.map(Arc::new) {
                self.verified.insert(certificate.identity());
                self.send_to_others(&Message::Certificate(certificate.clone()));
                return self.stabilise(certificate);
            }
        }
    }

    /// Whether the proof of a checkpoint is of use.
    pub(crate) fn awaits_stable(&self, proof: &QuorumCertificate) -> bool {
        proof.sequence.0.is_multiple_of(self.config.checkpoint_every)
            && proof.sequence > self.log.low()
    }

    /// A quorum has this state at this checkpoint.
    pub(crate) fn handle_stable(&mut self, from: usize, proof: Arc<QuorumCertificate>) {
        if !proof.sequence.0.is_multiple_of(self.config.checkpoint_every) {
            self.counters.malformed += 1;
            return;
        }
        let is_answer = self.is_asked(from);
        let is_news = self.awaits_stable(&proof);
        if is_news && !self.is_proven(from, &proof) {
            return;
        }
        if is_news {
            self.stabilise(proof.clone());
        }
        // Whoever was asked for decisions, and has a checkpoint instead, has forgotten them.
        let is_ours = self.stable.as_ref().is_some_and(|stable| **stable == *proof);
        if is_answer && is_ours && self.executed < proof.sequence {
            self.begin_state_transfer_from(from, proof);
        }
    }

    /// The window moves, whether this replica has executed that far or not (pitfall: one that has must not
    /// execute again, and one that has not fetches what it lacks).
    pub(crate) fn stabilise(&mut self, proof: Arc<QuorumCertificate>) {
        let sequence = proof.sequence;
        let before = self.log.low();
        if sequence <= before {
            return;
        }
        self.record(Record::Stable(proof.clone()));
        self.move_watermarks(&proof);
        self.requests.forget_executed(before);
        match self.states.get(&sequence) {
            Some(own) if *own != proof.digest => {
                self.note(Event::Diverged { sequence });
                self.begin_state_transfer(proof.clone());
            }
            Some(_) => self.outputs.push_back(Output::Stable { certificate: proof.clone() }),
            // Its digest comes when it has executed that far, or fetched the state.
            None => {}
        }
        self.states = self.states.split_off(&sequence.next());
        self.execute_decided();
        self.consider_signing();
        self.fetch_if_behind();
    }

    pub(crate) fn move_watermarks(&mut self, proof: &Arc<QuorumCertificate>) {
        let sequence = proof.sequence;
        self.log.advance(sequence);
        self.stable = Some(proof.clone());
        self.checkpoints = self.checkpoints.split_off(&sequence.next());
        self.next_sequence = self.next_sequence.max(sequence.next());
    }

    /// A peer speaks of what is settled: it has not heard so.
    pub(crate) fn help_with_stable(&mut self, to: usize) {
        if let Some(stable) = self.stable.clone()
            && self.guard.may_answer(to)
        {
            self.send(to, Message::Certificate(stable));
        }
    }
}
