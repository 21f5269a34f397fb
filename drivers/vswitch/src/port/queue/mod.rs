//! One ring of a machine, seen from the device's side: frames are read where they lie, and copied to where
//! they belong. What is wrong with one frame costs that frame, what is wrong with the ring the connection.
//!
//! Everything that happens in one burst is shown to the machine at once, by one write of one index, and it is
//! rung at most once.

mod arrival;
mod bell;
mod chain;
mod cursor;
mod shared;

use std::fs::File;
use std::os::fd::AsRawFd;

use virtio::net::{Checksum, HEADER_BYTES, Header};
use vmm_sys_util::eventfd::EventFd;

use super::memory::Memory;
use super::{Source, Unplug, Watch};
use crate::frame::{Packet, Scatter};
use crate::statistics::Statistics;
use crate::{BURST_FRAMES, FRAME_MAX_BYTES, LARGE_MAX_BYTES};
use arrival::Room;
use chain::Access;
use cursor::Cursor;
pub(super) use shared::Addresses;
use shared::Mapped;

/// The longest ring (virtio 1.3, section 2.7: at most 32768; QEMU's network card: 1024).
pub(super) const RING_MAX: u16 = 1024;
/// What became of a frame for the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    /// It is in the ring, or was dropped and counted because the machine's buffer is bad.
    Taken,
    /// The machine offers no buffer.
    NoBuffer,
}

