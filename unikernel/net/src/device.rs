//! smoltcp's device on frames: what arrives is read where it lies, what leaves is written where it will lie.
//!
//! With [`Offloads`] smoltcp computes and verifies no checksum of TCP, and hands down segments that are
//! longer than a packet: [`OffloadEngine`] gives them to the card, or does its work.

use alloc::collections::VecDeque;
use core::num::NonZeroUsize;

use netio::limits::IP_LENGTH_MAX_BYTES;
use netio::{OffloadEngine, OffloadSet, OffloadStatus, Outgoing};
use pool::{Frame, FrameChain, Pool};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::packet;

const ETHERNET_BYTES: usize = 14;

/// The longest frame that smoltcp hands down for the card to cut …
const LARGE_FRAME_BYTES: usize = ETHERNET_BYTES + IP_LENGTH_MAX_BYTES;
const _: () = assert!(pool::HEADROOM_BYTES + LARGE_FRAME_BYTES <= pool::LARGE_BUFFER_BYTES);
/// … and for the processor, which needs a buffer for each piece.
const CUT_HERE_BYTES: usize = 16 * 1024;
/// So many must be free then. It is enough for pieces of 256 bytes; a peer that wants shorter ones gets none.
const PIECES_MAX: usize = CUT_HERE_BYTES / 256;

/// Long buffers are short when there are fewer: a window in flight needs half as many.
const LARGE_SPARE: usize = 8;

/// What smoltcp leaves to the card and to [`OffloadEngine`].
#[derive(Debug)]
pub struct Offloads {
    engine: OffloadEngine,
    /// For frames that are longer than a packet, if smoltcp is to hand down such.
    large: Option<Pool>,
    /// Whether the card cuts them.
    is_card_cutting: bool,
    /// Whether segments that arrive are merged here, as the card does not.
    is_merging: bool,
}

impl Offloads {
    /// Checksums, and cutting and merging segments if `is_large`, for a card that offers `offered` and was
    /// asked for `wanted`. Segments are cut into buffers of `pool`.
    ///
    /// # Panics
    /// If buffers of `large` are shorter than [`pool::LARGE_BUFFER_BYTES`].
    pub fn new(
        offered: OffloadSet,
        wanted: OffloadSet,
        pool: Pool,
        large: Pool,
        is_large: bool,
    ) -> Offloads {
        let engine = OffloadEngine::new(offered, wanted, pool, large.clone());
        let negotiated = engine.status().negotiated;
        let is_card_cutting = negotiated.transmit_tso_ipv4;
        let is_merging = is_large && !negotiated.receive_tso_ipv4;
        Offloads { engine, large: is_large.then_some(large), is_card_cutting, is_merging }
    }

    /// The longest frame that smoltcp may hand down, if it is more than a packet.
    fn large_frame_bytes(&self) -> Option<NonZeroUsize> {
        let bytes = if self.is_card_cutting { LARGE_FRAME_BYTES } else { CUT_HERE_BYTES };
        NonZeroUsize::new(bytes).filter(|_| self.large.is_some())
    }
}

/// Frames that have arrived, and frames to send.
#[derive(Debug)]
pub struct FrameDevice {
    pool: Pool,
    mtu: usize,
    offloads: Option<Offloads>,
    pub(crate) received: VecDeque<Frame>,
    pub(crate) outgoing: VecDeque<Outgoing>,
    /// How many frames to send may wait; more are not made.
    pub(crate) outgoing_max: usize,
    given_up: u64,
    bad_checksums: u64,
}

impl FrameDevice {
    /// A device that makes its frames in buffers of `pool`, for packets of `mtu` bytes. Without offloads,
    /// what arrives and leaves is complete.
    pub fn new(pool: Pool, mtu: usize, offloads: Option<Offloads>) -> FrameDevice {
        let (received, outgoing) = (VecDeque::new(), VecDeque::new());
        let outgoing_max = usize::MAX;
        FrameDevice {
            pool,
            mtu,
            offloads,
            received,
            outgoing,
            outgoing_max,
            given_up: 0,
            bad_checksums: 0,
        }
    }

    /// The buffers that frames are made in.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// A frame has arrived. If the card does not vouch for its checksums they are verified now, so that those
    /// of TCP and IPv4 that are wrong are counted here, and nowhere else.
    pub fn push_received(&mut self, frame: Frame, is_vouched_for: bool) {
        let FrameDevice { offloads, received, .. } = self;
        let is_acceptable = match offloads {
            Some(offloads) => offloads.engine.accepts(&frame, is_vouched_for),
            None => is_vouched_for || packet::is_intact(&frame),
        };
        match offloads {
            _ if !is_acceptable => self.bad_checksums += 1,
            Some(Offloads { engine, is_merging: true, .. }) => {
                // All of a burst are given on at its end, so that none is older than another.
                let now_ns = 0;
                engine.receive_accepted(frame, now_ns, |frame| received.push_back(frame));
            }
            _ => received.push_back(frame),
        }
    }

    /// No more frames of this burst come: what waited to be merged with others is read as it is.
    pub fn end_burst(&mut self) {
        if let Some(offloads) = &mut self.offloads {
            offloads.engine.flush(|frame| self.received.push_back(frame));
        }
    }

    /// One that lies in several buffers; those of large segments are copied together, and counted, if there
    /// is a buffer that holds them. `None` if not: it is dropped.
    pub fn gather(&mut self, frames: FrameChain) -> Option<Frame> {
        let frame = match self.large() {
            Some(large) => frames.into_contiguous(large),
            None => frames.into_single(),
        };
        self.given_up += u64::from(frame.is_none());
        frame
    }

