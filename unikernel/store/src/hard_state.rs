//! The hard state and the marker: the little that changes with every batch.
//!
//! There are two places, used in turn, so that the state before is there while the new one is written; and
//! each place is two sectors with the same content, so that one that rots loses nothing.
//!
//! ```text
//! 0 magic "HS" (u16)  2 vote (u16)  4 zero (u32)  8 sequence  16 term  24 boot epoch
//! 32 durable batch  40 durable end of the log  48 position of the last header's copy  56 its checksum
//! 60 checksum of the 60 above
//! ```

use alloc::vec::Vec;

use base::checksum::crc32c;
use base::codec::{DecodeError, Reader, Writer};
use base::{LogIndex, NodeId, Term};
use block::SECTOR_BYTES;

use crate::layout::HARD_STATE_SECTORS;

const MAGIC: u16 = u16::from_le_bytes(*b"HS");
const CHECKED_BYTES: usize = 60;

/// What a node must never forget, the log aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term that it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// What is written to one of the places.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark {
    /// Grows with every write; its last bit chooses the place.
    pub(crate) sequence: u64,
    pub(crate) hard_state: HardState,
    /// How often the node has started.
    pub(crate) epoch: u64,
    /// The last batch that is settled: durable, or dropped as torn.
    pub(crate) durable_batch: u64,
    /// The end of the log after it.
    pub(crate) durable_last: LogIndex,
    /// Where the copy of the last header is. With its checksum, this holds the whole chain.
    pub(crate) last_position: u64,
    /// The checksum of the last header; 0 for an empty log.
    pub(crate) last_checksum: u32,
}

impl Mark {
    /// The mark that says that the node has started once more.
    pub(crate) fn next_start(self) -> Mark {
        Mark { sequence: self.sequence + 1, epoch: self.epoch + 1, ..self }
    }

    /// Where it is written.
    pub(crate) fn sector(&self) -> u64 {
        HARD_STATE_SECTORS[(self.sequence % 2) as usize]
    }

    /// The two sectors of its place.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sector = Vec::with_capacity(2 * SECTOR_BYTES);
        Writer::new(&mut sector)
            .u16(MAGIC)
            .optional_node_id(self.hard_state.vote)
            .u32(0)
            .u64(self.sequence)
            .term(self.hard_state.term)
            .u64(self.epoch)
            .u64(self.durable_batch)
            .log_index(self.durable_last)
            .u64(self.last_position)
            .u32(self.last_checksum);
        let checksum = crc32c(&sector);
        Writer::new(&mut sector).u32(checksum);
        sector.resize(SECTOR_BYTES, 0);
        sector.extend_from_within(..);
        sector
    }

    /// Reads one from the start of a sector.
    pub(crate) fn decode(sector: &[u8]) -> Result<Mark, DecodeError> {
        let mut reader = Reader::new(sector);
        let magic = reader.u16()?;
        let vote = reader.optional_node_id()?;
        let zero = reader.u32()?;
        let sequence = reader.u64()?;
        let hard_state = HardState { term: reader.term()?, vote };
        let epoch = reader.u64()?;
        let durable_batch = reader.u64()?;
        let durable_last = reader.log_index()?;
        let (last_position, last_checksum) = (reader.u64()?, reader.u32()?);
        let checksum = reader.u32()?;
        let is_whole = magic == MAGIC && zero == 0 && checksum == crc32c(&sector[..CHECKED_BYTES]);
        let mark = Mark {
            sequence,
            hard_state,
            epoch,
            durable_batch,
            durable_last,
            last_position,
            last_checksum,
        };
        if is_whole { Ok(mark) } else { Err(DecodeError) }
    }

    /// The newest mark in the first sectors of a disk.
    pub(crate) fn newest(sectors: &[u8]) -> Option<Mark> {
        let places = HARD_STATE_SECTORS.iter().flat_map(|first| [*first, *first + 1]);
        let marks = places.filter_map(|sector| {
            let start = sector as usize * SECTOR_BYTES;
            Mark::decode(sectors.get(start..start + SECTOR_BYTES)?).ok()
        });
        marks.max_by_key(|mark| mark.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64) -> Mark {
        let hard_state = HardState { term: Term(sequence), vote: NodeId::new(3) };
        Mark { sequence, hard_state, epoch: 2, durable_batch: 5, ..Mark::default() }
    }

    fn disk(marks: &[Mark]) -> Vec<u8> {
        let mut sectors = vec![0; 8 * SECTOR_BYTES];
        for mark in marks {
            let start = mark.sector() as usize * SECTOR_BYTES;
            sectors[start..start + 2 * SECTOR_BYTES].copy_from_slice(&mark.encode());
        }
        sectors
    }

    #[test]
    fn the_newest_whole_one_counts() {
        assert_eq!(Mark::newest(&disk(&[])), None);
        assert_eq!(Mark::newest(&disk(&[mark(7), mark(8)])), Some(mark(8)));
    }

    /// Pitfall 19: the state before is there while the new one is written.
    #[test]
    fn a_torn_write_leaves_the_one_before_and_one_rotten_sector_costs_nothing() {
        let mut sectors = disk(&[mark(7), mark(8)]);
        let newest = mark(8).sector() as usize * SECTOR_BYTES;
        sectors[newest + 20] ^= 1;
        assert_eq!(Mark::newest(&sectors), Some(mark(8)), "the copy");
        sectors[newest + SECTOR_BYTES + 20] ^= 1;
        assert_eq!(Mark::newest(&sectors), Some(mark(7)));
    }
}
