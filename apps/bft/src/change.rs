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

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use crypto::{Digest, Keyring, Signature, Statement};

use crate::certificate::{self, PROTOCOL, QuorumCertificate};
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};

/// The numbers that stand for statements that are no votes in what is signed.
const VIEW_CHANGE: u8 = 16;
const NEW_VIEW: u8 = 17;

/// "In `view` a quorum was prepared to decide this batch": an element of P.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which number.
    pub sequence: Sequence,
    /// The latest view in which it was prepared.
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
        self.prepared.iter().all(is_within)
            && self.prepared.is_sorted_by(|one, next| one.sequence < next.sequence)
    }

    fn encode_unsigned(&self, writer: &mut Writer<'_>) {
        writer.u64(self.view.0).u8(u8::try_from(self.slot).expect("slots are below 32"));
        writer.u64(self.stable.0);
        self.state.encode(writer);
        writer.u16(u16::try_from(self.prepared.len()).expect("the window is below 2^16"));
        for claim in &self.prepared {
            writer.u64(claim.sequence.0).u64(claim.view.0);
            claim.digest.encode(writer);
        }
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
        let count = count(reader)?;
        let mut prepared = Vec::with_capacity(count);
        for _ in 0..count {
            let (sequence, view) = (certificate::sequence(reader)?, certificate::view(reader)?);
            prepared.push(Claim { sequence, view, digest: Digest::decode(reader)? });
        }
        let signature = Signature::decode(reader)?;
        Ok(ViewChange { view, slot, stable, state, prepared, signature })
    }
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
    /// The certificate of each number that goes on, in their order.
    pub proofs: Vec<Arc<QuorumCertificate>>,
    /// The primary's signature for each number from the checkpoint to the last that goes on (O).
    pub proposals: Vec<Signature>,
    /// The primary's signature for all of it.
    pub signature: Signature,
}

/// What follows from a quorum's claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    /// The stable checkpoint that the view begins from (min-s), and the digest of the state there.
    pub(crate) stable: (Sequence, Digest),
    /// What is proposed again for each number behind it (to max-s): the claim of the highest view, or where
    /// nobody claims anything the null request.
    pub(crate) chosen: Vec<Option<Claim>>,
}

impl Order {
    /// The order that follows from these view changes: the same for everybody, whatever their order.
    pub(crate) fn of<'a>(changes: impl Iterator<Item = &'a ViewChange> + Clone) -> Order {
        let stable =
            changes.clone().map(|change| (change.stable, change.state)).max().unwrap_or_default();
        let mut best: BTreeMap<Sequence, Claim> = BTreeMap::new();
        let claims = changes.flat_map(|change| &change.prepared);
        for claim in claims.filter(|claim| claim.sequence > stable.0) {
            let entry = best.entry(claim.sequence).or_insert(*claim);
            // The digest decides between claims of one view, of which at most one can be proven.
            if (entry.view, entry.digest) < (claim.view, claim.digest) {
                *entry = *claim;
            }
        }
        let last = best.last_key_value().map_or(stable.0, |(sequence, _)| *sequence);
        let chosen = (stable.0.0 + 1..=last.0).map(|at| best.get(&Sequence(at)).copied()).collect();
        Order { stable, chosen }
    }

    /// The numbers and the digests that are proposed for them.
    pub(crate) fn proposals(&self, null: Digest) -> impl Iterator<Item = (Sequence, Digest)> {
        let digests = self.chosen.iter().map(move |claim| claim.map_or(null, |claim| claim.digest));
        (self.stable.0.0 + 1..).map(Sequence).zip(digests)
    }
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

    pub(crate) fn order(&self) -> Order {
        Order::of(self.changes.iter())
    }

    /// Whether everything has the form that it should have: `quorum` different replicas' claims, a proof
    /// for each that is chosen, and a signature for each number. No signature is verified here.
    pub(crate) fn is_well_formed(&self, quorum: usize, window: u64) -> bool {
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
        let order = self.order();
        let is_stable_proven = match &self.stable {
            None => order.stable == (Sequence(0), Digest::default()),
            Some(proof) => {
                proof.phase == PhaseState::Checkpoint
                    && (proof.sequence, proof.digest) == order.stable
            }
        };
        let chosen = order.chosen.iter().flatten();
        is_stable_proven
            && chosen.clone().count() == self.proofs.len()
            && chosen.zip(&self.proofs).all(|(claim, proof)| claim.is_proven_by(proof))
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
mod tests {
    use super::*;

    fn claim(sequence: u64, view: u64, digest: u8) -> Claim {
        let digest = Digest([digest; 32]);
        Claim { sequence: Sequence(sequence), view: ViewNumber(view), digest }
    }

    fn change(slot: usize, stable: u64, prepared: Vec<Claim>) -> ViewChange {
        let state = Digest([u8::try_from(stable).unwrap(); 32]);
        let signature = Signature([0; 64]);
        let (view, stable) = (ViewNumber(9), Sequence(stable));
        ViewChange { view, slot, stable, state, prepared, signature }
    }

    /// The claim of the highest view goes on, gaps become null requests, and what a checkpoint has
    /// settled is not proposed again.
    #[test]
    fn the_order_follows_from_the_claims() {
        let changes = [
            change(0, 4, vec![claim(5, 1, 1), claim(6, 2, 2), claim(8, 1, 3)]),
            change(1, 5, vec![claim(6, 3, 4), claim(8, 0, 5)]),
            change(2, 0, vec![claim(2, 8, 6)]),
        ];
        let order = Order::of(changes.iter());
        assert_eq!(order.stable, (Sequence(5), Digest([5; 32])));
        assert_eq!(order.chosen, [Some(claim(6, 3, 4)), None, Some(claim(8, 1, 3))]);
        assert_eq!(Order::of(changes.iter().rev()), order);
        let null = Digest([9; 32]);
        let proposals: Vec<_> = order.proposals(null).collect();
        assert_eq!(proposals[1], (Sequence(7), null));
        let nothing = Order::of([].iter());
        assert_eq!((nothing.stable.0, nothing.chosen.len()), (Sequence(0), 0));
    }

    #[test]
    fn claims_are_in_order_in_the_window_and_of_earlier_views() {
        let is_fine = |prepared| change(0, 4, prepared).is_well_formed(8);
        assert!(is_fine(vec![]) && is_fine(vec![claim(5, 8, 0), claim(12, 0, 0)]));
        assert!(!is_fine(vec![claim(4, 0, 0)]), "settled by the checkpoint");
        assert!(!is_fine(vec![claim(13, 0, 0)]), "beyond the window");
        assert!(!is_fine(vec![claim(5, 9, 0)]), "of the view that is to come");
        assert!(!is_fine(vec![claim(6, 0, 0), claim(5, 0, 0)]));
        assert!(!is_fine(vec![claim(5, 0, 0), claim(5, 1, 0)]), "twice");
    }
}
