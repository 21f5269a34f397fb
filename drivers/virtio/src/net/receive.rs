//! The half of a card that brings frames in.

use pool::{Frame, HEADROOM_BYTES, PacketBuffer, Pool};

use super::NetStatistics;
use super::configuration::{ETHERNET_HEADER_BYTES, HEADER_BYTES};
use crate::queue::{Completion, Direction, QueueError, Segment, SplitQueue};

/// Where the card starts writing: its header ends where a fresh frame starts.
const START: usize = HEADROOM_BYTES - HEADER_BYTES;

/// The receive ring and the buffers in it.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: SplitQueue<PacketBuffer>,
    pool: Pool,
    /// How many buffers the ring should hold.
    depth: u16,
    statistics: NetStatistics,
}

impl Receiver {
    /// A receiver that keeps `depth` buffers in its ring, or as many as it holds.
    pub(super) fn new(queue: SplitQueue<PacketBuffer>, pool: Pool, depth: u16) -> Receiver {
        let depth = depth.clamp(1, queue.size());
        Receiver { queue, pool, depth, statistics: NetStatistics::default() }
    }

    pub(super) fn statistics(&self) -> NetStatistics {
        self.statistics
    }

    pub(super) fn outstanding(&self) -> u16 {
        self.queue.outstanding()
    }

    /// Gives at most `frames_max` frames that have arrived to `receive`. Fails only if there was none before
    /// the fault, so that every frame is counted by the caller.
    pub(super) fn receive(
        &mut self,
        frames_max: usize,
        mut receive: impl FnMut(Frame),
    ) -> Result<usize, QueueError> {
        let mut received = 0;
        while received < frames_max {
            let completion = match self.queue.pop() {
                Ok(Some(completion)) => completion,
                Ok(None) => break,
                Err(error) if received == 0 => return Err(error),
                // The queue remembers its fault, and tells of it next time.
                Err(_) => break,
            };
            if let Some(frame) = self.frame(completion) {
                received += 1;
                receive(frame);
            }
        }
        Ok(received)
    }

    fn frame(&mut self, completion: Completion<PacketBuffer>) -> Option<Frame> {
        let length = (completion.written as usize).checked_sub(HEADER_BYTES);
        let Some(length) = length.filter(|length| *length >= ETHERNET_HEADER_BYTES) else {
            self.statistics.receive_bad_length += 1;
            return None;
        };
        self.statistics.received_frames += 1;
        self.statistics.received_bytes += length as u64;
        let frame = Frame::from_received(completion.token, HEADROOM_BYTES, length);
        Some(frame.expect("the queue has checked the length against the buffer"))
    }

    /// Fills the ring up. False if the pool has no buffer for that.
    pub(super) fn refill(&mut self) -> bool {
        while self.queue.outstanding() < self.depth {
            let Some(buffer) = self.pool.allocate() else {
                self.statistics.receive_pool_empty += 1;
                return false;
            };
            let segment = Segment {
                address: buffer.device_address() + START as u64,
                length: u32::try_from(buffer.len() - START).expect("buffers are a few pages"),
                direction: Direction::DeviceWrites,
            };
            // SAFETY: the segment lies in the buffer, which is the token.
            if unsafe { self.queue.add(&[segment], buffer) }.is_err() {
                // The device has broken the rules, which the next `pop` reports.
                break;
            }
        }
        true
    }

    /// Shows the card its new buffers. True if it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        self.queue.publish()
    }

    /// See [`SplitQueue::arm`].
    pub(super) fn arm(&mut self) -> bool {
        let is_overtaken = self.queue.arm();
        self.statistics.interrupts_armed += 1;
        self.statistics.interrupts_overtaken += u64::from(is_overtaken);
        is_overtaken
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
