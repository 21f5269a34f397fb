//! Snapshots: written beside the log, read back, and never anything but what was written.

use crate::disk::{Disk, HEADERS_START, Machine, SMALL, config, meta, record, snapshot_data};
use base::limits::SNAPSHOT_CONFIGURATION_MAX_BYTES;
use base::{LogIndex, Prng};
use block::{BlockError, Operation};
use store::{Failure, ReadError, SNAPSHOT_BLOCK_BYTES, SnapshotError, SnapshotMeta, Where};

fn restart(disk: Disk) -> Machine {
    let mut machine = Machine::start_with(disk, config(SMALL));
    machine.finish();
    machine
}

/// A log of 60 records of term 1 and a snapshot of the first 40.
fn with_snapshot(length: usize) -> Machine {
    let mut machine = restart(Disk::default());
    machine.persist(1, None, (1..=60).map(|index| record(index, 1, 100)).collect());
    machine.finish();
    machine.write_snapshot(&meta(40, 1), &snapshot_data(40, length));
    machine
}

#[test]
fn what_is_written_is_read_back_also_after_a_restart() {
    for length in [0, 1, 511, 512, 65_535, 65_536, 65_537, 100_000] {
        let mut machine = with_snapshot(length);
        assert!(machine.stored.is_sorted());
        assert_eq!(machine.stored.last().copied().unwrap_or(0), length as u64);
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(40, length));
        let mut machine = restart(machine.disk);
        let stored = machine.recovered.clone().unwrap().snapshot.unwrap();
        assert_eq!((stored.meta, stored.total_bytes), (meta(40, 1), length as u64));
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(40, length));
        let status = machine.store.status();
        assert_eq!((status.snapshot_index, status.snapshot_bytes), (LogIndex(40), length as u64));
    }
}

#[test]
fn the_areas_are_used_in_turn() {
    let mut machine = with_snapshot(1000);
    for index in 41..50 {
        machine.write_snapshot(&meta(index, 1), &snapshot_data(index, 2000));
        machine = restart(machine.disk);
        assert_eq!(machine.recovered.clone().unwrap().snapshot.unwrap().meta, meta(index, 1));
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(index, 2000));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut machine = restart(Disk::default());
    let store = &mut machine.store;
    assert_eq!(store.append_snapshot(b"x"), Err(SnapshotError::NotBegun));
    assert_eq!(store.finish_snapshot(), Err(SnapshotError::NotBegun));
    assert_eq!(store.abandon_snapshot(), Err(SnapshotError::NotBegun));
    assert_eq!(store.read_snapshot(1, 0, 1), Err(ReadError::Absent));
    assert_eq!(store.begin_snapshot(meta(0, 0)), Err(SnapshotError::NotNewer));
    let long = |length| SnapshotMeta { configuration: vec![0; length].into(), ..meta(1, 1) };
    assert_eq!(
        store.begin_snapshot(long(SNAPSHOT_CONFIGURATION_MAX_BYTES + 1)),
        Err(SnapshotError::TooLarge)
    );
    assert_eq!(store.begin_snapshot(long(SNAPSHOT_CONFIGURATION_MAX_BYTES)), Ok(()));
    assert_eq!(store.begin_snapshot(meta(2, 1)), Err(SnapshotError::UnderWay));
    assert_eq!(store.finish_snapshot(), Ok(()));
    assert_eq!(store.append_snapshot(b"x"), Err(SnapshotError::NotBegun));
    machine.drain();
    machine.finish();
    let store = &mut machine.store;
    assert_eq!(store.begin_snapshot(meta(1, 1)), Err(SnapshotError::NotNewer));
    assert_eq!(store.read_snapshot(1, 1, 1), Err(ReadError::Absent));
    assert_eq!(store.read_snapshot(1, 0, 1), Ok(()));
}

