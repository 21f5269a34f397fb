//! A receive and a transmit queue that belong together: all that one core needs of a card.

use alloc::collections::VecDeque;

use pool::Frame;

use super::offloads::{OffloadCounts, Packet, Received};
use super::receive::Receiver;
use super::transmit::Transmitter;
use crate::queue::QueueError;
use netio::NetStatistics;

/// How a device is told to look at a queue.
pub(super) trait Kick {
    /// Tells it.
    fn kick(&mut self, queue: u16);
}

/// The number of the receive queue of a pair; that of its transmit queue is one more (section 5.1.2).
pub(super) const fn receive_queue(pair: u16) -> u16 {
    2 * pair
}

/// The two queues. After a fault, or when they are closed, they do nothing.
#[derive(Debug)]
pub(super) struct QueuePair {
    number: u16,
    pub(super) receiver: Receiver,
    pub(super) transmitter: Transmitter,
    fault: Option<QueueError>,
    is_closed: bool,
}

impl QueuePair {
    pub(super) fn new(number: u16, receiver: Receiver, transmitter: Transmitter) -> QueuePair {
        QueuePair { number, receiver, transmitter, fault: None, is_closed: false }
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// How the device broke the rules, if it did.
    pub(super) fn fault(&self) -> Option<QueueError> {
        self.fault
    }

    /// Nothing goes in or out any more.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    fn is_idle(&self) -> bool {
        self.is_closed || self.fault.is_some()
    }

    pub(super) fn statistics(&self) -> NetStatistics {
        self.receiver.statistics() + self.transmitter.statistics()
    }

    pub(super) fn used(&self) -> OffloadCounts {
        self.receiver.used() + self.transmitter.used()
    }

    /// See [`super::VirtioNet::receive_burst`].
    pub(super) fn receive_burst(
        &mut self,
        bell: &mut impl Kick,
        frames_max: usize,
        receive: impl FnMut(Frame),
    ) -> usize {
        self.receive(bell, |receiver| receiver.receive(frames_max, receive))
    }

    /// See [`super::VirtioNet::receive_packets`].
    pub(super) fn receive_packets(
        &mut self,
        bell: &mut impl Kick,
        packets_max: usize,
        receive: impl FnMut(Received),
    ) -> usize {
        self.receive(bell, |receiver| receiver.receive_packets(packets_max, receive))
    }

    fn receive(
        &mut self,
        bell: &mut impl Kick,
        receive: impl FnOnce(&mut Receiver) -> Result<usize, QueueError>,
    ) -> usize {
        if self.is_idle() {
            return 0;
        }
        let received = receive(&mut self.receiver);
        self.receiver.note_poll(matches!(received, Ok(1..)));
        self.refill(bell);
        self.or_fail(received)
    }

    /// See [`super::VirtioNet::send_burst`].
    pub(super) fn send_burst(
        &mut self,
        bell: &mut impl Kick,
        frames: &mut VecDeque<Frame>,
    ) -> usize {
        self.send(bell, |transmitter| transmitter.send(frames))
    }

    /// See [`super::VirtioNet::send_packets`].
    pub(super) fn send_packets(
        &mut self,
        bell: &mut impl Kick,
        packets: &mut VecDeque<Packet>,
    ) -> usize {
        self.send(bell, |transmitter| transmitter.send_packets(packets))
    }

    fn send(
        &mut self,
        bell: &mut impl Kick,
        send: impl FnOnce(&mut Transmitter) -> Result<usize, QueueError>,
    ) -> usize {
        if self.is_idle() {
            return 0;
        }
        let sent = send(&mut self.transmitter);
        if self.transmitter.publish() {
            bell.kick(receive_queue(self.number) + 1);
        }
        self.or_fail(sent)
    }

    /// See [`super::VirtioNet::reclaim`].
    pub(super) fn reclaim(&mut self) -> usize {
        if self.is_idle() {
            return 0;
        }
        let reclaimed = self.transmitter.reclaim();
        self.or_fail(reclaimed)
    }

    /// See [`super::VirtioNet::arm_interrupts`]. `acknowledge` lets an interrupt line fall.
    pub(super) fn arm_interrupts<B: Kick>(
        &mut self,
        bell: &mut B,
        acknowledge: impl FnOnce(&mut B),
    ) -> bool {
        if !self.is_idle() {
            // Buffers that came back to the pool since the last burst: a ring without any never interrupts.
            self.refill(bell);
        }
        if self.is_idle() {
            return false;
        }
        let has_received = self.receiver.arm();
        let has_room = self.transmitter.arm();
        // Acknowledged before the last look: what happens after it makes the line rise again. And the access
        // to a register is a fence where `full_fence` is none.
        acknowledge(bell);
        has_received || has_room || self.has_input()
    }

    /// See [`super::VirtioNet::has_input`].
    pub(super) fn has_input(&self) -> bool {
        !self.is_idle() && (self.receiver.has_arrivals() || self.transmitter.has_room())
    }

    /// Notifies the device again of what it should have dealt with since this was called last: that it was
    /// notified may have been missed (see [`crate::memory::full_fence`]).
    pub(super) fn remind(&mut self, bell: &mut impl Kick) {
        let reclaimed = self.reclaim();
        if self.is_idle() {
            return;
        }
        if reclaimed == 0 && self.transmitter.in_flight() > 0 {
            bell.kick(receive_queue(self.number) + 1);
        }
        if self.receiver.was_silent() {
            bell.kick(receive_queue(self.number));
        }
    }

    /// See [`super::VirtioNet::disarm_interrupts`].
    pub(super) fn disarm_interrupts(&mut self) {
        self.receiver.disarm();
        self.transmitter.disarm();
    }

    /// Gives the card as many buffers as it should have, if the pool has them.
    pub(super) fn refill(&mut self, bell: &mut impl Kick) {
        if !self.receiver.refill() && self.reclaim() > 0 {
            self.receiver.refill();
        }
        if self.receiver.publish() {
            bell.kick(receive_queue(self.number));
        }
    }

    fn or_fail(&mut self, result: Result<usize, QueueError>) -> usize {
        result.unwrap_or_else(|error| {
            self.fault = self.fault.or(Some(error));
            0
        })
    }

    /// Gives every buffer back to its pool, and forgets a fault.
    ///
    /// # Safety
    /// As [`crate::queue::Queue::detach`], for both queues.
    pub(super) unsafe fn detach(&mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            self.receiver.detach();
            self.transmitter.detach();
        }
        self.fault = None;
    }
}
