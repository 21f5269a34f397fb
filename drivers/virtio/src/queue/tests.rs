//! Tests of both kinds of rings, against a device in the same memory.

use std::rc::Rc;

use pool::Region;
use proptest::prelude::*;

use super::{Completion, Direction, Queue, QueueError, RingFormat, Segment, Suppression};
use crate::fake::DeviceRing;

pub(super) type Kind = (RingFormat, Suppression);

const SPLIT: Kind = (RingFormat::Split, Suppression::EventIndex);
const PACKED: Kind = (RingFormat::Packed, Suppression::EventIndex);
pub(super) const KINDS: [Kind; 4] = [
    SPLIT,
    (RingFormat::Split, Suppression::Flags),
    PACKED,
    (RingFormat::Packed, Suppression::Flags),
];

/// The two sides of one ring.
pub(super) fn pair<T>(size: u16, (format, suppression): Kind) -> (Queue<T>, DeviceRing) {
    let region = Region::on_heap(Queue::<T>::bytes(format, size));
    let mut queue = Queue::new(format, region, size, suppression);
    let has_event_index = suppression == Suppression::EventIndex;
    let ring = DeviceRing::new(format, queue.attach(), size, has_event_index);
    (queue, ring)
}

pub(super) fn segment(length: u32, direction: Direction) -> Segment {
    Segment { address: 0x1000, length, direction }
}

/// Adds a chain of one segment, which neither side looks into.
pub(super) fn add<T>(queue: &mut Queue<T>, length: u32, direction: Direction, token: T) -> bool {
    // SAFETY: the device of these tests never touches the memory of a segment.
    unsafe { queue.add(&[segment(length, direction)], token) }.is_ok()
}

/// The device is no more: everything comes back.
pub(super) fn detach<T>(queue: &mut Queue<T>, ring: DeviceRing) -> Vec<T> {
    drop(ring);
    let mut tokens = Vec::new();
    // SAFETY: the device is gone.
    unsafe { queue.detach(|token| tokens.push(token)) };
    queue.check_invariants();
    tokens
}

#[test]
fn completions_come_in_any_order() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(8, kind);
        for token in 0..8 {
            assert!(add(&mut queue, 100, Direction::DeviceWrites, token));
        }
        let _ = queue.publish();
        let mut chains: Vec<_> = core::iter::from_fn(|| ring.take()).collect();
        for (position, written) in [(5, 50), (0, 10), (3, 30)] {
            ring.complete(chains.remove(position), written);
        }
        ring.announce();
        let popped: Vec<_> = core::iter::from_fn(|| queue.pop().unwrap()).collect();
        let expected =
            [(5, 50), (0, 10), (4, 30)].map(|(token, written)| Completion { token, written });
        assert_eq!(popped, expected);
        queue.check_invariants();
        assert_eq!((queue.outstanding(), queue.free()), (5, 3));
        let mut rest = detach(&mut queue, ring);
        rest.sort_unstable();
        assert_eq!(rest, [1, 2, 3, 6, 7]);
    }
}

#[test]
fn chains_keep_their_order_and_their_descriptors() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(4, kind);
        let chain = [
            segment(16, Direction::DeviceReads),
            segment(512, Direction::DeviceWrites),
            segment(1, Direction::DeviceWrites),
        ];
        for round in 0..100 {
            // SAFETY: the device of these tests never touches the memory of a segment.
            assert_eq!(unsafe { queue.add(&chain, round) }, Ok(()));
            // SAFETY: as above.
            assert_eq!(unsafe { queue.add(&chain, 1000) }, Err(1000), "one descriptor is left");
            let _ = queue.publish();
            let taken = ring.take().unwrap();
            assert_eq!((taken.segments(), taken.writable_bytes()), ((1, 2), 513));
            ring.complete(taken, 513);
            ring.announce();
            assert_eq!(queue.pop(), Ok(Some(Completion { token: round, written: 513 })));
            queue.check_invariants();
        }
        assert!(detach(&mut queue, ring).is_empty());
    }
}

/// P23: no notification is lost where an index wraps.
#[test]
fn indices_wrap_without_a_lost_or_needless_notification() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(4, kind);
        let mut sent = 0_u32;
        for round in 0..60_000_u32 {
            let is_declined = round % 3 == 0;
            if is_declined {
                ring.disable_notifications();
            } else {
                assert!(!ring.enable_notifications());
            }
            assert!(!queue.arm(), "nothing is under way");
            let burst = 1 + round % 4;
            for _ in 0..burst {
                assert!(add(&mut queue, 1, Direction::DeviceWrites, sent));
                sent += 1;
            }
            assert_eq!(queue.publish(), !is_declined, "round {round}");
            while let Some(chain) = ring.take() {
                ring.complete(chain, 1);
            }
            ring.announce();
            assert!(ring.take_interrupt(), "round {round}");
            assert!(queue.arm(), "completions are there");
            for token in sent - burst..sent {
                assert_eq!(queue.pop(), Ok(Some(Completion { token, written: 1 })));
            }
            assert_eq!(queue.pop(), Ok(None));
        }
        assert!(sent > 2 * 65_536);
        assert!(detach(&mut queue, ring).is_empty());
    }
}

