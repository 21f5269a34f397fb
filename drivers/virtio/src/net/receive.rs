//! The half of a card that brings frames in.

use pool::{Frame, FrameChain, HEADROOM_BYTES, PacketBuffer, Pool};

use super::configuration::ETHERNET_HEADER_BYTES;
use super::header::{Checksum, HEADER_BYTES, Header};
use super::offloads::{Agreement, OffloadCounts, Received};
use crate::queue::{Completion, Direction, Queue, QueueError, Segment};
use netio::NetStatistics;

/// Where the card starts writing: its header ends where a fresh frame starts.
const START: usize = HEADROOM_BYTES - HEADER_BYTES;

/// The receive ring and the buffers in it.
#[derive(Debug)]
pub(super) struct Receiver {
    queue: Queue<PacketBuffer>,
    pool: Pool,
    /// How many buffers the ring should hold.
    depth: u16,
    /// How many frames had arrived when this was asked last.
    arrivals_seen: u64,
    agreement: Agreement,
    statistics: NetStatistics,
    used: OffloadCounts,
}

impl Receiver {
    /// A receiver that keeps `depth` buffers in its ring, or as many as it holds.
    pub(super) fn new(
        queue: Queue<PacketBuffer>,
        pool: Pool,
        depth: u16,
        agreement: Agreement,
    ) -> Receiver {
        let depth = depth.clamp(1, queue.size());
        let (statistics, used) = (NetStatistics::default(), OffloadCounts::default());
        Receiver { queue, pool, depth, arrivals_seen: 0, agreement, statistics, used }
    }

    pub(super) fn queue(&mut self) -> &mut Queue<PacketBuffer> {
        &mut self.queue
    }

    pub(super) fn statistics(&self) -> NetStatistics {
        let (receive_buffers, receive_ring) = (self.queue.outstanding(), self.queue.size());
        NetStatistics { receive_buffers, receive_ring, ..self.statistics }
    }

    pub(super) fn used(&self) -> OffloadCounts {
        self.used
    }

    /// Gives at most `frames_max` frames that have arrived to `receive`. Fails only if there was none before
    /// the fault, so that every frame is counted by the caller.
    ///
    /// # Panics
    /// If arrivals may be more than a frame: see [`Receiver::receive_packets`].
    pub(super) fn receive(
        &mut self,
        frames_max: usize,
        mut receive: impl FnMut(Frame),
    ) -> Result<usize, QueueError> {
        assert!(self.agreement.is_received_plain(), "headers of arrivals say nothing");
        let (mut frames, mut bytes, mut bad_length) = (0, 0, 0);
        let result = self.queue.pop_burst(frames_max, |completion| {
            let Some(frame) = frame_of(completion) else {
                bad_length += 1;
                return false;
            };
            frames += 1;
            bytes += frame.len() as u64;
            receive(frame);
            true
        });
        self.statistics.received_frames += frames;
        self.statistics.received_bytes += bytes;
        self.statistics.receive_bad_length += bad_length;
        // The queue remembers its fault, and tells of it next time.
        result.map_or_else(|error| if frames == 0 { Err(error) } else { Ok(()) }, Ok)?;
        Ok(frames as usize)
    }

    /// As [`Receiver::receive`], with what the card says of each packet.
    pub(super) fn receive_packets(
        &mut self,
        packets_max: usize,
        mut receive: impl FnMut(Received),
    ) -> Result<usize, QueueError> {
        let mut delivered = 0;
        while delivered < packets_max {
            let completion = match self.queue.pop() {
                Ok(Some(completion)) => completion,
                Ok(None) => break,
                Err(error) if delivered == 0 => return Err(error),
                // The queue remembers its fault, and tells of it next time.
                Err(_) => break,
            };
            if let Some(packet) = self.packet(completion) {
                self.statistics.received_frames += 1;
                self.statistics.received_bytes += packet.frames.bytes() as u64;
                receive(packet);
                delivered += 1;
            }
        }
        Ok(delivered)
    }

    /// Counts that frames were looked for.
    pub(super) fn note_poll(&mut self, has_found: bool) {
        self.statistics.receive_polls += 1;
        self.statistics.receive_polls_empty += u64::from(!has_found);
    }

