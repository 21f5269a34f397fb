//! Who is known to lie, and how that is known.
//!
//! Nothing of the protocol rests on it: liars are outvoted, not thrown out. It is for whoever runs the group.

use crypto::{Digest, Signature};

use crate::certificate::{QuorumCertificate, vote};
use crate::message::Vote;
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
use crate::output::Event;
use crate::state::BftNode;

/// Replicas that have said what no honest one says, since this one started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Liars {
    /// Their own signatures prove it: two proposals for one number of a view, or a vote for what its
    /// primary did not propose.
    pub proven: VoterSet,
    /// They have sent signatures that are bad, if the network tells the truth about who sent what.
    pub bad_signatures: VoterSet,
}

impl BftNode {
    /// A message of this peer has a bad signature.
    pub(crate) fn blame(&mut self, slot: usize) {
        self.counters.bad_signatures += 1;
        self.guard.note_bad_signature(slot);
        self.liars.bad_signatures.insert(slot);
        if self.guard.is_muted(slot) {
            // Its votes are lost with the rest: it is asked last.
            self.audience.note_silent(slot, self.now);
        }
        self.hasten_if_muted();
        let from = self.member(slot);
        self.note(Event::BadSignature { from });
    }

    /// The primary of this view, which is the sender, proposes a second batch for a number.
    pub(crate) fn convict_if_signed(
        &mut self,
        from: usize,
        (view, sequence, digest): (ViewNumber, Sequence, Digest),
        signature: &Signature,
    ) {
        if self.liars.proven.contains(from) {
            return;
        }
        if self.is_vote(from, (PhaseState::Prepare, view, sequence, digest), signature) {
            self.convict(from, sequence);
        } else {
            self.blame(from);
        }
    }

    /// A replica votes, and this one is the primary and has proposed something else.
    pub(crate) fn judge_vote(&mut self, from: usize, one: &Vote) {
        let said = (one.phase, one.view, one.sequence, one.digest);
        if self.liars.proven.contains(from) {
            return;
        }
        if self.is_vote(from, said, &one.signature) {
            self.liars.proven.insert(from);
            let from = self.member(from);
            self.note(Event::FalseVote { from, sequence: one.sequence });
        } else {
            self.blame(from);
        }
    }

    /// A quorum has decided another batch than the one that the primary of that view proposed to this
    /// replica. An honest replica among them has seen the primary propose theirs.
    pub(crate) fn judge_primary(&mut self, proof: &QuorumCertificate) {
        let accepted = self.log.get(proof.sequence).and_then(|entry| entry.accepted);
        let is_other =
            accepted.is_some_and(|one| one.view == proof.view && one.digest != proof.digest);
        let primary = proof.view.primary(self.config.keyring.size());
        if is_other && primary != self.slot && !self.liars.proven.contains(primary) {
            self.convict(primary, proof.sequence);
        }
    }

    fn convict(&mut self, slot: usize, sequence: Sequence) {
        self.liars.proven.insert(slot);
        let primary = self.member(slot);
        self.note(Event::Equivocation { primary, sequence });
    }

    fn is_vote(
        &mut self,
        slot: usize,
        (phase, view, sequence, digest): (PhaseState, ViewNumber, Sequence, Digest),
        signature: &Signature,
    ) -> bool {
        self.counters.verified += 1;
        let keyring = &self.config.keyring;
        let statement = vote(keyring, phase, view, sequence, digest, slot);
        keyring.verify(slot, &statement, signature).is_ok()
    }

    /// The replicas that are known to lie, by their slots in [`crypto::Keyring`].
    pub fn liars(&self) -> Liars {
        self.liars
    }
}
