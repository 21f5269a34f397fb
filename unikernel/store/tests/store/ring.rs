//! The log as a ring: laps, limits, compaction, and a restart that is quick whatever was written before.

use crate::disk::{Disk, Machine, SMALL, config, meta, record};
use base::{LogIndex, Prng, Term};
use store::{CompactError, Failure, PersistError, ReadError, Record};

fn restart(machine: Machine, sectors: u64) -> Machine {
    let mut machine = Machine::start_with(machine.disk, config(sectors));
    machine.finish();
    assert_eq!(machine.failed, None);
    machine
}

fn small() -> Machine {
    restart(Machine::start_with(Disk::default(), config(SMALL)), SMALL)
}

/// Writes records in persists of a random length, and keeps the last `keep`.
fn write_laps(
    machine: &mut Machine,
    prng: &mut Prng,
    log: &mut Vec<Record>,
    bytes: u64,
    keep: u64,
) {
    let start = machine.store.status().records;
    let mut written = 0;
    while written < bytes {
        let next = log.last().map_or(1, |record| record.index.0 + 1);
        let count = 1 + prng.below(100);
        let size = if prng.chance(1, 8) { 6_000 } else { 200 };
        let records: Vec<Record> = (next..next + count)
            .map(|index| record(index, 1 + index / 500, prng.below(size) as usize / 4))
            .collect();
        written += records.iter().map(|record| record.payload.len() as u64 + 64).sum::<u64>();
        machine.persist(next, None, records.clone());
        log.extend(records);
        if prng.chance(1, 3) {
            machine.finish();
        }
        let last = log.last().unwrap().index.0;
        let first = log.first().unwrap().index.0.max((last + 1).saturating_sub(keep));
        machine.finish();
        machine.compact(first, 1 + (first - 1) / 500);
        log.drain(..(first - log[0].index.0) as usize);
    }
    machine.finish();
    assert!(machine.store.status().records > start);
}

#[test]
fn many_laps_keep_what_is_kept() {
    let mut machine = small();
    let mut prng = Prng::new(5);
    let mut log = Vec::new();
    for lap in 0..40 {
        write_laps(&mut machine, &mut prng, &mut log, 250_000, 100);
        machine = restart(machine, SMALL);
        let recovered = machine.recovered.clone().unwrap();
        assert_eq!(recovered.first_index, log[0].index, "lap {lap}");
        assert_eq!(recovered.repaired, 0);
        assert_eq!(machine.read_all(recovered.last_index), log, "lap {lap}");
    }
    let status = machine.store.status();
    assert!(log[0].index.0 > 5 * status.slots, "the headers went round: {}", log[0].index);
}

/// Records whose bodies take exactly a sector.
fn sector_record(index: u64) -> Record {
    record(index, 1, 512 - 64)
}

#[test]
fn the_bodies_can_be_exactly_full_and_compaction_makes_room() {
    let mut machine = small();
    let (_, room) = machine.store.room();
    let mut next = 1;
    for _ in 0..room / 512 {
        machine.persist(next, None, vec![sector_record(next)]);
        machine.finish();
        next += 1;
    }
    assert_eq!(machine.store.room().1, 0);
    let refused = machine.store.persist(next, None, vec![sector_record(next)]);
    assert_eq!(refused, Err(PersistError::Full));
    // The reserve, to the last byte.
    for _ in 0..512 {
        machine.persist(next, None, vec![record(next, 1, 0)]);
        machine.finish();
        next += 1;
    }
    let status = machine.store.status();
    assert_eq!(status.body_bytes_used, status.body_bytes);
    let refused = machine.store.persist(next, None, vec![record(next, 1, 0)]);
    assert_eq!(refused, Err(PersistError::Full));

    let mut machine = restart(machine, SMALL);
    assert_eq!(machine.store.status().body_bytes_used, status.body_bytes, "full, not empty");
    machine.compact(100, 1);
    assert_eq!(machine.store.status().body_bytes_used, status.body_bytes, "it is not durable yet");
    machine.finish();
    assert_eq!(machine.store.status().body_bytes_used, status.body_bytes - 99 * 512);
    for _ in 0..99 {
        machine.persist(next, None, vec![record(next, 2, 0)]);
        machine.finish();
        next += 1;
    }
    let refused = machine.store.persist(next, None, vec![record(next, 1, 0)]);
    assert_eq!(refused, Err(PersistError::Full));
    let mut machine = restart(machine, SMALL);
    let log = machine.read_all(LogIndex(next - 1));
    assert_eq!((log[0].clone(), log.len() as u64), (sector_record(100), next - 100));
}