    /// The packet that starts with this buffer, if the card's header is one.
    fn packet(&mut self, completion: Completion<PacketBuffer>) -> Option<Received> {
        let header = completion.token[START..].first_chunk().map(Header::parse);
        let Some(first) = frame_of(completion) else {
            self.statistics.receive_bad_length += 1;
            return None;
        };
        let is_mergeable = self.agreement.set.mergeable_buffers;
        let header = header
            .expect("a buffer is longer than a header")
            .ok()
            .filter(|header| self.agreement.allows(header, first.len()))
            .filter(|header| header.buffers > 0 || !is_mergeable);
        let Some(Header { checksum, segmentation, buffers }) = header else {
            self.statistics.receive_bad_header += 1;
            return None;
        };
        let mut frames = FrameChain::new(first);
        if is_mergeable && buffers > 1 {
            self.gather(&mut frames, buffers - 1)?;
        }
        self.used.received_partial += u64::from(matches!(checksum, Checksum::Partial(_)));
        self.used.received_valid += u64::from(checksum == Checksum::Valid);
        self.used.received_large += u64::from(segmentation.is_some());
        self.used.received_in_several += u64::from(frames.frames().len() > 1);
        Some(Received { frames, checksum, segmentation })
    }

    /// Adds so many more buffers to a packet. The card completes all of them together (section 5.1.6.4): if
    /// one is not there, empty, or one too many, those that are there are dropped.
    fn gather(&mut self, frames: &mut FrameChain, more: u16) -> Option<()> {
        let mut is_sound = true;
        for _ in 0..more {
            let Ok(Some(Completion { token, written })) = self.queue.pop() else {
                is_sound = false;
                break;
            };
            let frame = Frame::from_received(token, START, written as usize);
            let frame = frame.expect("the queue has checked the length against the buffer");
            is_sound &= !frame.is_empty() && frames.push(frame).is_ok();
        }
        self.statistics.receive_bad_chain += u64::from(!is_sound);
        is_sound.then_some(())
    }

    /// Fills the ring up. False if the pool has too few buffers for that.
    pub(super) fn refill(&mut self) -> bool {
        loop {
            let missing = usize::from(self.depth.saturating_sub(self.queue.outstanding()));
            if missing == 0 {
                return true;
            }
            if missing == 1 {
                return self.refill_one();
            }
            let mut buffers = self.pool.allocate_burst(missing);
            let is_short = buffers.len() < missing.min(pool::BURST);
            let count = buffers.len();
            // SAFETY: each segment lies in its buffer, which is the token.
            let added = unsafe { self.queue.add_burst(buffers.by_ref().map(room)) };
            if usize::from(added) < count {
                // The device has broken the rules, which the next `pop` reports.
                return true;
            }
            if is_short {
                self.statistics.receive_pool_empty += 1;
                return false;
            }
        }
    }

    /// As [`Receiver::refill`], where one buffer is missing.
    fn refill_one(&mut self) -> bool {
        let Some(buffer) = self.pool.allocate() else {
            self.statistics.receive_pool_empty += 1;
            return false;
        };
        // SAFETY: the segment lies in the buffer, which is the token.
        unsafe { self.queue.add_burst(core::iter::once(room(buffer))) };
        true
    }

    /// Shows the card its new buffers. True if it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        self.queue.publish()
    }

    /// See [`Queue::arm`].
    pub(super) fn arm(&mut self) -> bool {
        let is_overtaken = self.queue.arm();
        self.statistics.interrupts_armed += 1;
        self.statistics.interrupts_overtaken += u64::from(is_overtaken);
        is_overtaken
    }

    /// Whether frames have arrived that nobody has taken.
    pub(super) fn has_arrivals(&self) -> bool {
        self.queue.has_completions()
    }

    /// Whether no frame has arrived since this was asked last.
    pub(super) fn was_silent(&mut self) -> bool {
        let arrivals = self.statistics.received_frames;
        core::mem::replace(&mut self.arrivals_seen, arrivals) == arrivals
    }

    pub(super) fn disarm(&mut self) {
        self.queue.disarm();
    }

    /// Gives every buffer back to the pool.
    ///
    /// # Safety
    /// As [`Queue::detach`].
    pub(super) unsafe fn detach(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.queue.detach(drop) };
    }
}

/// The frame behind the card's header, if there is one.
#[inline]
fn frame_of(completion: Completion<PacketBuffer>) -> Option<Frame> {
    let length = (completion.written as usize).checked_sub(HEADER_BYTES)?;
    if length < ETHERNET_HEADER_BYTES {
        return None;
    }
    let frame = Frame::from_received(completion.token, HEADROOM_BYTES, length);
    Some(frame.expect("the queue has checked the length against the buffer"))
}

/// What of a buffer the card may write to.
#[inline]
fn room(buffer: PacketBuffer) -> (Segment, PacketBuffer) {
    let segment = Segment {
        address: buffer.device_address() + START as u64,
        // A buffer is shorter than 4 GiB, as its pool has asserted.
        length: (buffer.len() - START) as u32,
        direction: Direction::DeviceWrites,
    };
    (segment, buffer)
}
