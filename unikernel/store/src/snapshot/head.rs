//! The head of a snapshot, as bytes.

use alloc::vec::Vec;

use base::checksum::crc32c;
use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use block::SECTOR_BYTES;
use bytes::Bytes;

use super::{SNAPSHOT_BLOCK_BYTES, SnapshotMeta};
use crate::hard_state::INDEX_MAX;
use crate::layout::{HEAD_COPIES, HEAD_SECTORS};

const MAGIC: u64 = u64::from_le_bytes(*b"COTSNAP\0");
const VERSION: u32 = 1;
/// How long one copy is.
pub(super) const HEAD_BYTES: usize = HEAD_SECTORS as usize * SECTOR_BYTES;
/// What is in front of the configuration.
const FIXED_BYTES: usize = 52;
const BLOCKS_MAX: usize = limits::SNAPSHOT_MAX_BYTES.div_ceil(SNAPSHOT_BLOCK_BYTES);

// The largest head fits its sectors.
const _: () = assert!(
    FIXED_BYTES + limits::SNAPSHOT_CONFIGURATION_MAX_BYTES + 4 * BLOCKS_MAX + 4 <= HEAD_BYTES
);

/// See the module above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    /// Grows with every snapshot; the higher one counts.
    pub(crate) sequence: u64,
    pub(crate) meta: SnapshotMeta,
    /// The length of the data.
    pub(crate) total_bytes: u64,
    /// The checksum of each block.
    pub(crate) checksums: Vec<u32>,
}

impl Head {
    /// All copies, one behind the other.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_COPIES as usize * HEAD_BYTES);
        Writer::new(&mut bytes)
            .u64(MAGIC)
            .u32(VERSION)
            .u32(u32::try_from(self.checksums.len()).expect("snapshots are bounded"))
            .u64(self.sequence)
            .log_index(self.meta.index)
            .term(self.meta.term)
            .u64(self.total_bytes)
            .length_prefixed(&self.meta.configuration);
        for checksum in &self.checksums {
            Writer::new(&mut bytes).u32(*checksum);
        }
        let checksum = crc32c(&bytes);
        Writer::new(&mut bytes).u32(checksum);
        bytes.resize(HEAD_BYTES, 0);
        for _ in 1..HEAD_COPIES {
            bytes.extend_from_within(..HEAD_BYTES);
        }
        bytes
    }

    /// Reads one copy.
    fn decode(bytes: &[u8]) -> Result<Head, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (magic, version) = (reader.u64()?, reader.u32()?);
        if magic != MAGIC || version != VERSION {
            return Err(DecodeError);
        }
        let blocks = reader.u32()? as usize;
        let (sequence, index, term) = (reader.u64()?, reader.log_index()?, reader.term()?);
        let total_bytes = reader.u64()?;
        let configuration = reader.length_prefixed(limits::SNAPSHOT_CONFIGURATION_MAX_BYTES)?;
        if blocks > BLOCKS_MAX
            || total_bytes.div_ceil(SNAPSHOT_BLOCK_BYTES as u64) != blocks as u64
            || index.0 > INDEX_MAX
        {
            return Err(DecodeError);
        }
        let mut checksums = Vec::with_capacity(blocks);
        for _ in 0..blocks {
            checksums.push(reader.u32()?);
        }
        let checked = bytes.len() - reader.remaining();
        if reader.u32()? != crc32c(&bytes[..checked]) {
            return Err(DecodeError);
        }
        let configuration = Bytes::copy_from_slice(configuration);
        let meta = SnapshotMeta { index, term, configuration };
        Ok(Head { sequence, meta, total_bytes, checksums })
    }

    /// The first whole copy in the front of an area.
    pub(crate) fn first_whole(copies: &[u8]) -> Option<Head> {
        copies.chunks_exact(HEAD_BYTES).find_map(|copy| Head::decode(copy).ok())
    }

    /// How many copies in the front of an area are whole.
    pub(crate) fn whole_copies(copies: &[u8]) -> usize {
        copies.chunks_exact(HEAD_BYTES).filter(|copy| Head::decode(copy).is_ok()).count()
    }

    /// How long a block is.
    pub(super) fn block_bytes(&self, block: usize) -> usize {
        let rest = self.total_bytes - (block * SNAPSHOT_BLOCK_BYTES) as u64;
        rest.min(SNAPSHOT_BLOCK_BYTES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use base::{LogIndex, Term};

    use super::*;

    fn head(configuration: usize, blocks: usize) -> Head {
        let configuration = vec![7; configuration].into();
        let meta = SnapshotMeta { index: LogIndex(50), term: Term(4), configuration };
        let total_bytes = (blocks * SNAPSHOT_BLOCK_BYTES) as u64;
        Head { sequence: 3, meta, total_bytes, checksums: (0..blocks as u32).collect() }
    }

    #[test]
    fn what_is_encoded_is_decoded_up_to_the_largest() {
        for head in [head(0, 0), head(10, 3), head(1024, BLOCKS_MAX)] {
            let bytes = head.encode();
            assert_eq!(bytes.len(), 2 * HEAD_BYTES);
            assert_eq!(Head::decode(&bytes[..HEAD_BYTES]), Ok(head.clone()));
            assert_eq!(Head::decode(&bytes[HEAD_BYTES..]), Ok(head));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_the_copy_is_taken() {
        let head = head(10, 3);
        let sound = head.encode();
        let used = FIXED_BYTES + 10 + 3 * 4 + 4;
        for bit in 0..used * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&bytes[..HEAD_BYTES]), Err(DecodeError), "bit {bit}");
            assert_eq!(Head::first_whole(&bytes), Some(head.clone()));
            bytes[HEAD_BYTES + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::first_whole(&bytes), None);
        }
    }
}
