//! No memory is allocated on the way of a frame: the driver is called ten thousand times on each kind of
//! ring, and an allocator counts. What the card of the test allocates is its own affair.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::hint::black_box;

use pool::{Frame, PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{EVENT_INDEX, FakeNetwork, FakeTransport, PACKED, allocate};
use virtio::net::{NetConfig, Packet, TransmitOffload};

const BURSTS: usize = 10_000;
const BURST: usize = 32;

thread_local! {
    /// How often this thread was given memory.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, and a count.
struct Counting;

// SAFETY: it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work`, and says how often memory was allocated meanwhile.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

fn start(rings: u64) -> (VirtioNet<FakeTransport>, FakeNetwork, Pool) {
    let pool = Pool::on_heap(512, PAGE_BYTES);
    let mut options = FakeNetwork::options();
    options.features = options.features & !EVENT_INDEX | rings;
    let (transport, network) = FakeNetwork::new(options);
    let config = NetConfig { queue_size_max: 64, receive_buffers: 48, ..NetConfig::DEFAULT };
    let card = VirtioNet::new(transport, config, pool.clone(), allocate).unwrap();
    (card, network, pool)
}

/// Every call that a loop makes, around `turn`, which takes a burst and gives it back. Bursts are of every
/// length, so that rings wrap at every place and are found empty and full.
fn count_turns(rings: u64, mut turn: impl FnMut(&mut VirtioNet<FakeTransport>) -> usize) {
    let (mut card, network, pool) = start(rings);
    let arrivals = vec![vec![7; 60]; BURST];
    let mut allocated = 0;
    for number in 0..BURSTS {
        let delivered = network.deliver(&arrivals[..1 + number % BURST]);
        allocated += allocations(|| {
            assert_eq!(turn(&mut card), delivered);
            card.reclaim();
            let _ = card.arm_interrupts();
            card.disarm_interrupts();
            black_box(card.check_link());
            black_box(card.statistics());
        });
        network.take_packets(BURST);
    }
    assert_eq!(allocated, 0, "rings {rings:#x}");
    assert!(pool.statistics().exhausted == 0 && card.fault().is_none());
}

#[test]
fn an_allocation_would_be_noticed() {
    assert_eq!(allocations(|| drop(black_box(Box::new(7)))), 1);
}

#[test]
fn frames_go_in_and_out_without_the_heap() {
    for rings in [EVENT_INDEX, 0, EVENT_INDEX | PACKED, PACKED] {
        let mut frames: VecDeque<Frame> = VecDeque::with_capacity(BURST);
        count_turns(rings, |card| {
            let received = card.receive_burst(BURST, |frame| frames.push_back(frame));
            card.send_burst(&mut frames);
            received
        });
    }
}

#[test]
fn packets_go_in_and_out_without_the_heap() {
    for rings in [EVENT_INDEX, 0, EVENT_INDEX | PACKED, PACKED] {
        let mut packets: VecDeque<Packet> = VecDeque::with_capacity(BURST);
        count_turns(rings, |card| {
            let received = card.receive_packets(BURST, |received| {
                let frame =
                    received.frames.into_single().expect("a card without offloads fills one");
                packets.push_back(Packet { frame, offload: TransmitOffload::None });
            });
            card.send_packets(&mut packets);
            received
        });
    }
}
