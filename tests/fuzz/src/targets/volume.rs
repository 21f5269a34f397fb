//! The driver of the disk, with a disk that lies.

use std::collections::BTreeSet;

use block::{BlockDevice, BlockRequest, Operation};
use pool::{PAGE_BYTES, Pool};
use virtio::VirtioBlk;
use virtio::blk::{BlkConfig, REQUEST_QUEUE};
use virtio::fake::{FakeDisk, PACKED, allocate};

use crate::input::Input;
use crate::liar::Liar;

const BUFFERS: usize = 24;
const STEPS_MAX: u64 = 1_000;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let mut options = FakeDisk::options(64);
    options.features |= if input.u8() & 1 == 0 { 0 } else { PACKED };
    let (transport, fake) = FakeDisk::new(options);
    let config = BlkConfig { queue_size_max: 32, ..BlkConfig::default() };
    let mut disk = VirtioBlk::new(transport, config, allocate).expect("it starts");
    let mut liar = Liar::new(fake.device().clone(), REQUEST_QUEUE);
    let mut under_way = BTreeSet::new();
    for tag in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let choice = input.u8();
        liar.step(choice, &mut input);
        let (sector, sectors) = (u64::from(input.u8()), u32::from(input.below(10)));
        let operation = match choice % 3 {
            0 => Operation::Read { sector, sectors },
            1 => Operation::Write { sector, sectors },
            _ => Operation::Flush,
        };
        let buffer = if operation == Operation::Flush { None } else { pool.allocate() };
        if disk.submit(BlockRequest { tag, operation, buffer }).is_ok() {
            under_way.insert(tag);
        }
        while let Some(completion) = disk.poll() {
            assert!(under_way.remove(&completion.tag), "each request ends once");
        }
        disk.check_device();
        if disk.fault().is_some() {
            assert!(liar.has_lied, "an honest disk was accused");
            assert!(disk.poll().is_none_or(|completion| under_way.remove(&completion.tag)));
        }
    }
    drop(disk);
    assert_eq!(pool.free(), BUFFERS, "no buffer is lost");
}
