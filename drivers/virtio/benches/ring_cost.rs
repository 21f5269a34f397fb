//! What the driver costs per packet, on a ring in this machine's memory.
//!
//! Only the driver's calls are timed: the card is played between them, and the clock is read around each.
//! What that takes itself, as long as two packets or three, is measured beforehand and subtracted.
//! Run with `cargo bench -p virtio`.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use pool::{Frame, PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{FakeNetwork, PACKED, allocate};
use virtio::net::{NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE};

const ROUNDS: usize = 40;
const FRAMES_PER_ROUND: usize = 50_000;
const FRAME_BYTES: usize = 64;
/// So many empty spans tell what the clock takes.
const EMPTY_SPANS: u32 = 1_000_000;

/// Runs `work`, and adds the time that it took.
fn timed<R>(total: &mut Duration, work: impl FnOnce() -> R) -> R {
    #[allow(clippy::disallowed_methods)] // A measurement has to read a clock.
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

/// What [`timed`] finds where nothing is done, on average, in nanoseconds: the least of some rounds, so that
/// no more is subtracted than is there.
fn empty_span_ns() -> f64 {
    let round = |_| {
        let mut total = Duration::ZERO;
        for _ in 0..EMPTY_SPANS {
            timed(&mut total, || black_box(()));
        }
        total.as_nanos() as f64 / f64::from(EMPTY_SPANS)
    };
    (0..5).map(round).fold(f64::MAX, f64::min)
}

fn measure(rings: u64, burst: usize, empty_ns: f64) {
    let pool = Pool::on_heap(512, PAGE_BYTES);
    let mut options = FakeNetwork::options();
    options.features |= rings;
    let (transport, network) = FakeNetwork::new(options);
    let mut card = VirtioNet::new(transport, NetConfig::default(), pool.clone(), allocate)
        .expect("the card is well-behaved");
    // A card that polls wants no notifications.
    for queue in [RECEIVE_QUEUE, TRANSMIT_QUEUE] {
        network.device().with_ring(queue, |ring| ring.disable_notifications());
    }
    let arrivals = vec![vec![7; FRAME_BYTES]; burst];
    let mut frames: VecDeque<Frame> = VecDeque::with_capacity(burst);
    let mut best = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        let (mut receiving, mut sending) = (Duration::ZERO, Duration::ZERO);
        let (mut count, mut spans) = (0, 0.0);
        while count < FRAMES_PER_ROUND {
            spans += 1.0;
            network.deliver(&arrivals);
            count += timed(&mut receiving, || {
                card.receive_burst(burst, |frame| frames.push_back(frame))
            });
            timed(&mut sending, || card.send_burst(&mut frames));
            network.take_sent(burst);
        }
        for (best, total) in best.iter_mut().zip([receiving, sending]) {
            *best = best.min((total.as_nanos() as f64 - spans * empty_ns) / count as f64);
        }
    }
    let [receiving, sending] = best;
    println!(
        "burst {burst:3}: receive {receiving:5.1} ns, send {sending:5.1} ns, both {:5.1} ns, copied {} bytes",
        receiving + sending,
        pool.statistics().copied_bytes,
    );
}

fn main() {
    let empty_ns = empty_span_ns();
    println!(
        "frames of {FRAME_BYTES} bytes, refill and reclaim included, the best of {ROUNDS} rounds,"
    );
    println!("less {empty_ns:.1} ns for each burst received or sent, which are the clock's:");
    for (name, rings) in [("split", 0), ("packed", PACKED)] {
        println!("{name} rings:");
        for burst in [1, 8, 32, 128] {
            measure(rings, burst, empty_ns);
        }
    }
}
