//! A driver and a device on two threads: no notification, no interrupt and no frame is ever lost.
//!
//! Both sides sleep whenever they have nothing to do, and only the other side's notification wakes them: one
//! that is lost ends the test after a while instead of letting it hang.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pool::{PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{EVENT_INDEX, FakeNetwork, FakeTransport, InterruptKind, PACKED, allocate};
use virtio::net::{NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE};

const LOST_AFTER: Duration = Duration::from_secs(20);
const FRAMES: u64 = 200_000;
const CONFIG: NetConfig =
    NetConfig { queue_size_max: 32, receive_buffers: 16, ..NetConfig::DEFAULT };

/// Echoes what is sent until told to stop, and sleeps when there is nothing.
fn play_device(network: &FakeNetwork, stop: &AtomicBool) {
    let device = network.device();
    loop {
        let kicks = device.kicked().count();
        device.with_ring(TRANSMIT_QUEUE, |ring| ring.disable_notifications());
        if network.echo() > 0 {
            continue;
        }
        if stop.load(Ordering::Acquire) {
            return;
        }
        let is_more = device.with_ring(TRANSMIT_QUEUE, |ring| ring.enable_notifications());
        if is_more == Some(false) {
            assert!(device.kicked().wait_past(kicks, LOST_AFTER), "a notification was lost");
        }
    }
}

/// Sends numbered frames in windows of changing width, and waits for each to come back.
fn play_driver(card: &mut VirtioNet<FakeTransport>, network: &FakeNetwork, pool: &Pool) {
    let (mut sent, mut received) = (0_u64, 0_u64);
    let interrupted = network.device().interrupted();
    while received < FRAMES {
        let interrupts = interrupted.count();
        let window = 1 + sent / 7 % 16;
        let mut outgoing = VecDeque::new();
        while sent < received + window && sent < FRAMES {
            let mut frame = pool.allocate_frame().expect("few frames are under way");
            frame.append(60)[..8].copy_from_slice(&sent.to_le_bytes());
            outgoing.push_back(frame);
            sent += 1;
        }
        card.send_burst(&mut outgoing);
        assert!(outgoing.is_empty(), "the ring is larger than the window");
        let arrived = card.receive_burst(32, |frame| {
            assert_eq!(frame[..8], received.to_le_bytes());
            received += 1;
        });
        if arrived == 0 {
            if !card.arm_interrupts() {
                assert!(interrupted.wait_past(interrupts, LOST_AFTER), "an interrupt was lost");
            }
            card.disarm_interrupts();
        }
    }
}

fn hammer(features: u64, interrupts: InterruptKind) {
    let mut options = FakeNetwork::options();
    options.features = options.features & !EVENT_INDEX | features;
    options.interrupts = interrupts;
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let (transport, network) = FakeNetwork::new(options);
    let mut card = VirtioNet::new(transport, CONFIG, pool.clone(), allocate).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| play_device(&network, &stop));
        play_driver(&mut card, &network, &pool);
        stop.store(true, Ordering::Release);
        network.device().kicked().ring();
    });
    let statistics = card.statistics();
    assert_eq!((statistics.sent_frames, statistics.received_frames), (FRAMES, FRAMES));
    assert_eq!(statistics.receive_pool_empty + statistics.receive_bad_length, 0);
    assert_eq!(card.fault(), None);
    let kicks = network.device().kicks(TRANSMIT_QUEUE) + network.device().kicks(RECEIVE_QUEUE);
    assert_eq!(statistics.kicks, kicks);
    assert!(statistics.interrupts_armed > FRAMES / 1000, "both sides did sleep");
    drop(card);
    assert_eq!(pool.free(), 64);
}

#[test]
fn nothing_is_lost_with_event_indices() {
    hammer(EVENT_INDEX, InterruptKind::Message);
}

#[test]
fn nothing_is_lost_with_flags() {
    hammer(0, InterruptKind::Message);
}

#[test]
fn nothing_is_lost_on_an_interrupt_line() {
    hammer(EVENT_INDEX, InterruptKind::Line);
}

#[test]
fn nothing_is_lost_on_packed_rings() {
    hammer(EVENT_INDEX | PACKED, InterruptKind::Message);
}

#[test]
fn nothing_is_lost_on_packed_rings_with_flags() {
    hammer(PACKED, InterruptKind::Line);
}