#[test]
fn a_snapshot_can_fill_its_area_exactly_and_no_more() {
    let mut machine = restart(Disk::default());
    let longest = machine.store.status().snapshot_max_bytes as usize;
    assert_eq!(longest, (256 - 16) * 512);
    machine.write_snapshot(&meta(5, 1), &snapshot_data(5, longest));
    machine.store.begin_snapshot(meta(6, 1)).unwrap();
    let refused = machine.store.append_snapshot(&vec![0; longest + 1]);
    assert_eq!(refused, Err(SnapshotError::TooLarge));
    machine.store.append_snapshot(&vec![0; longest - 1]).unwrap();
    assert_eq!(machine.store.append_snapshot(&[0; 2]), Err(SnapshotError::TooLarge));
    machine.store.append_snapshot(&[0; 1]).unwrap();
    machine.store.finish_snapshot().unwrap();
    machine.drain();
    machine.finish();
    let mut machine = restart(machine.disk);
    assert_eq!(machine.read_snapshot().unwrap(), vec![0; longest]);
}

#[test]
fn no_more_than_a_few_blocks_wait() {
    let mut machine = Machine::start_with(Disk::default(), config(65_536));
    machine.finish();
    machine.store.begin_snapshot(meta(5, 1)).unwrap();
    let data = snapshot_data(5, 3_000_000);
    let (mut sent, mut refused) = (0, 0);
    let mut prng = Prng::new(3);
    machine.drain();
    while sent < data.len() {
        let part = &data[sent..data.len().min(sent + 1 + prng.below(100_000) as usize)];
        match machine.store.append_snapshot(part) {
            Ok(()) => sent += part.len(),
            Err(SnapshotError::Busy) => {
                refused += 1;
                let known = machine.stored.len();
                while machine.stored.len() == known {
                    machine.step(&mut prng);
                }
            }
            Err(error) => panic!("{error:?}"),
        }
        machine.drain();
        let known = machine.stored.last().copied().unwrap_or(0) as usize;
        assert!(sent - known <= 6 * SNAPSHOT_BLOCK_BYTES, "{sent} {known}");
    }
    assert!(refused > 10, "{refused}");
    machine.store.finish_snapshot().unwrap();
    machine.drain();
    machine.finish();
    assert_eq!(machine.read_snapshot().unwrap(), data);
}

/// A sender that waits for each part before it sends the next is never stuck, however short the parts.
#[test]
fn every_part_is_taken_care_of_without_another_one() {
    let mut machine = restart(Disk::default());
    machine.store.begin_snapshot(meta(5, 1)).unwrap();
    let data = snapshot_data(5, 100_000);
    for (part, end) in data.chunks(5000).zip((5000..).step_by(5000)) {
        machine.store.append_snapshot(part).unwrap();
        machine.drain();
        machine.finish();
        assert_eq!(machine.stored.last(), Some(&end));
    }
}

#[test]
fn one_that_is_abandoned_leaves_no_trace_in_the_next() {
    for steps in 0..30 {
        let mut prng = Prng::new(steps);
        let mut machine = with_snapshot(5000);
        machine.store.begin_snapshot(meta(50, 1)).unwrap();
        machine.store.append_snapshot(&snapshot_data(1, 100_000)).unwrap();
        if steps % 2 == 0 {
            machine.store.finish_snapshot().unwrap();
        }
        machine.drain();
        for _ in 0..steps {
            if machine.is_busy() {
                machine.step(&mut prng);
            }
        }
        let next = match machine.store.abandon_snapshot() {
            Ok(()) => {
                // And once more, before anything of it can be on its way.
                machine.store.begin_snapshot(meta(50, 1)).unwrap();
                machine.store.abandon_snapshot().unwrap();
                meta(50, 1)
            }
            Err(SnapshotError::TooLate | SnapshotError::NotBegun) => meta(51, 1),
            Err(error) => panic!("{error:?}"),
        };
        machine.drain();
        if next.index == LogIndex(51) {
            machine.finish();
            assert_eq!(machine.durable_snapshots.last(), Some(&meta(50, 1)));
        }
        machine.write_snapshot(&next, &snapshot_data(50, 90_000));
        let mut machine = restart(machine.disk);
        assert_eq!(machine.recovered.clone().unwrap().snapshot.unwrap().meta, next);
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(50, 90_000), "{steps}");
    }
}

