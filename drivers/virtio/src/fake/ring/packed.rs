//! The device's side of a packed ring (Virtio 1.3, section 2.8): an index and a wrap counter for what was
//! taken, and another for what was completed, as the standard describes it.

use core::sync::atomic::{Ordering, fence};
use std::vec::Vec;

use super::memory::DriverMemory;
use super::{Chain, NEXT};
use crate::queue::RingAddresses;

const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;
const EVENT_ENABLE: u32 = 0;
const EVENT_DISABLE: u32 = 1 << 16;
const EVENT_DESCRIPTOR: u32 = 2 << 16;

/// A place in the ring, and the wrap counter there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    const START: Place = Place { index: 0, wrap: true };

    fn behind(self, descriptors: u16, size: u16) -> Place {
        let index = self.index + descriptors;
        if index >= size {
            Place { index: index - size, wrap: !self.wrap }
        } else {
            Place { index, ..self }
        }
    }

    fn event_word(self) -> u32 {
        u32::from(self.index) | u32::from(self.wrap) << 15
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct PackedSide {
    memory: DriverMemory,
    addresses: RingAddresses,
    size: u16,
    has_event_index: bool,
    taken: Place,
    used: Place,
    announced: Place,
    /// The flags of the first completion that was not announced. They are written last.
    withheld: Option<u16>,
    /// How many descriptors the chain with each number had when it was taken.
    lengths: Vec<u16>,
    completions: u16,
}

impl PackedSide {
    pub(super) fn new(addresses: RingAddresses, size: u16, has_event_index: bool) -> PackedSide {
        PackedSide {
            memory: DriverMemory,
            addresses,
            size,
            has_event_index,
            taken: Place::START,
            used: Place::START,
            announced: Place::START,
            withheld: None,
            lengths: std::vec![1; usize::from(size)],
            completions: 0,
        }
    }

    fn descriptor(&self, place: Place) -> u64 {
        self.addresses.descriptors + 16 * u64::from(place.index)
    }

    fn flags(&self, place: Place) -> u16 {
        self.memory.u16_at(self.descriptor(place) + 14).load(Ordering::Acquire)
    }

    fn is_available(&self, place: Place) -> bool {
        let flags = self.flags(place);
        (flags & AVAILABLE != 0) == place.wrap && (flags & USED != 0) != place.wrap
    }

    pub(super) fn has_available(&self) -> bool {
        self.is_available(self.taken)
    }

    /// How many chains are there to be taken.
    pub(super) fn available(&self) -> u16 {
        let (mut place, mut chains) = (self.taken, 0);
        for _ in 0..self.size {
            if !self.is_available(place) {
                break;
            }
            chains += u16::from(self.flags(place) & NEXT == 0);
            place = place.behind(1, self.size);
        }
        chains
    }

    /// Takes a chain that is there. Its number is in its last descriptor.
    pub(super) fn take(&mut self) -> Chain {
        let mut chain = Chain::new(0);
        for descriptors in 1..=self.size {
            let descriptor = self.descriptor(self.taken);
            let flags = self.flags(self.taken);
            let address = self.memory.u64_at(descriptor).load(Ordering::Relaxed);
            let length = self.memory.u32_at(descriptor + 8).load(Ordering::Relaxed);
            chain.push(address, length, flags);
            self.taken = self.taken.behind(1, self.size);
            if flags & NEXT == 0 {
                chain.head = self.memory.u16_at(descriptor + 12).load(Ordering::Relaxed);
                self.lengths[usize::from(chain.head)] = descriptors;
                return chain;
            }
        }
        panic!("the driver offers a chain without end")
    }

    pub(super) fn complete(&mut self, number: u32, written: u32) {
        let descriptor = self.descriptor(self.used);
        self.memory.u32_at(descriptor + 8).store(written, Ordering::Relaxed);
        self.memory.u16_at(descriptor + 12).store(number as u16, Ordering::Relaxed);
        let flags = if self.used.wrap { AVAILABLE | USED } else { 0 };
        if self.withheld.is_none() {
            self.withheld = Some(flags);
        } else {
            self.memory.u16_at(descriptor + 14).store(flags, Ordering::Release);
        }
        let descriptors = self.lengths.get(number as usize).copied().unwrap_or(1);
        self.used = self.used.behind(descriptors, self.size);
        self.completions = self.completions.wrapping_add(1);
    }

    /// True if the driver wants an interrupt for that.
    pub(super) fn announce(&mut self) -> bool {
        let old = self.announced;
        let Some(flags) = self.withheld.take() else { return false };
        self.memory.u16_at(self.descriptor(old) + 14).store(flags, Ordering::Release);
        self.announced = self.used;
        // The full fence of the device's half of the protocol: flags first, then the driver's wish.
        fence(Ordering::SeqCst);
        let word = self.memory.u32_at(self.addresses.driver).load(Ordering::Relaxed);
        match word & 0x3_0000 {
            EVENT_DISABLE => false,
            EVENT_DESCRIPTOR => self.has_passed(old, word & 0xffff),
            _ => true,
        }
    }

    /// Whether one of the descriptors that were just announced is the one that the driver waits for.
    fn has_passed(&self, old: Place, event: u32) -> bool {
        let mut place = old;
        loop {
            if place.event_word() == event {
                return true;
            }
            place = place.behind(1, self.size);
            if place == self.used {
                return false;
            }
        }
    }

    pub(super) fn enable_notifications(&mut self) {
        let word = if self.has_event_index {
            EVENT_DESCRIPTOR | self.taken.event_word()
        } else {
            EVENT_ENABLE
        };
        self.memory.u32_at(self.addresses.device).store(word, Ordering::Relaxed);
    }

    pub(super) fn disable_notifications(&mut self) {
        self.memory.u32_at(self.addresses.device).store(EVENT_DISABLE, Ordering::Relaxed);
    }

    /// Pretends that so many completions were written, whatever is there: marks that many descriptors as
    /// used from the last honest one on.
    pub(super) fn raw_announce(&mut self, index: u16) {
        let mut place = self.announced;
        for _ in 0..index.wrapping_sub(self.completions).min(self.size) {
            let flags = if place.wrap { AVAILABLE | USED } else { 0 };
            self.memory.u16_at(self.descriptor(place) + 14).store(flags, Ordering::Release);
            place = place.behind(1, self.size);
        }
    }

    pub(super) fn used(&self) -> u16 {
        self.completions
    }
}
