//! Harm that tests do to disks on purpose.

use base::{LogIndex, NodeId};
use store::anatomy::{DiskImage, Place, RecordImage};

use super::World;

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
                let is_it = |record: &&RecordImage| record.index == index;
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

    /// Damages the payload of the last entry of a node, if it has one and that can be survived; answers
    /// whether it was.
    pub fn damage_tail(&mut self, id: NodeId) -> bool {
        let before = self.look_at_disks();
        let last = before.get(&id).and_then(|image| image.records.last());
        let Some((place, _)) = last.and_then(|record| record.payload) else { return false };
        let mut bytes = self.machine(id).disk.stored(place.sector);
        bytes[place.offset] ^= 1;
        let undo = self.inflict(id, &[(place.sector, bytes)]);
        let is_survivable = self.is_survivable(&before);
        if !is_survivable {
            self.inflict(id, &undo);
        }
        is_survivable
    }

    /// Damages all snapshots of a node.
    ///
    /// # Panics
    /// If it has none, or its log has not been given up to any.
    pub fn damage_snapshots(&mut self, id: NodeId) {
        let image = self.look_at_disks().remove(&id).expect("it holds a store");
        assert!(image.first > LogIndex(1) && !image.snapshots.is_empty());
        for snapshot in image.snapshots {
            let mut bytes = self.machine(id).disk.stored(snapshot.data.start);
            bytes[0] ^= 1;
            self.inflict(id, &[(snapshot.data.start, bytes)]);
        }
    }
}