/// A block of one that was abandoned is still on its way, and the disk is in no hurry with it.
#[test]
fn what_is_abandoned_is_waited_for() {
    for times in [1, 2, 3] {
        let mut machine = with_snapshot(5000);
        machine.store.begin_snapshot(meta(50, 1)).unwrap();
        machine.store.append_snapshot(&[1; 5000]).unwrap();
        machine.store.finish_snapshot().unwrap();
        machine.drain();
        // The head is wiped out, that is flushed, and the block is on its way.
        for _ in 0..2 {
            machine.step_newest();
        }
        machine.store.abandon_snapshot().unwrap();
        for _ in 1..times {
            machine.store.begin_snapshot(meta(50, 1)).unwrap();
            machine.store.abandon_snapshot().unwrap();
        }
        machine.store.begin_snapshot(meta(50, 1)).unwrap();
        machine.store.append_snapshot(&[2; 5000]).unwrap();
        machine.store.finish_snapshot().unwrap();
        machine.drain();
        while machine.is_busy() {
            machine.step_newest();
        }
        assert_eq!(machine.durable_snapshots.last(), Some(&meta(50, 1)));
        assert_eq!(machine.read_snapshot().unwrap(), [2; 5000]);
    }
}

/// Pitfall 18, across the parts of the store: the flush that fails may have been to carry the log.
#[test]
fn a_failed_flush_that_nobody_waits_for_is_final_too() {
    let mut machine = with_snapshot(5000);
    machine.store.begin_snapshot(meta(50, 1)).unwrap();
    machine.drain();
    while machine.step_at(0)
        != (Operation::Write { sector: HEADERS_START + 256 + 256, sectors: 16 })
    {}
    machine.store.abandon_snapshot().unwrap();
    machine.disk.fail_next = Some(BlockError::Device);
    assert_eq!(machine.step_at(0), Operation::Flush);
    assert_eq!(machine.failed, Some(Failure::Io(BlockError::Device)));
}

/// The part that is read belongs to a snapshot that a newer one has replaced, and whose area the next wants.
#[test]
fn a_part_that_is_being_read_is_not_written_over() {
    let mut machine = with_snapshot(20_000);
    machine.store.read_snapshot(3, 0, usize::MAX).unwrap();
    machine.drain();
    let reads = 2;
    machine.store.begin_snapshot(meta(41, 1)).unwrap();
    machine.store.finish_snapshot().unwrap();
    machine.drain();
    while machine.durable_snapshots.len() < 2 {
        machine.step_at(reads);
    }
    machine.store.begin_snapshot(meta(42, 1)).unwrap();
    machine.store.append_snapshot(&[9; 20_000]).unwrap();
    machine.store.finish_snapshot().unwrap();
    machine.drain();
    machine.finish();
    let part = machine.parts.pop().unwrap();
    assert_eq!(
        (part.meta, &part.bytes.unwrap()[..]),
        (meta(40, 1), &snapshot_data(40, 20_000)[..])
    );
    assert_eq!(machine.read_snapshot().unwrap(), [9; 20_000]);
}

