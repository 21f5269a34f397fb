//! Headers that are lost, at a start or while the store works, and readings that go astray.

use base::{Duration, LogIndex, Term};
use store::anatomy::{Anatomy, DiskImage, FRONT_SECTORS, Owner};
use store::{Failure, SnapshotError, Where};

use crate::damage::{read_back, written};
use crate::disk::{
    Disk, HEADERS_START, Machine, SECTORS, SMALL, config, meta, record, snapshot_data,
};

fn look(disk: &Disk) -> DiskImage {
    let anatomy = Anatomy::new(SECTORS).unwrap();
    anatomy.look(&|sector| disk.durable.get(&sector).copied().unwrap_or([0; 512])).unwrap()
}

/// Where the header of this index is, in bits.
fn slot(index: u64) -> (u64, usize) {
    (HEADERS_START + (index - 1) / 8, ((index - 1) % 8) as usize * 512)
}

fn rot_slot(disk: &mut Disk, index: u64) {
    let (sector, bit) = slot(index);
    disk.flip(sector, bit + 100);
}

fn lose_header(disk: &mut Disk, index: u64) {
    let copy = look(disk).records.iter().find(|r| r.index == LogIndex(index)).unwrap().copy;
    disk.flip(copy.sector, copy.offset * 8 + 100);
    rot_slot(disk, index);
}

#[test]
fn a_header_that_rots_while_the_store_works_is_read_from_its_copy_and_written_again() {
    let (disk, records) = written();
    for rotten in [vec![1], vec![8], vec![9, 10], (17..=24).collect(), (1..=40).collect(), vec![40]]
    {
        let mut machine = Machine::start(disk.clone());
        machine.finish();
        rotten.iter().for_each(|index| rot_slot(&mut machine.disk, *index));
        assert_eq!(machine.read_all(LogIndex(40)), records, "{rotten:?}");
        machine.scrub();
        assert!(machine.failed.is_none() && machine.damaged.is_empty(), "{rotten:?}");
        assert!(look(&machine.disk).records.iter().all(|r| r.is_slot_intact), "{rotten:?}");
        assert!(machine.store.status().repaired > 0);
        assert_eq!(read_back(machine.disk).unwrap().0, records, "{rotten:?}");
    }
}

/// The last sector of headers is the writer's: the next batch writes it, from what is known.
#[test]
fn the_last_sector_of_headers_is_left_to_the_next_batch() {
    let (disk, mut records) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    records.extend((41..=43).map(|index| record(index, 3, 50)));
    machine.persist(1, None, records[40..].to_vec());
    machine.finish();
    let mut machine = Machine::start(machine.disk);
    machine.finish();
    rot_slot(&mut machine.disk, 42);
    assert_eq!(machine.read_all(LogIndex(43)), records);
    assert!(!look(&machine.disk).records[41].is_slot_intact);
    records.push(record(44, 3, 50));
    machine.persist(1, None, records[43..].to_vec());
    machine.finish();
    assert!(machine.failed.is_none());
    let image = look(&machine.disk);
    assert!(image.records.iter().all(|r| r.is_slot_intact));
    assert_eq!(machine.read_all(LogIndex(44)), records);
}

#[test]
fn cutting_and_giving_up_do_without_a_rotten_slot() {
    let (disk, mut records) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    for index in [19, 20, 21, 34, 35] {
        rot_slot(&mut machine.disk, index);
    }
    machine.compact(21, 2);
    machine.finish();
    records.drain(..20);
    records.truncate(15);
    records.push(record(36, 5, 10));
    machine.persist(1, None, vec![record(36, 5, 10)]);
    machine.finish();
    assert_eq!(machine.failed, None);
    assert_eq!(machine.read_all(LogIndex(36)), records);
    assert_eq!(read_back(machine.disk).unwrap().0, records);
}

