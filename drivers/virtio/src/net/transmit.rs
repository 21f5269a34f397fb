//! The half of a card that takes frames out.

use alloc::collections::VecDeque;

use pool::Frame;

use super::NetStatistics;
use super::configuration::{FRAME_BYTES_MIN, HEADER_BYTES, frame_bytes_max};
use crate::queue::{Direction, QueueError, Segment, SplitQueue};

/// The transmit ring and the frames in it.
#[derive(Debug)]
pub(super) struct Transmitter {
    queue: SplitQueue<Frame>,
    frame_bytes_max: usize,
    /// Frames were left with the caller, who wants to know when there is room.
    is_room_awaited: bool,
    statistics: NetStatistics,
}

impl Transmitter {
    /// A transmitter of packets of up to `mtu` bytes.
    pub(super) fn new(queue: SplitQueue<Frame>, mtu: u16) -> Transmitter {
        let frame_bytes_max = frame_bytes_max(mtu);
        let statistics = NetStatistics::default();
        Transmitter { queue, frame_bytes_max, is_room_awaited: false, statistics }
    }

    pub(super) fn statistics(&self) -> NetStatistics {
        self.statistics
    }

    pub(super) fn outstanding(&self) -> u16 {
        self.queue.outstanding()
    }

    /// Gives the buffers of frames that are on their way back to the pool.
    pub(super) fn reclaim(&mut self) -> Result<usize, QueueError> {
        let mut reclaimed = 0;
        while let Some(completion) = self.queue.pop()? {
            drop(completion.token);
            reclaimed += 1;
        }
        Ok(reclaimed)
    }

    /// Puts frames into the ring while there is room. The card does not see them before
    /// [`Transmitter::publish`].
    pub(super) fn send(&mut self, frames: &mut VecDeque<Frame>) -> Result<usize, QueueError> {
        self.reclaim()?;
        let mut taken = 0;
        while self.queue.free() > 0 {
            let Some(frame) = frames.pop_front() else { break };
            taken += 1;
            self.add(frame);
        }
        self.is_room_awaited = !frames.is_empty();
        self.statistics.send_ring_full += u64::from(self.is_room_awaited);
        Ok(taken)
    }

    fn add(&mut self, mut frame: Frame) {
        let missing = FRAME_BYTES_MIN.saturating_sub(frame.len());
        let is_sendable = !frame.is_empty()
            && frame.len() <= self.frame_bytes_max
            && frame.tailroom() >= missing
            && frame.headroom() >= HEADER_BYTES;
        if !is_sendable {
            self.statistics.send_refused += 1;
            return;
        }
        // Zeroed, as all that is sent must be written: the buffer holds what its last owner left.
        frame.append(missing).fill(0);
        self.statistics.sent_frames += 1;
        self.statistics.sent_bytes += frame.len() as u64;
        frame.prepend(HEADER_BYTES).fill(0);
        let segment = Segment {
            address: frame.device_address(),
            length: u32::try_from(frame.len()).expect("it was compared with the longest"),
            direction: Direction::DeviceReads,
        };
        // SAFETY: the segment lies in the frame, which is the token.
        let added = unsafe { self.queue.add(&[segment], frame) };
        assert!(added.is_ok(), "there was a free descriptor, and no fault since");
    }

    /// Shows the card its new frames. True if it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        self.queue.publish()
    }

    /// Asks for an interrupt if somebody waits for room. True if there is some already.
    pub(super) fn arm(&mut self) -> bool {
        self.is_room_awaited && self.queue.arm()
    }

    pub(super) fn disarm(&mut self) {
        self.queue.disarm();
    }

    /// Gives every buffer back to the pool.
    ///
    /// # Safety
    /// As [`SplitQueue::detach`].
    pub(super) unsafe fn detach(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.queue.detach(drop) };
    }
}
