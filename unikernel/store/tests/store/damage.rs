//! What was acknowledged and is damaged is reported, never dropped; and other mishaps.

use crate::disk::{
    Disk, HARD_STATES, HEADERS_START, Machine, SECTORS, SMALL, config, meta, record,
};
use base::{ClusterId, Duration, LogIndex, NodeId, Prng, Term};
use block::BlockError;
use store::anatomy::Anatomy;
use store::{Config, Failure, HardState, PersistError, Record, RepairError, Where};

/// A disk with 40 records of some size, each batch settled.
pub fn written() -> (Disk, Vec<Record>) {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    let records: Vec<Record> = (1..=40).map(|index| record(index, 1 + index / 20, 700)).collect();
    let hard_state = HardState { term: Term(3), vote: NodeId::new(2) };
    for (ticket, batch) in (1..).zip(records.chunks(8)) {
        machine.persist(ticket, Some(hard_state), batch.to_vec());
        machine.finish();
    }
    // Idle for a while: the marker is brought up to date.
    machine.now += Duration::from_secs(1);
    machine.store.handle_timeout(machine.now);
    machine.drain();
    machine.finish();
    (machine.disk, records)
}

pub fn read_back(disk: Disk) -> Result<(Vec<Record>, HardState), Failure> {
    let mut machine = Machine::start(disk);
    machine.finish();
    if let Some(failure) = machine.failed {
        return Err(failure);
    }
    let recovered = machine.recovered.clone().unwrap();
    let records = machine.read_all(recovered.last_index);
    machine.failed.map_or(Ok((records, recovered.hard_state)), Err)
}

/// What became of damage.
#[derive(Debug, Default)]
struct Fates {
    unharmed: usize,
    repaired: usize,
    refused: usize,
}

impl Fates {
    /// Starts from a disk that should hold these records, verifies it, and writes again what is damaged: in
    /// the end the disk, read afresh, holds all of them.
    fn meet(&mut self, disk: Disk, config: &Config, records: &[Record], what: &str) {
        let mut machine = Machine::start_with(disk, config.clone());
        machine.finish();
        if machine.failed.is_none() {
            machine.scrub();
        }
        match &machine.failed {
            None => {}
            Some(Failure::Damaged(_)) => return self.refused += 1,
            Some(failure) => panic!("{what}: {failure}"),
        }
        let repaired = machine.repair(records) + machine.repaired.len();
        let mut machine = Machine::start_with(machine.disk, config.clone());
        machine.finish();
        let recovered = machine.recovered.clone().unwrap_or_else(|| panic!("{what}"));
        assert_eq!(machine.read_all(recovered.last_index), records, "{what}");
        machine.scrub();
        assert_eq!((machine.damaged.len(), machine.repaired.len()), (0, 0), "{what}");
        if repaired == 0 { self.unharmed += 1 } else { self.repaired += 1 }
    }
}

#[test]
fn a_sound_disk_is_read_back() {
    let (disk, records) = written();
    let (read, hard_state) = read_back(disk).unwrap();
    assert_eq!(read, records);
    assert_eq!(hard_state, HardState { term: Term(3), vote: NodeId::new(2) });
}

/// Pitfall 20: a corrupt middle is not a torn tail. One bit of any sector that was ever written.
#[test]
fn one_flipped_bit_anywhere_is_survived_or_repaired_and_never_dropped() {
    let (disk, records) = written();
    let mut prng = Prng::new(3);
    let mut fates = Fates::default();
    for sector in disk.durable.keys().copied() {
        for _ in 0..4 {
            let mut disk = disk.clone();
            disk.flip(sector, prng.below(4096) as usize);
            fates.meet(disk, &config(SECTORS), &records, &format!("sector {sector}"));
        }
    }
    assert!(fates.unharmed > 20 && fates.repaired > 100, "{fates:?}");
    assert_eq!(fates.refused, 0, "one bit never loses both copies of a header");
}

