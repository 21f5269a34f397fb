//! What the network driver does with a card, whatever its rings are like.

use std::collections::VecDeque;

use pool::{Frame, HEADROOM_BYTES, PAGE_BYTES, Pool};
use virtio::fake::{
    EVENT_INDEX, FakeNetwork, FakeOptions, FakeTransport, PACKED, VERSION_1, allocate,
};
use virtio::net::{
    FRAME_BYTES_MIN, HEADER_BYTES, LinkState, MacAddress, NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE,
};
use virtio::queue::QueueError;
use virtio::transport::DeviceType;
use virtio::{Fault, InitError, VirtioNet};

use crate::RINGS;

pub(crate) type Card = VirtioNet<FakeTransport>;

pub(crate) const BUFFERS: usize = 64;
/// `VIRTIO_F_RING_RESET`.
pub(crate) const RING_RESET: u64 = 1 << 40;
const CONFIG: NetConfig =
    NetConfig { queue_size_max: 32, receive_buffers: 16, ..NetConfig::DEFAULT };

/// What the card is like.
pub(crate) fn card_options() -> FakeOptions {
    let mut options = FakeNetwork::options();
    options.features |= RINGS;
    options
}

pub(crate) fn start(options: FakeOptions) -> (Card, FakeNetwork, Pool) {
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let (transport, network) = FakeNetwork::new(options);
    let card = VirtioNet::new(transport, CONFIG, pool.clone(), allocate).unwrap();
    (card, network, pool)
}

fn refusal(change: impl FnOnce(&mut FakeOptions)) -> InitError {
    let mut options = card_options();
    change(&mut options);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let (transport, _network) = FakeNetwork::new(options);
    let error = VirtioNet::new(transport, CONFIG, pool.clone(), allocate).unwrap_err();
    assert_eq!(pool.free(), BUFFERS);
    error
}

pub(crate) fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.allocate_frame().unwrap();
    frame.append_copy(bytes);
    frame
}

pub(crate) fn receive_all(card: &mut Card) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while card.receive_burst(8, |frame| frames.push(frame.to_vec())) > 0 {}
    frames
}

pub(crate) fn numbered(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 60 + usize::from(number)]).collect()
}

#[test]
fn the_driver_takes_what_it_understands() {
    let mut options = card_options();
    options.features = !(1 << 3);
    let (card, network, _pool) = start(options);
    let expected = VERSION_1 | EVENT_INDEX | PACKED | RING_RESET | 1 << 5 | 1 << 16;
    assert_eq!(network.device().accepted_features(), expected);
    assert_eq!(card.mac(), MacAddress([0x52, 0x54, 0, 0, 0, 1]));
    assert_eq!(card.mac().to_string(), "52:54:00:00:00:01");
    assert_eq!(card.mtu(), 1500);
    assert_eq!(card.statistics().receive_buffers, CONFIG.receive_buffers);
    assert_eq!(card.statistics().kicks, 1, "for the first buffers");
}

#[test]
fn a_card_that_cannot_be_used_is_refused() {
    assert_eq!(refusal(|it| it.device_type = DeviceType::Block), InitError::WrongDevice);
    assert_eq!(refusal(|it| it.features &= !VERSION_1), InitError::Legacy);
    assert_eq!(refusal(|it| it.features &= !(1 << 5)), InitError::NoMacAddress);
    assert_eq!(refusal(|it| it.configuration[0] |= 1), InitError::NoMacAddress);
    assert_eq!(refusal(|it| it.configuration.truncate(4)), InitError::Configuration);
    assert_eq!(refusal(|it| it.refuses_features = true), InitError::FeaturesRefused);
    assert_eq!(refusal(|it| it.refuses_queues = true), InitError::QueueRefused(RECEIVE_QUEUE));
    assert_eq!(refusal(|it| it.queue_sizes[0] = 0), InitError::NoQueue(RECEIVE_QUEUE));
    assert_eq!(refusal(|it| it.queue_sizes.truncate(1)), InitError::NoQueue(TRANSMIT_QUEUE));
    assert_eq!(refusal(|it| it.features |= 1 << 3), InitError::Configuration, "an MTU of 0");
}

