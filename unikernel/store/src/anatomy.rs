//! A disk as it lies there, for tools and tests that look at one from outside: what is on it, where, and what
//! of that is intact. It changes nothing, and decides nothing that recovery decides.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use base::checksum::crc32c;
use base::{ClusterId, LogIndex, NodeId, Term};
use block::SECTOR_BYTES;

use crate::hard_state::Mark;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{
    Area, ConfigError, HARD_STATE_SECTORS, HEAD_COPIES, HEAD_SECTORS, HEADERS_START, Layout,
    header_offset,
};
use crate::snapshot::{Head, SNAPSHOT_BLOCK_BYTES};
use crate::superblock::{SUPERBLOCK_SECTORS, Superblock};

/// So many sectors at the front of a disk tell whose it is.
pub const FRONT_SECTORS: u64 = HEADERS_START;

/// Whose disk it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Which cluster's.
    pub cluster: ClusterId,
    /// Which node's.
    pub node: NodeId,
    /// How large it was when it was formatted.
    pub capacity_sectors: u64,
}

/// Whose disk it is that begins with these bytes, by the first copy of its superblock that can be read.
pub fn owner(front: &[u8]) -> Option<Owner> {
    let copy = |sector: &u64| {
        let start = usize::try_from(*sector).ok()? * SECTOR_BYTES;
        Superblock::decode(front.get(start..start + SECTOR_BYTES)?).ok()
    };
    let Superblock { cluster, node, layout } = SUPERBLOCK_SECTORS.iter().find_map(copy)?;
    Some(Owner { cluster, node, capacity_sectors: layout.capacity_sectors })
}

/// A byte of a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The sector that it is in.
    pub sector: u64,
    /// Where in it.
    pub offset: usize,
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordImage {
    /// Its index.
    pub index: LogIndex,
    /// Its term.
    pub term: Term,
    /// Where its header is.
    pub slot: Place,
    /// Where the copy of the header is, in front of the payload.
    pub copy: Place,
    /// The first and the last byte of the payload, if it has any.
    pub payload: Option<(Place, Place)>,
    /// Whether the header is what it should be …
    pub is_slot_intact: bool,
    /// … and its copy …
    pub is_copy_intact: bool,
    /// … and the payload.
    pub is_payload_intact: bool,
}

/// A snapshot whose head can be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotImage {
    /// The last record that it stands for.
    pub index: LogIndex,
    /// The sectors of both copies of its head.
    pub heads: [Range<u64>; 2],
    /// The sectors of its data.
    pub data: Range<u64>,
    /// How many copies of the head can be read.
    pub heads_intact: usize,
    /// Whether all of the data is what it should be.
    pub is_data_intact: bool,
}

/// What is on a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskImage {
    /// How many copies of the superblock can be read.
    pub superblocks: usize,
    /// The number of the newest mark: it grows with every one that is written.
    pub mark: u64,
    /// How many copies of that mark can be read.
    pub marks: usize,
    /// The first record that is kept.
    pub first: LogIndex,
    /// The log as far as the newest mark vouches for it, the oldest first. It begins behind a header that is
    /// lost with its copy.
    pub records: Vec<RecordImage>,
    /// Whether a header is lost, with its copy.
    pub is_chain_broken: bool,
    /// Both snapshots, the one that counts last.
    pub snapshots: Vec<SnapshotImage>,
}

/// Where things are on a disk of a certain size.
#[derive(Clone, Copy, Debug)]
pub struct Anatomy {
    layout: Layout,
}

impl Anatomy {
    /// That of a disk of so many sectors, with room for snapshots.
    ///
    /// # Errors
    /// If no store fits on it.
    pub fn new(capacity_sectors: u64) -> Result<Anatomy, ConfigError> {
        Ok(Anatomy { layout: Layout::new(capacity_sectors, true)? })
    }

    /// That of a disk without ([`crate::Config::has_snapshots`]).
    ///
    /// # Errors
    /// If no store fits on it.
    pub fn without_snapshots(capacity_sectors: u64) -> Result<Anatomy, ConfigError> {
        Ok(Anatomy { layout: Layout::new(capacity_sectors, false)? })
    }

    /// The sectors of both superblocks.
    pub fn superblock_sectors(&self) -> [u64; 2] {
        SUPERBLOCK_SECTORS
    }

    /// The sectors of both hard states, each with its copy.
    pub fn hard_state_sectors(&self) -> [[u64; 2]; 2] {
        HARD_STATE_SECTORS
    }

