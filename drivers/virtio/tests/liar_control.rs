//! Cards with several pairs of queues that lie: in what they say of themselves, on the queue for commands,
//! and on the rings of the pairs. No buffer is lost or doubled, nothing panics, and nobody waits for ever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netio::{MICROSOFT_KEY, Steering};
use pool::{PAGE_BYTES, Pool};
use virtio::VirtioCard;
use virtio::fake::{
    DeviceRing, FakeDevice, FakeDoorbell, FakeNetwork, FakeOptions, FakeTransport, Liar, PACKED,
    allocate,
};
use virtio::net::{CardConfig, CardPair, NetConfig, Rss};

const SEEDS: u64 = 240;
const STEPS: u64 = 60;
const BUFFERS: usize = 48;
/// The card says that it has so many pairs, where it does not lie about that.
const PAIRS: u16 = 4;
const CONTROL: u16 = 2 * PAIRS;
const RSS: u64 = 1 << 60;

/// Numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A card that hashes, on rings of either format.
fn honest(draw: &mut Draw) -> FakeOptions {
    let mut options = FakeNetwork::options_with_pairs(PAIRS);
    options.features |= if draw.below(2) == 0 { 0 } else { PACKED };
    options.features |= if draw.below(2) == 0 { 0 } else { RSS };
    options.configuration.resize(24, 0);
    options.configuration[17..21].copy_from_slice(&[40, 128, 0, 0b11_1111]);
    options
}

/// One that is wrong about its pairs, its queues, or what it hashes.
fn lying(draw: &mut Draw) -> FakeOptions {
    let mut options = honest(draw);
    match draw.below(4) {
        0 => options.configuration[8..10].copy_from_slice(&(draw.next() as u16).to_le_bytes()),
        1 => options.configuration[8] = draw.below(2 * u64::from(PAIRS)) as u8,
        2 => {
            let queue = draw.below(u64::from(CONTROL) + 1) as usize;
            options.queue_sizes[queue] = draw.below(5) as u16;
        }
        _ => options.configuration[17..].fill_with(|| draw.next() as u8),
    }
    options
}

/// Takes a command and answers it: well, or in whatever way a card should not. Says nothing now and then.
fn answer(device: &FakeDevice, draw: &mut Draw, is_honest: bool) {
    let choice = if is_honest { 0 } else { draw.below(10) };
    let (first, second) = (draw.next(), draw.next());
    device.with_ring(CONTROL, |ring| {
        let Some(chain) = ring.take() else { return };
        assert!(chain.segments() == (1, 1) && chain.writable_bytes() == 1, "a command");
        let end = |ring: &mut DeviceRing, answer: u8, written: u32| {
            ring.write(&chain, 0, &[answer]);
            ring.raw_complete(chain.head().into(), written);
        };
        match choice {
            0..3 => end(ring, 0, 1),
            3 => end(ring, first as u8, 1),
            4 => end(ring, 0, first as u32),
            5 => ring.raw_complete(chain.head().into(), 0),
            6 => ring.raw_complete(first as u32, second as u32),
            7 => ring.raw_scribble_descriptors(first),
            8 => ring.raw_announce(first as u16),
            _ => {
                end(ring, 0, 1);
                ring.raw_complete(chain.head().into(), 1);
            }
        }
        ring.announce();
    });
    if choice >= 6 {
        // What has no end waits for a million looks: here the card ends it.
        device.demand_reset();
    }
}

/// Says that it is over, also when a test fails: nobody waits for it then.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does `work` while the card answers commands.
fn answered<R>(
    device: &FakeDevice,
    draw: &mut Draw,
    is_honest: bool,
    work: impl FnOnce() -> R,
) -> R {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                if device.with_ring(CONTROL, |ring| ring.available() > 0) == Some(true) {
                    answer(device, draw, is_honest);
                }
                thread::yield_now();
            }
        });
        let _over = Over(&is_over);
        work()
    })
}

/// Lets every pair work with a card that lies now and then.
fn work(device: &FakeDevice, pairs: &mut [CardPair<FakeDoorbell>], pools: &[Pool], seed: u64) {
    let lie_every = if seed.is_multiple_of(3) { u64::MAX } else { 40 };
    let mut liars: Vec<_> = (0..2 * pairs.len() as u16)
        .map(|queue| Liar::new(device.clone(), queue, 9 * seed + u64::from(queue)))
        .collect();
    let mut waiting = VecDeque::new();
    for step in 0..STEPS {
        liars.iter_mut().for_each(|liar| liar.step(lie_every));
        for (pair, pool) in pairs.iter_mut().zip(pools) {
            pair.receive_burst(4, |frame| assert!((14..=PAGE_BYTES).contains(&frame.len())));
            if let Some(mut frame) = pool.allocate_frame() {
                frame.append(60).fill(step as u8);
                waiting.push_back(frame);
            }
            pair.send_burst(&mut waiting);
            waiting.clear();
            assert!(lie_every < u64::MAX || pair.fault().is_none(), "an honest pair was accused");
            let _ = pair.arm_interrupts();
            pair.disarm_interrupts();
            if step % 20 == 0 {
                pair.remind();
            }
        }
    }
}

fn start(
    transport: FakeTransport,
    pools: &[Pool],
) -> Result<virtio::net::Started<FakeTransport>, virtio::InitError> {
    let rss = Rss { key: MICROSOFT_KEY, table: *Steering::new(PAIRS as u8).indirection() };
    let pair = NetConfig { queue_size_max: 16, receive_buffers: 12, ..NetConfig::DEFAULT };
    VirtioCard::start(transport, CardConfig { pair, rss: Some(rss) }, pools, allocate)
}

#[test]
fn a_lying_card_with_several_pairs_does_no_harm() {
    let (mut started, mut restarted) = (0, 0);
    for seed in 0..SEEDS {
        let (mut draw, is_honest) = (Draw(seed), seed.is_multiple_of(3));
        let pools: Vec<Pool> = (0..1 + draw.below(u64::from(PAIRS)))
            .map(|_| Pool::on_heap(BUFFERS, PAGE_BYTES))
            .collect();
        let lies_of_itself = !is_honest && draw.below(2) == 0;
        let options = if lies_of_itself { lying(&mut draw) } else { honest(&mut draw) };
        let (transport, network) = FakeNetwork::new(options);
        let device = network.device();
        let result = answered(device, &mut draw, is_honest, || start(transport, &pools));
        assert!(result.is_ok() || !is_honest, "an honest card was refused");
        if let Ok((mut card, mut pairs)) = result {
            started += 1;
            assert!((1..=pools.len()).contains(&pairs.len()));
            work(device, &mut pairs, &pools, seed);
            let again = answered(device, &mut draw, is_honest, || card.restart(&mut pairs));
            assert!(again.is_ok() || !is_honest, "an honest card was not started again");
            restarted += u64::from(again.is_ok());
            work(device, &mut pairs, &pools, seed + 1);
            drop((card, pairs));
        }
        assert!(pools.iter().all(|pool| pool.free() == BUFFERS), "seed {seed}");
    }
    assert!((SEEDS / 2..SEEDS).contains(&started), "{started} of {SEEDS} started");
    assert!((SEEDS / 3..started).contains(&restarted), "{restarted} of {started} again");
}
