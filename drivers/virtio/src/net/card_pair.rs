//! A pair of queues that its own core uses, apart from the rest of the card.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use pool::Frame;

use super::offloads::{OffloadCounts, Packet, Received};
use super::pair::{Kick, QueuePair};
use crate::queue::QueueError;
use crate::transport::Doorbell;
use netio::NetStatistics;

/// The doorbells of a pair.
#[derive(Debug)]
pub(super) struct Bells<B> {
    pub(super) receive: B,
    pub(super) transmit: B,
    pub(super) rung: u64,
}

impl<B: Doorbell> Kick for Bells<B> {
    fn kick(&mut self, queue: u16) {
        self.rung += 1;
        if queue.is_multiple_of(2) { self.receive.ring() } else { self.transmit.ring() }
    }
}

/// One pair of a [`super::VirtioCard`]: a value that moves to the core that uses it. Its methods are those of
/// [`super::VirtioNet`].
///
/// Its buffers come back when the card is stopped or dropped, and then this. Dropped before that, it leaks
/// them: the card may still write to them.
#[derive(Debug)]
pub struct CardPair<B: Doorbell> {
    pub(super) pair: QueuePair,
    pub(super) bells: Bells<B>,
    /// The card has confirmed its reset, and will not be started again.
    pub(super) is_stopped: Arc<AtomicBool>,
}

impl<B: Doorbell> CardPair<B> {
    /// Its number, from 0 on.
    pub fn number(&self) -> u16 {
        self.pair.number()
    }

    /// How the card broke the rules on one of its queues, if it did. From then on the pair does nothing, and
    /// the card has to be restarted.
    pub fn fault(&self) -> Option<QueueError> {
        self.pair.fault()
    }

    /// What was counted so far.
    pub fn statistics(&self) -> NetStatistics {
        NetStatistics { kicks: self.bells.rung, ..self.pair.statistics() }
    }

    /// How often what the card can take over was used.
    pub fn used(&self) -> OffloadCounts {
        self.pair.used()
    }

    /// See [`super::VirtioNet::receive_burst`].
    ///
    /// # Panics
    /// As there.
    pub fn receive_burst(&mut self, frames_max: usize, receive: impl FnMut(Frame)) -> usize {
        self.pair.receive_burst(&mut self.bells, frames_max, receive)
    }

    /// See [`super::VirtioNet::receive_packets`].
    pub fn receive_packets(&mut self, packets_max: usize, receive: impl FnMut(Received)) -> usize {
        self.pair.receive_packets(&mut self.bells, packets_max, receive)
    }

    /// See [`super::VirtioNet::send_burst`].
    pub fn send_burst(&mut self, frames: &mut VecDeque<Frame>) -> usize {
        self.pair.send_burst(&mut self.bells, frames)
    }

    /// See [`super::VirtioNet::send_packets`].
    pub fn send_packets(&mut self, packets: &mut VecDeque<Packet>) -> usize {
        self.pair.send_packets(&mut self.bells, packets)
    }

    /// See [`super::VirtioNet::reclaim`].
    pub fn reclaim(&mut self) -> usize {
        self.pair.reclaim()
    }

    /// See [`super::VirtioNet::has_input`].
    pub fn has_input(&self) -> bool {
        self.pair.has_input()
    }

    /// See [`super::VirtioNet::arm_interrupts`]. A line, if the card
    /// has one, is acknowledged by [`super::VirtioCard::acknowledge_interrupt`].
    #[must_use = "what is there already causes no interrupt"]
    pub fn arm_interrupts(&mut self) -> bool {
        self.pair.arm_interrupts(&mut self.bells, |_| ())
    }

    /// Notifies the card again of what it should have dealt with since this was called last, for once in a
    /// while: that it was notified may have been missed (see [`crate::memory::full_fence`]). Buffers of
    /// frames that have left come back.
    pub fn remind(&mut self) {
        self.pair.remind(&mut self.bells);
    }

    /// See [`super::VirtioNet::disarm_interrupts`].
    pub fn disarm_interrupts(&mut self) {
        self.pair.disarm_interrupts();
    }
}

impl<B: Doorbell> Drop for CardPair<B> {
    fn drop(&mut self) {
        if self.is_stopped.load(Ordering::Acquire) {
            // SAFETY: the card has confirmed its reset, and was not started since.
            unsafe { self.pair.detach() };
        }
    }
}
