//! The network card (Virtio 1.3, section 5.1): bursts of frames, one descriptor each, none copied.
//!
//! The 12 bytes of header that the device wants in front of a frame lie in the frame's headroom, so header
//! and frame are one run of memory, also of a large segment, for which a pool has long buffers.
//!
//! What a card can take over it is asked for only if [`NetConfig::offloads`] says so: checksums, cutting what
//! is sent, and handing up large segments in several buffers. Then packets travel with what is to be done
//! with them, in [`VirtioNet::send_packets`] and [`VirtioNet::receive_packets`].
//!
//! How a loop uses the card, without missing anything and without a needless interrupt:
//!
//! ```
//! # use std::collections::VecDeque;
//! # use virtio::{VirtioNet, transport::Transport};
//! # fn turn<T: Transport>(card: &mut VirtioNet<T>, mut serve: impl FnMut(pool::Frame) -> pool::Frame) {
//! # let mut outgoing = VecDeque::new();
//! # let halt = || ();
//! card.disarm_interrupts();
//! while card.receive_burst(32, |frame| outgoing.push_back(serve(frame))) > 0 {
//!     card.send_burst(&mut outgoing);
//! }
//! if !card.arm_interrupts() {
//!     // Nothing came in the meantime, and what comes from now on interrupts.
//!     halt();
//! }
//! # }
//! ```
//!
//! A [`VirtioNet`] has one pair of queues. A [`VirtioCard`] has several, each of which is a value that
//! another core may have.
//!
//! Buffers that were sent come back when many are on their way and the next burst starts, when the receive
//! side finds the pool empty, at the latest with the next [`VirtioNet::check_link`], and before that whenever
//! a loop that turns anyway asks for them with [`VirtioNet::reclaim`]. There is no timer for them: who sleeps
//! needs no buffers, and is not woken to get some. Interrupts for them are asked for only while frames wait
//! for room.

mod card;
mod card_pair;
mod configuration;
mod control;
mod header;
mod offloads;
mod pair;
mod receive;
mod transmit;

use alloc::collections::VecDeque;

use pool::{Frame, Pool, Region};

use crate::device::{Device, Fault, InitError};
use crate::queue::RingFormat;
use crate::transport::{DeviceType, Transport};
pub use card::{CardConfig, PAIRS_MAX, Spreading, Started, VirtioCard};
pub use card_pair::CardPair;
pub use configuration::{FRAME_BYTES_MIN, LinkState, MacAddress, NetConfig};
pub use control::Rss;
pub use header::{
    Checksum, HEADER_BYTES, Header, HeaderError, PartialChecksum, SegmentKind, Segmentation,
};
pub use netio::{NetStatistics, OffloadSet};
use offloads::Agreement;
pub use offloads::{CardOffloads, OffloadCounts, Packet, Received, TransmitOffload};
use pair::{Kick, QueuePair};
use receive::Receiver;
use transmit::Transmitter;

/// The number of the queue that brings frames in.
pub const RECEIVE_QUEUE: u16 = 0;
/// The number of the queue that takes frames out.
pub const TRANSMIT_QUEUE: u16 = 1;

/// A network card with one pair of queues.
#[derive(Debug)]
pub struct VirtioNet<T: Transport> {
    device: Device<T>,
    pair: QueuePair,
    config: NetConfig,
    mac: MacAddress,
    mtu: u16,
    link: LinkState,
    link_changes: u64,
    restarts: u64,
    fault: Option<Fault>,
}