#[test]
fn a_card_that_never_confirms_its_reset_is_refused() {
    // The fake is in its reset state from the start, so that the first reset seems to work; one that was
    // left running by somebody else does not.
    let (transport, network) = FakeNetwork::new(card_options());
    network.device().demand_reset();
    network.device().change(|it| it.ignores_reset = true);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let error = VirtioNet::new(transport, CONFIG, pool, allocate).unwrap_err();
    assert_eq!(error, InitError::ResetIgnored);
}

#[test]
fn without_memory_there_is_no_card() {
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let (transport, _network) = FakeNetwork::new(card_options());
    let error = VirtioNet::new(transport, CONFIG, pool, |_| None).unwrap_err();
    assert_eq!(error, InitError::NoMemory);
}

#[test]
fn the_card_may_have_a_smaller_ring_and_a_larger_mtu() {
    let mut options = card_options();
    options.queue_sizes = vec![8, 5];
    options.features |= 1 << 3;
    options.configuration[10..12].copy_from_slice(&9000_u16.to_le_bytes());
    let (card, network, _pool) = start(options);
    assert_eq!(card.statistics().receive_buffers, 8);
    assert_eq!(network.device().with_ring(TRANSMIT_QUEUE, |ring| ring.size()), Some(4));
    assert_eq!(usize::from(card.mtu()), PAGE_BYTES - HEADROOM_BYTES - 18, "what a buffer holds");
}

#[test]
fn bursts_arrive_whole_and_in_order() {
    for features in [EVENT_INDEX, 0] {
        let mut options = card_options();
        options.features = options.features & !EVENT_INDEX | features;
        let (mut card, network, pool) = start(options);
        let frames = numbered(12);
        assert_eq!(network.deliver(&frames), 12);
        assert_eq!(receive_all(&mut card), frames);
        assert_eq!(card.statistics().received_frames, 12);
        assert_eq!(card.statistics().received_bytes, 60 * 12 + 66);
        assert_eq!(pool.statistics().copied_bytes, 0);
        assert_eq!(pool.free(), BUFFERS - 16, "every buffer was replaced");
    }
}

#[test]
fn a_burst_has_an_end() {
    let (mut card, network, _pool) = start(card_options());
    network.deliver(&numbered(10));
    assert_eq!(card.receive_burst(4, drop), 4);
    assert_eq!(card.receive_burst(4, drop), 4);
    assert_eq!(card.receive_burst(4, drop), 2);
    assert_eq!(card.receive_burst(4, drop), 0);
    assert_eq!(card.receive_burst(0, drop), 0);
}

#[test]
fn looks_for_frames_are_counted_and_those_in_vain() {
    let (mut card, network, _pool) = start(card_options());
    assert_eq!(card.receive_burst(8, drop), 0);
    network.deliver(&numbered(3));
    assert_eq!(card.receive_burst(8, drop), 3);
    assert_eq!(card.receive_burst(8, drop), 0);
    network.deliver(&numbered(1));
    assert_eq!(card.receive_packets(8, drop), 1);
    assert_eq!(card.receive_packets(8, drop), 0);
    let statistics = card.statistics();
    assert_eq!((statistics.receive_polls, statistics.receive_polls_empty), (5, 3));
}

#[test]
fn a_burst_is_sent_with_one_notification() {
    let (mut card, network, pool) = start(card_options());
    let frames = numbered(20);
    let mut queue: VecDeque<_> = frames.iter().map(|bytes| frame(&pool, bytes)).collect();
    assert_eq!(card.send_burst(&mut queue), 20);
    assert_eq!(network.device().kicks(TRANSMIT_QUEUE), 1);
    assert_eq!(network.take_sent(usize::MAX), frames);
    assert_eq!(card.statistics().transmit_buffers, 20, "nobody has asked for them yet");
    assert_eq!(card.reclaim(), 20);
    assert_eq!(pool.free(), BUFFERS - 16);
}

