//! Frames on delayed ways.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::PortId;
use crate::frame::Stored;

/// A frame that is to arrive later. The order is that of arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Delayed {
    /// When, since the switch started.
    pub at: Duration,
    /// Which frame of those that arrive at once.
    number: u64,
    /// Where.
    pub to: PortId,
    /// What.
    pub frame: Stored,
}

/// All of them.
#[derive(Debug, Default)]
pub struct DelayQueue {
    frames: BinaryHeap<Reverse<Delayed>>,
    count: u64,
}

impl DelayQueue {
    /// Adds a frame; false if there are too many.
    #[must_use]
    pub fn push(&mut self, at: Duration, to: PortId, frame: Stored) -> bool {
        if self.frames.len() == crate::DELAYED_FRAMES {
            return false;
        }
        self.count += 1;
        self.frames.push(Reverse(Delayed { at, number: self.count, to, frame }));
        true
    }

    /// The next frame that is to arrive by now.
    pub fn pop(&mut self, now: Duration) -> Option<Delayed> {
        self.next_at().filter(|at| *at <= now)?;
        self.frames.pop().map(|Reverse(frame)| frame)
    }

    /// When the next frame is to arrive.
    pub fn next_at(&self) -> Option<Duration> {
        self.frames.peek().map(|Reverse(frame)| frame.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::with_packet;

    fn frame(byte: u8) -> Stored {
        let mut stored = Stored::default();
        with_packet(&mut [byte; 14], |packet| stored.set(packet));
        stored
    }

    #[test]
    fn frames_arrive_in_time_and_in_order() {
        let mut queue = DelayQueue::default();
        let at = Duration::from_millis;
        for (time, byte) in [(2, b'b'), (1, b'a'), (2, b'c')] {
            assert!(queue.push(at(time), PortId(1), frame(byte)));
        }
        assert_eq!(queue.next_at(), Some(at(1)));
        assert_eq!(queue.pop(at(1)).unwrap().frame, frame(b'a'));
        assert!(queue.pop(at(1)).is_none());
        assert_eq!(queue.pop(at(2)).unwrap().frame, frame(b'b'));
        assert_eq!(queue.pop(at(2)).unwrap().frame, frame(b'c'));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut queue = DelayQueue::default();
        for _ in 0..crate::DELAYED_FRAMES {
            assert!(queue.push(Duration::ZERO, PortId(1), frame(b'x')));
        }
        assert!(!queue.push(Duration::ZERO, PortId(1), frame(b'x')));
    }
}
