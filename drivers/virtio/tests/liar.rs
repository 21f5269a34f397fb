//! Devices that lie at random: whatever they do, no buffer is lost or doubled, and nothing panics.

use std::collections::{BTreeSet, VecDeque};

use block::{BlockDevice, BlockRequest, Operation};
use pool::{PAGE_BYTES, Pool};
use virtio::blk::{BlkConfig, REQUEST_QUEUE};
use virtio::fake::{EVENT_INDEX, FakeDisk, FakeNetwork, Liar, PACKED, allocate};
use virtio::net::{NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use virtio::{VirtioBlk, VirtioNet};

const SEEDS: u64 = 300;
const STEPS: u64 = 400;
const BUFFERS: usize = 48;

/// One lie in so many steps: none at all, few, many.
const LIE_EVERY: [u64; 3] = [u64::MAX, 200, 5];

#[test]
fn a_lying_card_does_no_harm() {
    let (mut given_up, mut received) = (0, 0);
    for seed in 0..SEEDS {
        let lie_every = LIE_EVERY[seed as usize % 3];
        let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
        let mut options = FakeNetwork::options();
        options.features &= if seed % 2 == 0 { !EVENT_INDEX } else { u64::MAX };
        options.features |= if seed % 4 < 2 { 0 } else { PACKED };
        let (transport, network) = FakeNetwork::new(options);
        let config = NetConfig { queue_size_max: 16, receive_buffers: 12, ..NetConfig::DEFAULT };
        let mut card = VirtioNet::new(transport, config, pool.clone(), allocate).unwrap();
        let mut liars = [RECEIVE_QUEUE, TRANSMIT_QUEUE]
            .map(|queue| Liar::new(network.device().clone(), queue, 2 * seed + u64::from(queue)));
        let mut waiting = VecDeque::new();
        for step in 0..STEPS {
            liars[step as usize % 2].step(lie_every);
            card.receive_burst(4, |frame| {
                assert!(frame.len() >= 14 && frame.len() <= PAGE_BYTES);
                received += 1;
            });
            if let Some(mut frame) = pool.allocate_frame().filter(|_| waiting.len() < 8) {
                frame.append(60).fill(step as u8);
                waiting.push_back(frame);
            }
            card.send_burst(&mut waiting);
            let _ = card.arm_interrupts();
            card.disarm_interrupts();
            if step % 50 == 0 {
                card.check_link();
            }
        }
        assert!(lie_every < u64::MAX || card.fault().is_none(), "an honest card was accused");
        given_up += u32::from(card.fault().is_some());
        drop(card);
        drop(waiting);
        assert_eq!(pool.free(), BUFFERS, "seed {seed}");
    }
    assert!(given_up > SEEDS as u32 / 4, "most lies were noticed: {given_up}");
    assert!(received > SEEDS * 10, "the cards did work: {received}");
}

#[test]
fn a_lying_disk_does_no_harm() {
    let (mut given_up, mut completed) = (0, 0);
    for seed in 0..SEEDS {
        let lie_every = LIE_EVERY[seed as usize % 3];
        let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
        let mut options = FakeDisk::options(64);
        options.features |= if seed % 2 == 0 { 0 } else { PACKED };
        let (transport, fake) = FakeDisk::new(options);
        let config = BlkConfig { queue_size_max: 32, ..BlkConfig::default() };
        let mut disk = VirtioBlk::new(transport, config, allocate).unwrap();
        let mut liar = Liar::new(fake.device().clone(), REQUEST_QUEUE, seed);
        let mut under_way = BTreeSet::new();
        for tag in 0..STEPS {
            liar.step(lie_every);
            let sectors = 1 + (tag % 8) as u32;
            let operation = match tag % 3 {
                0 => Operation::Read { sector: tag % 64, sectors },
                1 => Operation::Write { sector: tag % 64, sectors },
                _ => Operation::Flush,
            };
            let buffer = if tag % 3 == 2 { None } else { pool.allocate() };
            if disk.submit(BlockRequest { tag, operation, buffer }).is_ok() {
                under_way.insert(tag);
            }
            while let Some(completion) = disk.poll() {
                assert!(under_way.remove(&completion.tag), "each request ends once");
                completed += 1;
            }
            disk.check_device();
        }
        assert!(lie_every < u64::MAX || disk.fault().is_none(), "an honest disk was accused");
        if disk.fault().is_some() {
            given_up += 1;
            assert!(under_way.is_empty(), "when a disk is given up everything ends");
        }
        assert_eq!(under_way.len(), usize::from(disk.outstanding()));
        drop(disk);
        assert_eq!(pool.free(), BUFFERS, "seed {seed}");
    }
    assert!(given_up > SEEDS / 4, "most lies were noticed: {given_up}");
    assert!(completed > SEEDS * 50, "the disks did work: {completed}");
}
