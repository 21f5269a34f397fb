//! Proof that a quorum said something: whoever has the keys can check it.

use alloc::vec::Vec;
use core::fmt;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use crypto::{Digest, Hasher, Keyring, Signature, Statement};

use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
use crate::quorum::Quorums;

/// This protocol and its version, in everything that is signed.
pub(crate) const PROTOCOL: [u8; 8] = *b"cot-bft\x02";

/// Why a certificate proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CertificateError {
    /// There are certificates of [`PhaseState::Prepare`], `Commit` and `Checkpoint` only, and those of the
    /// last are of no view.
    Phase,
    /// The signers are fewer than a quorum, or not all of the group, or not as many as signatures.
    Signers,
    /// The signature of the replica with this slot does not verify.
    Signature(usize),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateError::Phase => f.write_str("there are no such certificates"),
            CertificateError::Signers => f.write_str("the signers are no quorum"),
            CertificateError::Signature(slot) => {
                write!(f, "the signature of replica {slot} does not verify")
            }
        }
    }
}

impl core::error::Error for CertificateError {}

/// A quorum's signatures on one statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumCertificate {
    /// What was said.
    pub phase: PhaseState,
    /// In which view; 0 for a checkpoint.
    pub view: ViewNumber,
    /// Of which sequence number.
    pub sequence: Sequence,
    /// The digest of the batch, or of the state.
    pub digest: Digest,
    /// Who signed.
    pub signers: VoterSet,
    /// The signatures, in the order of the signers' slots.
    pub signatures: Vec<Signature>,
}

/// A signature that is to be verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Check {
    /// Whose it should be.
    pub(crate) slot: usize,
    pub(crate) statement: Statement,
    pub(crate) signature: Signature,
}

impl Check {
    pub(crate) fn passes(&self, keyring: &Keyring) -> bool {
        keyring.verify(self.slot, &self.statement, &self.signature).is_ok()
    }
}

impl QuorumCertificate {
    /// Whether it is one of a decision: a quorum commits to it, or so many take it that nothing else can be
    /// decided.
    pub fn is_decision(&self, quorums: Quorums) -> bool {
        match self.phase {
            PhaseState::Commit => true,
            PhaseState::Prepare => self.signers.len() >= quorums.fast_quorum(),
            PhaseState::PrePrepare | PhaseState::Checkpoint => false,
        }
    }

    /// Checks the certificate, with nothing but the keys and numbers of the group. It takes as long as
    /// verifying that many signatures.
    ///
    /// # Errors
    /// If it proves nothing.
    pub fn verify(&self, keyring: &Keyring, quorums: Quorums) -> Result<(), CertificateError> {
        self.verify_but(keyring, quorums, |_, _| false).1
    }

    /// The same without the signatures that are known to be good: those that were verified for the very same
    /// statement, and one's own. Answers how many signatures were verified, too.
    pub(crate) fn verify_but(
        &self,
        keyring: &Keyring,
        quorums: Quorums,
        is_known: impl Fn(usize, &Signature) -> bool,
    ) -> (u64, Result<(), CertificateError>) {
        let checks = match self.checks(keyring, quorums, is_known) {
            Ok(checks) => checks,
            Err(error) => return (0, Err(error)),
        };
        let mut checked = 0;
        for check in checks {
            checked += 1;
            if !check.passes(keyring) {
                return (checked, Err(CertificateError::Signature(check.slot)));
            }
        }
        (checked, Ok(()))
    }

    /// What is to be verified, without the signatures that are known to be good.
    pub(crate) fn checks(
        &self,
        keyring: &Keyring,
        quorums: Quorums,
        is_known: impl Fn(usize, &Signature) -> bool,
    ) -> Result<Vec<Check>, CertificateError> {
        self.check_form(keyring, quorums)?;
        let all = self.signers.iter().zip(&self.signatures);
        let unknown = all.filter(|(slot, signature)| !is_known(*slot, signature));
        let said = |slot| vote(keyring, self.phase, self.view, self.sequence, self.digest, slot);
        let check = |(slot, signature): (usize, &Signature)| Check {
            slot,
            statement: said(slot),
            signature: *signature,
        };
        Ok(unknown.map(check).collect())
    }

    /// Whether it is of a phase of which there are certificates, with a quorum of signers.
    fn check_form(&self, keyring: &Keyring, quorums: Quorums) -> Result<(), CertificateError> {
        let is_of_view = match self.phase {
            PhaseState::PrePrepare => return Err(CertificateError::Phase),
            PhaseState::Prepare | PhaseState::Commit => true,
            PhaseState::Checkpoint => false,
        };
        if !is_of_view && self.view != ViewNumber(0) {
            return Err(CertificateError::Phase);
        }
        if self.signers.len() < quorums.quorum() || self.signers.len() != self.signatures.len() {
            return Err(CertificateError::Signers);
        }
        if self.signers.iter().any(|slot| slot >= keyring.size()) {
            return Err(CertificateError::Signers);
        }
        Ok(())
    }

    /// A name for exactly this certificate: other signers or signatures make another one.
    pub(crate) fn identity(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"coterie certificate\x01").update(&[self.phase.number()]);
        hasher.update(&self.view.0.to_le_bytes()).update(&self.sequence.0.to_le_bytes());
        hasher.update(&self.digest.0).update(&self.signers.0.to_le_bytes());
        for signature in &self.signatures {
            hasher.update(&signature.0);
        }
        hasher.finish()
    }

    /// Appends the certificate.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.u8(self.phase.number()).u64(self.view.0).u64(self.sequence.0);
        self.digest.encode(writer);
        writer.u32(self.signers.0);
        for signature in &self.signatures {
            signature.encode(writer);
        }
    }

    /// Reads a certificate. What it says is not verified.
    ///
    /// # Errors
    /// If there is none.
    pub fn decode(reader: &mut Reader<'_>) -> Result<QuorumCertificate, DecodeError> {
        let phase = PhaseState::from_number(reader.u8()?).ok_or(DecodeError)?;
        let (view, sequence) = (view(reader)?, sequence(reader)?);
        let digest = Digest::decode(reader)?;
        let signers = VoterSet(reader.u32()?);
        let signatures =
            (0..signers.len()).map(|_| Signature::decode(reader)).collect::<Result<_, _>>()?;
        Ok(QuorumCertificate { phase, view, sequence, digest, signers, signatures })
    }
}

pub(crate) fn view(reader: &mut Reader<'_>) -> Result<ViewNumber, DecodeError> {
    number(reader).map(ViewNumber)
}

pub(crate) fn sequence(reader: &mut Reader<'_>) -> Result<Sequence, DecodeError> {
    number(reader).map(Sequence)
}

fn number(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let number = reader.u64()?;
    if number > limits::BFT_NUMBER_MAX { Err(DecodeError) } else { Ok(number) }
}

/// What the replica with this slot signs when it votes. The primary's proposal is its vote in the phase
/// that follows (TOCS, section 2.3.3: a replica counts the pre-prepare and the prepares of the *other*
/// replicas).
pub(crate) fn vote(
    keyring: &Keyring,
    phase: PhaseState,
    view: ViewNumber,
    sequence: Sequence,
    digest: Digest,
    slot: usize,
) -> Statement {
    let is_proposal = phase == PhaseState::Prepare && view.primary(keyring.size()) == slot;
    let phase = if is_proposal { PhaseState::PrePrepare } else { phase };
    Statement {
        protocol: PROTOCOL,
        group: keyring.group(),
        phase: phase.number(),
        view: view.0,
        sequence: sequence.0,
        digest,
    }
}
