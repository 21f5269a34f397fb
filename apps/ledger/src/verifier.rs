//! Whether what a node keeps of the ledger is the signed chain that it should be: for whoever has the keys.
//!
//! What is proven is more than what a start believes. Every decision has a certificate of a quorum, and
//! follows the one before; every request the signature of its author; and the state that follows from all of
//! it, the head of the chain included, is what a quorum has signed at each checkpoint. A state that was
//! fetched takes the place of blocks that are not there: a certificate proves that, too, and the blocks are
//! counted.

use alloc::collections::BTreeMap;
use core::fmt;

use base::limits;
use bft::{CertificateError, PhaseState, QuorumCertificate, Quorums, Sequence};
use bytes::Bytes;
use crypto::{Digest, Keyring};

use crate::archive::Archived;
use crate::decision::{Decision, DecisionError};
use crate::machine::Ledger;

/// How many states are remembered until a certificate of them comes: there are two checkpoints in a window.
const STATES_REMEMBERED: usize = 8;

/// What is wrong with a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// What is on the disk is not what was written.
    Damaged,
    /// It is no record of the ledger.
    Malformed,
    /// It is not the next one.
    Order,
    /// It is not proven to be decided.
    Decision(DecisionError),
    /// Its requests are said to be good, and are not.
    Requests,
    /// The certificate of the state proves nothing.
    Certificate(CertificateError),
    /// The state is not the one that a quorum has signed.
    State,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Damaged => f.write_str("it is damaged on the disk"),
            Flaw::Malformed => f.write_str("it is no record of the ledger"),
            Flaw::Order => f.write_str("it is not the one that follows"),
            Flaw::Decision(error) => error.fmt(f),
            Flaw::Requests => f.write_str("its requests are said to be good, and are not"),
            Flaw::Certificate(error) => write!(f, "the state there: {error}"),
            Flaw::State => f.write_str("the state there is not the one that a quorum has signed"),
        }
    }
}

/// The first block that does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Its number: that of the decision, or of the checkpoint.
    pub block: Sequence,
    /// How many entries are proven before it.
    pub entries: u64,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} does not verify: {}", self.block, self.flaw)
    }
}

impl core::error::Error for Fault {}

/// Takes the records of a node's log of entries, one after the other.
#[derive(Clone, Debug)]
pub struct Verifier {
    ledger: Ledger,
    quorums: Quorums,
    states: BTreeMap<Sequence, Digest>,
    checkpoints: u64,
    absent: u64,
}

impl Verifier {
    /// One that has seen nothing yet of the ledger of this group.
    pub fn new(keyring: Keyring, quorums: Quorums) -> Verifier {
        let (ledger, states) = (Ledger::new(keyring), BTreeMap::new());
        Verifier { ledger, quorums, states, checkpoints: 0, absent: 0 }
    }

    /// The ledger, as far as it is proven.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many checkpoints a quorum's signatures were found of.
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    /// How many blocks are not there: a proven state has taken their place.
    pub fn absent(&self) -> u64 {
        self.absent
    }

    /// The next record is not what was written.
    pub fn damaged(&self) -> Fault {
        self.fault(self.ledger.applied().next(), Flaw::Damaged)
    }

    /// Verifies the next record. It takes as long as a quorum's signatures, and those of its requests.
    ///
    /// # Errors
    /// If it does not verify; what was proven before stays so.
    pub fn take(&mut self, kind: u8, bytes: &Bytes) -> Result<(), Fault> {
        let next = self.ledger.applied().next();
        let archived = Archived::decode(kind, bytes);
        match archived.map_err(|_| self.fault(next, Flaw::Malformed))? {
            Archived::Decision { decision, is_clean } => self.take_decision(&decision, is_clean),
            Archived::Checkpoint(proof) => self.take_checkpoint(&proof),
            Archived::State { certificate, state } => self.take_state(&certificate, &state),
        }
    }

