//! The device's side of a split ring.

use core::sync::atomic::{Ordering, fence};

use super::memory::DriverMemory;
use super::{Chain, NEXT};
use crate::queue::{RingAddresses, notification_wanted};

const NO_INTERRUPT: u16 = 1;
const NO_NOTIFY: u16 = 1;

/// See the module.
#[derive(Debug)]
pub(super) struct SplitSide {
    memory: DriverMemory,
    addresses: RingAddresses,
    size: u16,
    has_event_index: bool,
    /// How many chains were taken.
    taken: u16,
    /// How many were completed, and how many of those were announced.
    used: u16,
    announced: u16,
}

impl SplitSide {
    pub(super) fn new(addresses: RingAddresses, size: u16, has_event_index: bool) -> SplitSide {
        let memory = DriverMemory;
        SplitSide { memory, addresses, size, has_event_index, taken: 0, used: 0, announced: 0 }
    }

    pub(super) fn available(&self) -> u16 {
        let index = self.memory.u16_at(self.addresses.driver + 2).load(Ordering::Acquire);
        index.wrapping_sub(self.taken)
    }

    pub(super) fn take(&mut self) -> Chain {
        let entry = self.addresses.driver + 4 + 2 * u64::from(self.taken % self.size);
        let head = self.memory.u16_at(entry).load(Ordering::Relaxed);
        self.taken = self.taken.wrapping_add(1);
        let mut chain = Chain::new(head);
        let mut index = head;
        for _ in 0..self.size {
            let descriptor = self.addresses.descriptors + 16 * u64::from(index);
            let address = self.memory.u64_at(descriptor).load(Ordering::Relaxed);
            let rest = self.memory.u64_at(descriptor + 8).load(Ordering::Relaxed);
            let (length, flags) = (rest as u32, (rest >> 32) as u16);
            chain.push(address, length, flags);
            if flags & NEXT == 0 {
                return chain;
            }
            index = (rest >> 48) as u16;
        }
        panic!("the driver offers a chain that runs in a circle")
    }

    pub(super) fn complete(&mut self, head: u32, written: u32) {
        let entry = self.addresses.device + 4 + 8 * u64::from(self.used % self.size);
        self.memory.u32_at(entry).store(head, Ordering::Relaxed);
        self.memory.u32_at(entry + 4).store(written, Ordering::Relaxed);
        self.used = self.used.wrapping_add(1);
    }

    /// True if the driver wants an interrupt for that.
    pub(super) fn announce(&mut self) -> bool {
        let (old, new) = (self.announced, self.used);
        self.raw_announce(new);
        self.announced = new;
        // The full fence of the device's half of the protocol: index first, then the driver's wish.
        fence(Ordering::SeqCst);
        if self.has_event_index {
            let event = self.addresses.driver + 4 + 2 * u64::from(self.size);
            notification_wanted(self.memory.u16_at(event).load(Ordering::Relaxed), new, old)
        } else {
            let flags = self.memory.u16_at(self.addresses.driver).load(Ordering::Relaxed);
            old != new && flags & NO_INTERRUPT == 0
        }
    }

    pub(super) fn enable_notifications(&mut self) {
        if self.has_event_index {
            self.set_event(self.taken);
        } else {
            self.memory.u16_at(self.addresses.device).store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn disable_notifications(&mut self) {
        if self.has_event_index {
            self.set_event(self.taken.wrapping_sub(1));
        } else {
            self.memory.u16_at(self.addresses.device).store(NO_NOTIFY, Ordering::Relaxed);
        }
    }

    fn set_event(&self, index: u16) {
        let event = self.addresses.device + 4 + 8 * u64::from(self.size);
        self.memory.u16_at(event).store(index, Ordering::Relaxed);
    }

    pub(super) fn raw_announce(&mut self, index: u16) {
        self.memory.u16_at(self.addresses.device + 2).store(index, Ordering::Release);
    }

    pub(super) fn used(&self) -> u16 {
        self.used
    }
}