/// The write of a sector of headers is lost: what was there before has the right indices and good checksums.
#[test]
fn a_header_that_was_replaced_is_not_taken_for_the_one_in_its_place() {
    let (disk, mut records) = written();
    let (sector, _) = slot(30);
    let old = disk.durable[&sector];
    let mut machine = Machine::start(disk);
    machine.finish();
    records.truncate(27);
    records.extend((28..=40).map(|index| record(index, 7, 300)));
    machine.persist(1, None, records[27..].to_vec());
    machine.finish();
    // The marker is brought up to date.
    machine.now += Duration::from_secs(1);
    machine.store.handle_timeout(machine.now);
    machine.drain();
    machine.finish();
    machine.disk.durable.insert(sector, old);
    assert_eq!(machine.read_all(LogIndex(40)), records);
    assert!(look(&machine.disk).records.iter().all(|r| r.is_slot_intact), "and is there again");
}

#[test]
fn a_header_that_is_lost_with_its_copy_stops_a_store_that_works() {
    let (disk, _) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    lose_header(&mut machine.disk, 10);
    machine.scrub();
    let Some(Failure::Damaged(damage)) = &machine.failed else { panic!("{:?}", machine.failed) };
    assert_eq!((damage.index, damage.what), (LogIndex(10), Where::Header));
    let text = machine.failed.unwrap().to_string();
    assert!(text.contains("add another (scripts/cluster remove, add)"), "{text}");
}

/// What the snapshot stands for need not be in the log.
#[test]
fn a_log_that_has_lost_a_header_begins_behind_the_snapshot() {
    let (disk, records) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    machine.write_snapshot(&meta(25, 2), &snapshot_data(25, 100_000));
    for index in [1, 2, 10, 24, 25] {
        let mut disk = machine.disk.clone();
        lose_header(&mut disk, index);
        let mut machine = Machine::start(disk);
        machine.finish();
        let recovered = machine.recovered.clone().unwrap_or_else(|| panic!("{index}"));
        assert_eq!((recovered.first_index, recovered.front_term), (LogIndex(26), Term(2)));
        assert_eq!(recovered.snapshot.unwrap().meta, meta(25, 2));
        assert_eq!(recovered.terms, [(LogIndex(26), Term(2)), (LogIndex(40), Term(3))]);
        assert_eq!(machine.read_all(LogIndex(40)), records[25..], "{index}");
        machine.persist(1, None, vec![record(41, 3, 10)]);
        machine.finish();
        assert_eq!(read_back(machine.disk).unwrap().0.len(), 16, "and so it does from then on");
    }
    let mut disk = machine.disk;
    lose_header(&mut disk, 26);
    let Err(Failure::Damaged(damage)) = read_back(disk) else { panic!("it was dropped") };
    assert_eq!((damage.index, damage.what), (LogIndex(26), Where::Header));
}

#[test]
fn a_rotten_copy_of_the_superblock_is_written_again() {
    let (disk, _) = written();
    for sector in [0, 24] {
        let mut disk = disk.clone();
        disk.flip(sector, 33);
        assert_eq!(look(&disk).superblocks, 1);
        let mut machine = Machine::start(disk);
        machine.finish();
        assert_eq!(look(&machine.disk).superblocks, 2);
    }
}

#[test]
fn a_rotten_copy_of_a_snapshots_head_is_written_again() {
    let (disk, _) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    machine.write_snapshot(&meta(25, 2), &snapshot_data(25, 1_000));
    for copy in 0..2 {
        let mut disk = machine.disk.clone();
        let sector = look(&disk).snapshots[0].heads[copy].start;
        disk.flip(sector, 90);
        assert_eq!(look(&disk).snapshots[0].heads_intact, 1);
        let mut machine = Machine::start(disk);
        machine.finish();
        assert_eq!(look(&machine.disk).snapshots[0].heads_intact, 2);
    }
}

