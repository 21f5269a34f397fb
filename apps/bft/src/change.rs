//! What replicas say when they leave a view, and what the next primary makes of it.
//!
//! OSDI '99, section 4.4, with one difference in what travels. There a view change carries its
//! certificates and a new view carries all of its view changes, N times the same certificates. Here a
//! replica *signs claims*: its stable checkpoint, and for each sequence number above it the latest view
//! in which it has a prepared certificate. The certificates go beside the claims to the new primary only,
//! which drops whoever claims what it does not prove. A new view carries the claims of a quorum, and one
//! certificate for each number that is chosen. That is enough for whoever checks it: the choice is the
//! claim of the highest view, and that one is proven; a claim that is made up can only be one that is not
//! chosen.
//!
//! What a fast quorum has decided need not be prepared anywhere: so a replica also tells what it last voted
//! for, if that was after it was prepared. `order` says what follows.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use crypto::{Digest, Keyring, Signature, Statement};

use crate::certificate::{self, PROTOCOL, QuorumCertificate};
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
use crate::order::Order;
use crate::quorum::Quorums;

/// The numbers that stand for statements that are no votes in what is signed.
const VIEW_CHANGE: u8 = 16;
const NEW_VIEW: u8 = 17;

/// "In `view` a quorum was prepared to decide this batch" (an element of P), or: "I voted for it".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which number.
    pub sequence: Sequence,
    /// The latest view in which that was so.
    pub view: ViewNumber,
    /// The batch.
    pub digest: Digest,
}

impl Claim {
    pub(crate) fn is_proven_by(&self, proof: &QuorumCertificate) -> bool {
        // What is decided in a view was prepared in it.
        matches!(proof.phase, PhaseState::Prepare | PhaseState::Commit)
            && (proof.sequence, proof.view, proof.digest) == (self.sequence, self.view, self.digest)
    }
}

/// A replica leaves all views before this one, and says what it knows. It votes in none of them any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ViewChange {
    /// The view that it moves to.
    pub view: ViewNumber,
    /// The slot of the replica.
    pub slot: usize,
    /// Its stable checkpoint.
    pub stable: Sequence,
    /// The digest of the state there; zeros at 0.
    pub state: Digest,
    /// What it has prepared above, in ascending order of the numbers.
    pub prepared: Vec<Claim>,
    /// What it has last voted for above, in later views than the claims for the same numbers; in that order.
    pub voted: Vec<Claim>,
    /// Its signature.
    pub signature: Signature,
}

impl ViewChange {
    /// The digest of everything but the signature.
    pub(crate) fn content(&self) -> Digest {
        let mut bytes = Vec::new();
        self.encode_unsigned(&mut Writer::new(&mut bytes));
        Digest::of(&bytes)
    }

    pub(crate) fn statement(keyring: &Keyring, view: ViewNumber, content: Digest) -> Statement {
        unordered(keyring, VIEW_CHANGE, view, content)
    }

    /// Whether the claims are in order, of views before, and within a window of this size.
    pub(crate) fn is_well_formed(&self, window: u64) -> bool {
        let is_within = |claim: &Claim| {
            claim.sequence > self.stable
                && claim.sequence <= self.stable.plus(window)
                && claim.view < self.view
        };
        [&self.prepared, &self.voted].into_iter().all(|claims| {
            claims.iter().all(is_within)
                && claims.is_sorted_by(|one, next| one.sequence < next.sequence)
        })
    }

    /// What it says that it has prepared for this number.
    pub(crate) fn prepared_at(&self, number: Sequence) -> Option<Claim> {
        find(&self.prepared, number)
    }

    /// The latest that it says of this number, whether it has that prepared or voted for it.
    pub(crate) fn latest_at(&self, number: Sequence) -> Option<Claim> {
        let claims = [find(&self.voted, number), self.prepared_at(number)];
        claims.into_iter().flatten().max_by_key(|claim| claim.view)
    }

    /// The last number that it says something of, beyond its checkpoint.
    pub(crate) fn last_claimed(&self) -> Option<Sequence> {
        let last = [&self.prepared, &self.voted].map(|claims| claims.last());
        last.into_iter().flatten().map(|claim| claim.sequence).max()
    }

