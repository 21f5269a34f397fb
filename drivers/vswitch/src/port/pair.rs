//! A pair of a machine's queues: one that it receives from, one that it transmits to.

use super::backlog::Backlog;
use super::queue::{Given, Queue};
use super::spread::Progress;
use super::{Unplug, Watch};
use crate::frame::Packet;
use crate::statistics::Statistics;

/// A pair, and frames for which the machine has no buffers in it now.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) receive: Queue,
    pub(super) transmit: Queue,
    waiting: Backlog,
}

impl Pair {
    pub(super) fn new() -> Pair {
        Pair { receive: Queue::new(), transmit: Queue::new(), waiting: Backlog::default() }
    }

    pub(super) fn queues(&mut self) -> [&mut Queue; 2] {
        [&mut self.receive, &mut self.transmit]
    }

    /// Stops receiving, and says which chain would be next; what waits is forgotten.
    pub(super) fn stop_receiving(&mut self, watch: &Watch) -> u16 {
        self.waiting.clear();
        self.receive.stop(watch)
    }

    /// Gives the machine frames that wait for it, as many as it has buffers for. True if there were any.
    pub(super) fn send_waiting(&mut self, statistics: &mut Statistics) -> Result<bool, Unplug> {
        let Pair { receive, waiting, .. } = self;
        let mut has_given = false;
        while let Some(frame) = waiting.front_mut() {
            if frame.with(|packet| receive.send(packet, statistics))? == Given::NoBuffer {
                break;
            }
            waiting.pop();
            has_given = true;
        }
        Ok(has_given)
    }

    /// Gives the machine a frame. True if it waits until the machine has a buffer for it.
    pub(super) fn send(
        &mut self,
        packet: &Packet<'_, '_>,
        statistics: &mut Statistics,
    ) -> Result<bool, Unplug> {
        let is_first = self.waiting.is_empty();
        if is_first && self.receive.send(packet, statistics)? == Given::Taken {
            return Ok(false);
        }
        match self.waiting.push(packet) {
            true => statistics.copied += packet.len() as u64,
            false => statistics.dropped.backlog += 1,
        }
        Ok(true)
    }

    /// Asks the machine to ring. True if there is something already.
    pub(super) fn arm(&mut self) -> Result<bool, Unplug> {
        let is_awaited = !self.waiting.is_empty();
        let has_room = is_awaited && self.receive.arm()?;
        if !is_awaited {
            self.receive.disarm();
        }
        Ok(self.transmit.arm()? || has_room)
    }
}

impl Progress for Pair {
    fn position(&self) -> Option<u16> {
        self.waiting.is_empty().then(|| self.receive.used())
    }

    fn has_taken(&self, position: u16) -> bool {
        self.receive.has_taken(position)
    }
}