impl<T: Transport> VirtioNet<T> {
    /// Starts the card behind `transport`, and gives it buffers of `pool` to fill. `allocate` gives memory
    /// for each of the two rings, of the length that it is asked for or more.
    ///
    /// # Errors
    /// If the card cannot be used; it is reset then.
    ///
    /// # Panics
    /// If the pool's buffers are too short for a frame.
    pub fn new(
        transport: T,
        config: NetConfig,
        pool: Pool,
        mut allocate: impl FnMut(usize) -> Option<Region>,
    ) -> Result<VirtioNet<T>, InitError> {
        let mut device = Device::new(transport, DeviceType::Network);
        device.negotiate(|offered| configuration::select(offered, &config))?;
        let mac = configuration::mac(&device)?;
        let mtu = configuration::mtu(&device, pool.buffer_bytes())?;
        let agreement = Agreement::new(device.features());
        let receive_ring =
            device.set_up_queue(RECEIVE_QUEUE, config.queue_size_max, &mut allocate)?;
        let transmit_ring =
            device.set_up_queue(TRANSMIT_QUEUE, config.queue_size_max, &mut allocate)?;
        let receiver = Receiver::new(receive_ring, pool, config.receive_buffers, agreement);
        let transmitter = Transmitter::new(transmit_ring, mtu, agreement);
        let mut card = VirtioNet {
            link: configuration::link(&device),
            device,
            pair: QueuePair::new(0, receiver, transmitter),
            config,
            mac,
            mtu,
            link_changes: 0,
            restarts: 0,
            fault: None,
        };
        card.device.start();
        card.pair.refill(&mut card.device);
        Ok(card)
    }

    /// The card's address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The longest packet that the network carries, Ethernet header not counted, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// How its rings lie in memory.
    pub fn ring_format(&self) -> RingFormat {
        self.device.ring_format()
    }

    /// Why the card was given up, if it was.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What was counted so far.
    pub fn statistics(&self) -> NetStatistics {
        NetStatistics {
            kicks: self.device.kicks(),
            restarts: self.restarts,
            link_changes: self.link_changes,
            link_up: self.link == LinkState::Up && self.fault.is_none(),
            ..self.pair.statistics()
        }
    }

    /// What the card can take over, what it was asked to, and how often it did.
    pub fn offloads(&self) -> CardOffloads {
        CardOffloads {
            offered: offloads::set_of(self.device.offered()),
            negotiated: offloads::set_of(self.device.features()),
            used: self.pair.used(),
        }
    }

    /// Gives at most `frames_max` frames that have arrived to `receive`, and the card new buffers in their
    /// place. Returns how many.
    ///
    /// # Panics
    /// If the card hands up more than frames, as [`NetConfig::offloads`] may ask it to.
    pub fn receive_burst(&mut self, frames_max: usize, receive: impl FnMut(Frame)) -> usize {
        let received = self.pair.receive_burst(&mut self.device, frames_max, receive);
        self.notice_fault();
        received
    }

    /// As [`VirtioNet::receive_burst`], with what the card says of each packet.
    pub fn receive_packets(&mut self, packets_max: usize, receive: impl FnMut(Received)) -> usize {
        let received = self.pair.receive_packets(&mut self.device, packets_max, receive);
        self.notice_fault();
        received
    }

    /// Sends frames from the front of `frames`, as many as the ring has room for; the others stay. Returns
    /// how many were taken. Short frames are padded with zeros; a frame that is empty, longer than the
    /// network carries, or without room for its header is dropped, and counted.
    pub fn send_burst(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        let sent = self.pair.send_burst(&mut self.device, frames);
        self.notice_fault();
        sent
    }

    /// How many frames were given to the card and not taken back yet: see [`VirtioNet::reclaim`].
    pub fn in_flight(&self) -> u16 {
        self.pair.transmitter.in_flight()
    }

    /// The caller keeps frames back that the ring has room for, and wants to know when others have left, as
    /// if they waited for room: until the next burst that is sent.
    pub fn await_departures(&mut self) {
        self.pair.transmitter.await_departures();
    }

    /// As [`VirtioNet::send_burst`], with what the card is to do with each packet. One for which it was not
    /// asked that when it was started is dropped, and counted.
    pub fn send_packets(&mut self, packets: &mut VecDeque<Packet>) -> usize {
        let sent = self.pair.send_packets(&mut self.device, packets);
        self.notice_fault();
        sent
    }

    /// Gives the buffers of frames that have left back to the pool. Returns how many.
    pub fn reclaim(&mut self) -> usize {
        let reclaimed = self.pair.reclaim();
        self.notice_fault();
        reclaimed
    }

    /// Whether frames have arrived that nobody has taken, or there is room for which frames wait. Only memory
    /// is looked at: while this is so there is no need to ask for interrupts.
    pub fn has_input(&self) -> bool {
        self.pair.has_input()
    }