#[test]
fn what_does_not_fit_stays_with_the_caller() {
    let (mut card, network, pool) = start(card_options());
    let mut queue: VecDeque<_> = numbered(40).iter().map(|bytes| frame(&pool, bytes)).collect();
    assert_eq!(card.send_burst(&mut queue), 32);
    assert_eq!(queue.len(), 8);
    assert_eq!(queue[0][0], 32, "the order is kept");
    assert_eq!(card.send_burst(&mut queue), 0);
    assert_eq!(card.statistics().send_ring_full, 2);

    // Somebody waits for room: the card interrupts when there is some.
    let interrupts = network.device().interrupted().count();
    assert!(!card.has_input() && !card.arm_interrupts());
    assert_eq!(network.take_sent(3).len(), 3);
    assert_eq!(network.device().interrupted().count(), interrupts + 1);
    assert!(card.has_input() && card.arm_interrupts(), "there is room");
    assert_eq!(card.send_burst(&mut queue), 3);
    network.take_sent(usize::MAX);
    assert_eq!(card.send_burst(&mut queue), 5);
    assert_eq!(network.take_sent(usize::MAX).last().map(|frame| frame[0]), Some(39));
}

#[test]
fn short_frames_are_padded_with_zeros_only() {
    let (mut card, network, pool) = start(card_options());
    // Every buffer of the pool once held a secret.
    let mut all: Vec<_> = core::iter::from_fn(|| pool.allocate()).collect();
    all.iter_mut().for_each(|buffer| buffer.fill(0xaa));
    drop(all);
    let mut queue = VecDeque::from([frame(&pool, &[1; 14]), frame(&pool, &[2; 60])]);
    assert_eq!(card.send_burst(&mut queue), 2);
    let sent = network.take_sent(usize::MAX);
    assert_eq!(sent[0], [&[1; 14][..], &[0; FRAME_BYTES_MIN - 14]].concat());
    assert_eq!(sent[1], [2; 60]);
}

#[test]
fn frames_that_cannot_be_sent_are_dropped_and_counted() {
    let (mut card, network, pool) = start(card_options());
    let free = pool.free();
    let mut without_headroom = frame(&pool, &[3; 100]);
    without_headroom.prepend(HEADROOM_BYTES - HEADER_BYTES + 1);
    let without_tailroom =
        Frame::from_received(pool.allocate().unwrap(), PAGE_BYTES - 10, 10).unwrap();
    let mut queue = VecDeque::from([
        pool.allocate_frame().unwrap(),
        without_headroom,
        without_tailroom,
        frame(&pool, &[4; 1519]),
        frame(&pool, &[5; 1518]),
    ]);
    assert_eq!(card.send_burst(&mut queue), 5);
    assert_eq!(card.statistics().send_refused, 4);
    assert_eq!(network.take_sent(usize::MAX), [vec![5; 1518]]);
    assert_eq!(pool.free(), free - 1);
}

#[test]
fn an_empty_pool_is_counted_and_survived() {
    let (mut card, network, pool) = start(card_options());
    let held: Vec<_> = core::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!(network.deliver(&numbered(20)), 16);
    let mut kept = Vec::new();
    assert_eq!(card.receive_burst(usize::MAX, |frame| kept.push(frame)), 16);
    let statistics = card.statistics();
    assert_eq!((statistics.receive_buffers, statistics.receive_pool_empty), (0, 1));
    assert_eq!(network.deliver(&numbered(1)), 0, "there is nowhere to put it");

    drop(kept);
    assert!(!card.arm_interrupts());
    assert_eq!(card.statistics().receive_buffers, 16, "nobody sleeps on an empty ring");
    drop(held);
    assert_eq!(network.deliver(&numbered(1)), 1);
    assert_eq!(receive_all(&mut card).len(), 1);
}

/// P15: what was sent does not keep the card from being given buffers.
#[test]
fn buffers_that_were_sent_are_received_into() {
    let (mut card, network, pool) = start(card_options());
    let mut queue: VecDeque<_> = (0..20).map(|_| frame(&pool, &[1; 60])).collect();
    card.send_burst(&mut queue);
    let held: Vec<_> = core::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!(network.take_sent(usize::MAX).len(), 20);
    network.deliver(&numbered(16));
    let mut kept = Vec::new();
    card.receive_burst(usize::MAX, |frame| kept.push(frame));
    assert_eq!(card.statistics().receive_buffers, 16, "taken from what was sent");
    assert_eq!(kept.len() + held.len() + 16 + pool.free(), BUFFERS);
}

