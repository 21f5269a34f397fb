//! One read or write of any length, in pieces of one buffer each.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use block::{BlockCompletion, BlockRequest, Operation, SECTOR_BYTES};
use pool::Pool;

use crate::layout::Area;

/// Where requests go out, with the buffers for them.
#[derive(Debug)]
pub(crate) struct Io {
    pub(crate) pool: Pool,
    next_tag: u64,
    pub(crate) requests: VecDeque<BlockRequest>,
}

impl Io {
    pub(crate) fn new(pool: Pool) -> Io {
        Io { pool, next_tag: 0, requests: VecDeque::new() }
    }

    fn take_tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Asks for a flush, and answers its tag.
    pub(crate) fn flush(&mut self) -> u64 {
        let tag = self.take_tag();
        self.requests.push_back(BlockRequest { tag, operation: Operation::Flush, buffer: None });
        tag
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Read,
    Write,
}

/// A run of sectors of an area on its way. In memory it is one piece, also where it crosses the area's end.
#[derive(Debug)]
pub(crate) struct Transfer {
    direction: Direction,
    area: Area,
    /// Where it begins, in sectors from the start of the area; or beyond its end, a lap later.
    offset: u64,
    bytes: Vec<u8>,
    /// How many bytes have been asked for.
    issued: usize,
    /// Pieces under way, by tag: where they belong.
    under_way: BTreeMap<u64, Range<usize>>,
}

impl Transfer {
    /// Reads `sectors` sectors of `area` from `offset` on.
    pub(crate) fn read(area: Area, offset: u64, sectors: u64) -> Transfer {
        let bytes = vec![0; sectors as usize * SECTOR_BYTES];
        Transfer::new(Direction::Read, area, offset, bytes)
    }

    /// Writes `bytes`, which are whole sectors, to `area` from `offset` on.
    pub(crate) fn write(area: Area, offset: u64, bytes: Vec<u8>) -> Transfer {
        Transfer::new(Direction::Write, area, offset, bytes)
    }

    fn new(direction: Direction, area: Area, offset: u64, bytes: Vec<u8>) -> Transfer {
        debug_assert!(bytes.len().is_multiple_of(SECTOR_BYTES));
        debug_assert!(bytes.len() as u64 <= area.bytes(), "it does not meet itself");
        Transfer { direction, area, offset, bytes, issued: 0, under_way: BTreeMap::new() }
    }

    /// Asks for as many pieces as there are buffers.
    pub(crate) fn pump(&mut self, io: &mut Io) {
        while self.issued < self.bytes.len() {
            let Some(mut buffer) = io.pool.allocate() else { return };
            let start = self.issued;
            let place = (self.offset + (start / SECTOR_BYTES) as u64) % self.area.sectors;
            let until_lap = (self.area.sectors - place) as usize * SECTOR_BYTES;
            let end = self.bytes.len().min(start + buffer.len().min(until_lap));
            let sector = self.area.sector(place);
            let sectors = ((end - start) / SECTOR_BYTES) as u32;
            let operation = match self.direction {
                Direction::Read => Operation::Read { sector, sectors },
                Direction::Write => {
                    buffer[..end - start].copy_from_slice(&self.bytes[start..end]);
                    Operation::Write { sector, sectors }
                }
            };
            let tag = io.take_tag();
            io.requests.push_back(BlockRequest { tag, operation, buffer: Some(buffer) });
            self.under_way.insert(tag, start..end);
            self.issued = end;
        }
    }

    /// Takes in the completion of a request that succeeded, if it belongs here.
    pub(crate) fn take(&mut self, completion: &BlockCompletion) -> Option<()> {
        let place = self.under_way.remove(&completion.tag)?;
        if self.direction == Direction::Read
            && let Some(buffer) = &completion.buffer
        {
            let length = place.len();
            self.bytes[place].copy_from_slice(&buffer[..length]);
        }
        Some(())
    }

    /// Whether everything is done.
    pub(crate) fn is_done(&self) -> bool {
        self.issued == self.bytes.len() && self.under_way.is_empty()
    }

    /// Whether nothing of it is under way; the rest may still be to come.
    pub(crate) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Where it begins, as it was told.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was read.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
