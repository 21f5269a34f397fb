//! The keys of a group: who may sign, and what the group is called in what they sign.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

use base::{ClusterId, NodeId, limits};

use crate::digest::{Digest, Hasher};
use crate::key::{Signature, SignatureError, VerifyingKey};
use crate::statement::Statement;

/// Why keys make no ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyringError {
    /// There are none.
    Empty,
    /// There are more than a group may have.
    TooMany,
    /// The members are not in strictly ascending order.
    NotAscending,
    /// Two members have one key: one of them could vote for both.
    SameKey(NodeId),
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyringError::Empty => f.write_str("a group has a member at the least"),
            KeyringError::TooMany => {
                write!(f, "a group has at most {} members", limits::BFT_REPLICAS_MAX)
            }
            KeyringError::NotAscending => f.write_str("the members are not in ascending order"),
            KeyringError::SameKey(id) => write!(f, "node {id} has the key of another member"),
        }
    }
}

impl core::error::Error for KeyringError {}

/// The members of a group and their keys, in the order of their numbers. A member's place in that order is
/// its *slot*, which is how certificates name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyring {
    members: Vec<(NodeId, VerifyingKey)>,
    group: Digest,
}

impl Keyring {
    /// The keyring of these members, of this cluster and epoch. An epoch ends when the members change, and
    /// with it the meaning of all that they have signed.
    ///
    /// # Errors
    /// If there can be no such group.
    pub fn new(
        cluster: ClusterId,
        epoch: u64,
        members: Vec<(NodeId, VerifyingKey)>,
    ) -> Result<Keyring, KeyringError> {
        if members.is_empty() {
            return Err(KeyringError::Empty);
        }
        if members.len() > limits::BFT_REPLICAS_MAX {
            return Err(KeyringError::TooMany);
        }
        if !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(KeyringError::NotAscending);
        }
        let mut keys = BTreeSet::new();
        if let Some((id, _)) = members.iter().find(|(_, key)| !keys.insert(key.to_bytes())) {
            return Err(KeyringError::SameKey(*id));
        }
        let group = name(cluster, epoch, &members);
        Ok(Keyring { members, group })
    }

    /// What the group is called in what its members sign: a digest of cluster, epoch, members and keys.
    pub fn group(&self) -> Digest {
        self.group
    }

    /// How many members there are: at least one.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The member with this slot.
    pub fn member(&self, slot: usize) -> Option<NodeId> {
        self.members.get(slot).map(|(id, _)| *id)
    }

    /// The slot of a member.
    pub fn slot(&self, id: NodeId) -> Option<usize> {
        self.members.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    /// The key of the member with this slot.
    pub fn key(&self, slot: usize) -> Option<&VerifyingKey> {
        self.members.get(slot).map(|(_, key)| key)
    }

    /// Checks that the member with this slot signed the statement, and that it is one of this group.
    ///
    /// # Errors
    /// If not, or if there is no such member.
    pub fn verify(
        &self,
        slot: usize,
        statement: &Statement,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        if statement.group != self.group {
            return Err(SignatureError);
        }
        self.key(slot).ok_or(SignatureError)?.verify(statement, signature)
    }
}

/// All that is hashed is of fixed length, but for the list, which comes behind its length.
fn name(cluster: ClusterId, epoch: u64, members: &[(NodeId, VerifyingKey)]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"coterie group\0\0\x01");
    hasher.update(&cluster.0.to_le_bytes()).update(&epoch.to_le_bytes());
    hasher.update(&(members.len() as u64).to_le_bytes());
    for (id, key) in members {
        hasher.update(&id.get().to_le_bytes()).update(&key.to_bytes());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn id(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn signing_key(number: u8) -> SigningKey {
        SigningKey::take(&mut [number; 32])
    }

    fn members(count: u16) -> Vec<(NodeId, VerifyingKey)> {
        let key = |number: u16| signing_key(u8::try_from(number).unwrap()).verifying_key();
        (1..=count).map(|number| (id(number), key(number))).collect()
    }

    fn ring(cluster: u64, epoch: u64, count: u16) -> Keyring {
        Keyring::new(ClusterId(cluster), epoch, members(count)).unwrap()
    }

    #[test]
    fn no_ring_of_nobody_of_too_many_or_of_two_with_one_key() {
        let new = |members| Keyring::new(ClusterId(1), 0, members).unwrap_err();
        assert_eq!(new(Vec::new()), KeyringError::Empty);
        assert_eq!(new(members(33)), KeyringError::TooMany);
        assert_eq!(ring(1, 0, 32).size(), 32);
        let mut swapped = members(3);
        swapped.swap(0, 1);
        assert_eq!(new(swapped), KeyringError::NotAscending);
        let mut same = members(3);
        same[2].1 = same[0].1;
        assert_eq!(new(same), KeyringError::SameKey(id(3)));
    }

    /// Of two groups that differ in anything, neither takes what a member signed for the other.
    #[test]
    fn a_signature_is_for_one_group() {
        let rings = [ring(1, 0, 4), ring(2, 0, 4), ring(1, 1, 4), ring(1, 0, 3)];
        for signed in &rings {
            let statement = Statement {
                protocol: *b"test\0\0\0\x01",
                group: signed.group(),
                phase: 1,
                view: 2,
                sequence: 3,
                digest: Digest::of(b"four"),
            };
            let signature = signing_key(2).sign(&statement);
            for checked in &rings {
                let is_same = checked == signed;
                assert_eq!(checked.verify(1, &statement, &signature).is_ok(), is_same);
                let renamed = Statement { group: checked.group(), ..statement };
                assert_eq!(checked.verify(1, &renamed, &signature).is_ok(), is_same);
            }
            assert_eq!(signed.verify(0, &statement, &signature), Err(SignatureError));
            assert_eq!(signed.verify(99, &statement, &signature), Err(SignatureError));
        }
    }

    #[test]
    fn members_have_slots_in_their_order() {
        let ring = ring(1, 0, 4);
        assert_eq!(ring.slot(id(3)), Some(2));
        assert_eq!(ring.member(2), Some(id(3)));
        assert_eq!((ring.slot(id(9)), ring.member(4)), (None, None));
    }
}
