//! The device's side of a split ring.

use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use std::vec::Vec;

use crate::queue::{RingAddresses, notification_wanted};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// A chain that the driver has offered. It is worth something only together with its ring.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    readable: Vec<(u64, u32)>,
    writable: Vec<(u64, u32)>,
}

impl Chain {
    /// The number of its first descriptor.
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

/// A ring as its device sees it. What [`DeviceRing::announce`] is for, the `raw` methods do to excess.
#[derive(Debug)]
pub struct DeviceRing {
    addresses: RingAddresses,
    size: u16,
    has_event_index: bool,
    /// How many chains were taken.
    taken: u16,
    /// How many were completed, and how many of those were announced.
    used: u16,
    announced: u16,
    /// Which heads the device holds.
    held: Vec<bool>,
    interrupt_wanted: bool,
}

impl DeviceRing {
    pub(crate) fn new(addresses: RingAddresses, size: u16, has_event_index: bool) -> DeviceRing {
        DeviceRing {
            addresses,
            size,
            has_event_index,
            taken: 0,
            used: 0,
            announced: 0,
            held: std::vec![false; usize::from(size)],
            interrupt_wanted: false,
        }
    }

    /// How many descriptors there are.
    pub fn size(&self) -> u16 {
        self.size
    }

    fn u16_at(&self, address: u64) -> &AtomicU16 {
        // SAFETY: the driver gave the addresses of its ring, which it keeps until it has reset the device;
        // this value is reachable only before that.
        unsafe { AtomicU16::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }

    fn u32_at(&self, address: u64) -> &AtomicU32 {
        // SAFETY: as in `u16_at`.
        unsafe { AtomicU32::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }

    fn u64_at(&self, address: u64) -> &AtomicU64 {
        // SAFETY: as in `u16_at`.
        unsafe { AtomicU64::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }

    fn driver_index(&self) -> u16 {
        self.u16_at(self.addresses.driver + 2).load(Ordering::Acquire)
    }

    /// How many chains the driver has offered that were not taken.
    pub fn available(&self) -> u16 {
        self.driver_index().wrapping_sub(self.taken)
    }

    /// The next chain that the driver has offered.
    ///
    /// # Panics
    /// If the driver offers a chain that runs in a circle or is in the device's hands.
    pub fn take(&mut self) -> Option<Chain> {
        if self.available() == 0 {
            return None;
        }
        let entry = self.addresses.driver + 4 + 2 * u64::from(self.taken % self.size);
        let head = self.u16_at(entry).load(Ordering::Relaxed);
        let held = &mut self.held[usize::from(head)];
        assert!(!core::mem::replace(held, true), "the driver offers what the device holds");
        self.taken = self.taken.wrapping_add(1);
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        let mut index = head;
        for _ in 0..self.size {
            let descriptor = self.addresses.descriptors + 16 * u64::from(index);
            let address = self.u64_at(descriptor).load(Ordering::Relaxed);
            let rest = self.u64_at(descriptor + 8).load(Ordering::Relaxed);
            let (length, flags) = (rest as u32, (rest >> 32) as u16);
            if flags & WRITE != 0 {
                chain.writable.push((address, length));
            } else {
                assert!(chain.writable.is_empty(), "what is read comes before what is written");
                chain.readable.push((address, length));
            }
            if flags & NEXT == 0 {
                return Some(chain);
            }
            index = (rest >> 48) as u16;
        }
        panic!("the driver offers a chain that runs in a circle")
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
        let (old, new) = (self.announced, self.used);
        self.raw_announce(new);
        self.announced = new;
        // The full fence of the device's half of the protocol: index first, then the driver's wish.
        fence(Ordering::SeqCst);
        self.interrupt_wanted |= if self.has_event_index {
            let event = self.addresses.driver + 4 + 2 * u64::from(self.size);
            notification_wanted(self.u16_at(event).load(Ordering::Relaxed), new, old)
        } else {
            let flags = self.u16_at(self.addresses.driver).load(Ordering::Relaxed);
            old != new && flags & NO_INTERRUPT == 0
        };
    }

    /// Whether the driver wants an interrupt for what was announced since this was last asked.
    pub fn take_interrupt(&mut self) -> bool {
        core::mem::take(&mut self.interrupt_wanted)
    }

    /// Asks for a notification of the next chain. True if there is one already.
    pub fn enable_notifications(&mut self) -> bool {
        if self.has_event_index {
            let event = self.addresses.device + 4 + 8 * u64::from(self.size);
            self.u16_at(event).store(self.taken, Ordering::Relaxed);
        } else {
            self.u16_at(self.addresses.device).store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.available() != 0
    }

    /// Declines notifications.
    pub fn disable_notifications(&mut self) {
        if self.has_event_index {
            let event = self.addresses.device + 4 + 8 * u64::from(self.size);
            self.u16_at(event).store(self.taken.wrapping_sub(1), Ordering::Relaxed);
        } else {
            self.u16_at(self.addresses.device).store(NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Writes any completion at all.
    pub fn raw_complete(&mut self, descriptor: u32, written: u32) {
        let entry = self.addresses.device + 4 + 8 * u64::from(self.used % self.size);
        self.u32_at(entry).store(descriptor, Ordering::Relaxed);
        self.u32_at(entry + 4).store(written, Ordering::Relaxed);
        if let Some(held) = self.held.get_mut(descriptor as usize) {
            *held = false;
        }
        self.used = self.used.wrapping_add(1);
    }

    /// Announces any index at all.
    pub fn raw_announce(&mut self, index: u16) {
        self.u16_at(self.addresses.device + 2).store(index, Ordering::Release);
    }

    /// How many completions were written, as the driver counts them.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// Overwrites the descriptor table, as a device should never do.
    pub fn raw_scribble_descriptors(&mut self, pattern: u64) {
        for word in 0..2 * u64::from(self.size) {
            let address = self.addresses.descriptors + 8 * word;
            self.u64_at(address).store(pattern, Ordering::Relaxed);
        }
    }
}
