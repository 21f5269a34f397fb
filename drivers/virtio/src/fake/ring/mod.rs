//! The device's side of a ring, of either format.

mod memory;
mod packed;
mod split;

use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{Ordering, fence};
use std::vec::Vec;

use self::memory::DriverMemory;
use self::packed::PackedSide;
use self::split::SplitSide;
use crate::queue::{RingAddresses, RingFormat};

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A chain that the driver has offered. It is worth something only together with its ring.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    readable: Vec<(u64, u32)>,
    writable: Vec<(u64, u32)>,
}

impl Chain {
    fn new(head: u16) -> Chain {
        Chain { head, readable: Vec::new(), writable: Vec::new() }
    }

    fn push(&mut self, address: u64, length: u32, flags: u16) {
        if flags & WRITE != 0 {
            self.writable.push((address, length));
        } else {
            assert!(self.writable.is_empty(), "what is read comes before what is written");
            self.readable.push((address, length));
        }
    }

    /// The number of its first descriptor, or its own.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// How many bytes the device may write.
    pub fn writable_bytes(&self) -> usize {
        self.writable.iter().map(|(_, length)| *length as usize).sum()
    }

    /// How many segments there are: those to read, and those to write.
    pub fn segments(&self) -> (usize, usize) {
        (self.readable.len(), self.writable.len())
    }
}

#[derive(Debug)]
enum Side {
    Split(SplitSide),
    Packed(PackedSide),
}

/// A ring as its device sees it. What [`DeviceRing::announce`] is for, the `raw` methods do to excess.
#[derive(Debug)]
pub struct DeviceRing {
    side: Side,
    addresses: RingAddresses,
    size: u16,
    /// Which chains the device holds, by their numbers.
    held: Vec<bool>,
    interrupt_wanted: bool,
}

impl DeviceRing {
    pub(crate) fn new(
        format: RingFormat,
        addresses: RingAddresses,
        size: u16,
        has_event_index: bool,
    ) -> DeviceRing {
        let side = match format {
            RingFormat::Split => Side::Split(SplitSide::new(addresses, size, has_event_index)),
            RingFormat::Packed => Side::Packed(PackedSide::new(addresses, size, has_event_index)),
        };
        let held = std::vec![false; usize::from(size)];
        DeviceRing { side, addresses, size, held, interrupt_wanted: false }
    }

    /// How many descriptors there are.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// How many chains the driver has offered that were not taken.
    pub fn available(&self) -> u16 {
        match &self.side {
            Side::Split(side) => side.available(),
            Side::Packed(side) => side.available(),
        }
    }

    fn has_available(&self) -> bool {
        match &self.side {
            Side::Split(side) => side.available() != 0,
            Side::Packed(side) => side.has_available(),
        }
    }

    /// The next chain that the driver has offered.
    ///
    /// # Panics
    /// If the driver offers a chain that runs in a circle or is in the device's hands.
    pub fn take(&mut self) -> Option<Chain> {
        if !self.has_available() {
            return None;
        }
        let chain = match &mut self.side {
            Side::Split(side) => side.take(),
            Side::Packed(side) => side.take(),
        };
        let held = &mut self.held[usize::from(chain.head)];
        assert!(!core::mem::replace(held, true), "the driver offers what the device holds");
        Some(chain)
    }

    /// What the driver wants the device to read.
    ///
    /// # Panics
    /// If the device does not hold the chain.
    pub fn read(&self, chain: &Chain) -> Vec<u8> {
        assert!(self.held[usize::from(chain.head)], "the device holds the chain");
        let mut bytes = Vec::new();
        for (address, length) in &chain.readable {
            let start = with_exposed_provenance_mut::<u8>(*address as usize);
            // SAFETY: the driver leaves the segment to the device until the chain is completed.
            bytes
                .extend_from_slice(unsafe { core::slice::from_raw_parts(start, *length as usize) });
        }
        bytes
    }

    /// Writes `bytes` from byte `offset` of the writable segments on, as far as there is room.
    ///
    /// # Panics
    /// If the device does not hold the chain.
    pub fn write(&self, chain: &Chain, mut offset: usize, mut bytes: &[u8]) {
        assert!(self.held[usize::from(chain.head)], "the device holds the chain");
        for (address, length) in &chain.writable {
            let length = *length as usize;
            let skipped = offset.min(length);
            let (now, later) = bytes.split_at(bytes.len().min(length - skipped));
            let start = with_exposed_provenance_mut::<u8>(*address as usize + skipped);
            // SAFETY: the driver leaves the segment to the device until the chain is completed, and the
            // bytes end within it.
            unsafe { start.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            (offset, bytes) = (offset - skipped, later);
        }
    }

    /// Completes a chain; the driver does not see it before [`DeviceRing::announce`].
    pub fn complete(&mut self, chain: Chain, written: u32) {
        self.raw_complete(chain.head.into(), written);
    }

    /// Shows the driver what was completed, and finds out whether it wants an interrupt.
    pub fn announce(&mut self) {
        self.interrupt_wanted |= match &mut self.side {
            Side::Split(side) => side.announce(),
            Side::Packed(side) => side.announce(),
        };
    }

    /// Whether the driver wants an interrupt for what was announced since this was last asked.
    pub fn take_interrupt(&mut self) -> bool {
        core::mem::take(&mut self.interrupt_wanted)
    }

    /// Asks for a notification of the next chain. True if there is one already.
    pub fn enable_notifications(&mut self) -> bool {
        match &mut self.side {
            Side::Split(side) => side.enable_notifications(),
            Side::Packed(side) => side.enable_notifications(),
        }
        fence(Ordering::SeqCst);
        self.has_available()
    }

    /// Declines notifications.
    pub fn disable_notifications(&mut self) {
        match &mut self.side {
            Side::Split(side) => side.disable_notifications(),
            Side::Packed(side) => side.disable_notifications(),
        }
    }

    /// Writes any completion at all.
    pub fn raw_complete(&mut self, descriptor: u32, written: u32) {
        match &mut self.side {
            Side::Split(side) => side.complete(descriptor, written),
            Side::Packed(side) => side.complete(descriptor, written),
        }
        if let Some(held) = self.held.get_mut(descriptor as usize) {
            *held = false;
        }
    }

    /// Announces completions up to any index at all.
    pub fn raw_announce(&mut self, index: u16) {
        match &mut self.side {
            Side::Split(side) => side.raw_announce(index),
            Side::Packed(side) => side.raw_announce(index),
        }
    }

    /// How many completions were written, as they are counted on a split ring.
    pub fn used(&self) -> u16 {
        match &self.side {
            Side::Split(side) => side.used(),
            Side::Packed(side) => side.used(),
        }
    }

    /// Overwrites the descriptor table, as a device should never do.
    pub fn raw_scribble_descriptors(&mut self, pattern: u64) {
        for word in 0..2 * u64::from(self.size) {
            let address = self.addresses.descriptors + 8 * word;
            DriverMemory.u64_at(address).store(pattern, Ordering::Relaxed);
        }
    }
}
