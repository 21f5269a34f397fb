//! The packed ring as it lies in memory: each method is one access that the standard names.
//!
//! Descriptors are read and written by both sides, in turns that their flags show. Which accesses race is
//! known: the flags of the first descriptor that the other side has not seen, and the event words. Each of
//! these is always accessed with one width.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use pool::{PAGE_BYTES, Region};

use super::{Direction, SIZE_MAX, Segment};
use crate::memory::{SharedMemory, full_fence};

const CACHE_LINE_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = size_of::<Descriptor>();

/// A descriptor (section 2.8.13).
#[derive(Debug)]
#[repr(C)]
struct Descriptor {
    address: AtomicU64,
    length: AtomicU32,
    id: AtomicU16,
    flags: AtomicU16,
}

/// Descriptor flag: the chain goes on with the next descriptor.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// Descriptor flags that equal the lap of whoever set them (section 2.8.1).
const AVAILABLE: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// What the flags of an event word say (section 2.8.10).
const EVENT_ENABLE: u16 = 0;
const EVENT_DISABLE: u16 = 1;
const EVENT_DESCRIPTOR: u16 = 2;
const EVENT_FLAGS: u16 = 0b11;

/// How an event word of one side tells the other when to notify it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// Always.
    Always,
    /// Never.
    Never,
    /// When the other side passes this position, which wraps after two laps.
    Passing(u16),
}

/// The memory of a ring. Positions count descriptors since the start, and wrap at 2^16; the lap that one is
/// in is odd or even.
#[derive(Debug)]
pub(super) struct PackedRing {
    memory: SharedMemory,
    size: u16,
    /// Invariant: a table of `size` descriptors, in `memory`.
    descriptors: NonNull<Descriptor>,
}

// SAFETY: the pointer leads into the memory, which the ring owns, and which is only accessed atomically.
unsafe impl Send for PackedRing {}
// SAFETY: as above.
unsafe impl Sync for PackedRing {}

impl PackedRing {
    /// How much memory a ring of `size` descriptors takes, in whole pages.
    pub(super) const fn bytes(size: u16) -> usize {
        (device_event(size) + CACHE_LINE_BYTES).next_multiple_of(PAGE_BYTES)
    }

    /// An empty ring.
    ///
    /// # Panics
    /// If `size` is not a power of two up to [`SIZE_MAX`], or `region` is too small.
    pub(super) fn new(region: Region, size: u16) -> PackedRing {
        assert!(size.is_power_of_two() && size <= SIZE_MAX, "a ring's size is a power of two");
        let memory = SharedMemory::new(region);
        assert!(memory.length() >= PackedRing::bytes(size), "the region holds the ring");
        let last = usize::from(size - 1) * DESCRIPTOR_BYTES;
        // The first and the last descriptor are inside, and all of them between the two.
        let descriptors = memory.table(0, last);
        PackedRing { memory, size, descriptors }
    }

    #[inline]
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// The addresses of the descriptors, of the driver's event word, and of the device's.
    pub(super) fn addresses(&self) -> [u64; 3] {
        [0, driver_event(self.size), device_event(self.size)]
            .map(|offset| self.memory.device_address(offset))
    }

    /// Back to the state of a new ring.
    pub(super) fn clear(&self) {
        self.memory.clear();
    }

    #[inline]
    fn descriptor(&self, position: u16) -> &Descriptor {
        let index = usize::from(position & (self.size - 1));
        // SAFETY: the index is cut to the table's size, a power of two; the table lies in the memory that
        // this ring owns, and is only ever accessed atomically.
        unsafe { self.descriptors.add(index).as_ref() }
    }

    /// Whether the lap of `position` is the first, the third, and so on: the wrap counter of the standard.
    #[inline]
    fn is_odd_lap(&self, position: u16) -> bool {
        position & self.size == 0
    }

    /// The flags with which the driver makes a descriptor available at `position`.
    #[inline]
    pub(super) fn flags(&self, position: u16, direction: Direction, is_last: bool) -> u16 {
        let lap = if self.is_odd_lap(position) { AVAILABLE } else { USED };
        let direction = match direction {
            Direction::DeviceReads => 0,
            Direction::DeviceWrites => WRITE,
        };
        lap | direction | if is_last { 0 } else { NEXT }
    }

    /// Writes everything but the flags.
    #[inline]
    pub(super) fn write(&self, position: u16, segment: &Segment, id: u16) {
        let descriptor = self.descriptor(position);
        descriptor.address.store(segment.address, Ordering::Relaxed);
        descriptor.length.store(segment.length, Ordering::Relaxed);
        descriptor.id.store(id, Ordering::Relaxed);
    }

    /// Writes the flags. Release: what was written before, here and behind, is visible before them.
    #[inline]
    pub(super) fn write_flags(&self, position: u16, flags: u16) {
        self.descriptor(position).flags.store(flags, Ordering::Release);
    }