#[test]
fn the_slots_can_be_exactly_full_and_compaction_makes_room() {
    let mut machine = small();
    let slots = machine.store.status().slots;
    assert_eq!(machine.store.room().0, slots - 512);
    let batch = |from: u64, to: u64, length| (from..=to).map(|i| record(i, 1, length)).collect();
    machine.persist(1, None, batch(1, slots - 512, 1));
    machine.finish();
    let more = slots - 511;
    let refused = machine.store.persist(2, None, vec![record(more, 1, 1)]);
    assert_eq!(refused, Err(PersistError::Full));
    machine.persist(2, None, batch(more, slots, 0));
    machine.finish();
    assert_eq!(machine.store.status().slots_used, slots);
    for first in [2, 8] {
        machine.compact(first, 1);
        machine.finish();
        // The sector of the first header is not written again: only whole sectors are free.
        let refused = machine.store.persist(3, None, vec![record(slots + 1, 1, 0)]);
        assert_eq!(refused, Err(PersistError::Full));
    }
    machine.compact(9, 1);
    machine.finish();
    machine.persist(3, None, batch(slots + 1, slots + 8, 0));
    let refused = machine.store.persist(4, None, vec![record(slots + 9, 1, 0)]);
    assert_eq!(refused, Err(PersistError::Full));
    machine.finish();
    let mut machine = restart(machine, SMALL);
    assert_eq!(machine.read_all(LogIndex(slots + 8)).len() as u64, slots);
}

#[test]
fn a_cut_right_after_a_compaction() {
    for (front, cut) in [(50, 50), (50, 51), (50, 55), (50, 56), (57, 57), (57, 58), (101, 101)] {
        let mut machine = small();
        machine.persist(1, None, (1..=100).map(|index| record(index, 1, 40)).collect());
        machine.finish();
        machine.compact(front, 1);
        let new: Vec<Record> = (cut..cut + 30).map(|index| record(index, 2, 50)).collect();
        machine.persist(2, None, new.clone());
        machine.finish();
        let mut log: Vec<Record> = (front..cut).map(|index| record(index, 1, 40)).collect();
        log.extend(new);
        let last = log.last().unwrap().index;
        assert_eq!(machine.read_all(last), log, "{front} {cut}");
        let mut machine = restart(machine, SMALL);
        assert_eq!(machine.read_all(last), log, "{front} {cut}");
        assert_eq!(machine.recovered.clone().unwrap().front_term, Term(1));
    }
}

#[test]
fn what_is_given_up_cannot_be_read_and_what_is_not_settled_is_not_given_up() {
    let mut machine = small();
    assert_eq!(machine.store.compact(LogIndex(11)), Err(CompactError::BeyondSnapshot));
    machine.write_snapshot(&meta(10, 1), b"ten");
    machine.persist(1, None, (1..=20).map(|index| record(index, 1, 40)).collect());
    assert_eq!(machine.store.compact(LogIndex(12)), Err(CompactError::BeyondSnapshot));
    assert_eq!(machine.store.compact(LogIndex(11)), Err(CompactError::NotSettled));
    machine.finish();
    machine.persist(2, None, vec![record(10, 2, 40)]);
    assert_eq!(machine.store.compact(LogIndex(11)), Err(CompactError::NotSettled));
    machine.compact(10, 1);
    machine.finish();
    assert_eq!(machine.store.compact(LogIndex(3)), Ok(()), "it is already");
    assert_eq!(machine.store.read(1, LogIndex(9), LogIndex(10), 100), Err(ReadError::Absent));
    assert_eq!(machine.read_all(LogIndex(10)), [record(10, 2, 40)]);
}

/// A question that was asked before is answered with nothing, and a read under way is not disturbed.
#[test]
fn compaction_waits_for_a_reader_and_the_next_reader_for_compaction() {
    let mut machine = small();
    machine.persist(1, None, (1..=20).map(|index| record(index, 1, 40)).collect());
    machine.finish();
    machine.write_snapshot(&meta(10, 1), b"ten");
    machine.store.read(1, LogIndex(1), LogIndex(20), 100_000).unwrap();
    machine.compact(11, 1);
    machine.store.read(2, LogIndex(1), LogIndex(20), 100_000).unwrap();
    machine.store.read(3, LogIndex(11), LogIndex(20), 100_000).unwrap();
    machine.drain();
    machine.finish();
    let lengths: Vec<(u64, usize)> =
        machine.reads.iter().map(|(id, records)| (*id, records.len())).collect();
    assert_eq!(lengths, [(1, 20), (2, 0), (3, 10)]);
}

