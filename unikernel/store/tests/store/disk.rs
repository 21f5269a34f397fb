//! A disk for tests, and a store on it: writes are volatile until a flush, and a crash decides their fate.

use std::collections::BTreeMap;

use base::{ClusterId, Instant, LogIndex, NodeId, Prng, Term};
use block::{BlockCompletion, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use bytes::Bytes;
use pool::{PAGE_BYTES, Pool};
use store::{Config, Damage, Failure, HardState, Output, Record, Recovered, SnapshotMeta, Store};

type Sector = [u8; SECTOR_BYTES];

#[derive(Clone, Default)]
pub struct Disk {
    pub durable: BTreeMap<u64, Sector>,
    /// Completed or under way, in order: the number of the write, the sector, its bytes.
    volatile: Vec<(u64, u64, Sector)>,
    completed: Vec<u64>,
    writes: u64,
    pub flushes: u64,
    pub sectors_read: u64,
    pub fail_next: Option<BlockError>,
    /// When so many more sectors were read, the next is read from elsewhere, once.
    pub astray_after: Option<u64>,
}

impl Disk {
    fn read(&self, sector: u64) -> Sector {
        let latest = self.volatile.iter().rev().find(|(_, at, _)| *at == sector);
        let durable = || self.durable.get(&sector).copied().unwrap_or([0; SECTOR_BYTES]);
        latest.map_or_else(durable, |(_, _, bytes)| *bytes)
    }

    /// Reads a sector, or perhaps another one.
    fn read_perhaps_astray(&mut self, sector: u64) -> Sector {
        self.sectors_read += 1;
        match self.astray_after.take() {
            Some(0) => {
                let other = self.durable.range(sector + 1..).next();
                other.or(self.durable.first_key_value()).map_or([0; SECTOR_BYTES], |(_, it)| *it)
            }
            left => {
                self.astray_after = left.map(|left| left - 1);
                self.read(sector)
            }
        }
    }

    /// Takes a write; it may reach the disk from now on.
    fn take(&mut self, sector: u64, bytes: &[u8]) -> u64 {
        self.writes += 1;
        for (sector, bytes) in (sector..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            self.volatile.push((self.writes, sector, bytes.try_into().unwrap()));
        }
        self.writes
    }

    fn flush(&mut self, covered: &[u64]) {
        self.flushes += 1;
        let volatile = std::mem::take(&mut self.volatile);
        for (write, sector, bytes) in volatile {
            if covered.contains(&write) {
                self.durable.insert(sector, bytes);
            } else {
                self.volatile.push((write, sector, bytes));
            }
        }
    }

    /// Every sector that was not flushed is kept, lost, or torn in the middle.
    pub fn crash(&mut self, prng: &mut Prng) {
        self.completed.clear();
        for (_, sector, bytes) in std::mem::take(&mut self.volatile) {
            let old = self.durable.get(&sector).copied().unwrap_or([0; SECTOR_BYTES]);
            let mut new = bytes;
            match prng.below(3) {
                0 => continue,
                1 => {}
                _ => {
                    let cut = prng.below(SECTOR_BYTES as u64) as usize;
                    new[cut..].copy_from_slice(&old[cut..]);
                }
            }
            self.durable.insert(sector, new);
        }
    }

    pub fn flip(&mut self, sector: u64, bit: usize) {
        self.durable.entry(sector).or_insert([0; SECTOR_BYTES])[bit / 8] ^= 1 << (bit % 8);
    }
}

/// A request that the disk has and has not finished.
struct Pending {
    request: BlockRequest,
    write: Option<u64>,
    covered: Vec<u64>,
}

pub struct Machine {
    pub store: Store,
    pub disk: Disk,
    pub now: Instant,
    pending: Vec<Pending>,
    pub persisted: Vec<u64>,
    pub recovered: Option<Recovered>,
    pub failed: Option<Failure>,
    pub reads: Vec<(u64, Vec<Record>)>,
    pub damaged: Vec<Damage>,
    /// Records that were written again, or were not those that had been there.
    pub repaired: Vec<LogIndex>,
    pub not_repaired: Vec<LogIndex>,
    /// How far the records are verified.
    pub scrubbed: Vec<LogIndex>,
    /// What was told of the snapshot that is written: how far it is.
    pub stored: Vec<u64>,
    pub durable_snapshots: Vec<SnapshotMeta>,
    pub parts: Vec<Part>,
}

/// An answer of a snapshot: bytes, or the place of the damage.
pub struct Part {
    pub id: u64,
    pub meta: SnapshotMeta,
    pub offset: u64,
    pub total_bytes: u64,
    pub bytes: Option<Bytes>,
}

pub fn config(sectors: u64) -> Config {
    Config {
        cluster: ClusterId(7),
        node: NodeId::new(1).unwrap(),
        capacity_sectors: sectors,
        wanted_kinds: &[9],
        may_format: true,
        has_snapshots: true,
    }
}

/// What is in front of the headers.
pub const HEADERS_START: u64 = 56;
/// The copies of the hard state: of the even ones, and of the odd ones.
pub const HARD_STATES: [[u64; 2]; 2] = [[8, 32], [16, 40]];
pub const SECTORS: u64 = 8192;
/// The smallest disk: 2048 slots, and 636 KiB of bodies.
pub const SMALL: u64 = 2048;

impl Machine {
    pub fn start(disk: Disk) -> Machine {
        Machine::start_with(disk, config(SECTORS))
    }

    pub fn start_with(disk: Disk, config: Config) -> Machine {
        let pool = Pool::on_heap(4, 4 * PAGE_BYTES);
        let mut machine = Machine {
            store: Store::new(config, pool).unwrap(),
            disk,
            now: Instant::ORIGIN,
            pending: Vec::new(),
            persisted: Vec::new(),
            recovered: None,
            failed: None,
            reads: Vec::new(),
            damaged: Vec::new(),
            repaired: Vec::new(),
            not_repaired: Vec::new(),
            scrubbed: Vec::new(),
            stored: Vec::new(),
            durable_snapshots: Vec::new(),
            parts: Vec::new(),
        };
        machine.drain();
        machine
    }

    /// Carries out what the store wants, as far as it can be done at once.
    pub fn drain(&mut self) {
        while let Some(output) = self.store.poll_output() {
            match output {
                Output::Request(request) => self.submit(request),
                Output::Recovered(recovered) => self.recovered = Some(recovered),
                Output::Persisted(ticket) => self.persisted.push(ticket),
                Output::Read(id, records) => self.reads.push((id, records)),
                Output::Damaged(damage) => self.damaged.push(damage),
                Output::Repaired(index) => self.repaired.push(index),
                Output::NotRepaired(index) => self.not_repaired.push(index),
                Output::Scrubbed(next) => self.scrubbed.push(next),
                Output::Failed(failure) => self.failed = Some(failure),
                Output::SnapshotStored { offset, .. } => self.stored.push(offset),
                Output::SnapshotDurable(meta) => self.durable_snapshots.push(meta),
                Output::SnapshotRead { id, meta, offset, total_bytes, bytes } => {
                    let bytes = Some(bytes);
                    self.parts.push(Part { id, meta, offset, total_bytes, bytes });
                }
                Output::SnapshotDamaged { id, meta, offset } => {
                    self.parts.push(Part { id, meta, offset, total_bytes: 0, bytes: None });
                }
            }
        }
        self.store.check_invariants();
    }

    fn submit(&mut self, request: BlockRequest) {
        let write = match request.operation {
            Operation::Write { sector, sectors } => {
                let bytes = &request.buffer.as_deref().unwrap()[..sectors as usize * SECTOR_BYTES];
                Some(self.disk.take(sector, bytes))
            }
            Operation::Read { .. } | Operation::Flush => None,
        };
        let covered = self.disk.completed.clone();
        self.pending.push(Pending { request, write, covered });
    }

    pub fn is_busy(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Finishes one request, any of those under way.
    pub fn step(&mut self, prng: &mut Prng) {
        self.step_at(prng.below(self.pending.len() as u64) as usize);
    }

    /// Finishes the request at this position of those under way, counted from the oldest.
    pub fn step_at(&mut self, position: usize) -> Operation {
        let Pending { request, write, covered } = self.pending.remove(position);
        let BlockRequest { tag, operation, mut buffer } = request;
        let result = self.disk.fail_next.take().map_or(Ok(()), Err);
        match operation {
            Operation::Read { sector, sectors } => {
                let room = buffer.as_mut().unwrap().chunks_exact_mut(SECTOR_BYTES);
                for (sector, room) in (sector..sector + u64::from(sectors)).zip(room) {
                    room.copy_from_slice(&self.disk.read_perhaps_astray(sector));
                }
            }
            Operation::Write { .. } => self.disk.completed.extend(write),
            Operation::Flush => self.disk.flush(&covered),
        }
        let completion = BlockCompletion { tag, operation, buffer, result };
        self.store.handle_completion(completion, self.now);
        self.drain();
        operation
    }

    /// Finishes the request that was made last.
    pub fn step_newest(&mut self) {
        self.step_at(self.pending.len() - 1);
    }

    pub fn finish(&mut self) {
        let mut prng = Prng::new(1);
        while self.is_busy() {
            self.step(&mut prng);
        }
    }

    pub fn persist(&mut self, ticket: u64, hard_state: Option<HardState>, records: Vec<Record>) {
        self.store.persist(ticket, hard_state, records).unwrap();
        self.drain();
    }

    /// Gives up the records before `first`, the last of which is of `term`: they are in a snapshot.
    pub fn compact(&mut self, first: u64, term: u64) {
        if first > self.store.status().snapshot_index.0 + 1 {
            self.write_snapshot(&meta(first - 1, term), b"all of it");
        }
        self.store.compact(LogIndex(first)).unwrap();
        self.drain();
    }

    /// Writes a whole snapshot.
    pub fn write_snapshot(&mut self, meta: &SnapshotMeta, data: &[u8]) {
        self.store.begin_snapshot(meta.clone()).unwrap();
        for part in data.chunks(10_000) {
            self.store.append_snapshot(part).unwrap();
            self.drain();
            self.finish();
        }
        self.store.finish_snapshot().unwrap();
        self.drain();
        self.finish();
        assert_eq!(self.durable_snapshots.last(), Some(meta));
    }

    /// The whole snapshot, or where it is damaged.
    pub fn read_snapshot(&mut self) -> Result<Vec<u8>, u64> {
        let mut data = Vec::new();
        loop {
            self.store.read_snapshot(7, data.len() as u64, 50_000).unwrap();
            self.drain();
            self.finish();
            let part = self.parts.pop().expect("there is an answer");
            let bytes = part.bytes.ok_or(part.offset)?;
            assert_eq!((part.id, part.offset), (7, data.len() as u64));
            data.extend_from_slice(&bytes);
            if bytes.is_empty() {
                assert_eq!(data.len() as u64, part.total_bytes);
                return Ok(data);
            }
        }
    }

    /// Verifies the whole log once.
    pub fn scrub(&mut self) {
        let status = self.store.status();
        let mut from = status.first_index;
        while from <= status.durable_last && self.failed.is_none() {
            self.store.scrub(from, 5_000).unwrap();
            self.drain();
            self.finish();
            let Some(next) = self.scrubbed.pop() else { return };
            assert!(next > from, "it goes forward");
            from = next;
        }
    }

    /// Writes everything again that was found damaged, from these records; answers how much that was.
    pub fn repair(&mut self, records: &[Record]) -> usize {
        let damaged = std::mem::take(&mut self.damaged);
        for damage in &damaged {
            let record = records.iter().find(|record| record.index == damage.index).unwrap();
            assert_eq!(damage.term, Some(record.term), "it is known which record it is");
            self.store.repair(record.clone()).unwrap();
            self.drain();
            self.finish();
        }
        damaged.len()
    }

    /// Everything that the log holds, read back.
    pub fn read_all(&mut self, last: LogIndex) -> Vec<Record> {
        let mut records = Vec::new();
        let mut from = self.store.status().first_index;
        while from <= last && self.failed.is_none() {
            self.store.read(from.0, from, last, 3000).unwrap();
            self.drain();
            self.finish();
            let Some((_, more)) = self.reads.pop() else { break };
            // What is damaged ends it.
            let Some(last) = more.last() else { break };
            from = last.index.next();
            records.extend(more);
        }
        records
    }
}

pub fn record(index: u64, term: u64, length: usize) -> Record {
    let payload = vec![(index * 31 + term) as u8; length].into();
    Record { index: LogIndex(index), term: Term(term), kind: 1, payload }
}

pub fn meta(index: u64, term: u64) -> SnapshotMeta {
    let configuration = vec![index as u8; 20].into();
    SnapshotMeta { index: LogIndex(index), term: Term(term), configuration }
}

/// What a snapshot of this record holds in tests.
pub fn snapshot_data(index: u64, length: usize) -> Vec<u8> {
    let mut prng = Prng::new(index);
    (0..length.div_ceil(8)).flat_map(|_| prng.next_u64().to_le_bytes()).take(length).collect()
}
