//! A disk that keeps exactly what it promises: what was flushed, and of the rest whatever chance leaves.

use std::collections::{BTreeMap, BTreeSet};

use base::{Duration, Prng};
use block::{BlockCompletion, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use pool::PacketBuffer;

use crate::counts::{Counts, Kind};

/// What a sector holds.
pub(crate) type Sector = [u8; SECTOR_BYTES];

/// A read that went astray is followed by at least so many that do not: no reading that is done again is
/// wrong again.
const READS_BETWEEN_MISREADS: u64 = 100;

/// What a sector holds that was never written.
const NEVER_WRITTEN: Sector = [0; SECTOR_BYTES];

/// How the disk behaves. Chances are per mille of the operations, or of the sectors at a crash.
#[derive(Clone, Debug)]
pub struct DiskTemper {
    /// A read or write takes from this …
    pub access_min: Duration,
    /// … to this.
    pub access_max: Duration,
    /// A flush takes from this …
    pub flush_min: Duration,
    /// … to this.
    pub flush_max: Duration,
    /// Flushes that take much longer …
    pub slow_per_mille: u64,
    /// … up to this.
    pub slow_max: Duration,
    /// At a crash, an unflushed sector is lost.
    pub lost_per_mille: u64,
    /// At a crash, an unflushed sector is torn: partly the old bytes, partly the new ones.
    pub torn_per_mille: u64,
    /// A read gives, for one of its sectors, what another one holds.
    pub misread_per_mille: u64,
}

/// A sector that was written and not flushed since. Later ones of the same sector come later in the list.
#[derive(Debug)]
struct Unflushed {
    write: u64,
    sector: u64,
    bytes: Sector,
}

/// A request that the disk has taken and not finished.
#[derive(Debug)]
struct Pending {
    request: BlockRequest,
    /// For a flush: the number of the next write when it was taken. Earlier writes that had completed by then
    /// are durable when it is done.
    covers: BTreeSet<u64>,
    write: u64,
}

/// The disk of one node. It outlives the node's crashes.
#[derive(Debug)]
pub struct SimDisk {
    prng: Prng,
    temper: DiskTemper,
    capacity_sectors: u64,
    durable: BTreeMap<u64, Sector>,
    /// What durable sectors held before they were written last: what is there if a write is lost.
    previous: BTreeMap<u64, Sector>,
    unflushed: Vec<Unflushed>,
    completed_writes: BTreeSet<u64>,
    pending: BTreeMap<u64, Pending>,
    next_write: u64,
    next_operation: u64,
    /// Reads until the next may go astray.
    reads_to_misread: u64,
    counts: Counts,
}

impl DiskTemper {
    /// A disk as one would wish it.
    pub fn calm() -> DiskTemper {
        DiskTemper {
            access_min: Duration::from_micros(20),
            access_max: Duration::from_micros(100),
            flush_min: Duration::from_micros(50),
            flush_max: Duration::from_micros(500),
            slow_per_mille: 0,
            slow_max: Duration::ZERO,
            lost_per_mille: 0,
            torn_per_mille: 0,
            misread_per_mille: 0,
        }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(capacity_sectors: u64, temper: DiskTemper, seed: u64) -> SimDisk {
        SimDisk {
            prng: Prng::new(seed),
            temper,
            capacity_sectors,
            durable: BTreeMap::new(),
            previous: BTreeMap::new(),
            unflushed: Vec::new(),
            completed_writes: BTreeSet::new(),
            pending: BTreeMap::new(),
            next_write: 0,
            next_operation: 0,
            reads_to_misread: 0,
            counts: Counts::default(),
        }
    }

    /// How many sectors there are.
    pub fn capacity_sectors(&self) -> u64 {
        self.capacity_sectors
    }

    /// Takes a request; answers the operation's number and how long it will take. The bytes of a write may
    /// reach the disk at any moment from now on.
    pub fn submit(&mut self, request: BlockRequest) -> (u64, Duration) {
        let operation = self.next_operation;
        self.next_operation += 1;
        let write = self.next_write;
        let mut covers = BTreeSet::new();
        let (shortest, longest) = match request.operation {
            Operation::Read { .. } => (self.temper.access_min, self.temper.access_max),
            Operation::Write { sector, sectors } => {
                self.next_write += 1;
                self.take_sectors(write, sector, sectors, &request);
                (self.temper.access_min, self.temper.access_max)
            }
            Operation::Flush => {
                covers.clone_from(&self.completed_writes);
                self.flush_span()
            }
        };
        self.pending.insert(operation, Pending { request, covers, write });
        (operation, self.prng.duration_between(shortest, longest))
    }

    /// How long a flush may take.
    fn flush_span(&mut self) -> (Duration, Duration) {
        let temper = &self.temper;
        if self.prng.chance(temper.slow_per_mille, 1_000) {
            self.counts.note(Kind::SlowFlushes);
            return (temper.flush_max, temper.slow_max.max(temper.flush_max));
        }
        (temper.flush_min, temper.flush_max)
    }

    fn take_sectors(&mut self, write: u64, sector: u64, sectors: u32, request: &BlockRequest) {
        let buffer = request.buffer.as_deref().expect("a write carries its bytes");
        if !self.in_range(sector, sectors, buffer.len()) {
            return;
        }
        for (sector, bytes) in
            (sector..).zip(buffer.chunks_exact(SECTOR_BYTES)).take(sectors as usize)
        {
            let bytes: &[u8; SECTOR_BYTES] = bytes.try_into().expect("the chunks are sectors");
            self.unflushed.push(Unflushed { write, sector, bytes: *bytes });
        }
    }

    fn in_range(&self, sector: u64, sectors: u32, buffer_bytes: usize) -> bool {
        sector.checked_add(u64::from(sectors)).is_some_and(|end| end <= self.capacity_sectors)
            && sectors as usize * SECTOR_BYTES <= buffer_bytes
    }

    /// Finishes an operation; `None` if a crash forgot it.
    pub fn complete(&mut self, operation: u64) -> Option<BlockCompletion> {
        let Pending { request: BlockRequest { tag, operation, mut buffer }, covers, write } =
            self.pending.remove(&operation)?;
        let result = match operation {
            Operation::Read { sector, sectors } => self.read(sector, sectors, buffer.as_mut()),
            Operation::Write { sector, sectors } => {
                self.completed_writes.insert(write);
                let room = buffer.as_deref().map_or(0, <[u8]>::len);
                if self.in_range(sector, sectors, room) {
                    Ok(())
                } else {
                    Err(BlockError::OutOfRange)
                }
            }
            Operation::Flush => {
                self.make_durable(&covers);
                Ok(())
            }
        };
        Some(BlockCompletion { tag, operation, buffer, result })
    }

    fn make_durable(&mut self, covers: &BTreeSet<u64>) {
        self.counts.note(Kind::Flushes);
        for entry in self.unflushed.extract_if(.., |entry| covers.contains(&entry.write)) {
            let before = self.durable.insert(entry.sector, entry.bytes);
            self.previous.insert(entry.sector, before.unwrap_or(NEVER_WRITTEN));
        }
        self.completed_writes.retain(|write| !covers.contains(write));
    }

    fn read(
        &mut self,
        sector: u64,
        sectors: u32,
        buffer: Option<&mut PacketBuffer>,
    ) -> Result<(), BlockError> {
        let buffer = buffer.expect("a read carries room for its bytes");
        if !self.in_range(sector, sectors, buffer.len()) {
            return Err(BlockError::OutOfRange);
        }
        for (sector, room) in
            (sector..).zip(buffer.chunks_exact_mut(SECTOR_BYTES)).take(sectors as usize)
        {
            room.copy_from_slice(self.current(sector));
        }
        if let Some((place, other)) = self.draw_misread(sector, sectors) {
            let start = place as usize * SECTOR_BYTES;
            buffer[start..start + SECTOR_BYTES].copy_from_slice(&other);
        }
        Ok(())
    }

    /// Which of these sectors is read from elsewhere this time, and what is there.
    fn draw_misread(&mut self, first: u64, sectors: u32) -> Option<(u64, Sector)> {
        self.reads_to_misread = self.reads_to_misread.saturating_sub(1);
        let chance = self.temper.misread_per_mille;
        if chance == 0 || self.reads_to_misread > 0 || !self.prng.chance(chance, 1_000) {
            return None;
        }
        let place = self.prng.below(u64::from(sectors));
        let skip = self.prng.below(self.durable.len().max(1) as u64) as usize;
        let other = *self.durable.values().nth(skip)?;
        if other == *self.current(first + place) {
            return None;
        }
        self.reads_to_misread = READS_BETWEEN_MISREADS;
        self.counts.note(Kind::ReadsMisdirected);
        Some((place, other))
    }

    fn current(&self, sector: u64) -> &[u8; SECTOR_BYTES] {
        let latest = self.unflushed.iter().rev().find(|entry| entry.sector == sector);
        let latest = latest.map(|entry| &entry.bytes).or_else(|| self.durable.get(&sector));
        latest.map_or(&NEVER_WRITTEN, |bytes| bytes)
    }

    /// The machine loses power: operations are forgotten, and unflushed sectors meet their fate.
    pub fn crash(&mut self) {
        self.pending.clear();
        self.completed_writes.clear();
        let (mut has_lost, mut has_torn) = (false, false);
        for entry in std::mem::take(&mut self.unflushed) {
            let draw = self.prng.below(1_000);
            if draw < self.temper.lost_per_mille {
                has_lost = true;
                continue;
            }
            let mut bytes = entry.bytes;
            if draw < self.temper.lost_per_mille + self.temper.torn_per_mille {
                has_torn = true;
                let cut = self.prng.below(SECTOR_BYTES as u64) as usize;
                let old = self.durable.get(&entry.sector);
                let old: &[u8; SECTOR_BYTES] = old.map_or(&NEVER_WRITTEN, |bytes| bytes);
                bytes[cut..].copy_from_slice(&old[cut..]);
            }
            self.durable.insert(entry.sector, bytes);
        }
        self.counts.add(Kind::CrashesLosing, u64::from(has_lost));
        self.counts.add(Kind::CrashesTearing, u64::from(has_torn));
    }

    /// Replaces the temper.
    pub fn set_temper(&mut self, temper: DiskTemper) {
        self.temper = temper;
    }

    /// What a sector holds durably.
    pub fn stored(&self, sector: u64) -> Sector {
        self.durable.get(&sector).copied().unwrap_or(NEVER_WRITTEN)
    }

    /// What it held before it was written last, if it ever was.
    pub fn before(&self, sector: u64) -> Option<Sector> {
        self.previous.get(&sector).copied()
    }

    /// Whether nothing is on its way to a sector.
    pub fn is_settled(&self, sector: u64) -> bool {
        self.unflushed.iter().all(|entry| entry.sector != sector)
    }

    /// Puts something else into a sector: the disk does not keep what it was given. Answers what it held.
    pub fn replace(&mut self, sector: u64, bytes: Sector) -> Sector {
        self.durable.insert(sector, bytes).unwrap_or(NEVER_WRITTEN)
    }

    /// What the disk did so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use pool::{PAGE_BYTES, Pool};

    use super::*;

    fn temper(lost_per_mille: u64) -> DiskTemper {
        DiskTemper {
            access_min: Duration::from_micros(20),
            access_max: Duration::from_micros(100),
            flush_min: Duration::from_micros(100),
            flush_max: Duration::from_micros(900),
            slow_per_mille: 0,
            slow_max: Duration::ZERO,
            lost_per_mille,
            torn_per_mille: 0,
            misread_per_mille: 0,
        }
    }

    fn write(disk: &mut SimDisk, pool: &Pool, sector: u64, byte: u8) -> u64 {
        let mut buffer = pool.allocate().unwrap();
        buffer.fill(byte);
        let operation = Operation::Write { sector, sectors: 1 };
        disk.submit(BlockRequest { tag: 0, operation, buffer: Some(buffer) }).0
    }

    fn flush(disk: &mut SimDisk) -> u64 {
        disk.submit(BlockRequest { tag: 0, operation: Operation::Flush, buffer: None }).0
    }

    #[test]
    fn only_what_was_complete_before_a_flush_survives_it() {
        let pool = Pool::on_heap(4, PAGE_BYTES);
        let mut disk = SimDisk::new(16, temper(1_000), 1);
        let first = write(&mut disk, &pool, 1, 1);
        let second = write(&mut disk, &pool, 2, 2);
        assert!(disk.complete(first).unwrap().result.is_ok());
        let flush = flush(&mut disk);
        assert!(disk.complete(second).unwrap().result.is_ok());
        assert!(disk.complete(flush).unwrap().result.is_ok());
        assert_eq!(disk.current(2)[0], 2, "it can be read");
        disk.crash();
        assert_eq!((disk.current(1)[0], disk.current(2)[0]), (1, 0), "but is not durable");
        assert_eq!(disk.counts().get(Kind::CrashesLosing), 1);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn a_read_that_goes_astray_gives_another_sector_once() {
        let pool = Pool::on_heap(4, PAGE_BYTES);
        let mut disk = SimDisk::new(16, DiskTemper { misread_per_mille: 1_000, ..temper(0) }, 1);
        for sector in 0..8 {
            let operation = write(&mut disk, &pool, sector, 1 + sector as u8);
            assert!(disk.complete(operation).unwrap().result.is_ok());
        }
        let flush = flush(&mut disk);
        assert!(disk.complete(flush).unwrap().result.is_ok());
        let mut read = || {
            let operation = Operation::Read { sector: 3, sectors: 1 };
            let buffer = pool.allocate();
            let (operation, _) = disk.submit(BlockRequest { tag: 0, operation, buffer });
            disk.complete(operation).unwrap().buffer.unwrap()[0]
        };
        let bytes: Vec<u8> = (0..50).map(|_| read()).collect();
        assert_eq!(bytes.iter().filter(|byte| **byte != 4).count(), 1);
        assert!(bytes.iter().all(|byte| (1..=8).contains(byte)));
        assert_eq!(disk.counts().get(Kind::ReadsMisdirected), 1);
    }

    #[test]
    fn a_request_outside_the_disk_is_refused() {
        let pool = Pool::on_heap(1, PAGE_BYTES);
        let mut disk = SimDisk::new(16, temper(0), 1);
        let beyond = write(&mut disk, &pool, 16, 1);
        assert_eq!(disk.complete(beyond).unwrap().result, Err(BlockError::OutOfRange));
        assert!(disk.unflushed.is_empty());
    }
}
