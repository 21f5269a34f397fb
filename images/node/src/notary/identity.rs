//! Who a replica of the ledger is: its secret key, and the public keys of the group.
//!
//! The machine gets both as a file of fixed form, because the kernel command line is for everybody to read:
//! 32 bytes of secret, how many members there are (2 bytes), and for each its number (2) and its public key
//! (32), in ascending order; all numbers little-endian.

use alloc::vec::Vec;
use core::fmt;

use base::codec::{DecodeError, Reader};
use base::{ClusterId, NodeId, limits};
use crypto::{KEY_BYTES, KeyError, Keyring, KeyringError, SigningKey, VerifyingKey};

/// The keys of one replica.
#[derive(Debug)]
pub struct Identity {
    /// For what replicas say to each other, and for what the node's clients want.
    pub(super) keys: [SigningKey; 2],
    /// For what it says when it lies.
    #[cfg(feature = "adversary")]
    pub(super) liar_key: SigningKey,
    pub(super) keyring: Keyring,
}

/// Why a file is no identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdentityError {
    /// It is not of the form.
    Malformed,
    /// The key of this member is none.
    Key(NodeId, KeyError),
    /// The keys make no group.
    Keyring(KeyringError),
    /// The secret key is not that of the node with this number.
    NotMine(NodeId),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentityError::Malformed => f.write_str("the file with the keys is not of its form"),
            IdentityError::Key(id, error) => write!(f, "the key of node {id}: {error}"),
            IdentityError::Keyring(error) => write!(f, "the keys of the group: {error}"),
            IdentityError::NotMine(id) => {
                write!(f, "the secret key is not that of node {id}: give each node its own file")
            }
        }
    }
}

impl core::error::Error for IdentityError {}

impl Identity {
    /// Members never change: there is one epoch.
    pub const EPOCH: u64 = 0;
    /// How long the longest file is.
    pub const FILE_MAX_BYTES: usize = KEY_BYTES + 2 + limits::BFT_REPLICAS_MAX * (2 + KEY_BYTES);

    /// Takes the identity of node `id` out of a file, in which the secret is zeroised, whatever comes of it.
    ///
    /// # Errors
    /// If the file holds none.
    pub fn take(
        id: NodeId,
        cluster: ClusterId,
        file: &mut [u8],
    ) -> Result<Identity, IdentityError> {
        let (secret, rest) =
            file.split_first_chunk_mut::<KEY_BYTES>().ok_or(IdentityError::Malformed)?;
        let mut copy = *secret;
        #[cfg(feature = "adversary")]
        let liar_key = SigningKey::take(&mut secret.clone());
        let keys = [SigningKey::take(secret), SigningKey::take(&mut copy)];
        let listed = listed(rest).map_err(|DecodeError| IdentityError::Malformed)?;
        let admit = |(id, bytes): (NodeId, [u8; KEY_BYTES])| {
            let key = VerifyingKey::from_bytes(&bytes);
            Ok((id, key.map_err(|error| IdentityError::Key(id, error))?))
        };
        let members = listed.into_iter().map(admit).collect::<Result<Vec<_>, _>>()?;
        let keyring =
            Keyring::new(cluster, Self::EPOCH, members).map_err(IdentityError::Keyring)?;
        let listed = keyring.slot(id).and_then(|slot| keyring.key(slot));
        if listed != Some(&keys[0].verifying_key()) {
            return Err(IdentityError::NotMine(id));
        }
        Ok(Identity {
            keys,
            #[cfg(feature = "adversary")]
            liar_key,
            keyring,
        })
    }
}

fn listed(bytes: &[u8]) -> Result<Vec<(NodeId, [u8; KEY_BYTES])>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u16()?);
    let member = |reader: &mut Reader<'_>| {
        let id = reader.node_id()?;
        Ok((id, reader.bytes(KEY_BYTES)?.try_into().map_err(|_| DecodeError)?))
    };
    let members = (0..count).map(|_| member(&mut reader)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(members)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::notary) fn id(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// The file of node `own` of so many.
    pub(in crate::notary) fn file(own: u8, count: u8) -> Vec<u8> {
        let mut file = alloc::vec![own; KEY_BYTES];
        file.extend(u16::from(count).to_le_bytes());
        for number in 1..=count {
            file.extend(u16::from(number).to_le_bytes());
            file.extend(SigningKey::take(&mut [number; KEY_BYTES]).verifying_key().to_bytes());
        }
        file
    }

    fn take(own: u16, file: &mut [u8]) -> Result<Identity, IdentityError> {
        Identity::take(id(own), ClusterId(1), file)
    }

    #[test]
    fn a_file_of_its_own_and_no_secret_is_left_in_it() {
        let mut file = file(2, 4);
        let identity = take(2, &mut file).unwrap();
        assert_eq!(identity.keyring.size(), 4);
        assert_eq!(file[..KEY_BYTES], [0; KEY_BYTES]);
        assert!(file.len() <= Identity::FILE_MAX_BYTES);
        let shown = alloc::format!("{identity:?}");
        assert!(!shown.contains("2, 2, 2"), "{shown}");
    }

    #[test]
    fn what_is_no_identity_is_refused_and_zeroised() {
        let refused = |own, mut file: Vec<u8>| {
            let error = take(own, &mut file).unwrap_err();
            assert!(file.iter().take(KEY_BYTES).all(|byte| *byte == 0) || file.len() < KEY_BYTES);
            error
        };
        assert_eq!(refused(1, file(2, 4)), IdentityError::NotMine(id(1)));
        assert_eq!(refused(5, file(5, 4)), IdentityError::NotMine(id(5)));
        assert_eq!(refused(1, Vec::new()), IdentityError::Malformed);
        let short = file(1, 4);
        assert_eq!(refused(1, short[..short.len() - 1].to_vec()), IdentityError::Malformed);
        let mut long = file(1, 4);
        long.push(0);
        assert_eq!(refused(1, long), IdentityError::Malformed);
        let mut weak = file(1, 4);
        let at = weak.len() - KEY_BYTES;
        weak[at..].fill(0);
        assert!(matches!(refused(1, weak), IdentityError::Key(..)));
        assert!(matches!(refused(1, file(1, 33)), IdentityError::Keyring(KeyringError::TooMany)));
    }
}
