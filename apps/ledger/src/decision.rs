//! A batch that was decided, with its proof: what a node keeps of the ledger, and what anybody can check.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use base::codec::DecodeError;
use bft::{Batch, CertificateError, Message, QuorumCertificate, Quorums};
use bytes::Bytes;
use crypto::Keyring;

/// A decided batch and its certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What was decided.
    pub batch: Batch,
    /// The proof.
    pub certificate: Arc<QuorumCertificate>,
}

/// Why a decision proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecisionError {
    /// The certificate is not one of a decision.
    Phase,
    /// The certificate is of another batch.
    Batch,
    /// The certificate is none.
    Certificate(CertificateError),
}

impl fmt::Display for DecisionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecisionError::Phase => f.write_str("the certificate is not one of a decision"),
            DecisionError::Batch => f.write_str("the certificate is of another batch"),
            DecisionError::Certificate(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for DecisionError {}

impl Decision {
    /// Checks it, with nothing but the keys and numbers of the group.
    ///
    /// # Errors
    /// If it proves nothing.
    pub fn verify(&self, keyring: &Keyring, quorums: Quorums) -> Result<(), DecisionError> {
        if !self.certificate.is_decision(quorums) {
            return Err(DecisionError::Phase);
        }
        if self.certificate.digest != self.batch.digest() {
            return Err(DecisionError::Batch);
        }
        self.certificate.verify(keyring, quorums).map_err(DecisionError::Certificate)
    }

    /// The decision as bytes: as replicas send it to each other.
    pub fn encode(&self) -> Bytes {
        let (batch, certificate) = (self.batch.clone(), self.certificate.clone());
        let mut bytes = Vec::new();
        Message::Committed { batch, certificate }.encode(&mut bytes);
        bytes.into()
    }

    /// Reads a decision; requests are slices of `bytes`, and nothing is verified.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(bytes: &Bytes) -> Result<Decision, DecodeError> {
        match Message::decode(bytes)? {
            Message::Committed { batch, certificate } => Ok(Decision { batch, certificate }),
            _ => Err(DecodeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use bft::{FaultBound, PhaseState, Sequence, ViewNumber, VoterSet};
    use crypto::{Digest, Signature, Statement};

    use super::*;
    use crate::request::tests::{key, keyring};

    /// A decision as three of four have signed it.
    fn decision(batch: &Batch, digest: Digest, phase: PhaseState) -> Decision {
        let (view, sequence) = (ViewNumber(1), Sequence(5));
        let statement = Statement {
            protocol: *b"cot-bft\x02",
            group: keyring().group(),
            phase: phase.number(),
            view: view.0,
            sequence: sequence.0,
            digest,
        };
        let signers = VoterSet(0b1011);
        let sign = |slot: usize| key(u16::try_from(slot).unwrap() + 1).sign(&statement);
        let signatures: Vec<Signature> = signers.iter().map(sign).collect();
        let certificate = QuorumCertificate { phase, view, sequence, digest, signers, signatures };
        Decision { batch: batch.clone(), certificate: Arc::new(certificate) }
    }

    #[test]
    fn a_decision_proves_itself_and_no_other_batch() {
        let (keyring, quorums) = (keyring(), Quorums::of(4, FaultBound::Quarter).unwrap());
        let batch = Batch::new(alloc::vec![Bytes::from_static(b"request")]);
        let good = decision(&batch, batch.digest(), PhaseState::Commit);
        assert_eq!(good.verify(&keyring, quorums), Ok(()));
        let read = Decision::decode(&good.encode()).unwrap();
        assert_eq!((read.verify(&keyring, quorums), &read), (Ok(()), &good));
        let other = Decision { batch: Batch::null(), ..good.clone() };
        assert_eq!(other.verify(&keyring, quorums), Err(DecisionError::Batch));
        let prepared = decision(&batch, batch.digest(), PhaseState::Prepare);
        assert_eq!(prepared.verify(&keyring, quorums), Err(DecisionError::Phase));
        let mut certificate = (*good.certificate).clone();
        certificate.signatures[1].0[3] ^= 1;
        let forged = Decision { certificate: Arc::new(certificate), ..good };
        let error = DecisionError::Certificate(CertificateError::Signature(1));
        assert_eq!(forged.verify(&keyring, quorums), Err(error));
        let mut question = Vec::new();
        Message::AskPosition.encode(&mut question);
        assert!(Decision::decode(&question.into()).is_err());
    }
}
