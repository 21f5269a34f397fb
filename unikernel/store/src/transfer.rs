//! One read or write of any length, in pieces of one buffer each.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use block::{BlockCompletion, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use pool::Pool;

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

/// A run of sectors on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    direction: Direction,
    sector: u64,
    bytes: Vec<u8>,
    /// How many bytes have been asked for.
    issued: usize,
    /// Pieces under way, by tag: where they belong.
    under_way: BTreeMap<u64, usize>,
}

impl Transfer {
    /// Reads `sectors` sectors from `sector` on.
    pub(crate) fn read(sector: u64, sectors: usize) -> Transfer {
        let bytes = vec![0; sectors * SECTOR_BYTES];
        Transfer {
            direction: Direction::Read,
            sector,
            bytes,
            issued: 0,
            under_way: BTreeMap::new(),
        }
    }

    /// Writes `bytes`, which are whole sectors, from `sector` on.
    pub(crate) fn write(sector: u64, bytes: Vec<u8>) -> Transfer {
        debug_assert!(bytes.len().is_multiple_of(SECTOR_BYTES));
        Transfer {
            direction: Direction::Write,
            sector,
            bytes,
            issued: 0,
            under_way: BTreeMap::new(),
        }
    }

    /// Asks for as many pieces as there are buffers.
    pub(crate) fn pump(&mut self, io: &mut Io) {
        while self.issued < self.bytes.len() {
            let Some(mut buffer) = io.pool.allocate() else { return };
            let start = self.issued;
            let end = self.bytes.len().min(start + buffer.len());
            let sector = self.sector + (start / SECTOR_BYTES) as u64;
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
            self.under_way.insert(tag, start);
            self.issued = end;
        }
    }

    /// Whether the completion belongs here; then it is taken in.
    pub(crate) fn take(&mut self, completion: &BlockCompletion) -> Option<Result<(), BlockError>> {
        let start = self.under_way.remove(&completion.tag)?;
        if completion.result.is_ok()
            && self.direction == Direction::Read
            && let Some(buffer) = &completion.buffer
        {
            let end = self.bytes.len().min(start + buffer.len());
            self.bytes[start..end].copy_from_slice(&buffer[..end - start]);
        }
        Some(completion.result)
    }

    /// Whether everything is done.
    pub(crate) fn is_done(&self) -> bool {
        self.issued == self.bytes.len() && self.under_way.is_empty()
    }

    /// The sector that it starts at.
    pub(crate) fn sector(&self) -> u64 {
        self.sector
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
