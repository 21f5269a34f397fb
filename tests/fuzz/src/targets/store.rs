//! The durable log on a disk whose sectors somebody has changed.

use std::sync::OnceLock;

use base::{ClusterId, Duration, Instant, LogIndex, NodeId, Term};
use block::SECTOR_BYTES;
use pool::{PAGE_BYTES, Pool};
use store::{Config, Damage, Failure, HardState, Output, Record, Recovered, Store};

use crate::disk::Disk;
use crate::input::Input;

/// The smallest disk.
const SECTORS: u64 = 2048;
const BUFFERS: usize = 4;
/// More requests than any recovery of such a disk makes.
const REQUESTS_MAX: usize = 100_000;
const CHANGES_MAX: usize = 64;

struct Machine {
    store: Store,
    pool: Pool,
    disk: Disk,
    now: Instant,
    recovered: Option<Recovered>,
    failed: Option<Failure>,
    reads: Vec<Vec<Record>>,
    damaged: Option<Damage>,
}

pub(super) fn run(bytes: &[u8]) {
    static WRITTEN: OnceLock<(Disk, Vec<Record>)> = OnceLock::new();
    let (written, records) = WRITTEN.get_or_init(write);
    let mut input = Input::new(bytes);
    let mut disk = written.clone();
    let mut flips = 0;
    let is_flips_only = input.u8() & 1 == 0;
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        flips += 1;
        change(&mut disk, &mut input, is_flips_only);
    }
    let mut machine = Machine::start(disk);
    if machine.failed.is_none() {
        let last = machine.recovered.as_ref().expect("read, or reported").last_index;
        machine.read_snapshot(0);
        machine.drain();
        let mut read = machine.read_all(last);
        assert!(read.iter().zip(1..).all(|(record, index)| record.index.0 == index));
        if let Some(index) = machine.damaged.take().map(|damage| damage.index) {
            assert_eq!(read.len() as u64 + 1, index.0, "it ends there");
            // Somebody has it still, or what was there.
            if let Some(record) = records.get(read.len()) {
                machine.store.repair(record.clone()).expect("it is in the log");
                machine.drain();
                read = machine.read_all(last);
            }
        }
        if machine.failed.is_none() {
            assert_eq!(read.len() as u64 == last.0, machine.damaged.is_none());
            // One bit is found by any checksum, so nothing acknowledged is dropped or altered.
            assert!(!is_flips_only || flips != 1 || read == *records, "a flipped bit was believed");
        }
    }
    let Machine { store, pool, .. } = machine;
    store.check_invariants();
    drop(store);
    assert_eq!(pool.free(), BUFFERS, "no buffer is lost");
}

/// A disk with records, at rest.
fn write() -> (Disk, Vec<Record>) {
    let mut machine = Machine::start(Disk::new(SECTORS));
    let record = |index: u64| Record {
        index: LogIndex(index),
        term: Term(1 + index / 8),
        kind: 1,
        payload: vec![index as u8; 90 * index as usize].into(),
    };
    let records: Vec<Record> = (1..=12).map(record).collect();
    let hard_state = HardState { term: Term(3), vote: NodeId::new(2) };
    for (ticket, batch) in (1..).zip(records.chunks(5)) {
        machine.store.persist(ticket, Some(hard_state), batch.to_vec()).expect("there is room");
        machine.drain();
    }
    // Idle for a while: the marker is brought up to date.
    machine.now += Duration::from_secs(1);
    machine.store.handle_timeout(machine.now);
    machine.drain();
    assert!(machine.failed.is_none());
    (machine.disk, records)
}

/// Changes a sector: one that was written, or any.
fn change(disk: &mut Disk, input: &mut Input<'_>, is_flip: bool) {
    let kind = if is_flip { 0 } else { input.below(6) };
    let used: Vec<u64> = disk.sectors.keys().copied().collect();
    let pick = usize::from(input.u16());
    let sector = if kind == 5 { pick as u64 % SECTORS } else { used[pick % used.len()] };
    let place = usize::from(input.u16()) % SECTOR_BYTES;
    let source = disk.sectors[&used[place % used.len()]];
    let bytes = disk.sectors.entry(sector).or_insert([0; SECTOR_BYTES]);
    match kind {
        0 => bytes[place] ^= 1 << input.below(8),
        1 | 5 => {
            let count = usize::from(input.u8());
            let new = input.take(count.min(SECTOR_BYTES - place));
            bytes[place..place + new.len()].copy_from_slice(new);
        }
        2 => *bytes = [0; SECTOR_BYTES],
        // A sector of another place: what it says of itself is true.
        3 => *bytes = source,
        // Torn: the front is new, the rest of another place.
        _ => bytes[place..].copy_from_slice(&source[place..]),
    }
}

impl Machine {
    fn start(disk: Disk) -> Machine {
        let node = NodeId::new(1).expect("1 is a number of a node");
        let cluster = ClusterId(7);
        let (capacity_sectors, may_format) = (SECTORS, true);
        let (wanted_kinds, has_snapshots) = (&[2], true);
        let config =
            Config { cluster, node, capacity_sectors, wanted_kinds, may_format, has_snapshots };
        let pool = Pool::on_heap(BUFFERS, 4 * PAGE_BYTES);
        let store = Store::new(config, pool.clone()).expect("the disk is large enough");
        let (recovered, failed, reads, damaged) = (None, None, Vec::new(), None);
        let now = Instant::ORIGIN;
        let mut machine = Machine { store, pool, disk, now, recovered, failed, reads, damaged };
        machine.drain();
        machine
    }

    fn drain(&mut self) {
        for _ in 0..REQUESTS_MAX {
            let Some(output) = self.store.poll_output() else { return };
            match output {
                Output::Request(request) => {
                    let completion = self.disk.serve(request);
                    self.store.handle_completion(completion, self.now);
                    self.store.check_invariants();
                }
                Output::Recovered(recovered) => self.recovered = Some(recovered),
                Output::Persisted(_) => {}
                Output::Read(_, records) => self.reads.push(records),
                Output::SnapshotRead { offset, total_bytes, bytes, .. } => {
                    let end = offset + bytes.len() as u64;
                    assert!(end <= total_bytes, "no part reaches beyond the end");
                    if !bytes.is_empty() {
                        self.read_snapshot(end);
                    }
                }
                Output::SnapshotDamaged { .. } => {}
                Output::Damaged(damage) => self.damaged = Some(damage),
                Output::Repaired(_) | Output::NotRepaired(_) => {}
                Output::Scrubbed(_) => unreachable!("nobody scrubs"),
                Output::SnapshotStored { .. } | Output::SnapshotDurable(_) => {
                    unreachable!("nobody writes one")
                }
                Output::Failed(failure) => self.failed = Some(failure),
            }
        }
        panic!("the store never rests");
    }

    /// Reads on, to the end; at the end there is nothing to read.
    fn read_snapshot(&mut self, offset: u64) {
        let _ = self.store.read_snapshot(offset, offset, 64 * 1024);
    }

    fn read_all(&mut self, last: LogIndex) -> Vec<Record> {
        let mut records = Vec::new();
        let mut from = LogIndex(1);
        while from <= last && self.failed.is_none() {
            self.store.read(from.0, from, last, 3000).expect("what was recovered is there");
            self.drain();
            let Some(more) = self.reads.pop() else { break };
            // What is damaged ends it.
            let Some(last) = more.last() else { break };
            from = last.index.next();
            records.extend(more);
        }
        records
    }
}
