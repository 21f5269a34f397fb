//! Disks that do not keep what they were given.
//!
//! What must be survived is not guessed but computed: a fault is tried out, all disks are looked at, and what
//! would destroy the last intact copy of something that was acknowledged, or what only one disk can know, is
//! undone. So the checkers may insist that nothing is lost, and that everybody recovers.

use std::collections::BTreeMap;

use base::{LogIndex, NodeId, Prng, Term};
use store::anatomy::{Anatomy, DiskImage, Place, SnapshotImage};

use super::World;
use crate::counts::Kind;
use crate::disk::{Sector, SimDisk};
use crate::machine::DISK_SECTORS;
use crate::plan::Who;

/// So often a fault is drawn that would not be survivable before that is given up for this time.
const TRIES_MAX: usize = 6;

/// A fault: what of it is counted, and what the sectors hold after it.
#[derive(Debug)]
struct Fault {
    kind: Kind,
    after: Vec<(u64, Sector)>,
}

impl World {
    /// Something on a disk is not what was written any more.
    pub(super) fn rot(&mut self) {
        for _ in 0..TRIES_MAX {
            let id = self.choose(Who::Anyone);
            let before = self.look_at_disks();
            let Some(image) = before.get(&id) else { return };
            let is_on = self.machine(id).is_on();
            let disk = &self.machines[usize::from(id.get()) - 1].disk;
            let Some(fault) = draw_fault(&mut self.prng, disk, image, is_on) else { continue };
            let undo = self.inflict(id, &fault.after);
            if self.is_survivable(&before) {
                self.counts.note(fault.kind);
                let sectors: Vec<u64> = fault.after.iter().map(|(sector, _)| *sector).collect();
                let kind = fault.kind;
                self.trace.tell(self.now, || format!("node {id}'s disk: {kind:?} {sectors:?}"));
                return;
            }
            self.counts.note(Kind::FaultsUndone);
            self.inflict(id, &undo);
        }
    }

    /// Changes sectors of a disk; answers what they held.
    fn inflict(&mut self, id: NodeId, sectors: &[(u64, Sector)]) -> Vec<(u64, Sector)> {
        let disk = &mut self.machine_mut(id).disk;
        let mut before: Vec<(u64, Sector)> =
            sectors.iter().map(|(at, bytes)| (*at, disk.replace(*at, *bytes))).collect();
        before.reverse();
        before
    }

    /// All disks that hold a store.
    fn look_at_disks(&self) -> BTreeMap<NodeId, DiskImage> {
        let anatomy = Anatomy::new(DISK_SECTORS).expect("the disks are large enough");
        let look = |machine: &crate::machine::Machine| {
            Some((machine.id, anatomy.look(&|sector| machine.disk.stored(sector))?))
        };
        self.machines.iter().filter_map(look).collect()
    }

    /// Whether every disk still tells what only it can tell, every committed entry is intact somewhere, and
    /// entries that are not committed are damaged on one disk at the most.
    fn is_survivable(&self, before: &BTreeMap<NodeId, DiskImage>) -> bool {
        let after = self.look_at_disks();
        let tells_the_same = |(id, image): (&NodeId, &DiskImage)| {
            after.get(id).is_some_and(|after| {
                let newest = |image: &DiskImage| image.snapshots.last().map(|s| s.index);
                after.mark == image.mark
                    && !after.is_chain_broken
                    && newest(after) == newest(image)
                    && can_start(after)
                    && are_last_headers_safe(after)
            })
        };
        if !before.iter().all(tells_the_same) {
            return false;
        }
        let committed = self.checkers.committed_terms();
        let last = self.checkers.committed();
        let is_everywhere = (1..=last.0).map(LogIndex).all(|index| {
            let run = committed.partition_point(|(first, _)| *first <= index) - 1;
            after.values().any(|image| holds(image, index, committed[run].1))
        });
        let has_open_damage = |image: &&DiskImage| {
            image.records.iter().any(|record| record.index > last && !record.is_payload_intact)
        };
        is_everywhere && after.values().filter(has_open_damage).count() <= 1
    }
}

/// The snapshot that a start goes on from: the newest, or the one before it if the log reaches back to it.
fn usable_snapshot(image: &DiskImage) -> Option<&SnapshotImage> {
    let is_usable = |(position, snapshot): &(usize, &SnapshotImage)| {
        let is_covered = *position == 0 || image.first <= snapshot.index.next();
        snapshot.is_data_intact && is_covered
    };
    image.snapshots.iter().rev().enumerate().find(is_usable).map(|(_, snapshot)| snapshot)
}

/// The last sector of headers is written again with the next record, and may be torn then: what is in it
/// needs its copies.
fn are_last_headers_safe(image: &DiskImage) -> bool {
    let last = image.records.last().map(|record| record.slot.sector);
    let mut in_last = image.records.iter().filter(|record| Some(record.slot.sector) == last);
    in_last.all(|record| record.is_copy_intact)
}

/// Whether a node can go on from this disk: from a snapshot, or from the first entry.
fn can_start(image: &DiskImage) -> bool {
    usable_snapshot(image).is_some() || image.first == LogIndex(1)
}

/// Whether a disk holds an entry intact, or a snapshot that stands for it.
fn holds(image: &DiskImage, index: LogIndex, term: Term) -> bool {
    if usable_snapshot(image).is_some_and(|snapshot| snapshot.index >= index) {
        return true;
    }
    let Some(first) = image.records.first() else { return false };
    let place = index.0.checked_sub(first.index.0);
    let record = place.and_then(|place| image.records.get(place as usize));
    record.is_some_and(|record| record.term == term && record.is_payload_intact)
}

