//! Where things are on the disk.

use core::fmt;

use base::{ClusterId, LogIndex, NodeId};
use block::SECTOR_BYTES;

use crate::header::HEADER_BYTES;

/// Sectors in front of the headers; some are kept for later.
pub(crate) const HEADERS_START: u64 = 8;
/// Where the hard state's two places are.
pub(crate) const HARD_STATE_SECTORS: [u64; 2] = [2, 4];
/// Headers in one sector.
pub(crate) const HEADERS_PER_SECTOR: u64 = (SECTOR_BYTES / HEADER_BYTES) as u64;
/// The share of the disk that headers take: one in eight. A record of 448 bytes, header copy included, uses
/// both parts evenly.
const HEADERS_SHARE: u64 = 8;
/// The smallest disk that makes sense: 1 MiB.
const SECTORS_MIN: u64 = 2048;
/// Room in both parts that only records without payload may use: a new leader needs one.
pub(crate) const RESERVE_RECORDS: u64 = 512;

/// What the store is told when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The cluster that the disk belongs to.
    pub cluster: ClusterId,
    /// The node that the disk belongs to.
    pub node: NodeId,
    /// The size of the disk.
    pub capacity_sectors: u64,
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The disk has fewer sectors than make sense.
    TooSmall(u64),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError::TooSmall(sectors) = self;
        let (kib, least) = (sectors / 2, SECTORS_MIN / 2);
        write!(f, "the disk has {kib} KiB; at least {least} KiB are needed")
    }
}

impl core::error::Error for ConfigError {}

/// The parts of a disk of a certain size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) capacity_sectors: u64,
    /// How many sectors of headers.
    pub(crate) header_sectors: u64,
}

impl Layout {
    pub(crate) fn new(capacity_sectors: u64) -> Result<Layout, ConfigError> {
        if capacity_sectors < SECTORS_MIN {
            return Err(ConfigError::TooSmall(capacity_sectors));
        }
        Ok(Layout { capacity_sectors, header_sectors: capacity_sectors / HEADERS_SHARE })
    }

    /// How many records there is a place for.
    pub(crate) fn slots(self) -> u64 {
        self.header_sectors * HEADERS_PER_SECTOR
    }

    /// The sector that holds the header of `index`.
    pub(crate) fn header_sector(self, index: LogIndex) -> u64 {
        HEADERS_START + (index.0 - 1) / HEADERS_PER_SECTOR
    }

    /// The first sector of bodies.
    pub(crate) fn bodies_start(self) -> u64 {
        HEADERS_START + self.header_sectors
    }

    /// How many bytes of bodies there is room for.
    pub(crate) fn bodies_bytes(self) -> u64 {
        (self.capacity_sectors - self.bodies_start()) * SECTOR_BYTES as u64
    }
}

/// The place of a header within its sector, in bytes.
pub(crate) fn header_offset(index: LogIndex) -> usize {
    ((index.0 - 1) % HEADERS_PER_SECTOR) as usize * HEADER_BYTES
}

/// The next multiple of a sector.
pub(crate) fn align_to_sector(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR_BYTES as u64)
}