#[test]
fn an_armed_card_interrupts_once_and_a_disarmed_one_not() {
    let (mut card, network, _pool) = start(card_options());
    let interrupted = || network.device().interrupted().count();
    network.deliver(&numbered(2));
    assert_eq!(interrupted(), 0, "a new card is not armed");
    assert!(card.has_input() && card.arm_interrupts(), "there are frames");
    assert_eq!(receive_all(&mut card).len(), 2);
    assert!(!card.has_input());
    assert!(!card.arm_interrupts());
    network.deliver(&numbered(3));
    network.deliver(&numbered(3));
    assert_eq!(interrupted(), 1);
    card.disarm_interrupts();
    assert_eq!(receive_all(&mut card).len(), 6);
    network.deliver(&numbered(3));
    assert_eq!(interrupted(), 1);
    let statistics = card.statistics();
    assert_eq!((statistics.interrupts_armed, statistics.interrupts_overtaken), (2, 1));
}

#[test]
fn frames_shorter_than_their_headers_are_dropped_and_counted() {
    let (mut card, network, pool) = start(card_options());
    network.device().with_ring(RECEIVE_QUEUE, |ring| {
        for written in [0, 11, 12, 25, 26] {
            let chain = ring.take().unwrap();
            ring.complete(chain, written);
        }
        ring.announce();
    });
    assert_eq!(receive_all(&mut card).len(), 1, "14 bytes are an Ethernet header");
    assert_eq!(card.statistics().receive_bad_length, 4);
    assert_eq!(card.fault(), None);
    assert_eq!(pool.free(), BUFFERS - 16);
}

#[test]
fn a_card_that_lies_is_reset_and_gives_everything_back() {
    let lies: [(u16, u32, u32, QueueError); 5] = [
        (RECEIVE_QUEUE, 0, PAGE_BYTES as u32, QueueError::TooLong),
        (RECEIVE_QUEUE, 31, 60, QueueError::NotOutstanding),
        (RECEIVE_QUEUE, 32, 60, QueueError::UnknownDescriptor),
        (TRANSMIT_QUEUE, 7, 0, QueueError::NotOutstanding),
        (TRANSMIT_QUEUE, 0xffff, 0, QueueError::UnknownDescriptor),
    ];
    for (queue, descriptor, written, error) in lies {
        let (mut card, network, pool) = start(card_options());
        let mut outgoing = VecDeque::from([frame(&pool, &[1; 60])]);
        card.send_burst(&mut outgoing);
        network.device().with_ring(queue, |ring| {
            ring.raw_complete(descriptor, written);
            ring.announce();
        });
        assert_eq!(card.receive_burst(32, drop), 0);
        outgoing.push_back(frame(&pool, &[2; 60]));
        card.send_burst(&mut outgoing);
        // What the card says of frames that have left is not looked at for every burst.
        card.reclaim();
        assert_eq!(card.fault(), Some(Fault::Queue(error)));
        assert!(network.device().status().is_empty(), "it was reset");
        let held = outgoing.len();
        assert_eq!(pool.free() + held, BUFFERS, "every buffer came back");
        // A card that was given up does nothing, and harms nobody.
        assert!(!card.has_input() && !card.arm_interrupts());
        card.disarm_interrupts();
        assert_eq!(card.send_burst(&mut outgoing), 0);
        assert_eq!((card.receive_burst(1, drop), card.reclaim()), (0, 0));
        assert_eq!((card.statistics().link_up, card.check_link()), (false, LinkState::Down));
    }
}

#[test]
fn a_lie_behind_good_frames_does_not_take_them_away() {
    let (mut card, network, pool) = start(card_options());
    network.deliver(&numbered(3));
    network.device().with_ring(RECEIVE_QUEUE, |ring| {
        ring.raw_complete(u32::MAX, 0);
        ring.announce();
    });
    assert_eq!(receive_all(&mut card), numbered(3));
    assert_eq!(card.fault(), Some(Fault::Queue(QueueError::UnknownDescriptor)));
    assert_eq!(pool.free(), BUFFERS);
}

#[test]
fn a_card_that_cannot_be_reset_keeps_its_buffers() {
    let (mut card, network, pool) = start(card_options());
    network.device().change(|it| it.ignores_reset = true);
    network.device().with_ring(RECEIVE_QUEUE, |ring| {
        ring.raw_complete(31, 0);
        ring.announce();
    });
    assert_eq!(card.receive_burst(1, drop), 0);
    assert_eq!(card.fault(), Some(Fault::Queue(QueueError::NotOutstanding)));
    assert!(!card.has_input(), "what is in its ring is of no interest any more");
    drop(card);
    assert_eq!(pool.free(), BUFFERS - 16, "it may still write to them");
}

