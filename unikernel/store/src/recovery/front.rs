//! Whose disk is it, and where does it say that the log ends?

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use block::SECTOR_BYTES;

use super::{Phase, Recovery};
use crate::error::Failure;
use crate::hard_state::Mark;
use crate::layout::{Config, HEAD_COPIES, HEAD_SECTORS};
use crate::snapshot::Head;
use crate::superblock::{SUPERBLOCK_SECTORS, Superblock};
use crate::transfer::Transfer;

impl Recovery {
    /// Superblock and hard state are there: whose disk is it, and where does the log end?
    pub(super) fn read_front(&mut self, bytes: &[u8], config: &Config) -> Result<(), Failure> {
        let copies = || SUPERBLOCK_SECTORS.iter().filter_map(|at| sector_of(bytes, *at));
        let superblock = copies().find_map(|sector| Superblock::decode(sector).ok());
        let Some(superblock) = superblock else {
            match self.is_beginning_of_format(bytes, config) {
                true if config.may_format => {
                    self.format(config);
                    return Ok(());
                }
                true => return Err(Failure::Empty),
                false => {}
            }
            if let Some(version) = copies().find_map(Superblock::foreign_version) {
                return Err(Failure::OtherVersion(version));
            }
            return Err(Failure::NotOurs);
        };
        if superblock.cluster != config.cluster || superblock.node != config.node {
            let owner = format!("node {} of cluster {}", superblock.node, superblock.cluster);
            return Err(Failure::WrongOwner(owner));
        }
        if superblock.layout != self.layout {
            return Err(Failure::Resized);
        }
        self.mend_superblocks(bytes, superblock, config);
        self.mark = Mark::newest(bytes).ok_or(Failure::HardStateLost)?;
        self.vouched_batch = self.mark.durable_batch;
        let has_slots = self.mark.durable_last <= self.layout.last_with_slot(self.mark.first);
        let is_sector = self.mark.body_end.is_multiple_of(SECTOR_BYTES as u64);
        if !has_slots || !is_sector || self.mark.body_end >= self.layout.bodies().bytes() {
            return Err(Failure::HardStateLost);
        }
        if !self.layout.has_snapshots() {
            return self.rescan(config);
        }
        let heads = |area| Transfer::read(area, 0, HEAD_COPIES * HEAD_SECTORS);
        self.phase = Phase::Heads(self.layout.snapshots().map(heads));
        Ok(())
    }

    /// A copy of the superblock that is not what it should be is written again, with the decision.
    fn mend_superblocks(&mut self, bytes: &[u8], superblock: Superblock, config: &Config) {
        let is_rotten =
            |at: &u64| sector_of(bytes, *at).map(Superblock::decode) != Some(Ok(superblock));
        let (disk, sector) = (self.layout.disk(), self.superblock_sector(config));
        let mends = SUPERBLOCK_SECTORS.into_iter().filter(is_rotten);
        self.mended.extend(mends.map(|at| Transfer::write(disk, at, sector.clone())));
    }

    /// The same of the heads of snapshots. The copy that is sound is written as it is, which nothing can
    /// tear.
    pub(super) fn mend_heads(&mut self, fronts: &[Transfer; 2]) {
        for (area, front) in self.layout.snapshots().into_iter().zip(fronts) {
            if let Some(head) = Head::first_whole(front.bytes())
                && Head::whole_copies(front.bytes()) < HEAD_COPIES as usize
            {
                self.mended.push(Transfer::write(area, 0, head.encode()));
            }
        }
    }

    /// Makes an empty disk ours. The superblock comes last: a disk that has one has a hard state too.
    fn format(&mut self, config: &Config) {
        self.recovered.is_fresh = true;
        self.superblock = Some(self.superblock_sector(config));
        if self.layout.has_snapshots() {
            // A disk of which only the front was emptied may still hold a snapshot of another log.
            let wiped = (HEAD_COPIES * HEAD_SECTORS) as usize * SECTOR_BYTES;
            let wipe = |area| Transfer::write(area, 0, vec![0; wiped]);
            self.mended.extend(self.layout.snapshots().map(wipe));
        }
        self.seal();
    }

    /// One copy of the superblock.
    fn superblock_sector(&self, config: &Config) -> Vec<u8> {
        let superblock =
            Superblock { cluster: config.cluster, node: config.node, layout: self.layout };
        let mut sector = Vec::with_capacity(SECTOR_BYTES);
        superblock.encode(&mut sector);
        sector.resize(SECTOR_BYTES, 0);
        sector
    }

    /// Whether the disk is empty, or holds nothing but what an interrupted [`Recovery::format`] has left.
    fn is_beginning_of_format(&self, bytes: &[u8], config: &Config) -> bool {
        let mark = Mark { sequence: 1, epoch: 1, ..Mark::default() };
        let mut whole = vec![0; bytes.len()];
        let superblock = self.superblock_sector(config);
        let copies = SUPERBLOCK_SECTORS.map(|at| (at, superblock.clone()));
        for (at, copy) in copies.into_iter().chain(mark.sectors().map(|at| (at, mark.encode()))) {
            let start = at as usize * SECTOR_BYTES;
            whole[start..start + SECTOR_BYTES].copy_from_slice(&copy);
        }
        let is_beginning = |(found, whole): (&[u8], &[u8])| {
            let same = found.iter().zip(whole).take_while(|(found, whole)| found == whole).count();
            found[same..].iter().all(|byte| *byte == 0)
        };
        bytes.chunks(SECTOR_BYTES).zip(whole.chunks(SECTOR_BYTES)).all(is_beginning)
    }
}

/// A sector of the front of the disk.
fn sector_of(front: &[u8], sector: u64) -> Option<&[u8]> {
    let start = sector as usize * SECTOR_BYTES;
    front.get(start..start + SECTOR_BYTES)
}
