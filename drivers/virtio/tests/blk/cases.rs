//! What the disk driver does with a disk, whatever its ring is like.

use std::collections::VecDeque;

use block::{BlockCompletion, BlockDevice, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use pool::{PAGE_BYTES, Pool};
use virtio::blk::{BlkConfig, REQUEST_QUEUE, WithoutFlush};
use virtio::fake::{
    FakeDisk, FakeOptions, FakeTransport, STATUS_IO_ERROR, STATUS_OK, STATUS_UNSUPPORTED, allocate,
};
use virtio::queue::QueueError;
use virtio::{Fault, InitError, VirtioBlk};

use crate::RINGS;

type Disk = VirtioBlk<FakeTransport>;

const SECTORS: u64 = 64;
const BUFFERS: usize = 32;
const FLUSH: u64 = 1 << 9;

/// What the disk is like.
fn disk_options() -> FakeOptions {
    let mut options = FakeDisk::options(SECTORS);
    options.features |= RINGS;
    options
}

fn start(options: FakeOptions, config: BlkConfig) -> (Disk, FakeDisk, Pool) {
    let (transport, fake) = FakeDisk::new(options);
    let disk = VirtioBlk::new(transport, config, allocate).unwrap();
    (disk, fake, Pool::on_heap(BUFFERS, PAGE_BYTES))
}

fn usual() -> (Disk, FakeDisk, Pool) {
    start(disk_options(), BlkConfig::default())
}

fn refusal(change: impl FnOnce(&mut FakeOptions)) -> InitError {
    let mut options = disk_options();
    change(&mut options);
    let (transport, _fake) = FakeDisk::new(options);
    VirtioBlk::new(transport, BlkConfig::default(), allocate).unwrap_err()
}

fn write(pool: &Pool, tag: u64, sector: u64, sectors: u32) -> BlockRequest {
    let mut buffer = pool.allocate().unwrap();
    buffer.fill(tag as u8);
    BlockRequest { tag, operation: Operation::Write { sector, sectors }, buffer: Some(buffer) }
}

fn read(pool: &Pool, tag: u64, sector: u64, sectors: u32) -> BlockRequest {
    let mut buffer = pool.allocate().unwrap();
    buffer.fill(0xee);
    BlockRequest { tag, operation: Operation::Read { sector, sectors }, buffer: Some(buffer) }
}

fn flush(tag: u64) -> BlockRequest {
    BlockRequest { tag, operation: Operation::Flush, buffer: None }
}

fn poll_all(disk: &mut Disk) -> Vec<BlockCompletion> {
    core::iter::from_fn(|| disk.poll()).collect()
}

fn results(disk: &mut Disk) -> Vec<(u64, Result<(), BlockError>)> {
    poll_all(disk).iter().map(|completion| (completion.tag, completion.result)).collect()
}

#[test]
fn what_is_written_is_read_back() {
    let (mut disk, mut fake, pool) = usual();
    assert_eq!(disk.capacity_sectors(), SECTORS);
    disk.submit(write(&pool, 7, 3, 2)).unwrap();
    assert_eq!(fake.serve(), 1);
    assert_eq!(results(&mut disk), [(7, Ok(()))]);
    assert_eq!(fake.bytes()[3 * SECTOR_BYTES..5 * SECTOR_BYTES], [7; 2 * SECTOR_BYTES]);
    assert_eq!(fake.bytes()[5 * SECTOR_BYTES], 0);

    disk.submit(read(&pool, 8, 4, 2)).unwrap();
    disk.submit(flush(9)).unwrap();
    assert_eq!(fake.serve(), 2);
    let done = poll_all(&mut disk);
    let buffer = done[0].buffer.as_ref().unwrap();
    assert_eq!(buffer[..SECTOR_BYTES], [7; SECTOR_BYTES]);
    assert_eq!(buffer[SECTOR_BYTES..2 * SECTOR_BYTES], [0; SECTOR_BYTES]);
    assert_eq!(buffer[2 * SECTOR_BYTES], 0xee, "nothing beyond what was asked for");
    assert_eq!((done[1].tag, done[1].result, fake.flushes()), (9, Ok(()), 1));
    let statistics = disk.statistics();
    assert_eq!(
        (statistics.sectors_read, statistics.sectors_written, statistics.flushes),
        (2, 2, 1)
    );
}

#[test]
fn a_disk_that_cannot_be_used_is_refused() {
    assert_eq!(refusal(|it| it.features &= !FLUSH), InitError::NoFlush);
    assert_eq!(refusal(|it| it.features |= 1 << 5), InitError::ReadOnly);
    assert_eq!(refusal(|it| it.is_restless = true), InitError::Configuration);
    assert_eq!(refusal(|it| it.queue_sizes[0] = 2), InitError::NoQueue(REQUEST_QUEUE));
    assert_eq!(refusal(|it| it.queue_sizes.clear()), InitError::NoQueue(REQUEST_QUEUE));
    assert_eq!(refusal(|it| it.refuses_queues = true), InitError::QueueRefused(REQUEST_QUEUE));
    assert_eq!(
        refusal(|it| {
            it.features |= 1 << 1;
            it.configuration.truncate(8);
        }),
        InitError::Configuration
    );
}

#[test]
fn without_flush_only_if_told_so() {
    let mut options = disk_options();
    options.features &= !FLUSH;
    let config = BlkConfig { without_flush: WithoutFlush::Accept, ..BlkConfig::default() };
    let (mut disk, mut fake, _pool) = start(options, config);
    assert!(!disk.has_flush());
    disk.submit(flush(1)).unwrap();
    assert_eq!(fake.fetch(), 0, "the disk would not know it");
    assert_eq!(results(&mut disk), [(1, Ok(()))]);
}

#[test]
fn requests_complete_in_any_order() {
    let (mut disk, mut fake, pool) = usual();
    for tag in 0..8 {
        disk.submit(write(&pool, tag, tag, 1)).unwrap();
    }
    assert_eq!(fake.fetch(), 8);
    let mut order = Vec::new();
    for position in [7, 0, 3, 3, 0, 2, 0, 0] {
        fake.complete(position, STATUS_OK);
        order.extend(results(&mut disk).iter().map(|(tag, _)| *tag));
    }
    assert_eq!(order, [7, 0, 4, 5, 1, 6, 2, 3]);
    let first_bytes: Vec<u8> = fake.bytes().chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
    assert_eq!(first_bytes[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(pool.free(), BUFFERS);
}

#[test]
fn every_status_has_its_error() {
    let (mut disk, mut fake, pool) = usual();
    for (status, error) in [
        (STATUS_IO_ERROR, BlockError::Device),
        (STATUS_UNSUPPORTED, BlockError::Unsupported),
        (3, BlockError::Device),
        (0xff, BlockError::Device),
    ] {
        disk.submit(write(&pool, 1, 0, 1)).unwrap();
        fake.fetch();
        fake.complete(0, status);
        assert_eq!(results(&mut disk), [(1, Err(error))]);
    }
    assert_eq!(disk.statistics().errors, 4);
    assert_eq!(disk.fault(), None, "an error is no fault");
}

#[test]
fn a_status_that_was_not_written_is_an_error() {
    let (mut disk, mut fake, pool) = usual();
    disk.submit(write(&pool, 1, 0, 1)).unwrap();
    fake.serve();
    assert_eq!(results(&mut disk), [(1, Ok(()))]);
    // The slot of the request above is used again; its old status must not count.
    disk.submit(write(&pool, 2, 0, 1)).unwrap();
    fake.device().with_ring(REQUEST_QUEUE, |ring| {
        let chain = ring.take().unwrap();
        ring.complete(chain, 0);
        ring.announce();
    });
    assert_eq!(results(&mut disk), [(2, Err(BlockError::Device))]);
}

#[test]
fn a_read_that_filled_nothing_is_an_error() {
    let (mut disk, fake, pool) = usual();
    disk.submit(read(&pool, 1, 0, 2)).unwrap();
    fake.device().with_ring(REQUEST_QUEUE, |ring| {
        let chain = ring.take().unwrap();
        let status_at = chain.writable_bytes() - 1;
        ring.write(&chain, status_at, &[STATUS_OK]);
        ring.complete(chain, 1);
        ring.announce();
    });
    assert_eq!(results(&mut disk), [(1, Err(BlockError::Device))]);
}

#[test]
fn what_makes_no_sense_never_reaches_the_disk() {
    let mut options = disk_options();
    options.features |= 1 << 1;
    options.configuration[8..12].copy_from_slice(&2048_u32.to_le_bytes());
    let (mut disk, mut fake, pool) = start(options, BlkConfig::default());
    let no_buffer =
        BlockRequest { tag: 7, operation: Operation::Read { sector: 0, sectors: 1 }, buffer: None };
    let nonsense = [
        write(&pool, 1, SECTORS, 1),
        write(&pool, 2, SECTORS - 1, 2),
        read(&pool, 3, u64::MAX, 1),
        read(&pool, 4, 0, 0),
        write(&pool, 5, 0, PAGE_BYTES as u32 / SECTOR_BYTES as u32 + 1),
        read(&pool, 6, 0, u32::MAX),
        no_buffer,
        write(&pool, 8, 0, 5),
    ];
    for request in nonsense {
        disk.submit(request).unwrap();
    }
    disk.submit(write(&pool, 9, SECTORS - 4, 4)).unwrap();
    assert_eq!(fake.serve(), 1);
    let mut done = results(&mut disk);
    assert_eq!(done.pop(), Some((9, Ok(()))));
    assert_eq!(done.pop(), Some((8, Err(BlockError::Unsupported))), "longer than a segment may be");
    let out_of_range: Vec<_> = (1..8).map(|tag| (tag, Err(BlockError::OutOfRange))).collect();
    assert_eq!(done, out_of_range);
    assert_eq!(disk.statistics().refused, 8);
    assert_eq!(pool.free(), BUFFERS);
}

#[test]
fn refusals_are_bounded_too() {
    let (mut disk, _fake, pool) = usual();
    let mut request = write(&pool, 0, SECTORS, 1);
    let mut refused = 0;
    let returned = loop {
        match disk.submit(request) {
            Ok(()) => refused += 1,
            Err(returned) => break returned,
        }
        request = BlockRequest {
            tag: refused,
            operation: Operation::Read { sector: SECTORS, sectors: 1 },
            buffer: None,
        };
    };
    assert_eq!((refused, returned.tag), (128, 128));
    assert_eq!(poll_all(&mut disk).len(), 128);
    disk.submit(returned).unwrap();
}

#[test]
fn a_full_ring_gives_the_request_back() {
    let mut options = disk_options();
    options.queue_sizes[0] = 8;
    let (mut disk, mut fake, pool) = start(options, BlkConfig::default());
    disk.submit(write(&pool, 1, 1, 1)).unwrap();
    disk.submit(write(&pool, 2, 2, 1)).unwrap();
    let third = disk.submit(write(&pool, 3, 3, 1)).unwrap_err();
    assert_eq!((third.tag, third.buffer.as_ref().map(|buffer| buffer[0])), (3, Some(3)));
    assert_eq!(disk.statistics().ring_full, 1);
    fake.serve();
    assert_eq!(results(&mut disk).len(), 2);
    disk.submit(third).unwrap();
    fake.serve();
    assert_eq!(results(&mut disk), [(3, Ok(()))]);
}

#[test]
fn a_burst_of_requests_takes_one_notification() {
    let (mut disk, mut fake, pool) = usual();
    let mut requests: VecDeque<_> = (0..5).map(|tag| write(&pool, tag, tag, 1)).collect();
    requests.push_back(flush(5));
    assert_eq!(disk.submit_burst(&mut requests), 6);
    assert_eq!((fake.device().kicks(REQUEST_QUEUE), disk.statistics().kicks), (1, 1));
    assert_eq!(fake.serve(), 6);
    assert_eq!(results(&mut disk).len(), 6);
}

#[test]
fn an_armed_disk_interrupts_and_a_disarmed_one_not() {
    let (mut disk, mut fake, pool) = usual();
    disk.submit(write(&pool, 1, 0, 1)).unwrap();
    fake.serve();
    assert_eq!(fake.device().interrupted().count(), 0);
    assert!(disk.has_completions() && disk.arm_interrupts(), "a completion is there");
    assert_eq!(results(&mut disk).len(), 1);
    assert!(!disk.has_completions());
    assert!(!disk.arm_interrupts());
    disk.submit(flush(2)).unwrap();
    fake.serve();
    assert_eq!(fake.device().interrupted().count(), 1);
    disk.disarm_interrupts();
    assert_eq!(results(&mut disk), [(2, Ok(()))]);
    // A refusal is there at once, and needs no interrupt.
    disk.submit(write(&pool, 3, SECTORS, 1)).unwrap();
    assert!(disk.has_completions() && disk.arm_interrupts());
}

/// That a disk was notified may have been missed: then nothing would ever happen.
#[test]
fn a_disk_that_does_nothing_is_notified_again() {
    let (mut disk, mut fake, pool) = usual();
    assert_eq!((disk.check_device(), fake.device().kicks(REQUEST_QUEUE)), (None, 0));
    disk.submit(write(&pool, 1, 0, 1)).unwrap();
    assert_eq!((disk.check_device(), fake.device().kicks(REQUEST_QUEUE)), (None, 2));
    fake.serve();
    assert_eq!((disk.check_device(), fake.device().kicks(REQUEST_QUEUE)), (None, 2));
    assert_eq!(results(&mut disk).len(), 1);
    assert_eq!((disk.check_device(), fake.device().kicks(REQUEST_QUEUE)), (None, 2));
}

#[test]
fn a_disk_that_lies_is_reset_and_everything_ends() {
    let (mut disk, mut fake, pool) = usual();
    for tag in 0..3 {
        disk.submit(write(&pool, tag, tag, 1)).unwrap();
    }
    fake.fetch();
    fake.complete(1, STATUS_OK);
    fake.device().with_ring(REQUEST_QUEUE, |ring| {
        ring.raw_complete(1, 0);
        ring.announce();
    });
    let mut done = results(&mut disk);
    done.sort_unstable_by_key(|(tag, _)| *tag);
    let error = Err(BlockError::Device);
    assert_eq!(done, [(0, error), (1, Ok(())), (2, error)]);
    assert_eq!(disk.fault(), Some(Fault::Queue(QueueError::NotOutstanding)));
    assert!(fake.device().status().is_empty(), "it was reset");
    assert_eq!(pool.free(), BUFFERS);
    // From now on everything fails, and nothing waits.
    disk.submit(flush(4)).unwrap();
    assert!(disk.arm_interrupts());
    assert_eq!(results(&mut disk), [(4, error)]);
    assert!(!disk.arm_interrupts());
}

#[test]
fn a_disk_that_cannot_be_reset_keeps_its_buffers() {
    let (mut disk, fake, pool) = usual();
    disk.submit(read(&pool, 1, 0, 1)).unwrap();
    fake.device().change(|it| it.ignores_reset = true);
    fake.device().demand_reset();
    assert_eq!(disk.check_device(), Some(Fault::NeedsReset));
    let done = poll_all(&mut disk);
    assert_eq!((done.len(), done[0].tag, done[0].result), (1, 1, Err(BlockError::Device)));
    assert!(done[0].buffer.is_none(), "the disk may still write to it");
    drop(disk);
    assert_eq!(pool.free(), BUFFERS - 1);
}

#[test]
fn a_dropped_disk_is_reset_and_gives_everything_back() {
    let (mut disk, mut fake, pool) = usual();
    for tag in 0..5 {
        disk.submit(write(&pool, tag, tag, 1)).unwrap();
    }
    disk.submit(write(&pool, 5, SECTORS, 1)).unwrap();
    assert_eq!(pool.free(), BUFFERS - 6);
    drop(disk);
    assert_eq!(pool.free(), BUFFERS);
    assert_eq!(fake.fetch(), 0, "the device has forgotten the ring");
}