#[test]
fn a_disarmed_queue_is_interrupted_at_most_once_per_wrap() {
    for (kind, allowed) in KINDS.into_iter().zip([1, 0, 0, 0]) {
        let (mut queue, mut ring) = pair(2, kind);
        queue.disarm();
        let mut interrupts = 0;
        for token in 0..65_536 {
            assert!(add(&mut queue, 1, Direction::DeviceReads, token));
            let _ = queue.publish();
            let chain = ring.take().unwrap();
            ring.complete(chain, 0);
            ring.announce();
            interrupts += u32::from(ring.take_interrupt());
            assert!(queue.pop().unwrap().is_some());
        }
        assert_eq!(interrupts, allowed);
        detach(&mut queue, ring);
    }
}

#[test]
fn a_full_ring_gives_the_token_back() {
    for kind in KINDS {
        let (mut queue, ring) = pair(2, kind);
        assert!(add(&mut queue, 1, Direction::DeviceReads, 1));
        assert!(add(&mut queue, 1, Direction::DeviceReads, 2));
        // SAFETY: the device of these tests never touches the memory of a segment.
        let third = unsafe { queue.add(&[segment(1, Direction::DeviceReads)], 3) };
        assert_eq!(third, Err(3));
        assert_eq!(detach(&mut queue, ring), [1, 2]);
    }
}

/// A queue of eight with chains 0 to 3 in the device's hands, of 100 bytes to write, and what a liar does.
fn after_lie(kind: Kind, lie: impl FnOnce(&mut DeviceRing)) -> QueueError {
    let (mut queue, mut ring) = pair(8, kind);
    for token in 0..4 {
        assert!(add(&mut queue, 100, Direction::DeviceWrites, token));
    }
    let _ = queue.publish();
    lie(&mut ring);
    let error = loop {
        match queue.pop() {
            Ok(Some(_)) => continue,
            Ok(None) => panic!("the lie was not noticed"),
            Err(error) => break error,
        }
    };
    queue.check_invariants();
    assert_eq!(queue.pop(), Err(error), "a liar is never believed again");
    assert!(!add(&mut queue, 1, Direction::DeviceReads, 9), "and is given nothing more");
    let outstanding = usize::from(queue.outstanding());
    assert_eq!(detach(&mut queue, ring).len(), outstanding);
    error
}

/// P11: neither numbers nor lengths of a device are trusted.
#[test]
fn every_lie_has_its_name() {
    let complete = |descriptor: u32, written: u32| {
        move |ring: &mut DeviceRing| {
            ring.raw_complete(descriptor, written);
            ring.announce();
        }
    };
    for kind in KINDS {
        assert_eq!(after_lie(kind, complete(8, 0)), QueueError::UnknownDescriptor);
        assert_eq!(after_lie(kind, complete(0xffff, 0)), QueueError::UnknownDescriptor);
        assert_eq!(after_lie(kind, complete(4, 0)), QueueError::NotOutstanding);
        assert_eq!(after_lie(kind, complete(0, 101)), QueueError::TooLong);
        assert_eq!(after_lie(kind, complete(0, u32::MAX)), QueueError::TooLong);
        let twice = |ring: &mut DeviceRing| {
            ring.raw_complete(2, 100);
            ring.raw_complete(2, 100);
            ring.announce();
        };
        assert_eq!(after_lie(kind, twice), QueueError::NotOutstanding);
    }
    // Only here a number has 32 bits, and completions are announced by an index.
    assert_eq!(after_lie(SPLIT, complete(0x1_0000, 0)), QueueError::UnknownDescriptor);
    assert_eq!(after_lie(SPLIT, |ring| ring.raw_announce(5)), QueueError::IndexJump);
    assert_eq!(after_lie(SPLIT, |ring| ring.raw_announce(0xffff)), QueueError::IndexJump);
    // Here a descriptor that is marked as used, and not written, completes itself, until it is another's.
    let five = |ring: &mut DeviceRing| {
        ring.raw_complete(3, 0);
        ring.raw_announce(5);
        ring.announce();
    };
    assert_eq!(after_lie(PACKED, five), QueueError::NotOutstanding);
}