    /// Whether the card has said that something about it has changed, so that it is worth asking with
    /// [`VirtioNet::check_link`] at once. One that sends messages says so with one that says nothing else
    /// (see [`crate::transport::InterruptSource`]), and not here.
    pub fn is_changed(&self) -> bool {
        self.device.is_changed()
    }

    /// Asks for an interrupt when the next frame arrives, and, if frames wait for room, when there is room.
    /// True if there is something to do already: then look again before you halt.
    #[must_use = "what is there already causes no interrupt"]
    pub fn arm_interrupts(&mut self) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let is_overtaken =
            self.pair.arm_interrupts(&mut self.device, |device| _ = device.acknowledge_interrupt());
        self.notice_fault();
        is_overtaken || self.is_changed()
    }

    /// Declines interrupts while the caller looks by itself.
    pub fn disarm_interrupts(&mut self) {
        self.pair.disarm_interrupts();
    }

    /// Asks the card how it is: a slow register access, for once in a while. A card that needs a reset is
    /// started again: what it was sending is lost, and all its buffers come back first. If it does not start
    /// it is given up.
    ///
    /// When the link goes down the card has to give back what it was sending, if it can do that without being
    /// reset as a whole: those frames would be old when they leave, and others need the buffers.
    ///
    /// If nothing has moved since the last time, the card is notified again. Buffers of frames that have left
    /// come back.
    pub fn check_link(&mut self) -> LinkState {
        // Before the card is asked: what it says from now on is new.
        self.device.forget_change();
        if self.fault.is_none() && self.device.needs_reset() {
            match self.restart() {
                Ok(()) => self.restarts += 1,
                Err(_) => self.fail(Fault::NeedsReset),
            }
        }
        let link = match self.fault {
            Some(_) => LinkState::Down,
            None => configuration::link(&self.device),
        };
        if link != self.link {
            self.link_changes += 1;
            if link == LinkState::Down && self.fault.is_none() {
                self.recall_sent();
            }
        }
        self.link = link;
        self.pair.remind(&mut self.device);
        self.notice_fault();
        self.link
    }

    /// Takes back what was not sent yet.
    fn recall_sent(&mut self) {
        if self.statistics().transmit_buffers == 0 || !self.device.reset_queue(TRANSMIT_QUEUE) {
            return;
        }
        // SAFETY: the card has just confirmed that the queue is reset.
        unsafe { self.pair.transmitter.detach() };
        if self.device.connect(TRANSMIT_QUEUE, self.pair.transmitter.queue()).is_err() {
            self.fail(Fault::NeedsReset);
        }
    }

    /// Resets the card and starts it as before, on the same rings.
    fn restart(&mut self) -> Result<(), InitError> {
        if !self.stop() {
            return Err(InitError::ResetIgnored);
        }
        let features = self.device.features();
        self.device.negotiate(|offered| configuration::select(offered, &self.config))?;
        if self.device.features() != features {
            return Err(InitError::FeaturesRefused);
        }
        self.device.connect(RECEIVE_QUEUE, self.pair.receiver.queue())?;
        self.device.connect(TRANSMIT_QUEUE, self.pair.transmitter.queue())?;
        self.device.start();
        self.pair.refill(&mut self.device);
        Ok(())
    }

    fn notice_fault(&mut self) {
        if let Some(error) = self.pair.fault() {
            self.fail(Fault::Queue(error));
        }
    }

    /// Gives the card up: it is reset, and its buffers go back to the pool.
    fn fail(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.pair.close();
            self.stop();
        }
    }

    /// Resets the card, and says whether it has confirmed that. If not, it keeps its buffers, for it may
    /// still write to them.
    fn stop(&mut self) -> bool {
        let is_reset = self.device.reset();
        if is_reset {
            // SAFETY: the card has just confirmed its reset.
            unsafe { self.pair.detach() };
        }
        is_reset
    }
}

impl<T: Transport> Kick for Device<T> {
    fn kick(&mut self, queue: u16) {
        Device::kick(self, queue);
    }
}

impl<T: Transport> Drop for VirtioNet<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