    /// Whether the next frame may have to wait for buffers that have left.
    pub fn is_short_of_buffers(&self) -> bool {
        let is_short = |large: &Pool| {
            let pieces = if self.is_card_cutting() { 0 } else { PIECES_MAX };
            large.free() < LARGE_SPARE || self.pool.free() < pieces + pool::BURST
        };
        self.large().is_some_and(is_short)
    }

    /// Whether smoltcp hands down segments that are longer than a packet.
    pub fn hands_down_large(&self) -> bool {
        self.large().is_some()
    }

    fn large(&self) -> Option<&Pool> {
        self.offloads.as_ref()?.large.as_ref()
    }

    fn is_card_cutting(&self) -> bool {
        self.offloads.as_ref().is_some_and(|offloads| offloads.is_card_cutting)
    }

    /// How many frames wait to be read.
    pub fn waiting(&self) -> usize {
        self.received.len()
    }

    /// From now on so many frames to send may wait, those that wait already counted.
    pub fn set_room(&mut self, frames: usize) {
        self.outgoing_max = frames;
    }

    /// From now on so many more frames may be made than wait. Answers how many wait.
    pub(crate) fn give_room(&mut self, frames: usize) -> usize {
        let waiting = self.outgoing.len();
        self.outgoing_max = waiting.saturating_add(frames);
        waiting
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Frames that were dropped because no buffer was free for them, or for an answer.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Frames that were dropped because a checksum was wrong.
    pub fn bad_checksums(&self) -> u64 {
        self.bad_checksums
    }

    /// How many bytes were copied from buffer to buffer: what was put together, or cut here.
    pub fn copied_bytes(&self) -> u64 {
        let pools = [Some(&self.pool), self.large()];
        pools.into_iter().flatten().map(|pool| pool.statistics().copied_bytes).sum()
    }

    /// What the card and the processor did for smoltcp.
    pub fn offload_status(&self) -> OffloadStatus {
        self.offloads.as_ref().map(|offloads| offloads.engine.status()).unwrap_or_default()
    }

    fn has_room(&self) -> bool {
        self.outgoing.len() < self.outgoing_max
    }
}

/// A frame that has arrived. Dropped unread, it goes back to its pool.
#[derive(Debug)]
pub struct Received(Frame);

/// A buffer for a frame. Dropped unused, it goes back to its pool.
#[derive(Debug)]
pub struct Unsent<'a> {
    frame: Frame,
    /// For a frame that is to be cut.
    large: Option<Frame>,
    meta: PacketMeta,
    engine: Option<&'a mut OffloadEngine>,
    outgoing: &'a mut VecDeque<Outgoing>,
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Unsent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let is_long = length > self.frame.tailroom();
        let mut frame = if is_long { self.large.unwrap_or(self.frame) } else { self.frame };
        let result = write(frame.append(length));
        match self.engine {
            None => self.outgoing.push_back(frame.into()),
            Some(engine) => {
                let piece_bytes = self.meta.segmentation_offload_size;
                let send = |outgoing| self.outgoing.push_back(outgoing);
                // What cannot be sent is counted there, and TCP sends it again.
                let _ = engine.transmit_unsummed(frame, piece_bytes, send);
            }
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl Device for FrameDevice {
    type RxToken<'a> = Received;
    type TxToken<'a> = Unsent<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Unsent<'_>)> {
        // An answer may be needed, which is never large. Without room for it the frame waits. Without a
        // buffer for it the frame that came last is given up, and gives its own back: if it waited for one,
        // those that wait might hold them all.
        if !self.has_room() {
            return None;
        }
        while !self.received.is_empty() {
            if let Some(frame) = self.pool.allocate_frame() {
                let received = self.received.pop_front()?;
                let engine = self.offloads.as_mut().map(|offloads| &mut offloads.engine);
                let (meta, outgoing) = (PacketMeta::default(), &mut self.outgoing);
                let answer = Unsent { frame, large: None, meta, engine, outgoing };
                return Some((Received(received), answer));
            }
            self.received.pop_back();
            self.given_up += 1;
        }
        None
    }

    fn transmit(&mut self, _now: Instant) -> Option<Unsent<'_>> {
        if !self.has_room() {
            return None;
        }
        let mut large = None;
        if let Some(pool) = self.large() {
            if !self.is_card_cutting() && self.pool.free() < PIECES_MAX {
                return None;
            }
            // How long the frame will be is not known yet.
            large = Some(pool.allocate_frame()?);
        }
        let frame = self.pool.allocate_frame()?;
        let engine = self.offloads.as_mut().map(|offloads| &mut offloads.engine);
        let (meta, outgoing) = (PacketMeta::default(), &mut self.outgoing);
        Some(Unsent { frame, large, meta, engine, outgoing })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_BYTES;
        // What arrives is verified before.
        (capabilities.checksum.ipv4, capabilities.checksum.tcp) = (Checksum::Tx, Checksum::Tx);
        if let Some(offloads) = &self.offloads {
            capabilities.checksum.ipv4 = Checksum::Both;
            capabilities.checksum.tcp = Checksum::None;
            // smoltcp drops large segments of IPv6 (its `dispatch_ip` compares them with the MTU).
            capabilities.segmentation.tcpv4 = offloads.large_frame_bytes();
        }
        capabilities
    }
}