/// A disk that does one thing after the other: what is in front of a batch of the log is what it waits for.
#[test]
fn a_batch_of_the_log_waits_for_one_block_at_the_most() {
    let mut machine = Machine::start_with(Disk::default(), config(65_536));
    machine.finish();
    let areas = 8 + 8192..8 + 3 * 8192;
    machine.store.begin_snapshot(meta(5, 1)).unwrap();
    let mut prng = Prng::new(8);
    let (mut blocks, mut batches) = (0, 0);
    for ticket in 1..300 {
        while machine.store.append_snapshot(&[7; 20_000]).is_ok() {}
        machine.drain();
        for _ in 0..prng.below(12) {
            if machine.is_busy() {
                machine.step_at(0);
            }
        }
        machine.persist(ticket, None, vec![record(ticket, 1, 3000)]);
        let mut before = 0;
        while machine.persisted.last() != Some(&ticket) {
            before += match machine.step_at(0) {
                Operation::Write { sector, sectors } if areas.contains(&sector) => sectors,
                Operation::Read { .. } | Operation::Write { .. } | Operation::Flush => 0,
            };
        }
        assert!(before <= 128, "{before} sectors of a snapshot before the batch");
        blocks += u64::from(before > 0);
        batches += 1;
    }
    assert!(blocks > 20 && batches > 100, "{blocks} of {batches}");
}

/// Every bit of a head and of the data: survived, or found.
#[test]
fn every_flipped_bit_of_a_snapshot_is_survived_or_reported() {
    let length = 700;
    let mut machine = with_snapshot(length);
    let area = HEADERS_START + 256;
    let head_bits = (52 + 20 + 4 + 4) * 8;
    for bit in 0..head_bits {
        let mut disk = machine.disk.clone();
        disk.flip(area, bit);
        let mut again = restart(disk);
        assert_eq!(
            again.read_snapshot().unwrap(),
            snapshot_data(40, length),
            "the copy, bit {bit}"
        );
    }
    for bit in 0..length * 8 {
        let sector = area + 16 + (bit / 4096) as u64;
        machine.disk.flip(sector, bit % 4096);
        assert_eq!(machine.read_snapshot(), Err(0), "bit {bit}");
        machine.disk.flip(sector, bit % 4096);
    }
    // The padding does not matter.
    machine.disk.flip(area + 17, 4095);
    assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(40, length));
}

#[test]
fn a_random_snapshot_is_never_believed() {
    let (disk, mut prng) = (with_snapshot(3000).disk, Prng::new(4));
    let (mut sound, mut damaged) = (0, 0);
    for _ in 0..400 {
        let mut disk = disk.clone();
        for _ in 0..1 + prng.below(20) {
            let sector = HEADERS_START + 256 + prng.below(22);
            disk.flip(sector, prng.below(4096) as usize);
        }
        let mut machine = restart(disk);
        // The log is whole: it can do without.
        assert_eq!(machine.read_all(LogIndex(60)).len(), 60);
        if machine.recovered.clone().unwrap().snapshot.is_none() {
            damaged += 1;
            continue;
        }
        match machine.read_snapshot() {
            Ok(data) => {
                assert_eq!(data, snapshot_data(40, 3000));
                sound += 1;
            }
            Err(0) => damaged += 1,
            Err(block) => panic!("there is no block {block}"),
        }
    }
    assert!(sound > 20 && damaged > 100, "{sound} {damaged}");
}

#[test]
fn damage_is_reported_with_its_block() {
    let mut machine = with_snapshot(100_000);
    machine.disk.flip(HEADERS_START + 256 + 16 + 150, 77);
    for (offset, damaged) in
        [(0, None), (65_535, None), (65_536, Some(65_536)), (99_999, Some(65_536))]
    {
        machine.store.read_snapshot(9, offset, 10).unwrap();
        machine.drain();
        machine.finish();
        let part = machine.parts.pop().unwrap();
        assert_eq!(part.bytes.is_none().then_some(part.offset), damaged);
    }
    assert_eq!(machine.failed, None, "the log is not harmed");
}

