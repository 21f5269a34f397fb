//! The installation of a snapshot that another node has made: beyond the end of the log, or beside it.

use crate::disk::{Disk, Machine, SMALL, config, meta, record, snapshot_data};
use base::{LogIndex, Prng, Term};
use store::{ResetError, SnapshotMeta};

fn restart(disk: Disk) -> Machine {
    let mut machine = Machine::start_with(disk, config(SMALL));
    machine.finish();
    assert_eq!(machine.failed, None);
    machine
}

/// A log of 60 records of term 1, compacted to 21.
fn machine() -> Machine {
    let mut machine = restart(Disk::default());
    machine.persist(1, None, (1..=60).map(|index| record(index, 1, 100)).collect());
    machine.finish();
    machine.compact(21, 1);
    machine.finish();
    machine
}

fn begin_install(machine: &mut Machine, meta: &SnapshotMeta) {
    machine.store.begin_snapshot(meta.clone()).unwrap();
    machine.store.append_snapshot(&snapshot_data(meta.index.0, 70_000)).unwrap();
    machine.store.finish_snapshot().unwrap();
    machine.drain();
}

/// What a restart finds: snapshot, first and last index.
fn found(machine: &Machine) -> (u64, u64, u64) {
    let recovered = machine.recovered.clone().unwrap();
    let snapshot = recovered.snapshot.map_or(0, |stored| stored.meta.index.0);
    (snapshot, recovered.first_index.0, recovered.last_index.0)
}

#[test]
fn a_log_that_was_reset_goes_on_behind_the_snapshot() {
    let mut machine = machine();
    let meta = meta(1000, 5);
    begin_install(&mut machine, &meta);
    assert_eq!(machine.store.reset_log(meta.index, meta.term), Err(ResetError::NoSuchSnapshot));
    machine.finish();
    for (index, term) in [(999, 5), (1000, 4)] {
        let refused = machine.store.reset_log(LogIndex(index), Term(term));
        assert_eq!(refused, Err(ResetError::NoSuchSnapshot));
    }
    // What was asked for before is written before.
    machine.persist(2, None, vec![record(61, 1, 10)]);
    machine.store.reset_log(meta.index, meta.term).unwrap();
    machine.persist(3, None, (1001..=1010).map(|index| record(index, 6, 10)).collect());
    machine.finish();
    assert_eq!(machine.persisted, [1, 2, 3]);
    assert_eq!(machine.store.status().body_bytes_used, 1024, "ten records, and nothing else");
    for _ in 0..2 {
        machine = restart(machine.disk);
        assert_eq!(found(&machine), (1000, 1001, 1010));
        let recovered = machine.recovered.clone().unwrap();
        assert_eq!(recovered.front_term, Term(5));
        assert_eq!(recovered.terms, [(LogIndex(1001), Term(6))]);
        assert_eq!(machine.read_all(LogIndex(1010)).len(), 10);
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(1000, 70_000));
    }
}

/// The caller was not told, or had no time to reset the log.
#[test]
fn a_restart_installs_what_does_not_fit_the_log_and_keeps_a_log_that_does() {
    for (index, term, ends) in [
        (60, 1, (21, 60)),
        (30, 1, (21, 60)),
        (61, 1, (62, 61)),
        (1_000_000, 2, (1_000_001, 1_000_000)),
        (60, 2, (61, 60)),
        (30, 2, (31, 30)),
    ] {
        let mut machine = machine();
        begin_install(&mut machine, &meta(index, term));
        machine.finish();
        let mut machine = restart(machine.disk);
        assert_eq!(found(&machine), (index, ends.0, ends.1));
        assert_eq!(
            machine.recovered.clone().unwrap().front_term.0,
            if ends.0 == 21 { 1 } else { term }
        );
        let next = ends.1 + 1;
        machine.persist(9, None, vec![record(next, 3, 10)]);
        machine.finish();
        let mut machine = restart(machine.disk);
        assert_eq!(found(&machine), (index, ends.0, next));
        assert_eq!(machine.read_all(LogIndex(next)).last(), Some(&record(next, 3, 10)));
    }
}

/// A crash after every request, many times: the log with the old snapshot, or the new snapshot alone.
#[test]
fn a_crash_at_any_point_leaves_the_log_or_the_snapshot() {
    let mut ends = [0; 4];
    for seed in 0..600 {
        let mut prng = Prng::new(seed);
        let mut machine = machine();
        let is_beyond = seed % 2 == 0;
        let meta = if is_beyond { meta(500, 3) } else { meta(50, 3) };
        begin_install(&mut machine, &meta);
        machine.persist(2, None, vec![record(61, 1, 3000)]);
        let mut is_reset = false;
        for _ in 0..seed % 60 {
            if machine.is_busy() {
                machine.step(&mut prng);
            }
            if !is_reset && machine.durable_snapshots.last() == Some(&meta) {
                machine.store.reset_log(meta.index, meta.term).unwrap();
                machine.persist(3, None, vec![record(meta.index.0 + 1, 4, 3000)]);
                is_reset = true;
            }
        }
        let persisted = machine.persisted.last().copied().unwrap();
        let mut disk = machine.disk;
        disk.crash(&mut prng);
        let mut machine = restart(disk);
        let index = meta.index.0;
        let (snapshot, first, last) = found(&machine);
        let log = machine.read_all(LogIndex(last));
        if snapshot == 20 {
            assert!(!is_reset, "seed {seed}");
            assert!((first, last) == (21, 61) || (persisted < 2 && (first, last) == (21, 60)));
            ends[0] += 1;
        } else if last == index {
            assert!(persisted < 3, "seed {seed}");
            assert_eq!((snapshot, first), (index, index + 1), "seed {seed}");
            ends[if is_reset { 1 } else { 2 }] += 1;
        } else {
            assert_eq!((snapshot, first, last), (index, index + 1, index + 1), "seed {seed}");
            assert_eq!(log, [record(index + 1, 4, 3000)], "seed {seed}");
            ends[3] += 1;
        }
        if snapshot == index {
            assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(index, 70_000));
        }
    }
    assert!(ends.iter().all(|count| *count > 5), "{ends:?}");
}

/// Nothing of the log before is taken for a part of the log behind: same indices, other laps.
#[test]
fn what_the_log_before_left_is_not_found_again() {
    let mut machine = machine();
    begin_install(&mut machine, &meta(50, 3));
    machine.finish();
    machine.store.reset_log(LogIndex(50), Term(3)).unwrap();
    machine.drain();
    machine.finish();
    let mut machine = restart(machine.disk);
    assert_eq!(found(&machine), (50, 51, 50));
    assert_eq!(machine.recovered.clone().unwrap().torn, 0);
    machine.persist(2, None, vec![record(51, 3, 10)]);
    machine.finish();
    let mut machine = restart(machine.disk);
    assert_eq!(found(&machine), (50, 51, 51));
    assert_eq!(machine.read_all(LogIndex(51)), [record(51, 3, 10)]);
}
