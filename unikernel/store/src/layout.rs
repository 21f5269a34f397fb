//! Where things are on the disk: the arithmetic of the drawing in the crate's documentation.

use core::fmt;

use base::{ClusterId, LogIndex, NodeId, limits};
use block::SECTOR_BYTES;

use crate::header::HEADER_BYTES;

/// Sectors in front of the headers. What is in them is small and must not be lost, so that each of them has 4
/// KiB to itself: disks write no less at once, and lose no less.
pub(crate) const HEADERS_START: u64 = 56;
/// Where the hard state's two places are, and the two copies of each.
pub(crate) const HARD_STATE_SECTORS: [[u64; 2]; 2] = [[8, 32], [16, 40]];
/// Headers in one sector.
pub(crate) const HEADERS_PER_SECTOR: u64 = (SECTOR_BYTES / HEADER_BYTES) as u64;
/// The share of the disk that headers take: one in eight. A record of 448 bytes, header copy included, uses
/// both parts evenly.
const HEADERS_SHARE: u64 = 8;
/// The share of the disk that each of the two snapshot areas takes at the most.
const SNAPSHOT_SHARE: u64 = 8;
/// Sectors of one copy of a snapshot's head: room for 1 KiB of configuration and the checksums of all blocks.
pub(crate) const HEAD_SECTORS: u64 = 8;
/// Copies of the head, one behind the other, in front of the data.
pub(crate) const HEAD_COPIES: u64 = 2;
/// A header names the place of the one before in eights of bytes: 32 GiB of bodies. More of a disk is not
/// used.
const BODY_SECTORS_MAX: u64 = (8 << 32) / SECTOR_BYTES as u64;
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
    /// The kinds of records whose indices are wanted when the disk is read.
    pub wanted_kinds: &'static [u8],
    /// Whether an empty disk is made ours. If not, it is taken for one that has lost what was on it.
    pub may_format: bool,
    /// Whether the disk has room for snapshots. Without, the caller says what of the log may be given up, and
    /// all of the disk that is not headers is bodies.
    pub has_snapshots: bool,
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

/// A part of the disk. What runs over its end goes on at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Area {
    /// Its first sector on the disk.
    pub(crate) start: u64,
    pub(crate) sectors: u64,
}

impl Area {
    pub(crate) fn bytes(self) -> u64 {
        self.sectors * SECTOR_BYTES as u64
    }

    /// The sector on the disk that is `offset` sectors behind the start.
    pub(crate) fn sector(self, offset: u64) -> u64 {
        self.start + offset % self.sectors
    }

    /// The position that is `bytes` behind `position`.
    pub(crate) fn advance(self, position: u64, bytes: u64) -> u64 {
        (position % self.bytes() + bytes) % self.bytes()
    }

    /// How many bytes it is from one position to another, in the direction of writing.
    pub(crate) fn distance(self, from: u64, to: u64) -> u64 {
        (to % self.bytes() + self.bytes() - from % self.bytes()) % self.bytes()
    }
}

/// The parts of a disk of a certain size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub(crate) capacity_sectors: u64,
    /// How many sectors of headers.
    pub(crate) header_sectors: u64,
    /// How many sectors each of the two snapshot areas has.
    pub(crate) snapshot_sectors: u64,
}

impl Layout {
    pub(crate) fn new(capacity_sectors: u64, has_snapshots: bool) -> Result<Layout, ConfigError> {
        if capacity_sectors < SECTORS_MIN {
            return Err(ConfigError::TooSmall(capacity_sectors));
        }
        let data = limits::SNAPSHOT_MAX_BYTES.div_ceil(SECTOR_BYTES) as u64;
        let snapshot = (HEAD_COPIES * HEAD_SECTORS + data).min(capacity_sectors / SNAPSHOT_SHARE);
        Ok(Layout {
            capacity_sectors,
            header_sectors: capacity_sectors / HEADERS_SHARE,
            snapshot_sectors: if has_snapshots { snapshot } else { 0 },
        })
    }

    /// Whether there is room for snapshots.
    pub(crate) fn has_snapshots(self) -> bool {
        self.snapshot_sectors > 0
    }

    /// All of it.
    pub(crate) fn disk(self) -> Area {
        Area { start: 0, sectors: self.capacity_sectors }
    }

    /// The ring of headers.
    pub(crate) fn headers(self) -> Area {
        Area { start: HEADERS_START, sectors: self.header_sectors }
    }

    /// The two places of snapshots.
    pub(crate) fn snapshots(self) -> [Area; 2] {
        let start = HEADERS_START + self.header_sectors;
        let sectors = self.snapshot_sectors;
        [Area { start, sectors }, Area { start: start + sectors, sectors }]
    }

    /// The ring of bodies.
    pub(crate) fn bodies(self) -> Area {
        let [_, before] = self.snapshots();
        let start = before.start + before.sectors;
        Area { start, sectors: (self.capacity_sectors - start).min(BODY_SECTORS_MAX) }
    }

    /// How many headers there is a place for.
    pub(crate) fn slots(self) -> u64 {
        self.header_sectors * HEADERS_PER_SECTOR
    }

    /// How many sectors behind the start of the headers the one of `index` is: on the ring, or beyond its
    /// end.
    pub(crate) fn header_place(self, index: LogIndex) -> u64 {
        (index.0 - 1) / HEADERS_PER_SECTOR
    }

    /// The last index that has a place while `first` must be kept: the sector of `first` is not written.
    pub(crate) fn last_with_slot(self, first: LogIndex) -> LogIndex {
        LogIndex((self.header_place(first) + self.header_sectors) * HEADERS_PER_SECTOR)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_lie_side_by_side_and_fill_the_disk() {
        for capacity in [SECTORS_MIN, 8192, 131_072, 1 << 20, (32 << 21) - 1] {
            for layout in [true, false].map(|has| Layout::new(capacity, has).unwrap()) {
                let [one, two] = layout.snapshots();
                let parts = [layout.headers(), one, two, layout.bodies()];
                let mut next = HEADERS_START;
                for part in parts {
                    assert_eq!(part.start, next);
                    next += part.sectors;
                }
                assert_eq!(next, capacity);
                assert!(layout.bodies().sectors >= capacity / 2, "most is left for the bodies");
            }
        }
    }

    #[test]
    fn every_position_on_a_huge_disk_can_be_named() {
        let bodies = Layout::new(1 << 30, true).unwrap().bodies();
        assert_eq!((bodies.bytes() - 8) / 8, u64::from(u32::MAX));
    }

    #[test]
    fn a_ring_goes_on_at_its_start() {
        let area = Area { start: 100, sectors: 4 };
        assert_eq!((area.sector(3), area.sector(4)), (103, 100));
        assert_eq!(area.advance(2040, 16), 8);
        assert_eq!((area.distance(2040, 8), area.distance(8, 2040)), (16, 2032));
    }

    /// The sector of the oldest header is never written again while it is needed.
    #[test]
    fn the_last_slot_is_in_the_sector_before_the_first() {
        let layout = Layout::new(SECTORS_MIN, true).unwrap();
        assert_eq!(layout.last_with_slot(LogIndex(1)), LogIndex(layout.slots()));
        assert_eq!(layout.last_with_slot(LogIndex(8)), LogIndex(layout.slots()));
        assert_eq!(layout.last_with_slot(LogIndex(9)), LogIndex(layout.slots() + 8));
    }
}
