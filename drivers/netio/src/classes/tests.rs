//! Frames of a real pool, and a clock that is turned by hand.

use std::collections::VecDeque;
use std::vec::Vec;

use pool::{Frame, PAGE_BYTES, Pool};
use proptest::prelude::*;

use super::*;

const SECOND_NS: u64 = 1_000_000_000;
const BULK: Class = Class::LAST;

fn frame(pool: &Pool, bytes: usize) -> Frame {
    let mut frame = pool.allocate_frame().expect("the pool suffices");
    frame.append(bytes).fill(0);
    frame
}

fn packet(pool: &Pool, class: Class, bytes: usize, now_ns: u64) -> NetworkPacket {
    NetworkPacket::new(frame(pool, bytes), class, now_ns)
}

fn unshaped() -> [ClassConfig; CLASSES] {
    [ClassConfig::default(); CLASSES]
}

fn shaped(class: Class, bytes_per_second: u64, burst_bytes: u64) -> [ClassConfig; CLASSES] {
    let mut configs = unshaped();
    configs[class.index()].shape = Shape::new(bytes_per_second, burst_bytes);
    configs
}

#[test]
fn a_heartbeat_overtakes_a_full_bulk_queue() {
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let mut classes = Classes::new(unshaped(), 0);
    for _ in 0..CLASS_FRAMES {
        classes.enqueue(packet(&pool, BULK, 1_500, 0)).expect("there is room");
    }
    let refusal = classes.enqueue(packet(&pool, BULK, 1_500, 0)).expect_err("the queue is full");
    assert_eq!((refusal.cause, refusal.packet.frame.len()), (RefusalCause::QueueFull, 1_500));

    classes.enqueue(packet(&pool, Class::FIRST, 64, 1)).expect("its queue is another");
    let heartbeat = classes.dequeue(1).expect("it is first");
    assert_eq!((heartbeat.class, heartbeat.frame.len()), (Class::FIRST, 64));
    assert_eq!(classes.dequeue(1).map(|packet| packet.class), Some(BULK));

    let bulk = classes.statistics(BULK);
    assert_eq!((bulk.refused_full, bulk.passed_over, bulk.starved), (1, 1, 0));
    assert_eq!((bulk.waiting, classes.len()), (CLASS_FRAMES - 1, CLASS_FRAMES - 1));
}

#[test]
fn every_refused_and_sent_frame_goes_back_to_its_pool() {
    let pool = Pool::on_heap(4, PAGE_BYTES);
    let mut classes = Classes::new(shaped(BULK, 1_000, 100), 0);
    let refusal = classes.enqueue(packet(&pool, BULK, 101, 0)).expect_err("no burst is that long");
    assert_eq!(refusal.cause, RefusalCause::LongerThanBurst);
    drop(refusal);
    classes.enqueue(packet(&pool, BULK, 100, 0)).expect("that fits");
    drop(classes.dequeue(0));
    assert_eq!((pool.free(), classes.poll_timeout()), (4, None));
    assert_eq!(classes.statistics(BULK).refused_long, 1);
}

/// How many bytes leave until `end_ns` if there is always a frame, and the caller sleeps as it is told.
fn sent_bytes(classes: &mut Classes, pool: &Pool, start_ns: u64, end_ns: u64) -> u64 {
    let before = classes.statistics(BULK).sent_bytes;
    let mut now = start_ns;
    while now <= end_ns {
        while classes.len() < 2 {
            classes.enqueue(packet(pool, BULK, 1_514, now)).expect("there is room");
        }
        drop(classes.dequeue(now));
        now = now.max(classes.poll_timeout().expect("a frame waits"));
    }
    classes.statistics(BULK).sent_bytes - before
}

#[test]
fn a_shape_holds_its_rate_for_hours_and_after_long_pauses() {
    const RATE: u64 = 199_999;
    const BURST: u64 = 10_000;
    let pool = Pool::on_heap(4, PAGE_BYTES);
    let mut classes = Classes::new(shaped(BULK, RATE, BURST), 0);
    let mut start = 0;
    for hours in [3, 1] {
        let span = hours * 3_600 * SECOND_NS;
        let sent = sent_bytes(&mut classes, &pool, start, start + span);
        let allowed = RATE * hours * 3_600;
        assert!(sent <= allowed + BURST, "{sent} of {allowed} and a burst");
        assert!(sent >= allowed * 99 / 100, "{sent} of {allowed}");
        // A pause of a year earns one burst, and no more.
        start += span + 365 * 24 * 3_600 * SECOND_NS;
    }
}

#[test]
fn a_shaped_class_lets_the_next_one_send_and_says_when_it_can() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut classes = Classes::new(shaped(Class::FIRST, 1_000, 1_000), 0);
    for class in [Class::FIRST, Class::FIRST, BULK] {
        classes.enqueue(packet(&pool, class, 1_000, 0)).expect("there is room");
    }
    let order: Vec<_> = (0..3).map(|_| classes.dequeue(0).map(|packet| packet.class)).collect();
    assert_eq!(order, [Some(Class::FIRST), Some(BULK), None]);

    assert_eq!(classes.poll_timeout(), Some(SECOND_NS));
    assert!(classes.dequeue(SECOND_NS - 1).is_none());
    assert!(classes.dequeue(SECOND_NS).is_some());
    assert_eq!(classes.statistics(Class::FIRST).longest_wait_ns, SECOND_NS);
}