/// A ring, how far both sides have come in it, and its two bells.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many entries it has; none if the machine's hypervisor asked for what is no size.
    size: Option<u16>,
    mapped: Option<Mapped>,
    cursor: Cursor,
    pub(super) is_enabled: bool,
    /// Its buffers are merged for a long frame.
    is_mergeable: bool,
    kick: Option<EventFd>,
    call: Option<EventFd>,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            size: Some(RING_MAX),
            mapped: None,
            cursor: Cursor::default(),
            is_enabled: false,
            is_mergeable: false,
            kick: None,
            call: None,
        }
    }

    /// Whether frames may go.
    pub(super) fn is_running(&self) -> bool {
        self.is_enabled && self.mapped.is_some() && self.kick.is_some()
    }

    /// Sets how many entries it has; false if that is no size. Then it is not used before it has one: who
    /// goes on all the same would mean other entries than we.
    #[must_use]
    pub(super) fn set_size(&mut self, size: u32) -> bool {
        let size = u16::try_from(size).ok();
        self.size = size.filter(|size| size.is_power_of_two() && *size <= RING_MAX);
        // Where it is comes next.
        self.mapped = None;
        self.size.is_some()
    }

    /// Sets where it is; false if that is not in the machine's memory.
    #[must_use]
    pub(super) fn set_addresses(&mut self, memory: &Memory, to: Addresses) -> bool {
        self.mapped = self.size.and_then(|size| Mapped::new(memory, to, size));
        if let Some(mapped) = &self.mapped {
            self.cursor.set_used(mapped.shared().used_index());
        }
        self.mapped.is_some()
    }

    /// The machine's memory was mapped anew; the ring is where it was in it, if that is still there.
    pub(super) fn set_memory(&mut self, memory: &Memory) {
        let addresses = self.mapped.take().map(|mapped| mapped.addresses);
        self.mapped = addresses.zip(self.size).and_then(|(to, size)| Mapped::new(memory, to, size));
    }

    pub(super) fn set_features(&mut self, has_events: bool, is_mergeable: bool) {
        self.cursor.has_events = has_events;
        self.is_mergeable = is_mergeable;
    }

    pub(super) fn set_base(&mut self, next_available: u16) {
        self.cursor.set_available(next_available);
    }

    /// Stops, and says which chain would be next.
    pub(super) fn stop(&mut self, watch: &Watch) -> u16 {
        self.drop_kick(watch);
        self.cursor.available()
    }

    pub(super) fn set_kick(
        &mut self,
        bell: Option<File>,
        watch: &Watch,
        number: u8,
    ) -> std::io::Result<()> {
        self.drop_kick(watch);
        if let Some(bell) = bell {
            let bell = bell::from_file(bell)?;
            watch.add(bell.as_raw_fd(), Source::Kick(number))?;
            self.kick = Some(bell);
            self.cursor.forget_bells();
        }
        Ok(())
    }

    /// The machine holds the other end: closing ours alone would leave it in `epoll`.
    pub(super) fn drop_kick(&mut self, watch: &Watch) {
        if let Some(bell) = self.kick.take() {
            watch.remove(bell.as_raw_fd());
        }
    }

    pub(super) fn set_call(&mut self, bell: Option<File>) -> std::io::Result<()> {
        self.call = bell.map(bell::from_file).transpose()?;
        self.cursor.forget_bells();
        Ok(())
    }

    /// Silences the bell until it is rung again.
    pub(super) fn quiet(&self) {
        if let Some(bell) = &self.kick {
            // It does not block, and what it counts does not matter.
            let _ = bell.read();
        }
    }

    /// The ring in the machine's memory and how far we are in it, if frames may go.
    fn running(&mut self) -> Option<(&Mapped, &mut Cursor)> {
        let is_running = self.is_running();
        let mapped = self.mapped.as_ref().filter(|_| is_running)?;
        Some((mapped, &mut self.cursor))
    }

    /// Gives frames of the transmit ring to `forward`, a burst at most. True if there was one.
    pub(super) fn receive(
        &mut self,
        statistics: &mut Statistics,
        mut forward: impl FnMut(&Packet<'_, '_>, &mut Statistics),
    ) -> Result<bool, Unplug> {
        let Some((mapped, cursor)) = self.running() else { return Ok(false) };
        let shared = mapped.shared();
        let offered = cursor.offered(shared)?;
        if offered == 0 {
            return Ok(false);
        }
        cursor.disarm(shared);
        let mut scatter = Scatter::default();
        for _ in 0..usize::from(offered).min(BURST_FRAMES) {
            let head = cursor.take(shared)?;
            scatter.clear();
            match chain::gather(&mapped.memory, shared, head, Access::Read, &mut scatter) {
                Some(()) => read(&mut scatter, statistics, &mut forward),
                None => statistics.refused.malformed += 1,
            }
            cursor.give_back(shared, head, 0);
        }
        cursor.publish(shared);
        Ok(true)
    }

    /// Puts a frame into the receive ring; [`Queue::flush`] shows it to the machine.
    pub(super) fn send(
        &mut self,
        packet: &Packet<'_, '_>,
        statistics: &mut Statistics,
    ) -> Result<Given, Unplug> {
        let is_mergeable = self.is_mergeable;
        let Some((mapped, cursor)) = self.running() else { return Ok(Given::NoBuffer) };
        let length = HEADER_BYTES + packet.len();
        let mut room = Room::default();
        if !room.take(length, is_mergeable, mapped, cursor)? {
            return Ok(Given::NoBuffer);
        }
        if room.write(packet, mapped.shared(), cursor) {
            statistics.frames_out += 1;
            statistics.bytes_out += packet.len() as u64;
        } else {
            statistics.dropped.bad_buffer += 1;
        }
        Ok(Given::Taken)
    }

    /// How many of its buffers were used, with wrapping.
    pub(super) fn used(&self) -> u16 {
        self.cursor.used()
    }

    /// Whether the machine has taken all that was used before this one.
    pub(super) fn has_taken(&self, position: u16) -> bool {
        // Who has no ring takes nothing out of one.
        self.mapped.as_ref().is_none_or(|mapped| self.cursor.has_taken(mapped.shared(), position))
    }

    /// Asks to be rung when the machine has something. True if it has something already.
    pub(super) fn arm(&mut self) -> Result<bool, Unplug> {
        let Some((mapped, cursor)) = self.running() else { return Ok(false) };
        cursor.arm(mapped.shared())
    }

    /// The machine need not ring.
    pub(super) fn disarm(&mut self) {
        if let Some((mapped, cursor)) = self.running() {
            cursor.disarm(mapped.shared());
        }
    }

    /// Shows the machine everything that was used, and rings if it wants to hear of it.
    pub(super) fn flush(&mut self, statistics: &mut Statistics) {
        let Queue { mapped: Some(mapped), cursor, call: Some(bell), .. } = self else { return };
        let shared = mapped.shared();
        cursor.publish(shared);
        if cursor.must_call(shared) {
            statistics.calls += 1;
            // A bell that cannot count further is ringing already.
            let _ = bell.write(1);
        }
    }
}

/// Gives the frame in a chain to `forward`, without the card's header.
fn read(
    chain: &mut Scatter<'_>,
    statistics: &mut Statistics,
    forward: &mut impl FnMut(&Packet<'_, '_>, &mut Statistics),
) {
    let header = chain.peek().map(|bytes| Header::parse(&bytes));
    let Some(Ok(header)) = header else {
        statistics.refused.malformed += 1;
        return;
    };
    chain.advance(HEADER_BYTES);
    // A card is not told by its driver that something is right.
    let header = match header.checksum {
        Checksum::Valid => Header { checksum: Checksum::Unknown, ..header },
        Checksum::Unknown | Checksum::Partial(_) => header,
    };
    let longest = match header.segmentation {
        Some(_) => LARGE_MAX_BYTES,
        None => FRAME_MAX_BYTES,
    };
    if chain.len() > longest {
        statistics.refused.oversized += 1;
        return;
    }
    match Packet::new(header, chain) {
        Some(packet) => forward(&packet, statistics),
        None => statistics.refused.runt += 1,
    }
}
