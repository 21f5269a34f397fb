//! Bells that a machine should have rung, and did not.

use std::time::Duration;

use crate::guest::TRANSMIT;
use crate::{RINGS, Running, frame};

/// A machine may publish a frame just when it is asked to ring for the next one, and not see that. Before it
/// was asked it need not ring, and long after it must: only a frame that follows soon is looked for, so a
/// test on a busy machine may need several attempts.
#[test]
fn a_frame_that_was_not_rung_for_is_found_all_the_same() {
    let switch = Running::new("bells", &RINGS[..2]);
    let (mut sender, mut receiver) = (switch.plug_in(1), switch.plug_in(2));
    for _ in 0..200 {
        sender.send(&frame(2, 1, b"rung for"));
        assert_eq!(receiver.receive().unwrap(), frame(2, 1, b"rung for"));
        sender.put_in_silence(&frame(2, 1, b"in silence"));
        std::thread::sleep(Duration::from_millis(30));
        if !sender.was_taken() {
            sender.ring(TRANSMIT);
        }
        assert_eq!(receiver.receive().unwrap(), frame(2, 1, b"in silence"));
        receiver.offer_buffers(2);
        if switch.of_port(1, "/statistics/unrung") == 1 {
            return;
        }
    }
    panic!("no frame was found without a bell");
}

/// A machine that says nothing is left in peace: it is not looked at again and again.
#[test]
fn a_machine_that_is_silent_costs_nothing() {
    let switch = Running::new("silence", &RINGS[..2]);
    let (mut sender, mut receiver) = (switch.plug_in(1), switch.plug_in(2));
    sender.send(&frame(2, 1, b"the last"));
    assert_eq!(receiver.receive().unwrap(), frame(2, 1, b"the last"));
    std::thread::sleep(Duration::from_millis(100));
    sender.put_in_silence(&frame(2, 1, b"never rung for"));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!sender.was_taken(), "nobody looks any more");
    sender.ring(TRANSMIT);
    assert_eq!(receiver.receive().unwrap(), frame(2, 1, b"never rung for"));
    assert_eq!(switch.of_port(1, "/statistics/unrung"), 0);
}
