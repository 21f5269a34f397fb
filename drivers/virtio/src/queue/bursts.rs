//! Tests of bursts, against a device in the same memory.

use super::tests::{KINDS, add, detach, pair, segment};
use super::{Completion, Direction};

/// P26: one publication and at most one notification for a burst.
#[test]
fn a_burst_shows_at_once_and_only_when_published() {
    for kind in KINDS {
        let (mut queue, ring) = pair(8, kind);
        for token in 0..5 {
            assert!(add(&mut queue, 1, Direction::DeviceReads, token));
        }
        assert_eq!(ring.available(), 0);
        assert!(queue.publish(), "a device that has said nothing wants to know");
        assert_eq!(ring.available(), 5);
        assert!(!queue.publish(), "there is nothing new");
        assert_eq!(detach(&mut queue, ring), [0, 1, 2, 3, 4]);
    }
}

/// A burst is what the same number of single calls is, across the wrap.
#[test]
fn a_burst_is_no_different_from_one_at_a_time() {
    for kind in KINDS {
        let (mut queue, mut ring) = pair(8, kind);
        for round in 0..20_000_u32 {
            let tokens = 10 * round..10 * round + 10;
            let burst = tokens.map(|token| (segment(100, Direction::DeviceWrites), token));
            // SAFETY: the device of these tests never touches the memory of a segment.
            assert_eq!(unsafe { queue.add_burst(burst) }, 8, "as many as there is room for");
            let _ = queue.publish();
            let chains: Vec<_> = core::iter::from_fn(|| ring.take()).collect();
            for (chain, written) in chains.into_iter().zip(round % 90..) {
                ring.complete(chain, written);
            }
            ring.announce();
            let first = queue.pop().unwrap().unwrap();
            assert_eq!(first, Completion { token: 10 * round, written: round % 90 });
            let mut popped = Vec::new();
            let mut take = |max| {
                queue.pop_burst(max, |done| {
                    popped.push(done.token);
                    assert_eq!(done.written, round % 90 + done.token % 10);
                    true
                })
            };
            assert_eq!((take(0), take(3), take(9)), (Ok(()), Ok(()), Ok(())));
            assert_eq!(popped, (10 * round + 1..10 * round + 8).collect::<Vec<_>>());
            queue.check_invariants();
        }
        assert!(detach(&mut queue, ring).is_empty());
    }
}