/// A fault of a disk.
fn draw_fault(prng: &mut Prng, disk: &SimDisk, image: &DiskImage, is_on: bool) -> Option<Fault> {
    let record = (!image.records.is_empty())
        .then(|| &image.records[prng.below(image.records.len() as u64) as usize]);
    let payload = record.and_then(|record| record.payload);
    match prng.below(10) {
        0 | 1 => {
            let (first, _) = payload?;
            flip(prng, disk, first, 8, Kind::RottenPayloads)
        }
        2 => {
            let (_, last) = payload?;
            garble(prng, disk, last.sector, Kind::GarbledBodies)
        }
        // The slots are read at every start; a node that runs has its own headers in memory, or reads them.
        3 if !is_on => flip(prng, disk, record?.slot, 64 * 8, Kind::RottenHeaders),
        4 if !is_on => garble(prng, disk, record?.slot.sector, Kind::RottenHeaders),
        3 | 4 => flip(prng, disk, record?.copy, 64 * 8, Kind::RottenHeaderCopies),
        5 => {
            let anatomy = Anatomy::new(DISK_SECTORS).ok()?;
            let [even, odd] = anatomy.hard_state_sectors();
            let places = [anatomy.superblock_sectors(), even, odd];
            let sector = places[prng.below(3) as usize][prng.below(2) as usize];
            garble(prng, disk, sector, Kind::RottenFronts)
        }
        6 => {
            let heads = &image.snapshots.last()?.heads;
            let sector = heads[prng.below(2) as usize].start;
            garble(prng, disk, sector, Kind::RottenSnapshots)
        }
        7 => {
            let count = image.snapshots.len() as u64;
            let data = &image.snapshots.get(prng.below(count.max(1)) as usize)?.data;
            let sector = data.start + prng.below(data.end.saturating_sub(data.start).max(1));
            garble(prng, disk, sector, Kind::RottenSnapshots)
        }
        8 => {
            let (first, _) = payload?;
            let bytes = disk.before(first.sector)?;
            is_open(disk, first.sector)?;
            Some(Fault { kind: Kind::WritesLost, after: vec![(first.sector, bytes)] })
        }
        _ => {
            let (first, _) = payload?;
            let other = &image.records[prng.below(image.records.len() as u64) as usize].copy;
            misdirect(disk, first.sector, other.sector)
        }
    }
}

/// Nothing is on its way to a sector: what it holds is what the disk keeps.
fn is_open(disk: &SimDisk, sector: u64) -> Option<()> {
    disk.is_settled(sector).then_some(())
}

/// One bit of the so many from a place on.
fn flip(prng: &mut Prng, disk: &SimDisk, place: Place, bits: u64, kind: Kind) -> Option<Fault> {
    is_open(disk, place.sector)?;
    let bit = place.offset as u64 * 8 + prng.below(bits);
    let mut bytes = disk.stored(place.sector);
    let byte = bytes.get_mut((bit / 8) as usize)?;
    *byte ^= 1 << (bit % 8);
    Some(Fault { kind, after: vec![(place.sector, bytes)] })
}

/// A whole sector is anything.
fn garble(prng: &mut Prng, disk: &SimDisk, sector: u64, kind: Kind) -> Option<Fault> {
    is_open(disk, sector)?;
    let mut bytes = disk.stored(sector);
    bytes.iter_mut().for_each(|byte| *byte = prng.next_u64() as u8);
    Some(Fault { kind, after: vec![(sector, bytes)] })
}

/// What was written to one sector has gone to another.
fn misdirect(disk: &SimDisk, meant: u64, hit: u64) -> Option<Fault> {
    is_open(disk, meant)?;
    is_open(disk, hit)?;
    let (bytes, before) = (disk.stored(meant), disk.before(meant)?);
    let after = vec![(hit, bytes), (meant, before)];
    (meant != hit).then_some(Fault { kind: Kind::WritesMisdirected, after })
}

/// For tests of what cannot be survived.
impl World {
    /// Damages the payload of a committed entry on the disks of all nodes that hold it; answers which entry.
    ///
    /// # Panics
    /// If no entry with a payload is on all disks, and in no snapshot.
    pub fn destroy_an_entry(&mut self) -> LogIndex {
        let images = self.look_at_disks();
        let last = self.checkers.committed();
        let payloads = |index: LogIndex| -> Option<Vec<(NodeId, Place)>> {
            let place = |(id, image): (&NodeId, &DiskImage)| {
                let is_it = |record: &&store::anatomy::RecordImage| record.index == index;
                Some((*id, image.records.iter().find(is_it)?.payload?.0))
            };
            images.iter().map(place).collect()
        };
        let found = (1..=last.0).map(LogIndex).find_map(|index| Some((index, payloads(index)?)));
        let (index, places) = found.expect("an entry is on all disks");
        for (id, place) in places {
            let mut bytes = self.machine(id).disk.stored(place.sector);
            bytes[place.offset] ^= 1;
            self.inflict(id, &[(place.sector, bytes)]);
        }
        index
    }

    /// What a node says of damage in its log, when its disk is read.
    pub fn damage_of(&self, id: NodeId) -> Option<raft::DamageStatus> {
        Some(self.machine(id).node.as_ref()?.raft()?.damage_status())
    }

    /// The last entry that was committed.
    pub fn committed(&self) -> LogIndex {
        self.checkers.committed()
    }
}
