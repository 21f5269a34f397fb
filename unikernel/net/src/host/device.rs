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
}

impl FrameDevice {
    pub(super) fn new(pool: Pool, mtu: usize) -> FrameDevice {
        FrameDevice { pool, mtu, received: VecDeque::new(), outgoing: VecDeque::new() }
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
        // An answer may be needed: without a buffer for it the frame waits.
        let received = self.received.pop_front()?;
        let Some(frame) = self.pool.allocate_frame() else {
            self.received.push_front(received);
            return None;
        };
        Some((Received(received), Unsent { frame, outgoing: &mut self.outgoing }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Unsent<'_>> {
        let frame = self.pool.allocate_frame()?;
        Some(Unsent { frame, outgoing: &mut self.outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_BYTES;
        capabilities
    }
}