    /// Makes visible what was written before, before anything is read after it. The device may be writing
    /// its wish for a notification and then looking at the flags while we write the flags and then look at
    /// its wish; only a full fence on both sides keeps both from missing the other's write.
    #[inline]
    pub(super) fn full_fence(&self) {
        full_fence();
    }

    /// Whether the device has written a completion at `position`. Acquire: it, and the buffers, are visible
    /// after that.
    #[inline]
    pub(super) fn is_used(&self, position: u16) -> bool {
        let flags = self.descriptor(position).flags.load(Ordering::Acquire) & (AVAILABLE | USED);
        flags == if self.is_odd_lap(position) { AVAILABLE | USED } else { 0 }
    }

    /// What the device wrote at `position`: a buffer's number and a length, neither of them checked.
    #[inline]
    pub(super) fn completion(&self, position: u16) -> (u16, u32) {
        let descriptor = self.descriptor(position);
        (descriptor.id.load(Ordering::Relaxed), descriptor.length.load(Ordering::Relaxed))
    }

    /// When the device wants a notification. What the standard does not define counts as "always".
    #[inline]
    pub(super) fn device_wish(&self) -> Wish {
        let word = self.memory.u32_at(device_event(self.size)).load(Ordering::Relaxed);
        let (event, flags) = (word as u16, (word >> 16) as u16);
        match flags & EVENT_FLAGS {
            EVENT_DISABLE => Wish::Never,
            EVENT_DESCRIPTOR => {
                let lap = if event >> 15 == 1 { 0 } else { self.size };
                Wish::Passing(event & (self.size - 1) | lap)
            }
            _ => Wish::Always,
        }
    }

    /// Says when the driver wants an interrupt.
    #[inline]
    pub(super) fn set_driver_wish(&self, wish: Wish) {
        let (event, flags) = match wish {
            Wish::Always => (0, EVENT_ENABLE),
            Wish::Never => (0, EVENT_DISABLE),
            Wish::Passing(position) => {
                let lap = u16::from(self.is_odd_lap(position)) << 15;
                (position & (self.size - 1) | lap, EVENT_DESCRIPTOR)
            }
        };
        let word = u32::from(event) | u32::from(flags) << 16;
        self.memory.u32_at(driver_event(self.size)).store(word, Ordering::Relaxed);
    }

    /// Whether one side, which has moved from `old` to `new`, has passed `event`: see
    /// [`super::notification_wanted`]. Here all three wrap after two laps.
    #[inline]
    pub(super) fn has_passed(&self, event: u16, new: u16, old: u16) -> bool {
        let wrapped = 2 * self.size - 1;
        new.wrapping_sub(event).wrapping_sub(1) & wrapped < new.wrapping_sub(old) & wrapped
    }
}

const fn driver_event(size: u16) -> usize {
    (size as usize * DESCRIPTOR_BYTES).next_multiple_of(CACHE_LINE_BYTES)
}

const fn device_event(size: u16) -> usize {
    driver_event(size) + CACHE_LINE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P9, for positions that wrap after two laps.
    #[test]
    fn the_window_test_agrees_with_walking_across_both_laps() {
        for size in [1, 2, 4, 8, 1024] {
            let ring = PackedRing::new(Region::on_heap(PackedRing::bytes(size)), size);
            for old in
                (0..2 * size).chain(u16::MAX - 5..=u16::MAX).step_by(usize::from(size / 4).max(1))
            {
                for moved in 0..=size.min(9) {
                    let new = old.wrapping_add(moved);
                    for event in (0..2 * size).step_by(usize::from(size / 8).max(1)) {
                        let passed =
                            (0..moved).any(|step| old.wrapping_add(step) & (2 * size - 1) == event);
                        assert_eq!(ring.has_passed(event, new, old), passed);
                    }
                }
            }
        }
    }

    #[test]
    fn words_are_those_of_the_standard() {
        let ring = PackedRing::new(Region::on_heap(PackedRing::bytes(8)), 8);
        assert_eq!(PackedRing::bytes(256), 2 * PAGE_BYTES);
        // Lap one: available and not used; lap two: the other way round (section 2.8.1).
        assert_eq!(ring.flags(7, Direction::DeviceWrites, true), 0x0082);
        assert_eq!(ring.flags(8, Direction::DeviceReads, false), 0x8001);
        ring.set_driver_wish(Wish::Passing(7));
        let word = ring.memory.u32_at(128).load(Ordering::Relaxed);
        assert_eq!(word, 0x0002_8007);
        for (word, wish) in [
            (0x0000_0000, Wish::Always),
            (0x0001_0000, Wish::Never),
            (0x0003_0000, Wish::Always),
            (0x0002_8007, Wish::Passing(7)),
            (0x0002_0007, Wish::Passing(15)),
            (0x0002_7fff, Wish::Passing(15)), // No such descriptor: it harms only who asks.
        ] {
            ring.memory.u32_at(192).store(word, Ordering::Relaxed);
            assert_eq!(ring.device_wish(), wish);
        }
    }
}
