//! The network card (Virtio 1.3, section 5.1): bursts of frames, one descriptor each, none copied.
//!
//! The 12 bytes of header that the device wants in front of a frame lie in the frame's headroom, so header
//! and frame are one run of memory. No offload is negotiated: the header of what is sent is all zeros.
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
//! Buffers that were sent come back when the next burst starts, when the receive side finds the pool empty,
//! or by [`VirtioNet::reclaim`]; interrupts for them are asked for only while frames wait for room.

mod configuration;
mod receive;
mod statistics;
mod transmit;

use alloc::collections::VecDeque;

use pool::{Frame, Pool, Region};
use virtio_drivers::transport::{DeviceType, Transport};

use crate::device::{Device, Fault, InitError};
pub use configuration::{FRAME_BYTES_MIN, HEADER_BYTES, LinkState, MacAddress, NetConfig};
use receive::Receiver;
pub use statistics::NetStatistics;
use transmit::Transmitter;

/// The number of the queue that brings frames in.
pub const RECEIVE_QUEUE: u16 = 0;
/// The number of the queue that takes frames out.
pub const TRANSMIT_QUEUE: u16 = 1;

/// A network card.
#[derive(Debug)]
pub struct VirtioNet<T: Transport> {
    device: Device<T>,
    receiver: Receiver,
    transmitter: Transmitter,
    mac: MacAddress,
    mtu: u16,
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
        let mut device =
            Device::negotiate(transport, DeviceType::Network, configuration::FEATURES)?;
        let mac = configuration::mac(&device)?;
        let mtu = configuration::mtu(&device, pool.buffer_bytes())?;
        let receive_ring =
            device.set_up_queue(RECEIVE_QUEUE, config.queue_size_max, &mut allocate)?;
        let transmit_ring =
            device.set_up_queue(TRANSMIT_QUEUE, config.queue_size_max, &mut allocate)?;
        device.start();
        let mut card = VirtioNet {
            device,
            receiver: Receiver::new(receive_ring, pool, config.receive_buffers),
            transmitter: Transmitter::new(transmit_ring, mtu),
            mac,
            mtu,
            fault: None,
        };
        card.refill();
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

    /// Why the card was given up, if it was.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What was counted so far.
    pub fn statistics(&self) -> NetStatistics {
        NetStatistics {
            kicks: self.device.kicks(),
            receive_buffers: self.receiver.outstanding(),
            transmit_buffers: self.transmitter.outstanding(),
            ..self.receiver.statistics() + self.transmitter.statistics()
        }
    }

    /// Gives at most `frames_max` frames that have arrived to `receive`, and the card new buffers in their
    /// place. Returns how many.
    pub fn receive_burst(&mut self, frames_max: usize, receive: impl FnMut(Frame)) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let received = self.receiver.receive(frames_max, receive);
        self.refill();
        self.or_fail(received.map_err(Fault::Queue)).unwrap_or(0)
    }

    /// Sends frames from the front of `frames`, as many as the ring has room for; the others stay. Returns
    /// how many were taken. Short frames are padded with zeros; a frame that is empty, longer than the
    /// network carries, or without room for its header is dropped, and counted.
    pub fn send_burst(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let sent = self.transmitter.send(frames);
        if self.transmitter.publish() {
            self.device.kick(TRANSMIT_QUEUE);
        }
        self.or_fail(sent.map_err(Fault::Queue)).unwrap_or(0)
    }

    /// Gives the buffers of frames that are on their way back to the pool. Returns how many.
    pub fn reclaim(&mut self) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let reclaimed = self.transmitter.reclaim();
        self.or_fail(reclaimed.map_err(Fault::Queue)).unwrap_or(0)
    }

    /// Asks for an interrupt when the next frame arrives, and, if frames wait for room, when there is room.
    /// True if there is something to do already: then look again before you halt.
    #[must_use = "what is there already causes no interrupt"]
    pub fn arm_interrupts(&mut self) -> bool {
        if self.fault.is_none() {
            // Buffers that came back to the pool since the last burst: a ring without any never interrupts.
            self.refill();
        }
        if self.fault.is_some() {
            return false;
        }
        // Acknowledged before the last look: what happens after it makes the line rise again.
        self.device.acknowledge_interrupt();
        let has_received = self.receiver.arm();
        let has_room = self.transmitter.arm();
        has_received || has_room
    }

    /// Declines interrupts while the caller looks by itself.
    pub fn disarm_interrupts(&mut self) {
        self.receiver.disarm();
        self.transmitter.disarm();
    }

    /// Asks the card how it is: a slow register access, for once in a while. A card that needs a reset is
    /// given up.
    pub fn check_link(&mut self) -> LinkState {
        if self.fault.is_none() && self.device.needs_reset() {
            self.fail(Fault::NeedsReset);
        }
        match self.fault {
            Some(_) => LinkState::Down,
            None => configuration::link(&self.device),
        }
    }

    /// Gives the card as many buffers as it should have, if the pool has them.
    fn refill(&mut self) {
        if !self.receiver.refill() && self.reclaim() > 0 {
            self.receiver.refill();
        }
        if self.receiver.publish() {
            self.device.kick(RECEIVE_QUEUE);
        }
    }

    fn or_fail<V>(&mut self, result: Result<V, Fault>) -> Option<V> {
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fail(fault);
                None
            }
        }
    }

    /// Gives the card up: it is reset, and its buffers go back to the pool.
    fn fail(&mut self, fault: Fault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.stop();
        }
    }

    /// Resets the card. If it does not confirm that, it keeps its buffers, for it may still write to them.
    fn stop(&mut self) {
        if self.device.reset() {
            // SAFETY: the card has just confirmed its reset.
            unsafe {
                self.receiver.detach();
                self.transmitter.detach();
            }
        }
    }
}

impl<T: Transport> Drop for VirtioNet<T> {
    fn drop(&mut self) {
        self.stop();
    }
}
