//! One ring of a machine, seen from the device's side: frames are read where they lie, and copied to where
//! they belong. What is wrong with one frame costs that frame, what is wrong with the ring the connection.
//!
//! Everything that happens in one burst is shown to the machine at once, by one write of one index, and it is
//! rung at most once.

mod bell;
mod chain;
mod shared;

use std::fs::File;
use std::os::fd::AsRawFd;

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::{Source, Unplug, Watch};
use crate::frame::{Packet, Scatter};
use crate::statistics::Statistics;
use crate::{BURST_FRAMES, FRAME_MAX_BYTES};
use chain::Access;
pub(super) use shared::Addresses;
use shared::Shared;

/// The longest ring (virtio 1.3, section 2.7: at most 32768; QEMU's network card: 1024).
pub(super) const RING_MAX: u16 = 1024;
/// `struct virtio_net_hdr_v1` (virtio 1.3, section 5.1.6).
const HEADER_BYTES: usize = 12;
/// Where in the header it says over how many buffers a frame goes: always one here.
const HEADER_NUM_BUFFERS: usize = 10;

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
    size: u16,
    addresses: Option<Addresses>,
    has_events: bool,
    pub(super) is_enabled: bool,
    kick: Option<EventFd>,
    call: Option<EventFd>,
    /// The next chain to take, and where the next used one is noted.
    next_available: u16,
    next_used: u16,
    /// How much the machine was shown, and how much of that it was told of.
    published: u16,
    told: u16,
    /// The machine is asked to ring when it has something.
    is_armed: bool,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue {
            size: RING_MAX,
            addresses: None,
            has_events: false,
            is_enabled: false,
            kick: None,
            call: None,
            next_available: 0,
            next_used: 0,
            published: 0,
            told: 0,
            is_armed: true,
        }
    }

    /// Whether frames may go.
    pub(super) fn is_running(&self) -> bool {
        self.is_enabled && self.addresses.is_some() && self.kick.is_some()
    }

    /// Sets how many entries it has; false if that is no size.
    #[must_use]
    pub(super) fn set_size(&mut self, size: u32) -> bool {
        let size = u16::try_from(size).ok();
        match size.filter(|size| size.is_power_of_two() && *size <= RING_MAX) {
            Some(size) => self.size = size,
            None => return false,
        }
        true
    }

    /// Sets where it is; false if that is not in the machine's memory.
    #[must_use]
    pub(super) fn set_addresses(&mut self, memory: &GuestMemoryMmap, to: Addresses) -> bool {
        let Some(shared) = Shared::map(memory, &to, self.size) else { return false };
        // The hypervisor tells only what was taken; what is used stands in the ring itself.
        let used = shared.used_index();
        (self.next_used, self.published, self.told) = (used, used, used);
        self.addresses = Some(to);
        true
    }

    pub(super) fn set_events(&mut self, has_events: bool) {
        self.has_events = has_events;
    }

    pub(super) fn set_base(&mut self, next_available: u16) {
        self.next_available = next_available;
    }

    /// Stops, and says which chain would be next.
    pub(super) fn stop(&mut self, watch: &Watch) -> u16 {
        self.drop_kick(watch);
        self.next_available
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
            self.is_armed = true;
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
        // Whatever was used before the machine could be told.
        self.told = self.published.wrapping_sub(1);
        Ok(())
    }

    /// Silences the bell until it is rung again.
    pub(super) fn quiet(&self) {
        if let Some(bell) = &self.kick {
            // It does not block, and what it counts does not matter.
            let _ = bell.read();
        }
    }

    /// The ring in the machine's memory, if frames may go.
    fn map<'m>(&self, memory: &'m GuestMemoryMmap) -> Result<Option<Shared<'m>>, Unplug> {
        let Some(addresses) = self.addresses.filter(|_| self.is_running()) else {
            return Ok(None);
        };
        let shared = Shared::map(memory, &addresses, self.size);
        shared.map(Some).ok_or_else(|| Unplug::Fault("its ring is not in its memory".into()))
    }

    /// How many chains are offered if the machine has come to `index`.
    fn offered(&self, index: u16) -> Result<u16, Unplug> {
        let offered = index.wrapping_sub(self.next_available);
        if offered > self.size {
            return Err(Unplug::Fault(format!("its ring offers {offered} buffers")));
        }
        Ok(offered)
    }

    /// Takes the next chain, of which there is one.
    fn take(&mut self, shared: &Shared<'_>) -> Result<u16, Unplug> {
        let head = shared.head(self.next_available);
        if head >= self.size {
            return Err(Unplug::Fault("its ring names a buffer that is none".into()));
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(head)
    }

    fn give_back(&mut self, shared: &Shared<'_>, head: u16, written: u32) {
        shared.write_used(self.next_used, head, written);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Gives frames of the transmit ring to `forward`, a burst at most. True if there was one.
    pub(super) fn receive(
        &mut self,
        memory: &GuestMemoryMmap,
        statistics: &mut Statistics,
        mut forward: impl FnMut(&Packet<'_, '_>, &mut Statistics),
    ) -> Result<bool, Unplug> {
        let Some(shared) = self.map(memory)? else { return Ok(false) };
        let offered = self.offered(shared.available_index())?;
        if offered == 0 {
            return Ok(false);
        }
        self.disarm(&shared);
        let mut scatter = Scatter::default();
        for _ in 0..usize::from(offered).min(BURST_FRAMES) {
            let head = self.take(&shared)?;
            scatter.clear();
            let gathered = chain::gather(memory, &shared, head, Access::Read, &mut scatter);
            match gathered {
                Some(()) => read(&mut scatter, statistics, &mut forward),
                None => statistics.refused.malformed += 1,
            }
            self.give_back(&shared, head, 0);
        }
        self.publish(&shared);
        Ok(true)
    }

    /// Puts a frame into the receive ring; [`Queue::flush`] shows it to the machine.
    pub(super) fn send(
        &mut self,
        memory: &GuestMemoryMmap,
        packet: &Packet<'_, '_>,
        statistics: &mut Statistics,
    ) -> Result<Given, Unplug> {
        let Some(shared) = self.map(memory)? else { return Ok(Given::NoBuffer) };
        if self.offered(shared.available_index())? == 0 {
            return Ok(Given::NoBuffer);
        }
        let head = self.take(&shared)?;
        let mut scatter = Scatter::default();
        let gathered = chain::gather(memory, &shared, head, Access::Write, &mut scatter);
        let written = gathered.and_then(|()| write(scatter, packet));
        match written {
            Some(_) => {
                statistics.frames_out += 1;
                statistics.bytes_out += packet.len() as u64;
            }
            None => statistics.dropped.bad_buffer += 1,
        }
        self.give_back(&shared, head, written.unwrap_or(0));
        Ok(Given::Taken)
    }

    /// Asks to be rung when the machine has something. True if it has something already.
    pub(super) fn arm(&mut self, memory: &GuestMemoryMmap) -> Result<bool, Unplug> {
        let Some(shared) = self.map(memory)? else { return Ok(false) };
        self.is_armed = true;
        let index = shared.arm(self.next_available, self.has_events);
        Ok(self.offered(index)? > 0)
    }

    fn disarm(&mut self, shared: &Shared<'_>) {
        if std::mem::take(&mut self.is_armed) {
            shared.disarm(self.has_events);
        }
    }

    /// The machine need not ring: we look by ourselves.
    pub(super) fn rest(&mut self, memory: &GuestMemoryMmap) -> Result<(), Unplug> {
        if let Some(shared) = self.map(memory)? {
            self.disarm(&shared);
        }
        Ok(())
    }

    fn publish(&mut self, shared: &Shared<'_>) {
        if self.published != self.next_used {
            shared.publish(self.next_used);
            self.published = self.next_used;
        }
    }

    /// Shows the machine everything that was used, and rings if it wants to hear of it.
    pub(super) fn flush(
        &mut self,
        memory: &GuestMemoryMmap,
        statistics: &mut Statistics,
    ) -> Result<(), Unplug> {
        if self.told == self.next_used {
            return Ok(());
        }
        let Some(shared) = self.map(memory)? else { return Ok(()) };
        self.publish(&shared);
        let Some(bell) = &self.call else { return Ok(()) };
        let told = std::mem::replace(&mut self.told, self.published);
        if shared.wants_call(told, self.published, self.has_events) {
            statistics.calls += 1;
            // A bell that cannot count further is ringing already.
            let _ = bell.write(1);
        }
        Ok(())
    }
}

/// Gives the frame in a chain to `forward`, without the card's header.
fn read(
    chain: &mut Scatter<'_>,
    statistics: &mut Statistics,
    forward: &mut impl FnMut(&Packet<'_, '_>, &mut Statistics),
) {
    chain.advance(HEADER_BYTES);
    if chain.len() > FRAME_MAX_BYTES {
        statistics.refused.oversized += 1;
        return;
    }
    match Packet::new(chain) {
        Some(packet) => forward(&packet, statistics),
        None => statistics.refused.runt += 1,
    }
}

/// Writes header and frame into a chain; how many bytes, unless it is too short.
fn write(mut chain: Scatter<'_>, packet: &Packet<'_, '_>) -> Option<u32> {
    let length = HEADER_BYTES + packet.len();
    if chain.len() < length {
        return None;
    }
    let mut header = [0; HEADER_BYTES];
    header[HEADER_NUM_BUFFERS] = 1;
    chain.write(&header)?;
    packet.content.copy_into(&chain)?;
    u32::try_from(length).ok()
}
