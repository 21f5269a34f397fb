//! Votes that are collected: one for each replica, verified when there may be a quorum of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crypto::{Digest, Keyring, Signature, Statement};

use crate::certificate::{QuorumCertificate, vote};
use crate::message::Vote;
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};

/// The votes of one phase, view and sequence number.
///
/// There is room for one vote of each replica. A vote is not verified when it comes: most are good, and
/// those that come after a quorum are not needed. A second, different one of the same replica means that
/// one of the two is forged, and is verified at once together with the first, so that nobody can take
/// another's place.
#[derive(Clone, Debug)]
pub(crate) struct Votes {
    phase: PhaseState,
    view: ViewNumber,
    sequence: Sequence,
    held: BTreeMap<usize, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    digest: Digest,
    signature: Signature,
    is_verified: bool,
}

/// What came of verifying: how many signatures were looked at, and whose were bad.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verified {
    pub(crate) certificate: Option<QuorumCertificate>,
    pub(crate) checked: u64,
    pub(crate) bad: VoterSet,
}

impl Votes {
    pub(crate) fn new(phase: PhaseState, view: ViewNumber, sequence: Sequence) -> Votes {
        Votes { phase, view, sequence, held: BTreeMap::new() }
    }

    pub(crate) fn is_of(&self, view: ViewNumber) -> bool {
        self.view == view
    }

    /// Whose votes are here.
    pub(crate) fn has(&self, slot: usize) -> bool {
        self.held.contains_key(&slot)
    }

    /// All of them.
    pub(crate) fn voters(&self) -> VoterSet {
        let mut voters = VoterSet::default();
        self.held.keys().for_each(|slot| voters.insert(*slot));
        voters
    }

    fn statement(&self, keyring: &Keyring, slot: usize, digest: Digest) -> Statement {
        vote(keyring, self.phase, self.view, self.sequence, digest, slot)
    }

    /// This replica's own vote, which need not be verified.
    pub(crate) fn add_own(&mut self, slot: usize, vote: &Vote) {
        let Vote { digest, signature, .. } = *vote;
        self.held.insert(slot, Held { digest, signature, is_verified: true });
    }

    /// Takes a vote.
    pub(crate) fn add(&mut self, slot: usize, vote: &Vote, keyring: &Keyring) -> Verified {
        let Vote { digest, signature, .. } = *vote;
        let mut verified = Verified::default();
        let Some(held) = self.held.get(&slot).copied() else {
            self.held.insert(slot, Held { digest, signature, is_verified: false });
            return verified;
        };
        if held.is_verified || (held.digest, held.signature) == (digest, signature) {
            return verified;
        }
        for (digest, signature) in [(held.digest, held.signature), (digest, signature)] {
            verified.checked += 1;
            let statement = self.statement(keyring, slot, digest);
            if keyring.verify(slot, &statement, &signature).is_ok() {
                self.held.insert(slot, Held { digest, signature, is_verified: true });
                return verified;
            }
            verified.bad.insert(slot);
        }
        self.held.remove(&slot);
        verified
    }

    /// Makes a certificate for `digest`, if a quorum of good votes is here. Bad ones are thrown out.
    pub(crate) fn certify(&mut self, digest: Digest, quorum: usize, keyring: &Keyring) -> Verified {
        let mut verified = Verified::default();
        let mut signers = VoterSet::default();
        let count = |votes: &Votes| votes.held.values().filter(|v| v.digest == digest).count();
        if count(self) < quorum {
            return verified;
        }
        // What is verified already goes first, so that no more is looked at than is needed.
        let mut slots: Vec<_> =
            self.held.iter().filter(|(_, held)| held.digest == digest).collect();
        slots.sort_by_key(|(slot, held)| (!held.is_verified, **slot));
        let slots: Vec<usize> = slots.into_iter().map(|(slot, _)| *slot).collect();
        for slot in slots {
            if signers.len() == quorum {
                break;
            }
            let held = self.held[&slot];
            if !held.is_verified {
                verified.checked += 1;
                let statement = self.statement(keyring, slot, digest);
                if keyring.verify(slot, &statement, &held.signature).is_err() {
                    verified.bad.insert(slot);
                    self.held.remove(&slot);
                    continue;
                }
                self.held.insert(slot, Held { is_verified: true, ..held });
            }
            signers.insert(slot);
        }
        if signers.len() == quorum {
            verified.certificate = Some(self.certificate(digest, signers));
        }
        verified
    }

    fn certificate(&self, digest: Digest, signers: VoterSet) -> QuorumCertificate {
        QuorumCertificate {
            phase: self.phase,
            view: self.view,
            sequence: self.sequence,
            digest,
            signers,
            signatures: signers.iter().map(|slot| self.held[&slot].signature).collect(),
        }
    }

    /// The digests that somebody voted for, of which one may have a quorum.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut digests: Vec<_> = self.held.values().map(|held| held.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        digests
    }
}

#[cfg(test)]
mod tests;
