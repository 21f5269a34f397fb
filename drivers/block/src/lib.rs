//! The contract between a disk and whoever keeps data on it: requests in, completions out.
//!
//! The contract is a crate of its own, so that the store needs no driver and the driver no store.
//! It says what virtio-blk says (Virtio 1.3, section 5.2), and no more:
//!
//! - Requests that are under way together complete in any order.
//! - A write is durable only when a [`Operation::Flush`] that was submitted *after the write completed*
//!   has completed. Until then a crash may keep it, lose it, or keep some of its sectors.
//! - One sector is the unit: after a crash a sector may be damaged, and damage is never assumed absent.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use core::fmt;

use pool::PacketBuffer;

/// The unit of every address and length on a disk.
pub const SECTOR_BYTES: usize = 512;

/// What a disk is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Fill the first `sectors` sectors of the buffer from the disk, starting at `sector`.
    Read {
        /// The first sector on the disk.
        sector: u64,
        /// How many; at least one, and no more than the buffer holds.
        sectors: u32,
    },
    /// Write the first `sectors` sectors of the buffer to the disk, starting at `sector`.
    Write {
        /// The first sector on the disk.
        sector: u64,
        /// How many; at least one, and no more than the buffer holds.
        sectors: u32,
    },
    /// Make every write durable that had completed when this was submitted. Takes no buffer.
    Flush,
}

/// A request to a disk. The buffer goes with it and comes back in the completion.
#[derive(Debug)]
pub struct BlockRequest {
    /// The submitter's own name for the request; the completion carries it back.
    pub tag: u64,
    /// What to do.
    pub operation: Operation,
    /// The bytes; `None` for a flush only.
    pub buffer: Option<PacketBuffer>,
}

/// The end of a request.
#[derive(Debug)]
pub struct BlockCompletion {
    /// The name that the submitter gave.
    pub tag: u64,
    /// What was asked for.
    pub operation: Operation,
    /// The buffer of the request, filled by a read that succeeded.
    pub buffer: Option<PacketBuffer>,
    /// Whether it was done. After an error the content of the buffer or of the sectors is undefined.
    pub result: Result<(), BlockError>,
}

/// Why a request was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockError {
    /// The device reports an input or output error.
    Device,
    /// The device does not know the request.
    Unsupported,
    /// The request is outside the disk or its buffer.
    OutOfRange,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BlockError::Device => "the disk reports an input/output error",
            BlockError::Unsupported => "the disk does not support the request",
            BlockError::OutOfRange => "the request lies outside the disk",
        })
    }
}

impl core::error::Error for BlockError {}

/// A disk, or what stands for one in a test.
pub trait BlockDevice {
    /// How many sectors there are.
    fn capacity_sectors(&self) -> u64;

    /// Hands over a request. If there is no room for it now, it comes back: poll, then try again.
    fn submit(&mut self, request: BlockRequest) -> Result<(), BlockRequest>;

    /// The next request that has ended, if any.
    fn poll(&mut self) -> Option<BlockCompletion>;
}
