//! Whose disk it is. Written once, twice.
//!
//! ```text
//! 0 magic "COTERIE\0"   8 version (u32)   12 node (u16)   14 zero (u16)   16 cluster (u64)
//! 24 sectors of the disk (u64)   32 sectors of headers (u64)   40 sectors of each snapshot area (u64)
//! 48 checksum of the 48 above
//! ```

use alloc::vec::Vec;

use base::checksum::crc32c;
use base::codec::{DecodeError, Reader, Writer};
use base::{ClusterId, NodeId};

use crate::layout::Layout;

const MAGIC: u64 = u64::from_le_bytes(*b"COTERIE\0");
/// Version 1 had neither rings nor snapshots, version 2 both copies of a thing side by side; nothing reads
/// them any more.
const VERSION: u32 = 3;
const CHECKED_BYTES: usize = 48;

/// Where its copies are.
pub(crate) const SUPERBLOCK_SECTORS: [u64; 2] = [0, 24];

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Superblock {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) layout: Layout,
}

impl Superblock {
    /// Appends it to `bytes`.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        Writer::new(bytes)
            .u64(MAGIC)
            .u32(VERSION)
            .node_id(self.node)
            .u16(0)
            .u64(self.cluster.0)
            .u64(self.layout.capacity_sectors)
            .u64(self.layout.header_sectors)
            .u64(self.layout.snapshot_sectors);
        let checksum = crc32c(&bytes[start..]);
        Writer::new(bytes).u32(checksum);
    }

    /// Reads one from the start of a sector.
    pub(crate) fn decode(sector: &[u8]) -> Result<Superblock, DecodeError> {
        let mut reader = Reader::new(sector);
        let (magic, version) = (reader.u64()?, reader.u32()?);
        let (node, zero) = (reader.node_id()?, reader.u16()?);
        let cluster = ClusterId(reader.u64()?);
        let layout = Layout {
            capacity_sectors: reader.u64()?,
            header_sectors: reader.u64()?,
            snapshot_sectors: reader.u64()?,
        };
        let checksum = reader.u32()?;
        let is_whole = magic == MAGIC
            && version == VERSION
            && zero == 0
            && checksum == crc32c(&sector[..CHECKED_BYTES]);
        if is_whole { Ok(Superblock { cluster, node, layout }) } else { Err(DecodeError) }
    }
    /// The version of a superblock that this store does not know, if that is what the sector begins with.
    pub(crate) fn foreign_version(sector: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(sector);
        let (magic, version) = (reader.u64().ok()?, reader.u32().ok()?);
        (magic == MAGIC && version != VERSION).then_some(version)
    }
}