    fn encode_unsigned(&self, writer: &mut Writer<'_>) {
        writer.u64(self.view.0).u8(u8::try_from(self.slot).expect("slots are below 32"));
        writer.u64(self.stable.0);
        self.state.encode(writer);
        encode_claims(&self.prepared, writer);
        encode_claims(&self.voted, writer);
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>) {
        self.encode_unsigned(writer);
        self.signature.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ViewChange, DecodeError> {
        let view = certificate::view(reader)?;
        let slot = usize::from(reader.u8()?);
        if slot >= limits::BFT_REPLICAS_MAX {
            return Err(DecodeError);
        }
        let stable = certificate::sequence(reader)?;
        let state = Digest::decode(reader)?;
        let (prepared, voted) = (decode_claims(reader)?, decode_claims(reader)?);
        let signature = Signature::decode(reader)?;
        Ok(ViewChange { view, slot, stable, state, prepared, voted, signature })
    }
}

/// The claim for a number, of claims in their order.
fn find(claims: &[Claim], number: Sequence) -> Option<Claim> {
    let place = claims.binary_search_by_key(&number, |claim| claim.sequence).ok()?;
    Some(claims[place])
}

fn encode_claims(claims: &[Claim], writer: &mut Writer<'_>) {
    writer.u16(u16::try_from(claims.len()).expect("the window is below 2^16"));
    for claim in claims {
        writer.u64(claim.sequence.0).u64(claim.view.0);
        claim.digest.encode(writer);
    }
}

fn decode_claims(reader: &mut Reader<'_>) -> Result<Vec<Claim>, DecodeError> {
    let count = count(reader)?;
    let mut claims = Vec::with_capacity(count);
    for _ in 0..count {
        let (sequence, view) = (certificate::sequence(reader)?, certificate::view(reader)?);
        claims.push(Claim { sequence, view, digest: Digest::decode(reader)? });
    }
    Ok(claims)
}

/// What the next primary makes of a quorum's view changes (OSDI '99, section 4.4: V and O).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewView {
    /// The view that begins.
    pub view: ViewNumber,
    /// What a quorum said, in the order of slots (V).
    pub changes: Vec<ViewChange>,
    /// The latest stable checkpoint of which they said so; none at 0.
    pub stable: Option<Arc<QuorumCertificate>>,
    /// The certificate of each number that goes on because it was prepared, in their order.
    pub proofs: Vec<Arc<QuorumCertificate>>,
    /// The primary's signature for each number from the checkpoint to the last that goes on (O).
    pub proposals: Vec<Signature>,
    /// The primary's signature for all of it.
    pub signature: Signature,
}

impl NewView {
    /// The digest of everything but the signature.
    pub(crate) fn content(&self) -> Digest {
        let mut bytes = Vec::new();
        self.encode_unsigned(&mut Writer::new(&mut bytes));
        Digest::of(&bytes)
    }

    pub(crate) fn statement(keyring: &Keyring, view: ViewNumber, content: Digest) -> Statement {
        unordered(keyring, NEW_VIEW, view, content)
    }

    pub(crate) fn order(&self, quorums: Quorums) -> Order {
        Order::of(self.changes.iter(), quorums)
    }

    /// Whether everything has the form that it should have: the claims of a quorum of different replicas, a
    /// proof for each that must be proven, and a signature for each number. No signature is verified here.
    pub(crate) fn is_well_formed(&self, quorums: Quorums, window: u64) -> bool {
        let quorum = quorums.quorum();
        let mut slots = VoterSet::default();
        self.changes.iter().for_each(|change| slots.insert(change.slot));
        let is_ours =
            |change: &ViewChange| change.view == self.view && change.is_well_formed(window);
        if self.changes.len() != quorum
            || slots.len() != quorum
            || !self.changes.iter().all(is_ours)
        {
            return false;
        }
        let order = self.order(quorums);
        let is_stable_proven = match &self.stable {
            None => order.stable == (Sequence(0), Digest::default()),
            Some(proof) => {
                proof.phase == PhaseState::Checkpoint
                    && (proof.sequence, proof.digest) == order.stable
            }
        };
        let prepared = order.prepared();
        is_stable_proven
            && prepared.clone().count() == self.proofs.len()
            && prepared.zip(&self.proofs).all(|(claim, proof)| claim.is_proven_by(proof))
            && self.proposals.len() == order.chosen.len()
    }