/// The same on rings that went round, with a front and a snapshot.
#[test]
fn one_flipped_bit_after_laps_is_survived_or_repaired_and_never_dropped() {
    let mut machine = Machine::start_with(Disk::default(), config(SMALL));
    machine.finish();
    let mut log = Vec::new();
    for first in (1..=4000).step_by(40) {
        let batch: Vec<Record> =
            (first..first + 40).map(|index| record(index, 1, 20 + index as usize % 500)).collect();
        machine.persist(first, None, batch.clone());
        machine.finish();
        log.extend(batch);
        let front = (first + 40).saturating_sub(300).max(1);
        machine.compact(front, 1);
        machine.finish();
        log.drain(..(front - log[0].index.0) as usize);
    }
    let (disk, index) = (machine.disk, log[0].index.0 - 1);
    let mut prng = Prng::new(5);
    let mut fates = Fates::default();
    for sector in disk.durable.keys().copied().filter(|sector| sector % 2 == 0) {
        let mut disk = disk.clone();
        disk.flip(sector, prng.below(4096) as usize);
        let what = format!("sector {sector}");
        let mut machine = Machine::start_with(disk.clone(), config(SMALL));
        machine.finish();
        let recovered = machine.recovered.unwrap_or_else(|| panic!("{what}"));
        assert_eq!(recovered.snapshot.unwrap().meta, meta(index, 1), "{what}");
        fates.meet(disk, &config(SMALL), &log, &what);
    }
    assert!(fates.unharmed > 300 && fates.repaired > 50 && fates.refused == 0, "{fates:?}");
}

/// A crash at any moment of a repair harms nobody else, and the repair can be done again.
#[test]
fn a_repair_may_be_interrupted() {
    let (disk, records) = written();
    let victim = &records[17];
    let mut machine = Machine::start(disk.clone());
    machine.finish();
    machine.store.repair(victim.clone()).unwrap();
    machine.drain();
    machine.finish();
    assert_eq!(machine.repaired, [victim.index], "what is sound may be written again");
    let mut disk = disk;
    let bodies = disk
        .durable
        .iter()
        .filter(|(_, bytes)| bytes.windows(64).any(|window| window == &victim.payload[..64]));
    let sector = *bodies.map(|(sector, _)| sector).next().unwrap();
    disk.flip(sector, 2048);
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut machine = Machine::start(disk.clone());
        machine.finish();
        machine.scrub();
        machine.store.repair(victim.clone()).unwrap();
        machine.drain();
        for _ in 0..prng.below(6) {
            if machine.is_busy() {
                machine.step(&mut prng);
            }
        }
        let mut disk = std::mem::take(&mut machine.disk);
        disk.crash(&mut prng);
        let mut machine = Machine::start(disk);
        machine.finish();
        machine.scrub();
        let damaged: Vec<LogIndex> = machine.damaged.iter().map(|damage| damage.index).collect();
        assert!(damaged.iter().all(|index| *index == victim.index), "{seed}: {damaged:?}");
        machine.repair(&records);
        assert_eq!(machine.read_all(LogIndex(40)), records, "seed {seed}");
    }
}

/// What is offered in place of a damaged record must be what was there: identity, length and content.
#[test]
fn another_record_is_not_written_in_its_place() {
    let (disk, records) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    let right = records[10].clone();
    let wrong = [
        Record { term: Term(9), ..right.clone() },
        Record { kind: 7, ..right.clone() },
        Record { payload: right.payload.slice(1..), ..right.clone() },
        Record { payload: vec![1; right.payload.len()].into(), ..right.clone() },
    ];
    for record in wrong {
        machine.store.repair(record).unwrap();
        machine.drain();
        machine.finish();
        assert_eq!(machine.not_repaired.pop(), Some(right.index));
    }
    let beyond = Record { index: LogIndex(41), ..right };
    assert_eq!(machine.store.repair(beyond), Err(RepairError::Absent));
    assert_eq!(machine.read_all(LogIndex(40)), records);
    assert!(machine.repaired.is_empty());
}

/// One rotten sector of headers is read from the copies among the bodies.
#[test]
fn headers_are_taken_from_their_copies() {
    let (mut disk, records) = written();
    for bit in [5, 600, 1200, 3000] {
        disk.flip(HEADERS_START + 1, bit);
    }
    assert_eq!(read_back(disk).unwrap().0, records);
}

#[test]
fn a_lost_hard_state_is_not_guessed() {
    let (mut disk, _) = written();
    for sector in HARD_STATES.into_iter().flatten() {
        disk.flip(sector, 100);
    }
    assert_eq!(read_back(disk).unwrap_err(), Failure::HardStateLost);
}

/// The newest hard state is lost with its copy: the one before is not taken for it if anything tells that a
/// later one was durable. One damaged block never loses both copies.
#[test]
fn an_older_hard_state_is_not_taken_for_the_newest() {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    for ticket in 1..=4 {
        machine.persist(ticket, None, vec![record(ticket, 1, 100)]);
        machine.finish();
    }
    for place in HARD_STATES {
        assert!(place[0].abs_diff(place[1]) >= 8, "copies are not in one block of 4 KiB");
        let mut disk = machine.disk.clone();
        disk.flip(place[0], 100);
        assert_eq!(read_back(disk.clone()).unwrap().0.len(), 4, "one copy will do");
        disk.flip(place[1], 100);
        // Either the one before is lost, or what was promised last: then it is as if it never was.
        let is_older = read_back(disk).map(|(records, _)| records.len());
        assert_eq!(is_older, Ok(4), "the last batch was not settled: nothing tells");
    }
    // Three batches behind what the hard state speaks of: two later ones must have been durable.
    let [even, odd] = HARD_STATES;
    let old = machine.disk.clone();
    for ticket in 5..=6 {
        machine.persist(ticket, None, vec![record(ticket, 1, 100)]);
        machine.finish();
    }
    let mut disk = machine.disk;
    for sector in even.into_iter().chain(odd) {
        let bytes = old.durable[&sector];
        disk.durable.insert(sector, bytes);
    }
    assert_eq!(read_back(disk).unwrap_err(), Failure::HardStateLost);
}

