//! Two threads, no lock and no system call between them: the moments in which both sides of a ring fall
//! asleep are a few nanoseconds wide, and a missing fence shows only there.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use pool::Region;

use super::{Direction, Queue, RingFormat, Segment, Suppression};
use crate::fake::DeviceRing;

const ROUNDS: u32 = 400_000;
/// How often a sleeper looks at once, and then once a millisecond, before it says that nobody will wake it.
const LOOKS_AT_ONCE: u32 = 20_000;
const LOOKS_MAX: u32 = LOOKS_AT_ONCE + 20_000;
/// On a busy machine, where the other side often has no processor, so many long waits are enough.
const LONG_WAITS_MAX: u32 = 1_000;

/// A notification that is on its way, or not.
#[derive(Default)]
struct Signal {
    is_sent: AtomicBool,
    long_waits: AtomicU32,
}

impl Signal {
    fn send(&self) {
        self.is_sent.store(true, Ordering::Release);
    }

    /// Sleeps until it was sent.
    fn wait(&self, what: &str) {
        for look in 0..LOOKS_MAX {
            if self.is_sent.swap(false, Ordering::Acquire) {
                return;
            }
            if look == LOOKS_AT_ONCE {
                self.long_waits.fetch_add(1, Ordering::Relaxed);
            }
            if look >= LOOKS_AT_ONCE {
                thread::sleep(Duration::from_millis(1));
            }
        }
        panic!("{what} was lost");
    }

    fn is_slow(&self) -> bool {
        self.long_waits.load(Ordering::Relaxed) > LONG_WAITS_MAX
    }
}

/// What the two sides share besides the ring.
#[derive(Default)]
struct Signals {
    kick: Signal,
    interrupt: Signal,
    is_over: AtomicBool,
}

/// Takes up to `span` steps of a nanosecond or less, a different number each round, so that the two sides
/// meet at every offset.
fn dawdle(round: u32, span: u32) {
    for _ in 0..round.wrapping_mul(0x9e37_79b9) % span {
        std::hint::black_box(());
    }
}

fn play_device(mut ring: DeviceRing, signals: &Signals) {
    let mut completed = 0;
    while !signals.is_over.load(Ordering::Acquire) {
        while let Some(chain) = ring.take() {
            ring.complete(chain, 1);
            ring.announce();
            completed += 1;
            if ring.take_interrupt() {
                signals.interrupt.send();
            }
        }
        ring.disable_notifications();
        dawdle(completed, 997);
        if !ring.enable_notifications() {
            signals.kick.wait("a notification");
        }
    }
}

fn play_driver(queue: &mut Queue<u32>, signals: &Signals) {
    for round in 0..ROUNDS {
        let segment = Segment { address: 0, length: 1, direction: Direction::DeviceWrites };
        // SAFETY: the device of this test never touches the memory of a segment.
        unsafe { queue.add(&[segment], round) }.expect("one chain is under way at a time");
        dawdle(round, 1009);
        if queue.publish() {
            signals.kick.send();
        }
        dawdle(round, 2003);
        let completion = loop {
            if let Some(completion) = queue.pop().expect("the device is honest") {
                break completion;
            }
            if !queue.arm() {
                signals.interrupt.wait("an interrupt");
            }
        };
        queue.disarm();
        assert_eq!(completion.token, round);
        if signals.kick.is_slow() || signals.interrupt.is_slow() {
            break;
        }
    }
}

/// P8 and P10 of the list of pitfalls: index, full fence, wish; wish, full fence, index.
///
/// One test, so that the two threads have two processors if there are two.
#[test]
fn the_two_sides_never_both_sleep() {
    let formats = [RingFormat::Split, RingFormat::Packed];
    let kinds = formats.map(|it| [(it, Suppression::EventIndex), (it, Suppression::Flags)]);
    for (format, suppression) in kinds.into_iter().flatten() {
        let region = Region::on_heap(Queue::<u32>::bytes(format, 2));
        let mut queue = Queue::new(format, region, 2, suppression);
        let has_event_index = suppression == Suppression::EventIndex;
        let ring = DeviceRing::new(format, queue.attach(), 2, has_event_index);
        let signals = Signals::default();
        thread::scope(|scope| {
            scope.spawn(|| play_device(ring, &signals));
            play_driver(&mut queue, &signals);
            signals.is_over.store(true, Ordering::Release);
            signals.kick.send();
        });
        // SAFETY: the device's thread has ended.
        unsafe { queue.detach(drop) };
    }
}
