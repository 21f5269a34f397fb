//! The half of a card that takes frames out.

use alloc::collections::VecDeque;

use pool::{Frame, PacketBuffer, Returns};

use super::configuration::{FRAME_BYTES_MIN, frame_bytes_max};
use super::header::HEADER_BYTES;
use super::offloads::{Agreement, OffloadCounts, Packet, TransmitOffload};
use crate::queue::{Direction, Queue, QueueError, Segment};
use netio::NetStatistics;

/// So many frames may be on their way before those that have left are looked for: that costs a look at what
/// the device writes, and is cheaper for many at once.
const RECLAIM_ABOVE: u16 = 32;

/// The transmit ring and the frames in it.
#[derive(Debug)]
pub(super) struct Transmitter {
    queue: Queue<PacketBuffer>,
    agreement: Agreement,
    frame_bytes_max: usize,
    /// Frames were left with the caller, who wants to know when there is room.
    is_room_awaited: bool,
    statistics: NetStatistics,
    used: OffloadCounts,
}

impl Transmitter {
    /// A transmitter of packets of up to `mtu` bytes.
    pub(super) fn new(queue: Queue<PacketBuffer>, mtu: u16, agreement: Agreement) -> Transmitter {
        Transmitter {
            queue,
            agreement,
            frame_bytes_max: frame_bytes_max(mtu),
            is_room_awaited: false,
            statistics: NetStatistics::default(),
            used: OffloadCounts::default(),
        }
    }

    pub(super) fn queue(&mut self) -> &mut Queue<PacketBuffer> {
        &mut self.queue
    }

    pub(super) fn statistics(&self) -> NetStatistics {
        let (transmit_buffers, transmit_ring) = (self.queue.outstanding(), self.queue.size());
        NetStatistics { transmit_buffers, transmit_ring, ..self.statistics }
    }

    pub(super) fn used(&self) -> OffloadCounts {
        self.used
    }

    /// How many frames are in the ring.
    pub(super) fn in_flight(&self) -> u16 {
        self.queue.outstanding()
    }

    /// See [`super::VirtioNet::await_departures`].
    pub(super) fn await_departures(&mut self) {
        self.is_room_awaited = true;
    }

    /// Gives the buffers of frames that have left back to the pool.
    pub(super) fn reclaim(&mut self) -> Result<usize, QueueError> {
        let mut returns = Returns::default();
        let mut reclaimed = 0;
        self.queue.pop_burst(usize::MAX, |completion| {
            returns.push(completion.token);
            reclaimed += 1;
            true
        })?;
        Ok(reclaimed)
    }

    /// Puts frames into the ring while there is room. The card does not see them before
    /// [`Transmitter::publish`].
    pub(super) fn send(&mut self, frames: &mut VecDeque<Frame>) -> Result<usize, QueueError> {
        let frame_bytes_max = self.frame_bytes_max;
        self.fill(frames, |_, mut frame| {
            if frame.len() > frame_bytes_max || !pad(&mut frame) {
                return None;
            }
            frame.prepend(HEADER_BYTES).fill(0);
            Some(frame)
        })
    }

    /// As [`Transmitter::send`], with what the card is to do with each packet.
    pub(super) fn send_packets(
        &mut self,
        packets: &mut VecDeque<Packet>,
    ) -> Result<usize, QueueError> {
        let (agreement, frame_bytes_max) = (self.agreement, self.frame_bytes_max);
        self.fill(packets, |used, Packet { mut frame, offload }| {
            let header = agreement.header(offload, frame.len(), frame_bytes_max)?;
            if !pad(&mut frame) {
                return None;
            }
            used.sent_large += u64::from(header.segmentation.is_some());
            used.sent_partial += u64::from(matches!(offload, TransmitOffload::Checksum(_)));
            let place = frame.prepend(HEADER_BYTES).first_chunk_mut();
            header.emit(place.expect("as many bytes as it has"));
            Some(frame)
        })
    }

    /// Puts what waits into the ring, behind the headers that `prepare` writes. What that refuses is dropped.
    #[inline]
    fn fill<Item>(
        &mut self,
        waiting: &mut VecDeque<Item>,
        mut prepare: impl FnMut(&mut OffloadCounts, Item) -> Option<Frame>,
    ) -> Result<usize, QueueError> {
        let free = usize::from(self.queue.free());
        if free < waiting.len() || self.queue.outstanding() > RECLAIM_ABOVE {
            self.reclaim()?;
        }
        let (waited, mut bytes) = (waiting.len(), 0);
        let used = &mut self.used;
        // Asked for one after the other, while there is room; what is refused takes none.
        let chains = core::iter::from_fn(|| {
            loop {
                let item = waiting.pop_front()?;
                let Some(frame) = prepare(used, item) else { continue };
                bytes += frame.len();
                let (address, length) = (frame.device_address(), frame.len() as u32);
                let segment = Segment { address, length, direction: Direction::DeviceReads };
                return Some((segment, frame.into_buffer()));
            }
        });
        // SAFETY: each segment lies in its buffer, which is the token.
        let sent = usize::from(unsafe { self.queue.add_burst(chains) });
        let taken = waited - waiting.len();
        self.statistics.sent_frames += sent as u64;
        self.statistics.sent_bytes += (bytes - sent * HEADER_BYTES) as u64;
        self.statistics.send_refused += (taken - sent) as u64;
        self.is_room_awaited = !waiting.is_empty();
        self.statistics.send_ring_full += u64::from(self.is_room_awaited);
        Ok(taken)
    }

    /// Shows the card its new frames. True if it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        self.queue.publish()
    }

    /// Asks for an interrupt if somebody waits for room. True if there is some already.
    pub(super) fn arm(&mut self) -> bool {
        self.is_room_awaited && self.queue.arm()
    }

    /// Whether somebody waits for room, and there is some.
    pub(super) fn has_room(&self) -> bool {
        self.is_room_awaited && self.queue.has_completions()
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

/// Makes a frame as long as the shortest, and says whether it can be sent: it is not empty, and has room for
/// the card's header.
#[inline]
fn pad(frame: &mut Frame) -> bool {
    if frame.headroom() < HEADER_BYTES {
        return false;
    }
    let missing = FRAME_BYTES_MIN.saturating_sub(frame.len());
    if missing > 0 {
        if frame.is_empty() || frame.tailroom() < missing {
            return false;
        }
        // Zeroed, as all that is sent must be written: the buffer holds what its last owner left.
        frame.append(missing).fill(0);
    }
    true
}