    /// Looks at a disk whose sectors `read` gives. `None` if it holds no store.
    pub fn look(&self, read: &impl Fn(u64) -> [u8; SECTOR_BYTES]) -> Option<DiskImage> {
        let superblocks =
            SUPERBLOCK_SECTORS.iter().filter(|at| Superblock::decode(&read(**at)).is_ok()).count();
        let front: Vec<u8> = (0..HEADERS_START).flat_map(read).collect();
        let mark = Mark::newest(&front).filter(|_| superblocks > 0)?;
        let places = HARD_STATE_SECTORS.into_iter().flatten();
        let marks = places.filter(|at| Mark::decode(&read(*at)) == Ok(mark)).count();
        let mut image = DiskImage {
            superblocks,
            mark: mark.sequence,
            marks,
            first: mark.first,
            records: Vec::new(),
            is_chain_broken: false,
            snapshots: self.snapshots(read),
        };
        let (mut checksum, mut position) = (mark.last_checksum, mark.last_position);
        for index in (mark.first.0..=mark.durable_last.0).rev().map(LogIndex) {
            let Some((header, record)) = self.record(index, checksum, position, read) else {
                image.is_chain_broken = true;
                break;
            };
            (checksum, position) = (header.previous_checksum, header.previous_position);
            image.records.push(record);
        }
        image.records.reverse();
        Some(image)
    }

    /// The record whose header has this checksum, and its copy there.
    fn record(
        &self,
        index: LogIndex,
        checksum: u32,
        position: u64,
        read: &impl Fn(u64) -> [u8; SECTOR_BYTES],
    ) -> Option<(Header, RecordImage)> {
        let is_it = |header: &Header| header.index == index && header.checksum == checksum;
        let sector = self.layout.headers().sector(self.layout.header_place(index));
        let slot = Place { sector, offset: header_offset(index) };
        let bytes = read(sector);
        let in_slot = Header::decode(&bytes[slot.offset..slot.offset + HEADER_BYTES]).ok();
        let in_slot = in_slot.filter(is_it);
        let bodies = self.layout.bodies();
        let copy_bytes = take(bodies, position, HEADER_BYTES, read);
        let in_copy = Header::decode(&copy_bytes).ok().filter(is_it);
        let header = in_slot.or(in_copy)?;
        let length = header.length as usize;
        let payload_at = bodies.advance(position, HEADER_BYTES as u64);
        let payload = take(bodies, payload_at, length, read);
        let last_at = |length: usize| bodies.advance(payload_at, length as u64 - 1);
        let record = RecordImage {
            index,
            term: header.term,
            slot,
            copy: place_of(bodies, position),
            payload: (length > 0)
                .then(|| (place_of(bodies, payload_at), place_of(bodies, last_at(length)))),
            is_slot_intact: in_slot.is_some(),
            is_copy_intact: in_copy.is_some(),
            is_payload_intact: crc32c(&payload) == header.payload_checksum,
        };
        Some((header, record))
    }

    fn snapshots(&self, read: &impl Fn(u64) -> [u8; SECTOR_BYTES]) -> Vec<SnapshotImage> {
        if !self.layout.has_snapshots() {
            return Vec::new();
        }
        let image = |area: Area| {
            let head_at = |copy: u64| {
                let start = area.start + copy * HEAD_SECTORS;
                start..start + HEAD_SECTORS
            };
            let copies: Vec<u8> =
                (area.start..area.start + HEAD_COPIES * HEAD_SECTORS).flat_map(read).collect();
            let head = Head::first_whole(&copies)?;
            let heads_intact = Head::whole_copies(&copies);
            let start = area.start + HEAD_COPIES * HEAD_SECTORS;
            let data = start..start + head.total_bytes.div_ceil(SECTOR_BYTES as u64);
            let bytes: Vec<u8> = data.clone().flat_map(read).collect();
            let bytes = bytes.get(..head.total_bytes as usize)?;
            let blocks = bytes.chunks(SNAPSHOT_BLOCK_BYTES).map(crc32c);
            let image = SnapshotImage {
                index: head.meta.index,
                heads: [head_at(0), head_at(1)],
                is_data_intact: blocks.eq(head.checksums.iter().copied()),
                data,
                heads_intact,
            };
            Some((head.sequence, image))
        };
        let mut images: Vec<(u64, SnapshotImage)> =
            self.layout.snapshots().into_iter().filter_map(image).collect();
        images.sort_by_key(|(sequence, _)| *sequence);
        images.into_iter().map(|(_, image)| image).collect()
    }
}

fn place_of(area: Area, position: u64) -> Place {
    let sector = area.sector(position / SECTOR_BYTES as u64);
    Place { sector, offset: (position % SECTOR_BYTES as u64) as usize }
}

/// So many bytes of a ring, from a position on.
fn take(
    area: Area,
    position: u64,
    length: usize,
    read: &impl Fn(u64) -> [u8; SECTOR_BYTES],
) -> Vec<u8> {
    let first = position / SECTOR_BYTES as u64;
    let start = (position % SECTOR_BYTES as u64) as usize;
    let sectors = (start + length).div_ceil(SECTOR_BYTES) as u64;
    let bytes: Vec<u8> = (first..first + sectors).flat_map(|at| read(area.sector(at))).collect();
    bytes.get(start..start + length).map_or_else(|| vec![0; length], <[u8]>::to_vec)
}