#[test]
fn a_frame_that_waits_for_its_shape_is_counted_once_however_often_it_is_looked_at() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut classes = Classes::new(shaped(BULK, 1_000, 1_000), 0);
    for _ in 0..3 {
        classes.enqueue(packet(&pool, BULK, 1_000, 0)).expect("there is room");
    }
    // The first leaves at once, and each of the others a second after the one before.
    assert!(classes.dequeue(0).is_some());
    for (second, counted) in [(1, 1), (2, 2)] {
        for look in 0..1_000 {
            assert!(classes.dequeue((second - 1) * SECOND_NS + look).is_none());
            assert_eq!(classes.statistics(BULK).shaped, counted);
        }
        assert!(classes.dequeue(second * SECOND_NS).is_some());
    }
    assert_eq!(classes.statistics(BULK).shaped, 2, "who does not wait is not counted");
}

#[test]
fn starvation_is_counted_once_a_spell_while_it_lasts() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut classes = Classes::new(unshaped(), 0);
    let mut now = 0;
    for spell in 1..=2 {
        classes.enqueue(packet(&pool, BULK, 1_500, now)).expect("there is room");
        for step in 0..=20 {
            classes.enqueue(packet(&pool, Class::FIRST, 64, now)).expect("there is room");
            drop(classes.dequeue(now));
            let is_starved = step * (STARVED_AFTER_NS / 10) >= STARVED_AFTER_NS;
            let starved = classes.statistics(BULK).starved;
            assert_eq!(starved, spell - 1 + u64::from(is_starved), "step {step}");
            now += STARVED_AFTER_NS / 10;
        }
        assert_eq!(classes.dequeue(now).map(|packet| packet.class), Some(BULK));
    }
    assert_eq!(classes.statistics(BULK).passed_over, 42);
}

#[test]
fn one_that_its_own_shape_keeps_back_is_not_starved() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut classes = Classes::new(shaped(BULK, 1, 100), 0);
    for _ in 0..2 {
        classes.enqueue(packet(&pool, BULK, 100, 0)).expect("there is room");
    }
    drop(classes.dequeue(0));
    for now in [0, STARVED_AFTER_NS, 2 * STARVED_AFTER_NS] {
        classes.enqueue(packet(&pool, Class::FIRST, 64, now)).expect("there is room");
        drop(classes.dequeue(now));
    }
    let bulk = classes.statistics(BULK);
    assert_eq!((bulk.starved, bulk.passed_over, bulk.shaped), (0, 0, 0));
}

#[test]
fn a_shape_may_change_unless_a_packet_would_wait_for_ever() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut classes = Classes::new(unshaped(), 0);
    for _ in 0..2 {
        classes.enqueue(packet(&pool, BULK, 1_000, 0)).expect("there is room");
    }
    assert!(!classes.set_shape(BULK, Shape::new(1_000, 999), 0), "no burst is that long");
    assert_eq!(classes.shape(BULK), None);
    assert!(classes.set_shape(BULK, Shape::new(1_000, 1_000), 0));
    assert!(classes.dequeue(0).is_some() && classes.dequeue(0).is_none());
    assert_eq!(classes.poll_timeout(), Some(SECOND_NS));
    assert!(classes.set_shape(BULK, None, 0));
    assert!(classes.dequeue(0).is_some() && classes.is_empty());
}

proptest! {
    /// Against eight lists: the highest class goes first, a class keeps its order, and every frame leaves or
    /// was refused.
    #[test]
    fn priorities_are_strict_and_classes_in_order(
        steps in proptest::collection::vec(proptest::option::of(0..CLASSES as u8), 1..200),
    ) {
        let pool = Pool::on_heap(256, PAGE_BYTES);
        let mut classes = Classes::new(unshaped(), 0);
        let mut model: [VecDeque<usize>; CLASSES] = Default::default();
        for (number, step) in steps.into_iter().enumerate() {
            let now = number as u64;
            if let Some(class) = step {
                let is_taken =
                    classes.enqueue(packet(&pool, Class(class), number, now)).is_ok();
                let queue = &mut model[usize::from(class)];
                prop_assert_eq!(is_taken, queue.len() < CLASS_FRAMES);
                if is_taken {
                    queue.push_back(number);
                }
            } else {
                let left = classes.dequeue(now).map(|it| (it.class.index(), it.frame.len()));
                let first = model.iter().position(|queue| !queue.is_empty());
                let expected = first.map(|class| (class, model[class].pop_front().unwrap()));
                prop_assert_eq!(left, expected);
            }
            let waiting: usize = model.iter().map(VecDeque::len).sum();
            prop_assert_eq!((classes.len(), classes.is_empty()), (waiting, waiting == 0));
            prop_assert_eq!(pool.free(), 256 - waiting);
            prop_assert_eq!(classes.poll_timeout().is_some(), waiting > 0);
        }
    }
}