/// What a tool sees of a disk from outside is what the store does.
#[test]
fn the_anatomy_of_a_disk_is_what_the_store_has_made_of_it() {
    let (disk, records) = written();
    let anatomy = Anatomy::new(SECTORS).unwrap();
    let look = |disk: &Disk| {
        anatomy.look(&|sector| disk.durable.get(&sector).copied().unwrap_or([0; 512])).unwrap()
    };
    let image = look(&disk);
    assert_eq!((image.superblocks, image.marks, image.is_chain_broken), (2, 2, false));
    assert_eq!(image.records.len(), records.len());
    for (position, (found, record)) in image.records.iter().zip(&records).enumerate() {
        assert_eq!((found.index, found.term), (record.index, record.term));
        assert!(found.is_slot_intact && found.is_copy_intact && found.is_payload_intact);
        let (first, last) = found.payload.unwrap();
        for (place, spoilt) in [(found.slot, 0), (found.copy, 1), (first, 2), (last, 2)] {
            let mut disk = disk.clone();
            disk.flip(place.sector, place.offset * 8);
            let found = &look(&disk).records[position];
            let intact = [found.is_slot_intact, found.is_copy_intact, found.is_payload_intact];
            assert_eq!(intact, [0, 1, 2].map(|part| part != spoilt), "{place:?}");
        }
        let mut disk = disk.clone();
        disk.flip(found.slot.sector, found.slot.offset * 8);
        disk.flip(found.copy.sector, found.copy.offset * 8);
        assert!(look(&disk).is_chain_broken);
    }
    assert!(anatomy.look(&|_| [0; 512]).is_none());
}

#[test]
fn a_disk_has_one_owner() {
    let (disk, _) = written();
    let other_node = store::Config { node: NodeId::new(2).unwrap(), ..config(SECTORS) };
    let other_cluster = store::Config { cluster: ClusterId(8), ..config(SECTORS) };
    for config in [other_node, other_cluster] {
        let mut machine = Machine::start_with(disk.clone(), config);
        machine.finish();
        let failure = machine.failed.unwrap();
        assert!(failure.to_string().contains("belongs to node 1 of cluster"), "{failure}");
    }
    let mut resized = Machine::start_with(disk, config(SECTORS * 2));
    resized.finish();
    assert_eq!(resized.failed, Some(Failure::Resized));
    let mut foreign = Disk::default();
    foreign.flip(0, 77);
    let mut machine = Machine::start(foreign);
    machine.finish();
    assert_eq!(machine.failed, Some(Failure::NotOurs));
}

/// Pitfall 30: an empty disk where one with data is expected has forgotten what its node promised.
#[test]
fn an_empty_disk_is_formatted_only_if_that_is_allowed() {
    let strict = store::Config { may_format: false, ..config(SECTORS) };
    let mut machine = Machine::start_with(Disk::default(), strict.clone());
    machine.finish();
    assert_eq!(machine.failed, Some(Failure::Empty));
    // Nothing was written: with permission it is as good as new.
    let mut machine = Machine::start(machine.disk);
    machine.finish();
    assert!(machine.recovered.is_some_and(|recovered| recovered.is_fresh));
    // And without it, a disk that is formatted starts.
    let mut machine = Machine::start_with(machine.disk, strict);
    machine.finish();
    assert!(machine.recovered.is_some_and(|recovered| !recovered.is_fresh));
}

/// Where the newest hard state is: the sequence says which.
fn newest_hard_state(disk: &Disk) -> [u64; 2] {
    let sequence = |place: &[u64; 2]| disk.durable[&place[0]][8..16].to_vec();
    let newest =
        |place: &[u64; 2]| u64::from_le_bytes(sequence(place).try_into().expect("eight bytes"));
    HARD_STATES.into_iter().max_by_key(newest).expect("there are two")
}

