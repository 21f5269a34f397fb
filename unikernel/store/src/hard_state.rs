//! The hard state and the marker: the little that changes with every batch.
//!
//! There are two places, used in turn, so that the state before is there while the new one is written; and
//! each place is two sectors with the same content, far from each other and written one by one, so that one
//! that rots, or is never written, loses nothing. A node that has lost it all the same does not start;
//! ARCHITECTURE.md says why it cannot just come back.
//!
//! ```text
//! 0 magic "HS" (u16)  2 vote (u16)  4 zero (u32)  8 sequence  16 term  24 boot epoch
//! 32 durable batch  40 durable end of the log  48 position of the last header's copy  56 its checksum (u32)
//! 60 checksum of the header before the first that is kept (u32)   64 index of the first that is kept
//! 72 term of the one before it  80 end of the bodies  88 checksum of the 88 above (u32)
//! ```
//!
//! The header before the first that is kept is the *front*: the chain begins with its checksum. Before index
//! 1 it is 0; behind a reset, where there never was such a header, it is computed from index and term.

use alloc::vec::Vec;

use base::checksum::{Crc32c, crc32c};
use base::codec::{DecodeError, Reader, Writer};
use base::{LogIndex, NodeId, Term};
use block::SECTOR_BYTES;

use crate::layout::{HARD_STATE_SECTORS, Layout};
use crate::transfer::Transfer;

const MAGIC: u16 = u16::from_le_bytes(*b"HS");
const CHECKED_BYTES: usize = 88;

/// The highest index that a log may end at: there is always room to count on from it.
pub(crate) const INDEX_MAX: u64 = u64::MAX / 4;

/// What a node must never forget, the log aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term that it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// What is written to one of the places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// The checksum of the last header; the front's for an empty log.
    pub(crate) last_checksum: u32,
    /// The first index that is kept; one behind the end if the log is empty.
    pub(crate) first: LogIndex,
    /// What the chain begins with.
    pub(crate) front_checksum: u32,
    /// The term of the record before the first, 0 if there never was one.
    pub(crate) front_term: Term,
    /// Where the bodies of the next batch begin.
    pub(crate) body_end: u64,
}

/// That of a disk on which nothing was written yet.
impl Default for Mark {
    fn default() -> Mark {
        Mark {
            sequence: 0,
            hard_state: HardState::default(),
            epoch: 0,
            durable_batch: 0,
            durable_last: LogIndex(0),
            last_position: 0,
            last_checksum: 0,
            first: LogIndex(1),
            front_checksum: 0,
            front_term: Term(0),
            body_end: 0,
        }
    }
}

impl Mark {
    /// Where both copies of it are written.
    pub(crate) fn sectors(&self) -> [u64; 2] {
        HARD_STATE_SECTORS[(self.sequence % 2) as usize]
    }

    /// The writes of both copies.
    pub(crate) fn write(&self, layout: Layout) -> [Transfer; 2] {
        self.sectors().map(|sector| Transfer::write(layout.disk(), sector, self.encode()))
    }

    /// One copy.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sector = Vec::with_capacity(SECTOR_BYTES);
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
            .u32(self.last_checksum)
            .u32(self.front_checksum)
            .log_index(self.first)
            .term(self.front_term)
            .u64(self.body_end);
        let checksum = crc32c(&sector);
        Writer::new(&mut sector).u32(checksum);
        sector.resize(SECTOR_BYTES, 0);
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
        let front_checksum = reader.u32()?;
        let first = reader.log_index()?;
        let (front_term, body_end) = (reader.term()?, reader.u64()?);
        let checksum = reader.u32()?;
        let is_whole = magic == MAGIC
            && zero == 0
            && first.0 >= 1
            && first.0 - 1 <= durable_last.0
            && durable_last.0 <= INDEX_MAX
            && checksum == crc32c(&sector[..CHECKED_BYTES]);
        let mark = Mark {
            sequence,
            hard_state,
            epoch,
            durable_batch,
            durable_last,
            last_position,
            last_checksum,
            first,
            front_checksum,
            front_term,
            body_end,
        };
        if is_whole { Ok(mark) } else { Err(DecodeError) }
    }

    /// The log is empty from now on, and ends at `index`: there is a snapshot instead.
    pub(crate) fn reset(&mut self, index: LogIndex, term: Term) {
        let mut checksum = Crc32c::new();
        checksum.update(&index.0.to_le_bytes());
        checksum.update(&term.0.to_le_bytes());
        self.front_checksum = checksum.finish();
        self.front_term = term;
        self.first = index.next();
        self.durable_last = index;
        (self.last_position, self.last_checksum) = (0, self.front_checksum);
    }

    /// Whether it leaves no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.first > self.durable_last
    }

    /// The newest mark in the first sectors of a disk.
    pub(crate) fn newest(sectors: &[u8]) -> Option<Mark> {
        let places = HARD_STATE_SECTORS.into_iter().flatten();
        let marks = places.filter_map(|sector: u64| {
            let start = sector as usize * SECTOR_BYTES;
            Mark::decode(sectors.get(start..start + SECTOR_BYTES)?).ok()
        });
        marks.max_by_key(|mark| mark.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::HEADERS_START;

    fn mark(sequence: u64) -> Mark {
        let hard_state = HardState { term: Term(sequence), vote: NodeId::new(3) };
        Mark { sequence, hard_state, epoch: 2, durable_batch: 5, ..Mark::default() }
    }

    fn disk(marks: &[Mark]) -> Vec<u8> {
        let mut sectors = vec![0; HEADERS_START as usize * SECTOR_BYTES];
        for mark in marks {
            for start in mark.sectors().map(|sector| sector as usize * SECTOR_BYTES) {
                sectors[start..start + SECTOR_BYTES].copy_from_slice(&mark.encode());
            }
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
        let [newest, copy] = mark(8).sectors().map(|sector| sector as usize * SECTOR_BYTES);
        sectors[newest + 20] ^= 1;
        assert_eq!(Mark::newest(&sectors), Some(mark(8)), "the copy");
        sectors[copy + 20] ^= 1;
        assert_eq!(Mark::newest(&sectors), Some(mark(7)));
    }
}