#[test]
fn the_middle_of_a_chain_is_no_chain() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(8, kind);
        let chain = [segment(16, Direction::DeviceReads), segment(1, Direction::DeviceWrites)];
        // SAFETY: the device of these tests never touches the memory of a segment.
        unsafe { queue.add(&chain, ()) }.unwrap();
        let _ = queue.publish();
        ring.raw_complete(1, 1);
        ring.announce();
        assert_eq!(queue.pop(), Err(QueueError::NotOutstanding));
        assert_eq!(detach(&mut queue, ring).len(), 1);
    }
}

#[test]
fn what_the_device_was_not_shown_it_cannot_complete() {
    let (mut queue, mut ring) = pair(8, PACKED);
    assert!(add(&mut queue, 100, Direction::DeviceWrites, 'a'));
    let _ = queue.publish();
    let chain = [segment(100, Direction::DeviceWrites); 2];
    // SAFETY: the device of these tests never touches the memory of a segment.
    unsafe { queue.add(&chain, 'b') }.unwrap();
    ring.raw_complete(1, 0);
    ring.announce();
    assert_eq!(queue.pop(), Err(QueueError::NotOutstanding));
    queue.check_invariants();
    assert_eq!(detach(&mut queue, ring), ['a', 'b']);
}

#[test]
fn what_the_device_does_to_descriptors_is_ignored() {
    // On a packed ring completions are descriptors: all may be overwritten but the two flags of a completion.
    let neither_used = u64::MAX >> 8 & !(1 << 63) | 1 << 55;
    for (kind, pattern) in KINDS.into_iter().zip([u64::MAX, u64::MAX, neither_used, neither_used]) {
        let (mut queue, mut ring) = pair(4, kind);
        for round in 0..100 {
            assert!(add(&mut queue, 10, Direction::DeviceWrites, round));
            assert!(add(&mut queue, 10, Direction::DeviceWrites, round + 1000));
            let _ = queue.publish();
            let chains = [ring.take().unwrap(), ring.take().unwrap()];
            ring.raw_scribble_descriptors(pattern);
            for chain in chains {
                ring.complete(chain, 10);
            }
            ring.announce();
            for token in [round, round + 1000] {
                assert_eq!(queue.pop(), Ok(Some(Completion { token, written: 10 })));
            }
            queue.check_invariants();
        }
        assert!(detach(&mut queue, ring).is_empty());
    }
}

#[test]
fn chains_of_different_lengths_overtake_each_other_across_the_wrap() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(8, kind);
        for round in 0..20_000_u32 {
            let lengths = [1 + round as usize % 3, 1 + round as usize % 2, 1 + round as usize % 3];
            for (token, length) in (0..).zip(lengths) {
                let chain = vec![segment(1, Direction::DeviceWrites); length];
                // SAFETY: the device of these tests never touches the memory of a segment.
                assert_eq!(unsafe { queue.add(&chain, token) }, Ok(()));
                let _ = queue.publish();
            }
            let mut chains: Vec<_> = core::iter::from_fn(|| ring.take()).collect();
            let order = [round as usize % 3, round as usize % 2, 0];
            for position in order {
                ring.complete(chains.remove(position), 1);
                ring.announce();
            }
            let mut popped: Vec<_> =
                core::iter::from_fn(|| queue.pop().unwrap()).map(|done| done.token).collect();
            popped.sort_unstable();
            assert_eq!(popped, [0, 1, 2]);
            queue.check_invariants();
        }
        assert!(detach(&mut queue, ring).is_empty());
    }
}

#[test]
fn a_length_means_nothing_where_nothing_is_written() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(2, kind);
        assert!(add(&mut queue, 60, Direction::DeviceReads, 'a'));
        let _ = queue.publish();
        let chain = ring.take().unwrap();
        ring.complete(chain, 60);
        ring.announce();
        assert_eq!(queue.pop(), Ok(Some(Completion { token: 'a', written: 0 })));
        detach(&mut queue, ring);
    }
}

/// P28: what a device may still write to does not go back.
#[test]
fn tokens_of_a_device_that_was_not_reset_are_kept_from_everybody() {
    for kind in KINDS {
        let token = Rc::new(());
        let (mut queue, ring) = pair(2, kind);
        assert!(add(&mut queue, 60, Direction::DeviceWrites, Rc::clone(&token)));
        drop(queue);
        assert_eq!(Rc::strong_count(&token), 2, "the device may still write to its buffer");
        drop(ring);

        let (mut queue, ring) = pair(2, kind);
        assert!(add(&mut queue, 60, Direction::DeviceWrites, Rc::clone(&token)));
        assert_eq!(detach(&mut queue, ring).len(), 1);
        drop(queue);
        assert_eq!(Rc::strong_count(&token), 2);
    }
}