/// A batch that is not whole was torn, unless a later one was begun: then it was durable once. The headers of
/// the later one tell, though the hard state that speaks of it is lost.
#[test]
fn a_damaged_batch_before_another_is_not_taken_for_a_torn_one() {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    for (ticket, first) in [(1, 1), (2, 11), (3, 21)] {
        machine.persist(ticket, None, (first..first + 10).map(|i| record(i, 1, 100)).collect());
        machine.finish();
    }
    let mut disk = machine.disk;
    for sector in newest_hard_state(&disk) {
        disk.flip(sector, 100);
    }
    assert_eq!(read_back(disk.clone()).unwrap().0.len(), 30, "both batches are whole");
    // Ten bodies of 168 bytes are four sectors: this is the first sector of the second batch.
    disk.flip(HEADERS_START + 3 * 1024 + 4, 1000);
    let Err(Failure::Damaged(damage)) = read_back(disk) else { panic!("it was dropped") };
    assert_eq!((damage.index, damage.what), (LogIndex(11), Where::Header));
}

/// Nothing was promised yet: a machine that dies in its first moments can be started again.
#[test]
fn a_crash_while_formatting_is_not_the_end() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut machine = Machine::start(Disk::default());
        for _ in 0..seed % 20 {
            if machine.is_busy() {
                machine.step(&mut prng);
            }
        }
        let is_ready = machine.recovered.is_some();
        let mut disk = machine.disk;
        disk.crash(&mut prng);
        let mut machine = Machine::start(disk);
        machine.finish();
        let recovered = machine.recovered.clone();
        let recovered = recovered.unwrap_or_else(|| panic!("seed {seed}: {:?}", machine.failed));
        assert!(!is_ready || recovered.epoch == 2, "seed {seed}");
        assert_eq!(recovered.is_fresh, recovered.epoch == 1, "seed {seed}");
        machine.persist(1, None, vec![record(1, 1, 50)]);
        machine.finish();
        assert_eq!(read_back(machine.disk).unwrap().0, [record(1, 1, 50)], "seed {seed}");
    }
}

#[test]
fn random_images_are_refused_without_a_panic() {
    let (disk, _) = written();
    let mut prng = Prng::new(9);
    for _ in 0..300 {
        let mut disk = disk.clone();
        for _ in 0..1 + prng.below(30) {
            let sector = prng.below(120);
            for _ in 0..prng.below(60) {
                disk.flip(sector, prng.below(4096) as usize);
            }
        }
        let _ = read_back(disk);
    }
}

/// Group commit: what is asked for while the disk is busy shares one flush.
#[test]
fn many_persists_share_a_flush() {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    let before = machine.disk.flushes;
    for index in 1..=100 {
        machine.persist(index, None, vec![record(index, 1, 50)]);
    }
    machine.finish();
    assert_eq!(machine.persisted.last(), Some(&100));
    assert!(machine.disk.flushes - before <= 3, "{}", machine.disk.flushes - before);
}

/// Pitfall 18: after a failed flush nothing is known, and nothing is tried again.
#[test]
fn an_error_of_the_disk_is_final() {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    machine.disk.fail_next = Some(BlockError::Device);
    machine.persist(1, None, vec![record(1, 1, 50)]);
    machine.finish();
    assert_eq!(machine.failed, Some(Failure::Io(BlockError::Device)));
    assert_eq!(machine.store.persist(2, None, vec![]), Err(PersistError::NotReady));
    assert!(machine.persisted.is_empty());
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has_with_room_for_no_ops() {
    let mut machine = Machine::start_with(Disk::default(), config(2048));
    machine.finish();
    let mut next = 1;
    while machine.store.persist(next, None, vec![record(next, 1, 2000)]).is_ok() {
        machine.drain();
        machine.finish();
        next += 1;
    }
    assert!(next > 100, "{next}");
    for _ in 0..100 {
        assert_eq!(
            machine.store.persist(next, None, vec![record(next, 1, 2000)]),
            Err(PersistError::Full)
        );
    }
    let (_, bytes) = machine.store.room();
    assert!(bytes < 4096, "{bytes}");
    let no_op = record(next, 2, 0);
    machine.persist(next, None, vec![no_op.clone()]);
    machine.finish();
    let disk = machine.disk;
    let mut machine = Machine::start_with(disk, config(2048));
    machine.finish();
    assert_eq!(machine.recovered.clone().unwrap().last_index, LogIndex(next));
    assert_eq!(machine.read_all(LogIndex(next)).last(), Some(&no_op));
}

#[test]
fn a_disk_can_be_too_small() {
    let pool = pool::Pool::on_heap(1, pool::PAGE_BYTES);
    let error = store::Store::new(config(2047), pool).err().unwrap();
    assert_eq!(error.to_string(), "the disk has 1023 KiB; at least 1024 KiB are needed");
}