#[test]
fn a_card_that_needs_a_reset_is_started_again() {
    let (mut card, network, pool) = start(card_options());
    assert_eq!((card.check_link(), card.statistics().link_up), (LinkState::Up, true));
    network.device().change(|it| it.configuration[6] = 0);
    assert_eq!((card.check_link(), card.statistics().link_up), (LinkState::Down, false));
    assert_eq!(card.fault(), None);
    assert_eq!(card.statistics().link_changes, 1);

    // Frames on their way out, frames on their way in, and some that nobody has taken.
    let mut queue: VecDeque<_> = (0..5).map(|_| frame(&pool, &[1; 60])).collect();
    card.send_burst(&mut queue);
    network.deliver(&numbered(3));
    network.device().demand_reset();
    network.device().change(|it| it.configuration[6] = 1);
    for round in 1..100 {
        assert_eq!(card.check_link(), LinkState::Up);
        assert_eq!(card.fault(), None);
        let statistics = card.statistics();
        assert_eq!((statistics.restarts, statistics.transmit_buffers), (round, 0));
        assert_eq!(pool.free(), BUFFERS - 16, "every buffer is free, or waits to be filled");
        assert_eq!(receive_all(&mut card).len(), 0, "what the card held is lost");

        queue.push_back(frame(&pool, &[2; 60]));
        assert_eq!(card.send_burst(&mut queue), 1);
        assert_eq!(network.echo(), 1);
        assert_eq!(receive_all(&mut card), [vec![2; 60]]);
        network.device().demand_reset();
    }
    assert_eq!(card.statistics().link_changes, 2);
}

#[test]
fn a_card_that_does_not_start_again_is_given_up() {
    let refusals: [fn(&mut FakeOptions); 5] = [
        |it| it.ignores_reset = true,
        |it| it.refuses_features = true,
        |it| it.refuses_queues = true,
        |it| it.features &= !EVENT_INDEX,
        |it| it.queue_sizes[1] = 16,
    ];
    for refusal in refusals {
        let (mut card, network, pool) = start(card_options());
        network.device().change(refusal);
        network.device().demand_reset();
        assert_eq!(card.check_link(), LinkState::Down);
        assert_eq!(card.fault(), Some(Fault::NeedsReset));
        assert_eq!((card.statistics().restarts, card.statistics().link_changes), (0, 1));
        assert_eq!(card.receive_burst(1, drop), 0);
        network.device().change(|it| it.ignores_reset = false);
        drop(card);
        assert_eq!(pool.free(), BUFFERS);
    }
}

#[test]
fn a_dropped_card_is_reset_and_gives_everything_back() {
    let (mut card, network, pool) = start(card_options());
    let mut queue: VecDeque<_> = (0..5).map(|_| frame(&pool, &[1; 60])).collect();
    card.send_burst(&mut queue);
    network.deliver(&numbered(5));
    assert_eq!(pool.free(), BUFFERS - 16 - 5);
    drop(card);
    assert!(network.device().status().is_empty());
    assert_eq!(pool.free(), BUFFERS);
    assert_eq!(network.deliver(&numbered(1)), 0, "the device has forgotten the ring");
}

#[test]
fn an_echo_survives_the_wrap_of_every_index() {
    let (mut card, network, pool) = start(card_options());
    let (mut sent, mut received) = (0_u64, 0_u64);
    while received < 70_000 {
        let mut queue = VecDeque::new();
        for _ in 0..=sent % 16 {
            queue.push_back(frame(&pool, &[&sent.to_le_bytes()[..], &[0; 56]].concat()));
            sent += 1;
        }
        card.send_burst(&mut queue);
        assert!(queue.is_empty());
        network.echo();
        card.receive_burst(usize::MAX, |frame| {
            assert_eq!(frame[..8], received.to_le_bytes());
            received += 1;
        });
    }
    assert_eq!(received, sent);
    drop(card);
    assert_eq!(pool.free(), BUFFERS);
}