    fn take_decision(&mut self, decision: &Decision, is_clean: bool) -> Result<(), Fault> {
        let (block, next) = (decision.certificate.sequence, self.ledger.applied().next());
        if block != next {
            return Err(self.fault(next, Flaw::Order));
        }
        let verified = decision.verify(self.ledger.keyring(), self.quorums);
        verified.map_err(|error| self.fault(block, Flaw::Decision(error)))?;
        let before = self.ledger.clone();
        let executed = self.ledger.apply(block, &decision.batch);
        if is_clean && executed.len() != decision.batch.requests().len() {
            self.ledger = before;
            return Err(self.fault(block, Flaw::Requests));
        }
        if block.0.is_multiple_of(limits::BFT_CHECKPOINT_EVERY) {
            self.remember(Digest::of(&self.ledger.snapshot()));
        }
        Ok(())
    }

    fn take_checkpoint(&mut self, proof: &QuorumCertificate) -> Result<(), Fault> {
        self.verify_state(proof)?;
        if self.states.get(&proof.sequence) != Some(&proof.digest) {
            return Err(self.fault(proof.sequence, Flaw::State));
        }
        self.checkpoints += 1;
        Ok(())
    }

    fn take_state(&mut self, proof: &QuorumCertificate, state: &Bytes) -> Result<(), Fault> {
        self.verify_state(proof)?;
        let keyring = self.ledger.keyring().clone();
        let ledger = Ledger::restore(state, keyring).ok();
        let ledger = ledger
            .filter(|one| one.applied() == proof.sequence && Digest::of(state) == proof.digest);
        let ledger = ledger.ok_or_else(|| self.fault(proof.sequence, Flaw::State))?;
        if ledger.applied() <= self.ledger.applied() {
            return Err(self.fault(proof.sequence, Flaw::Order));
        }
        self.absent += ledger.applied().0 - self.ledger.applied().0;
        self.ledger = ledger;
        self.remember(proof.digest);
        Ok(())
    }

    fn verify_state(&self, proof: &QuorumCertificate) -> Result<(), Fault> {
        let verified = match proof.phase {
            PhaseState::Checkpoint => proof.verify(self.ledger.keyring(), self.quorums),
            PhaseState::PrePrepare | PhaseState::Prepare | PhaseState::Commit => {
                Err(CertificateError::Phase)
            }
        };
        verified.map_err(|error| self.fault(proof.sequence, Flaw::Certificate(error)))
    }

    fn remember(&mut self, state: Digest) {
        self.states.insert(self.ledger.applied(), state);
        if self.states.len() > STATES_REMEMBERED {
            self.states.pop_first();
        }
    }

