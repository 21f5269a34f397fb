//! What is verified, when, and who is named.

use base::{ClusterId, NodeId};
use crypto::SigningKey;

use super::*;

fn key(slot: usize) -> SigningKey {
    SigningKey::take(&mut [u8::try_from(slot).unwrap() + 1; 32])
}

fn keyring(replicas: usize) -> Keyring {
    let member = |slot: usize| {
        let id = NodeId::new(u16::try_from(slot).unwrap() + 1).unwrap();
        (id, key(slot).verifying_key())
    };
    Keyring::new(ClusterId(1), 1, (0..replicas).map(member).collect()).unwrap()
}

fn signed(keyring: &Keyring, slot: usize, digest: Digest) -> Vote {
    let (phase, view, sequence) = (PhaseState::Prepare, ViewNumber(3), Sequence(5));
    let statement = vote(keyring, phase, view, sequence, digest, slot);
    Vote { phase, view, sequence, digest, signature: key(slot).sign(&statement) }
}

fn forged(keyring: &Keyring, slot: usize, digest: Digest) -> Vote {
    let mut vote = signed(keyring, slot, digest);
    vote.signature.0[7] ^= 1;
    vote
}

fn votes() -> Votes {
    Votes::new(PhaseState::Prepare, ViewNumber(3), Sequence(5))
}

#[test]
fn nothing_is_verified_before_there_may_be_a_quorum_and_no_more_than_that() {
    let (keyring, mut votes) = (keyring(7), votes());
    let digest = Digest::of(b"batch");
    let quorums = crate::Quorums::new(7, 2, 5).unwrap();
    votes.add_own(0, &signed(&keyring, 0, digest));
    for slot in 1..4 {
        assert_eq!(votes.add(slot, &signed(&keyring, slot, digest), &keyring).checked, 0);
        let verified = votes.certify(digest, 5, &keyring);
        assert!(verified.checked == 0 && verified.certificate.is_none());
    }
    votes.add(4, &signed(&keyring, 4, digest), &keyring);
    votes.add(5, &signed(&keyring, 5, digest), &keyring);
    let verified = votes.certify(digest, 5, &keyring);
    assert_eq!((verified.checked, verified.bad), (4, VoterSet::default()));
    let certificate = verified.certificate.unwrap();
    assert_eq!(certificate.signers.len(), 5);
    assert_eq!(certificate.verify(&keyring, quorums), Ok(()));
}

/// A liar's vote costs one look, names it, and makes room for another; what was verified stays so.
#[test]
fn a_bad_vote_names_its_signer() {
    let (keyring, mut votes) = (keyring(4), votes());
    let digest = Digest::of(b"batch");
    votes.add(0, &signed(&keyring, 0, digest), &keyring);
    votes.add(1, &forged(&keyring, 1, digest), &keyring);
    votes.add(2, &signed(&keyring, 2, digest), &keyring);
    let verified = votes.certify(digest, 3, &keyring);
    assert!(verified.certificate.is_none());
    assert_eq!((verified.checked, verified.bad), (3, VoterSet(0b0010)));
    assert!(!votes.has(1));
    votes.add(3, &signed(&keyring, 3, digest), &keyring);
    let verified = votes.certify(digest, 3, &keyring);
    assert_eq!(verified.checked, 1, "the other two are known");
    assert_eq!(verified.certificate.unwrap().signers, VoterSet(0b1101));
}

/// Whoever forges a vote before its owner votes does not keep the owner out.
#[test]
fn a_forged_vote_takes_nobodys_place() {
    let (keyring, mut votes) = (keyring(4), votes());
    let digest = Digest::of(b"batch");
    votes.add(1, &forged(&keyring, 1, digest), &keyring);
    let verified = votes.add(1, &signed(&keyring, 1, digest), &keyring);
    assert_eq!((verified.checked, verified.bad), (2, VoterSet(0b0010)));
    assert!(votes.has(1));
    assert_eq!(votes.add(1, &forged(&keyring, 1, digest), &keyring).checked, 0, "it is verified");
    let (one, other) = (forged(&keyring, 2, digest), forged(&keyring, 2, Digest::of(b"other")));
    votes.add(2, &one, &keyring);
    votes.add(2, &other, &keyring);
    assert!(!votes.has(2), "both were forged");
}

/// Votes for two batches are counted apart, and a certificate of either verifies as that only.
#[test]
fn votes_for_different_batches_do_not_add_up() {
    let (keyring, mut votes) = (keyring(4), votes());
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    for slot in 0..4 {
        let digest = if slot % 2 == 0 { one } else { other };
        votes.add(slot, &signed(&keyring, slot, digest), &keyring);
    }
    assert_eq!(votes.digests().len(), 2);
    assert!(votes.certify(one, 3, &keyring).certificate.is_none());
    let mut certificate = votes.certify(other, 2, &keyring).certificate.unwrap();
    let quorums = crate::Quorums::new(4, 1, 3).unwrap().too_small();
    assert_eq!(certificate.verify(&keyring, quorums), Ok(()));
    certificate.digest = one;
    let error = crate::CertificateError::Signature(1);
    assert_eq!(certificate.verify(&keyring, quorums), Err(error));
}
