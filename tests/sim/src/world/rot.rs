//! Disks that do not keep what they were given.
//!
//! What must be survived is not guessed but computed: a fault is tried out, all disks are looked at, and what
//! would destroy the last intact copy of something that was acknowledged, or what only one disk can know, is
//! undone. So the checkers may insist that nothing is lost, and that everybody recovers.

use std::collections::BTreeMap;

use base::{LogIndex, NodeId, Prng, Term};
use store::anatomy::{Anatomy, DiskImage, Place, RecordImage, SnapshotImage};

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
            let disk = &self.machines[usize::from(id.get()) - 1].disk;
            let Some(fault) = draw_fault(&mut self.prng, disk, image) else { continue };
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
    pub(super) fn inflict(&mut self, id: NodeId, sectors: &[(u64, Sector)]) -> Vec<(u64, Sector)> {
        let disk = &mut self.machine_mut(id).disk;
        let mut before: Vec<(u64, Sector)> =
            sectors.iter().map(|(at, bytes)| (*at, disk.replace(*at, *bytes))).collect();
        before.reverse();
        before
    }

    /// All disks that hold a store.
    pub(super) fn look_at_disks(&self) -> BTreeMap<NodeId, DiskImage> {
        let anatomy = Anatomy::new(DISK_SECTORS).expect("the disks are large enough");
        let look = |machine: &crate::machine::Machine| {
            Some((machine.id, anatomy.look(&|sector| machine.disk.stored(sector))?))
        };
        self.machines.iter().filter_map(look).collect()
    }

    /// Whether every disk still tells what only it can tell, every committed entry is intact somewhere, and
    /// so is every other, unless a majority never had it.
    pub(super) fn is_survivable(&self, before: &BTreeMap<NodeId, DiskImage>) -> bool {
        let all = self.look_at_disks();
        let after = &all;
        let tells_the_same = |(id, image): (&NodeId, &DiskImage)| {
            after.get(id).is_some_and(|after| {
                let newest = |image: &DiskImage| image.snapshots.last().map(|s| s.index);
                let is_chained = !after.is_chain_broken
                    || (!self.machine(*id).is_on() && begins_behind_snapshot(after));
                after.mark == image.mark
                    && is_chained
                    && newest(after) == newest(image)
                    && (can_start(after) || self.can_be_given_state(*id, after, &all))
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
        is_everywhere && self.is_open_damage_decidable(last, after)
    }

    /// Whether every entry that is not committed, as far as is known, is intact somewhere, or not on so many
    /// disks that it may be committed.
    fn is_open_damage_decidable(&self, last: LogIndex, all: &BTreeMap<NodeId, DiskImage>) -> bool {
        let mut holders: BTreeMap<(LogIndex, Term), (usize, bool)> = BTreeMap::new();
        let open = |image: &'_ DiskImage| image.records.partition_point(|r| r.index <= last);
        for record in all.values().flat_map(|image| &image.records[open(image)..]) {
            let (count, is_intact) = holders.entry((record.index, record.term)).or_default();
            (*count, *is_intact) = (*count + 1, *is_intact || record.is_payload_intact);
        }
        let majority = self.machines.len() / 2 + 1;
        let never_had_it = |count: usize| self.machines.len() - count;
        holders.values().all(|(count, intact)| *intact || never_had_it(*count) >= majority)
    }

    /// Whether a node whose snapshots cannot be read can have its state from another, which begins with one
    /// and has the log up to where the lost one ends.
    fn can_be_given_state(
        &self,
        id: NodeId,
        image: &DiskImage,
        all: &BTreeMap<NodeId, DiskImage>,
    ) -> bool {
        let Some(lost) = image.snapshots.last().map(|snapshot| snapshot.index) else {
            return false;
        };
        let committed = self.checkers.committed_terms();
        let run = committed.partition_point(|(first, _)| *first <= lost).checked_sub(1);
        let Some(term) = run.map(|run| committed[run].1) else { return false };
        all.iter().any(|(other, image)| {
            let has_entry = |record: &RecordImage| (record.index, record.term) == (lost, term);
            let has_snapshot =
                usable_snapshot(image).is_some_and(|snapshot| snapshot.index >= lost);
            *other != id
                && can_start(image)
                && (has_snapshot || image.records.iter().any(has_entry))
        })
    }
}

/// Whether a log whose front is lost with a header can go on behind the newest snapshot.
fn begins_behind_snapshot(image: &DiskImage) -> bool {
    let (Some(first), Some(last)) = (image.records.first(), image.records.last()) else {
        return false;
    };
    let newest = image.snapshots.last();
    newest.is_some_and(|newest| (first.index..=last.index).contains(&newest.index.next()))
}

/// The snapshot that a start goes on from: the newest, or the one before it if the log reaches back to it.
fn usable_snapshot(image: &DiskImage) -> Option<&SnapshotImage> {
    let is_usable = |(position, snapshot): &(usize, &SnapshotImage)| {
        let is_covered =
            *position == 0 || (image.first <= snapshot.index.next() && !image.is_chain_broken);
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
    usable_snapshot(image).is_some() || (image.first == LogIndex(1) && !image.is_chain_broken)
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
fn draw_fault(prng: &mut Prng, disk: &SimDisk, image: &DiskImage) -> Option<Fault> {
    let record = (!image.records.is_empty())
        .then(|| &image.records[prng.below(image.records.len() as u64) as usize]);
    let payload = record.and_then(|record| record.payload);
    match prng.below(13) {
        0 | 1 => {
            let (first, _) = payload?;
            flip(prng, disk, first, 8, Kind::RottenPayloads)
        }
        2 => {
            let (_, last) = payload?;
            garble(prng, disk, last.sector, Kind::GarbledBodies)
        }
        3 => flip(prng, disk, record?.slot, 64 * 8, Kind::RottenHeaders),
        4 => garble(prng, disk, record?.slot.sector, Kind::RottenHeaders),
        5 => flip(prng, disk, record?.copy, 64 * 8, Kind::RottenHeaderCopies),
        // The newest entries are those that may not be committed.
        6 => {
            let (first, _) = image.records.last()?.payload?;
            flip(prng, disk, first, 8, Kind::RottenPayloads)
        }
        7 => {
            let anatomy = Anatomy::new(DISK_SECTORS).ok()?;
            let [even, odd] = anatomy.hard_state_sectors();
            let places = [anatomy.superblock_sectors(), even, odd];
            let sector = places[prng.below(3) as usize][prng.below(2) as usize];
            garble(prng, disk, sector, Kind::RottenFronts)
        }
        8 => {
            let heads = &image.snapshots.last()?.heads;
            let sector = heads[prng.below(2) as usize].start;
            garble(prng, disk, sector, Kind::RottenSnapshots)
        }
        9 => {
            let after: Vec<Fault> = image
                .snapshots
                .iter()
                .filter_map(|it| garble(prng, disk, it.data.start, Kind::RottenSnapshots))
                .collect();
            let after = after.into_iter().flat_map(|fault| fault.after).collect();
            Some(Fault { kind: Kind::RottenSnapshots, after })
        }
        10 => {
            let count = image.snapshots.len() as u64;
            let data = &image.snapshots.get(prng.below(count.max(1)) as usize)?.data;
            let sector = data.start + prng.below(data.end.saturating_sub(data.start).max(1));
            garble(prng, disk, sector, Kind::RottenSnapshots)
        }
        11 => {
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
