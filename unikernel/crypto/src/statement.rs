//! What may be signed: nothing but statements, each of which has one meaning.

use crate::digest::{DIGEST_BYTES, Digest};

/// What somebody vouches for. All of it is in what is signed, in a form of fixed length: a signature for
/// one protocol, cluster, epoch, group, phase, view or sequence is none for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Statement {
    /// Which protocol the numbers below belong to, and its version.
    pub protocol: [u8; 8],
    /// Cluster, epoch and members: [`crate::Keyring::group`].
    pub group: Digest,
    /// What kind of statement it is.
    pub phase: u8,
    /// In which view.
    pub view: u64,
    /// About which sequence number.
    pub sequence: u64,
    /// And what is said of it.
    pub digest: Digest,
}

impl Statement {
    /// How long what is signed is.
    pub const BYTES: usize = 8 + DIGEST_BYTES + 1 + 8 + 8 + DIGEST_BYTES;

    /// What is signed.
    pub fn to_bytes(&self) -> [u8; Statement::BYTES] {
        let mut bytes = [0; Statement::BYTES];
        let (protocol, rest) = bytes.split_at_mut(8);
        let (group, rest) = rest.split_at_mut(DIGEST_BYTES);
        let (phase, rest) = rest.split_at_mut(1);
        let (view, rest) = rest.split_at_mut(8);
        let (sequence, digest) = rest.split_at_mut(8);
        protocol.copy_from_slice(&self.protocol);
        group.copy_from_slice(&self.group.0);
        phase.copy_from_slice(&[self.phase]);
        view.copy_from_slice(&self.view.to_le_bytes());
        sequence.copy_from_slice(&self.sequence.to_le_bytes());
        digest.copy_from_slice(&self.digest.0);
        bytes
    }
}