#[test]
fn a_detached_queue_starts_anew() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(2, kind);
        assert!(add(&mut queue, 1, Direction::DeviceReads, 1));
        let _ = queue.publish();
        ring.raw_complete(1, 0);
        ring.announce();
        assert_eq!(queue.pop(), Err(QueueError::NotOutstanding));
        assert_eq!(detach(&mut queue, ring), [1]);

        let has_event_index = kind.1 == Suppression::EventIndex;
        let mut ring = DeviceRing::new(kind.0, queue.attach(), 2, has_event_index);
        assert!(add(&mut queue, 1, Direction::DeviceReads, 2));
        assert!(queue.publish());
        let chain = ring.take().unwrap();
        ring.complete(chain, 0);
        ring.announce();
        assert_eq!(queue.pop(), Ok(Some(Completion { token: 2, written: 0 })));
        detach(&mut queue, ring);
    }
}

/// What either side may do next; numbers are reduced to what makes sense, or to what makes none.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    AddBurst(u8),
    Publish,
    Pop,
    PopBurst(u8),
    Arm,
    Disarm,
    Take,
    Complete(u8, u32),
    Announce,
    Lie(u32, u32),
    Jump(u16),
    Scribble(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u8..4).prop_map(Step::Add),
        3 => (0_u8..10).prop_map(Step::AddBurst),
        4 => Just(Step::Publish),
        6 => Just(Step::Pop),
        3 => (0_u8..10).prop_map(Step::PopBurst),
        1 => Just(Step::Arm),
        1 => Just(Step::Disarm),
        6 => Just(Step::Take),
        6 => (any::<u8>(), 0_u32..300).prop_map(|(which, written)| Step::Complete(which, written)),
        4 => Just(Step::Announce),
        1 => (0_u32..20, any::<u32>()).prop_map(|(id, written)| Step::Lie(id, written)),
        1 => any::<u16>().prop_map(Step::Jump),
        1 => any::<u64>().prop_map(Step::Scribble),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Whatever the device does, no token is lost or doubled, and an honest device is never accused.
    #[test]
    fn tokens_are_conserved(
        steps in prop::collection::vec(step(), 1..200),
        is_honest in any::<bool>(),
        kind in prop::sample::select(&KINDS[..]),
    ) {
        let (mut queue, mut ring) = pair(8, kind);
        let (mut given, mut returned, mut chains) = (0_u32, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Add(count) => {
                    let chain = vec![segment(100, Direction::DeviceWrites); usize::from(count)];
                    // SAFETY: the device of these tests never touches the memory of a segment.
                    given += u32::from(unsafe { queue.add(&chain, given) }.is_ok());
                }
                Step::AddBurst(count) => {
                    let segment = segment(100, Direction::DeviceWrites);
                    let burst = (given..given + u32::from(count)).map(|token| (segment, token));
                    let free = queue.free();
                    // SAFETY: the device of these tests never touches the memory of a segment.
                    let added = unsafe { queue.add_burst(burst) };
                    prop_assert!(added == free.min(count.into()) || added == 0 && !is_honest);
                    given += u32::from(added);
                }
                Step::PopBurst(max) => {
                    let before = returned.len();
                    // Every other one counts.
                    let result = queue.pop_burst(max.into(), |done| {
                        returned.push(done.token);
                        (returned.len() - before) % 2 == 0
                    });
                    prop_assert!(returned.len() - before <= 2 * usize::from(max));
                    prop_assert!(result.is_ok() || !is_honest);
                }
                Step::Publish => drop(queue.publish()),
                Step::Pop => match queue.pop() {
                    Ok(completion) => returned.extend(completion.map(|done| done.token)),
                    Err(_) => prop_assert!(!is_honest),
                },
                Step::Arm => drop(queue.arm()),
                Step::Disarm => queue.disarm(),
                // A device that has lied may be offered what it still believes to hold.
                Step::Take if is_honest => chains.extend(ring.take()),
                Step::Take => {}
                Step::Complete(which, written) if !chains.is_empty() => {
                    let chain = chains.swap_remove(usize::from(which) % chains.len());
                    let written = written.min(chain.writable_bytes() as u32);
                    ring.complete(chain, written);
                }
                Step::Complete(..) => {}
                Step::Announce => ring.announce(),
                Step::Lie(id, written) if !is_honest => ring.raw_complete(id, written % 400),
                Step::Jump(index) if !is_honest => ring.raw_announce(index % 64),
                Step::Scribble(pattern) if !is_honest => ring.raw_scribble_descriptors(pattern),
                Step::Lie(..) | Step::Jump(_) | Step::Scribble(_) => {}
            }
            queue.check_invariants();
        }
        drop(chains);
        returned.extend(detach(&mut queue, ring));
        returned.sort_unstable();
        prop_assert_eq!(returned, (0..given).collect::<Vec<_>>());
    }
}