/// Both copies of the newest head: the snapshot before it will do, if the log reaches back to it.
#[test]
fn a_lost_head_is_made_up_for_by_the_snapshot_before_and_the_log_or_reported() {
    for bit in (0..(52 + 20 + 4 + 4) * 8).step_by(7) {
        for (first, is_enough) in [(1, true), (41, true), (42, false), (51, false)] {
            let mut machine = with_snapshot(3000);
            machine.write_snapshot(&meta(50, 1), &snapshot_data(50, 3000));
            machine.compact(first, 1);
            machine.finish();
            let mut disk = machine.disk;
            for copy in [0, 8] {
                disk.flip(HEADERS_START + 256 + 256 + copy, bit);
            }
            let mut machine = restart(disk);
            if is_enough {
                let recovered = machine.recovered.clone().unwrap();
                assert_eq!(recovered.snapshot.unwrap().meta, meta(40, 1));
                assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(40, 3000));
                assert_eq!(machine.read_all(LogIndex(60)).len() as u64, 61 - first);
            } else {
                let Some(Failure::Damaged(damage)) = machine.failed else { panic!("{first}") };
                assert_eq!((damage.what, damage.index), (Where::Snapshot, LogIndex(first - 1)));
                assert_eq!(damage.sector, HEADERS_START + 256 + 256);
            }
        }
    }
}

/// A crash at every request of the writing of a second snapshot.
#[test]
fn a_crash_leaves_the_one_before_or_the_new_one_whole() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..300 {
        let mut prng = Prng::new(seed);
        let mut machine = with_snapshot(70_000);
        machine.write_snapshot(&meta(45, 1), &snapshot_data(45, 80_000));
        machine.store.begin_snapshot(meta(50, 1)).unwrap();
        machine.store.append_snapshot(&snapshot_data(50, 100_000)).unwrap();
        machine.store.finish_snapshot().unwrap();
        machine.drain();
        for _ in 0..seed % 40 {
            if machine.is_busy() {
                machine.step(&mut prng);
            }
        }
        let is_durable = machine.durable_snapshots.last() == Some(&meta(50, 1));
        let mut disk = machine.disk;
        disk.crash(&mut prng);
        let mut machine = restart(disk);
        let index = machine.recovered.clone().unwrap().snapshot.unwrap().meta.index.0;
        let data = machine.read_snapshot().unwrap();
        match index {
            45 => {
                assert!(!is_durable, "seed {seed}");
                assert_eq!(data, snapshot_data(45, 80_000), "seed {seed}");
                old += 1;
            }
            50 => {
                assert_eq!(data, snapshot_data(50, 100_000), "seed {seed}");
                new += 1;
            }
            index => panic!("seed {seed}: {index}"),
        }
    }
    assert!(old > 20 && new > 20, "{old} {new}");
}

/// A damaged block: the snapshot before will do, or none at all, if the log reaches back to there.
#[test]
fn a_damaged_snapshot_is_made_up_for_by_the_one_before_and_the_log_or_not() {
    for (first, is_enough) in [(1, true), (41, true), (42, false)] {
        let mut machine = with_snapshot(3000);
        machine.write_snapshot(&meta(50, 1), &snapshot_data(50, 3000));
        machine.compact(first, 1);
        machine.finish();
        let mut disk = machine.disk;
        disk.flip(HEADERS_START + 256 + 256 + 16, 99);
        let mut machine = restart(disk);
        assert_eq!(machine.read_snapshot(), Err(0));
        let older = machine.store.fall_back();
        if !is_enough {
            assert_eq!(older, Err(SnapshotError::NothingBefore));
            continue;
        }
        assert_eq!(older.unwrap().unwrap().meta, meta(40, 1));
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(40, 3000));
        // The next one takes the place of the damaged one, and counts at the next start.
        machine.write_snapshot(&meta(50, 1), &snapshot_data(50, 200));
        let mut machine = restart(machine.disk);
        assert_eq!(machine.read_snapshot().unwrap(), snapshot_data(50, 200));
    }
    let mut machine = with_snapshot(3000);
    assert_eq!(machine.store.fall_back(), Ok(None), "the log has everything");
    assert_eq!(machine.store.status().snapshot_index, LogIndex(0));
}