#[test]
fn a_restart_after_a_million_records_reads_little() {
    const SECTORS: u64 = 131_072;
    let mut machine = Machine::start_with(Disk::default(), config(SECTORS));
    machine.finish();
    for first in (1..=1_000_000).step_by(1000) {
        machine.persist(first, None, (first..first + 1000).map(|i| record(i, 3, 16)).collect());
        machine.finish();
        machine.compact(first.saturating_sub(4000).max(1), 3);
    }
    machine.finish();
    machine.disk.sectors_read = 0;
    let mut machine = restart(machine, SECTORS);
    let read = machine.disk.sectors_read * 512;
    assert!(read < 1024 * 1024, "{read} bytes");
    let recovered = machine.recovered.clone().unwrap();
    assert_eq!(recovered.last_index, LogIndex(1_000_000));
    assert_eq!(machine.read_all(recovered.last_index).len(), 5000);
}

#[test]
fn records_of_wanted_kinds_are_listed() {
    let of_kind = |index: u64, kind| Record { kind, ..record(index, 1, 10) };
    let mut machine = small();
    let kinds = |index: u64| if index.is_multiple_of(10) { 9 } else { 1 };
    machine.persist(1, None, (1..=100).map(|index| of_kind(index, kinds(index))).collect());
    machine.finish();
    machine.compact(30, 1);
    // A cut drops some of them, and brings another.
    machine.persist(2, None, vec![of_kind(65, 9), of_kind(66, 1)]);
    machine.finish();
    let mut machine = restart(machine, SMALL);
    let wanted = [30, 40, 50, 60, 65].map(LogIndex);
    assert_eq!(machine.recovered.clone().unwrap().wanted, wanted);
    // More than the limit: the last ones.
    machine.persist(3, None, (67..=1300).map(|index| of_kind(index, 9)).collect());
    machine.finish();
    let machine = restart(machine, SMALL);
    let wanted = machine.recovered.unwrap().wanted;
    assert_eq!((wanted.len(), wanted[0]), (1024, LogIndex(277)));
}

#[test]
fn another_format_is_refused_and_named() {
    let mut machine = small();
    for sector in [0, 24] {
        machine.disk.durable.get_mut(&sector).unwrap()[8] = 1;
    }
    let mut machine = Machine::start_with(machine.disk, config(SMALL));
    machine.finish();
    let failure = machine.failed.unwrap();
    assert_eq!(failure, Failure::OtherVersion(1));
    assert_eq!(
        failure.to_string(),
        "the disk has format 1, which this version does not read; give the node an empty one"
    );
}

/// Without snapshots the caller gives up what it likes, and all that is not headers is bodies.
#[test]
fn a_log_without_snapshots_is_given_up_at_will() {
    let bare = || store::Config { has_snapshots: false, ..config(SMALL) };
    let mut machine = Machine::start_with(Disk::default(), bare());
    machine.finish();
    let snapshot_bytes = 2 * (SMALL / 8) * 512;
    assert_eq!(machine.store.room().1, small().store.room().1 + snapshot_bytes);
    let refused = machine.store.begin_snapshot(meta(1, 1));
    assert_eq!(refused, Err(store::SnapshotError::TooLarge));
    let mut prng = Prng::new(6);
    let mut log: Vec<Record> = Vec::new();
    for lap in 0..300_u64 {
        let next = log.last().map_or(1, |last| last.index.0 + 1);
        let records: Vec<Record> =
            (next..next + 40).map(|index| record(index, 1, prng.below(800) as usize)).collect();
        machine.persist(lap, None, records.clone());
        machine.finish();
        log.extend(records);
        let first = log[log.len().saturating_sub(120)].index;
        machine.store.compact(first).unwrap();
        log.retain(|record| record.index >= first);
        if lap % 7 == 3 {
            // What was given up may be there again, what was written must be.
            machine.disk.crash(&mut prng);
            machine = Machine::start_with(machine.disk, bare());
            machine.finish();
            let recovered = machine.recovered.clone().unwrap();
            assert!(recovered.first_index <= log[0].index, "lap {lap}");
            let all = machine.read_all(recovered.last_index);
            assert!(all.ends_with(&log), "lap {lap}");
            log = all;
        }
    }
    assert!(log[0].index.0 > 2 * machine.store.status().slots, "the headers went round");
}