    fn encode_unsigned(&self, writer: &mut Writer<'_>) {
        writer.u64(self.view.0);
        writer.u8(u8::try_from(self.changes.len()).expect("there are at most 32 replicas"));
        self.changes.iter().for_each(|change| change.encode(writer));
        writer.bool(self.stable.is_some());
        if let Some(stable) = &self.stable {
            stable.encode(writer);
        }
        writer.u16(u16::try_from(self.proofs.len()).expect("the window is below 2^16"));
        self.proofs.iter().for_each(|proof| proof.encode(writer));
        writer.u16(u16::try_from(self.proposals.len()).expect("the window is below 2^16"));
        self.proposals.iter().for_each(|signature| signature.encode(writer));
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>) {
        self.encode_unsigned(writer);
        self.signature.encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<NewView, DecodeError> {
        let view = certificate::view(reader)?;
        let changes = usize::from(reader.u8()?);
        if changes > limits::BFT_REPLICAS_MAX {
            return Err(DecodeError);
        }
        let changes = (0..changes).map(|_| ViewChange::decode(reader)).collect::<Result<_, _>>()?;
        let stable = if reader.bool()? { Some(proof(reader)?) } else { None };
        let proofs = proofs(reader)?;
        let proposals = count(reader)?;
        let proposals =
            (0..proposals).map(|_| Signature::decode(reader)).collect::<Result<_, _>>()?;
        let signature = Signature::decode(reader)?;
        Ok(NewView { view, changes, stable, proofs, proposals, signature })
    }
}

/// A statement about no sequence number.
fn unordered(keyring: &Keyring, phase: u8, view: ViewNumber, digest: Digest) -> Statement {
    let group = keyring.group();
    Statement { protocol: PROTOCOL, group, phase, view: view.0, sequence: 0, digest }
}

/// How many of something there are, of which there is at most one for each number in a window.
fn count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = u64::from(reader.u16()?);
    if count > limits::BFT_WINDOW_MAX { Err(DecodeError) } else { Ok(count as usize) }
}

fn proof(reader: &mut Reader<'_>) -> Result<Arc<QuorumCertificate>, DecodeError> {
    QuorumCertificate::decode(reader).map(Arc::new)
}

pub(crate) fn proofs(reader: &mut Reader<'_>) -> Result<Vec<Arc<QuorumCertificate>>, DecodeError> {
    let count = count(reader)?;
    (0..count).map(|_| proof(reader)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn claim(sequence: u64, view: u64, digest: u8) -> Claim {
        let digest = Digest([digest; 32]);
        Claim { sequence: Sequence(sequence), view: ViewNumber(view), digest }
    }

    /// A change to view 9.
    pub(crate) fn change(
        slot: usize,
        stable: u64,
        prepared: Vec<Claim>,
        voted: Vec<Claim>,
    ) -> ViewChange {
        let state = Digest([u8::try_from(stable).unwrap(); 32]);
        let signature = Signature([0; 64]);
        let (view, stable) = (ViewNumber(9), Sequence(stable));
        ViewChange { view, slot, stable, state, prepared, voted, signature }
    }

    #[test]
    fn claims_are_in_order_in_the_window_and_of_earlier_views() {
        let is_fine = |claims: Vec<Claim>| {
            let as_prepared = change(0, 4, claims.clone(), vec![]).is_well_formed(8);
            assert_eq!(change(0, 4, vec![], claims).is_well_formed(8), as_prepared);
            as_prepared
        };
        assert!(is_fine(vec![]) && is_fine(vec![claim(5, 8, 0), claim(12, 0, 0)]));
        assert!(!is_fine(vec![claim(4, 0, 0)]), "settled by the checkpoint");
        assert!(!is_fine(vec![claim(13, 0, 0)]), "beyond the window");
        assert!(!is_fine(vec![claim(5, 9, 0)]), "of the view that is to come");
        assert!(!is_fine(vec![claim(6, 0, 0), claim(5, 0, 0)]));
        assert!(!is_fine(vec![claim(5, 0, 0), claim(5, 1, 0)]), "twice");
    }
}