    fn fault(&self, block: Sequence, flaw: Flaw) -> Fault {
        Fault { block, entries: self.ledger.length(), flaw }
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use bft::{Batch, FaultBound, ViewNumber, VoterSet};
    use crypto::{Signature, Statement};

    use super::*;
    use crate::request::tests::{key, keyring, of_client, request};

    fn quorums() -> Quorums {
        Quorums::of(4, FaultBound::Quarter).unwrap()
    }

    /// A certificate of three of four.
    fn certify(phase: PhaseState, sequence: u64, digest: Digest) -> Arc<QuorumCertificate> {
        let statement = Statement {
            protocol: *b"cot-bft\x02",
            group: keyring().group(),
            phase: phase.number(),
            view: 0,
            sequence,
            digest,
        };
        let signers = VoterSet(0b1110);
        let sign = |slot: usize| key(u16::try_from(slot).unwrap() + 1).sign(&statement);
        let signatures: Vec<Signature> = signers.iter().map(sign).collect();
        let (view, sequence) = (ViewNumber(0), Sequence(sequence));
        Arc::new(QuorumCertificate { phase, view, sequence, digest, signers, signatures })
    }

    /// The log of so many decisions, with a checkpoint at each 32nd.
    fn log(blocks: u64) -> (Vec<Archived>, Ledger) {
        let mut ledger = Ledger::new(keyring());
        let mut log = Vec::new();
        for number in 1..=blocks {
            let entry = request(2, number, &[b"one", b"two"]).seal(&key(2), &keyring());
            let own = of_client(70, number, b"mine").seal(&key(70), &keyring());
            let batch = Batch::new(Vec::from([entry, own]));
            let certificate = certify(PhaseState::Commit, number, batch.digest());
            ledger.apply(Sequence(number), &batch);
            log.push(Archived::Decision {
                decision: Decision { batch, certificate },
                is_clean: true,
            });
            if number % 32 == 0 {
                let state = Digest::of(&ledger.snapshot());
                log.push(Archived::Checkpoint(certify(PhaseState::Checkpoint, number, state)));
            }
        }
        (log, ledger)
    }

    fn verify(log: &[(u8, Bytes)]) -> Result<Verifier, Fault> {
        let mut verifier = Verifier::new(keyring(), quorums());
        log.iter().try_for_each(|(kind, bytes)| verifier.take(*kind, bytes))?;
        Ok(verifier)
    }

    fn encoded(log: &[Archived]) -> Vec<(u8, Bytes)> {
        log.iter().map(Archived::encode).collect()
    }

    #[test]
    fn a_whole_chain_is_proven() {
        let (log, ledger) = log(70);
        let verifier = verify(&encoded(&log)).unwrap();
        assert_eq!(verifier.ledger(), &ledger);
        assert_eq!((verifier.checkpoints(), verifier.absent()), (2, 0));
        let members = (5..=8).map(|one| (crate::request::tests::id(one), key(one).verifying_key()));
        let others = Keyring::new(base::ClusterId(7), 0, members.collect()).unwrap();
        let (kind, bytes) = log[0].encode();
        let fault = Verifier::new(others, quorums()).take(kind, &bytes).unwrap_err();
        assert_eq!(fault.block, Sequence(1));
        assert!(matches!(fault.flaw, Flaw::Decision(_)), "{fault}");
    }

    /// Whatever bit of a record is flipped, the block that it is in is named, and nothing before it.
    #[test]
    fn every_flipped_bit_is_found() {
        let log = encoded(&log(33).0);
        for (at, block) in [(0, 1), (31, 32), (32, 32), (33, 33)] {
            let length = log[at].1.len();
            for place in (0..length).step_by(if length > 400 { 7 } else { 1 }) {
                let mut spoilt = log.clone();
                let mut bytes = spoilt[at].1.to_vec();
                bytes[place] ^= 1 << (place % 8);
                spoilt[at].1 = bytes.into();
                let fault = verify(&spoilt).map(|_| ()).unwrap_err();
                // Where it says which checkpoint it is, it says another.
                let is_named = fault.block == Sequence(block) || at == 32;
                assert!(is_named, "byte {place} of record {at}: {fault}");
                assert!(fault.block >= Sequence(1) && fault.entries <= 33 * 3);
            }
        }
    }

    /// Blocks that are left out, swapped, or decided by nobody; and a state that is not what a quorum has.
    #[test]
    fn no_block_is_left_out_and_no_state_made_up() {
        let (whole, ledger) = log(40);
        let flaw = |log: &[Archived]| verify(&encoded(log)).map(|_| ()).unwrap_err().flaw;
        let mut missing = whole.clone();
        missing.remove(5);
        assert_eq!(flaw(&missing), Flaw::Order);
        let mut swapped = whole.clone();
        swapped.swap(5, 6);
        assert_eq!(flaw(&swapped), Flaw::Order);
        let state = ledger.snapshot();
        let proven = |state: &Bytes, digest| Archived::State {
            certificate: certify(PhaseState::Checkpoint, 40, digest),
            state: state.clone(),
        };
        let good = verify(&encoded(&[proven(&state, Digest::of(&state))])).unwrap();
        assert_eq!((good.ledger(), good.absent()), (&ledger, 40));
        let mut other = state.to_vec();
        other[20] ^= 1;
        assert_eq!(flaw(&[proven(&other.into(), Digest::of(&state))]), Flaw::State);
        let (kind, bytes) = (9, Bytes::from_static(b"garbage"));
        assert_eq!(verify(&[(kind, bytes)]).map(|_| ()).unwrap_err().flaw, Flaw::Malformed);
        // A batch whose second request nobody has signed, said to be clean.
        let forged = of_client(70, 1, b"mine").seal(&key(71), &keyring());
        let batch = Batch::new(Vec::from([forged]));
        let certificate = certify(PhaseState::Commit, 1, batch.digest());
        let decision = Decision { batch, certificate };
        let lie = Archived::Decision { decision: decision.clone(), is_clean: true };
        assert_eq!(flaw(&[lie]), Flaw::Requests);
        let honest = [Archived::Decision { decision, is_clean: false }];
        assert_eq!(verify(&encoded(&honest)).unwrap().ledger().length(), 0);
    }
}