/// The log is given up to the snapshot, which is damaged: another of the same record takes its place.
#[test]
fn a_damaged_snapshot_is_replaced_by_its_like() {
    let (disk, records) = written();
    let mut machine = Machine::start(disk);
    machine.finish();
    let data = snapshot_data(25, 100_000);
    machine.write_snapshot(&meta(25, 2), &data);
    machine.compact(26, 2);
    machine.finish();
    let place = look(&machine.disk).snapshots[0].data.start;
    machine.disk.flip(place + 3, 17);
    assert_eq!(machine.read_snapshot(), Err(0));
    assert_eq!(machine.store.fall_back(), Err(SnapshotError::NothingBefore));
    assert_eq!(machine.store.begin_snapshot(meta(25, 2)), Err(SnapshotError::NotNewer));
    machine.store.doubt_snapshot();
    assert_eq!(machine.store.begin_snapshot(meta(24, 2)), Err(SnapshotError::NotNewer));
    machine.write_snapshot(&meta(25, 2), &data);
    assert_eq!(machine.store.begin_snapshot(meta(25, 2)), Err(SnapshotError::NotNewer));
    let mut machine = Machine::start(machine.disk);
    machine.finish();
    assert_eq!(machine.read_snapshot().as_ref(), Ok(&data));
    assert_eq!(machine.read_all(LogIndex(40)), records[25..]);
}

/// A start, and a pass of the scrubber, in which one sector, any of those that are read, is read from
/// elsewhere: nothing is lost, nothing is called damaged, and nothing is spoilt by what is written.
#[test]
fn one_reading_that_goes_astray_harms_nothing() {
    let mut machine = Machine::start_with(Disk::default(), config(SMALL));
    machine.finish();
    let mut records: Vec<_> = (1..=60).map(|index| record(index, 1, 90)).collect();
    machine.persist(1, None, records.clone());
    machine.finish();
    machine.write_snapshot(&meta(30, 1), &snapshot_data(30, 70_000));
    // The last batch is not settled: nothing but itself tells of it.
    records.push(record(61, 1, 2_000));
    machine.persist(2, None, records[60..].to_vec());
    machine.finish();
    let mut disk = machine.disk;
    // Something is to be mended, too.
    disk.flip(HEADERS_START + 2, 700);
    let astray = |after: Option<u64>| {
        let mut disk = disk.clone();
        (disk.sectors_read, disk.astray_after) = (0, after);
        let mut machine = Machine::start_with(disk, config(SMALL));
        machine.finish();
        assert_eq!(machine.failed, None, "{after:?}");
        assert_eq!(machine.recovered.as_ref().unwrap().last_index, LogIndex(61), "{after:?}");
        assert_eq!(machine.recovered.as_ref().unwrap().torn, 0, "{after:?}");
        let snapshot = machine.read_snapshot();
        assert_eq!(snapshot, Ok(snapshot_data(30, 70_000)), "{after:?}");
        machine.scrub();
        machine.store.repair(records[9].clone()).unwrap();
        machine.drain();
        machine.finish();
        assert!(machine.failed.is_none() && machine.damaged.is_empty(), "{after:?}");
        let read = machine.disk.sectors_read;
        let mut again = Machine::start_with(machine.disk, config(SMALL));
        again.finish();
        assert_eq!(again.read_all(LogIndex(61)), records, "{after:?}");
        again.scrub();
        assert!(again.damaged.is_empty() && again.repaired.is_empty(), "{after:?}");
        read
    };
    let read = astray(None);
    assert!(read > 400, "{read}");
    for after in 0..read {
        astray(Some(after));
    }
}

/// Whose disk it is can be told from outside, as long as one copy of the superblock is there.
#[test]
fn a_disk_tells_whose_it_is() {
    let (mut disk, _) = written();
    let owner = |disk: &Disk| {
        let sector = |at| disk.durable.get(&at).copied().unwrap_or([0; 512]);
        let front: Vec<u8> = (0..FRONT_SECTORS).flat_map(sector).collect();
        assert_eq!(store::anatomy::owner(&front[..511]), None);
        store::anatomy::owner(&front)
    };
    let config = config(SECTORS);
    let (cluster, node) = (config.cluster, config.node);
    let whole = Some(Owner { cluster, node, capacity_sectors: SECTORS });
    assert_eq!(owner(&disk), whole);
    let [one, other] = Anatomy::new(SECTORS).unwrap().superblock_sectors();
    disk.flip(one, 100);
    assert_eq!(owner(&disk), whole, "the copy");
    disk.flip(other, 100);
    assert_eq!(owner(&disk), None);
}
