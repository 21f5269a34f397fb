//! smoltcp's device on frames: what arrives is read where it lies, what leaves is written where it will lie.

use alloc::collections::VecDeque;

use pool::{Frame, Pool};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

const ETHERNET_BYTES: usize = 14;

/// Frames that have arrived, and frames to send.
#[derive(Debug)]
pub(super) struct FrameDevice {
    pool: Pool,
    mtu: usize,
    pub(super) received: VecDeque<Frame>,
    pub(super) outgoing: VecDeque<Frame>,
    /// How many frames to send may wait; more are not made.
    pub(super) outgoing_max: usize,
    /// Frames that were dropped because no buffer was free for an answer.
    pub(super) given_up: u64,
}

impl FrameDevice {
    pub(super) fn new(pool: Pool, mtu: usize) -> FrameDevice {
        let (received, outgoing) = (VecDeque::new(), VecDeque::new());
        let outgoing_max = usize::MAX;
        FrameDevice { pool, mtu, received, outgoing, outgoing_max, given_up: 0 }
    }

    /// The buffers that frames are made in.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() < self.outgoing_max
    }
}

/// A frame that has arrived. Dropped unread, it goes back to its pool.
pub(super) struct Received(Frame);

/// A buffer for a frame. Dropped unused, it goes back to its pool.
pub(super) struct Unsent<'a> {
    frame: Frame,
    outgoing: &'a mut VecDeque<Frame>,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Unsent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, length: usize, write: F) -> R {
        let result = write(self.frame.append(length));
        self.outgoing.push_back(self.frame);
        result
    }
}

impl Device for FrameDevice {
    type RxToken<'a> = Received;
    type TxToken<'a> = Unsent<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Unsent<'_>)> {
        // An answer may be needed. Without room for it the frame waits. Without a buffer for it the frame is
        // given up, and gives its own back: if it waited for one, those that wait might hold them all.
        if !self.has_room() {
            return None;
        }
        while let Some(received) = self.received.pop_front() {
            if let Some(frame) = self.pool.allocate_frame() {
                return Some((Received(received), Unsent { frame, outgoing: &mut self.outgoing }));
            }
            self.given_up += 1;
        }
        None
    }

    fn transmit(&mut self, _now: Instant) -> Option<Unsent<'_>> {
        let frame = if self.has_room() { self.pool.allocate_frame() } else { None }?;
        Some(Unsent { frame, outgoing: &mut self.outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_BYTES;
        capabilities
    }
}
