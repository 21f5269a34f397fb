//! Where the three parts of a ring lie in its memory (Virtio 1.3, sections 2.7.5 to 2.7.8).

use pool::PAGE_BYTES;

/// The most descriptors that a ring may have here; the standard allows 32,768.
pub const SIZE_MAX: u16 = 1024;

const CACHE_LINE_BYTES: usize = 64;
const DESCRIPTOR_BYTES: usize = 16;
/// Flags and index, in front of the available and of the used ring alike.
const HEADER_BYTES: usize = 4;
const AVAILABLE_ENTRY_BYTES: usize = 2;
const USED_ENTRY_BYTES: usize = 8;
/// The event index behind each ring.
const EVENT_BYTES: usize = 2;

/// The offsets of everything in a ring of a given size. Driver and device write to different cache lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingLayout {
    size: u16,
    available: usize,
    used: usize,
}

impl RingLayout {
    /// The layout of a ring of `size` descriptors.
    ///
    /// # Panics
    /// If `size` is not a power of two up to [`SIZE_MAX`].
    pub const fn new(size: u16) -> RingLayout {
        assert!(size.is_power_of_two() && size <= SIZE_MAX, "a ring's size is a power of two");
        let size_usize = size as usize;
        let available = (size_usize * DESCRIPTOR_BYTES).next_multiple_of(CACHE_LINE_BYTES);
        let available_bytes = HEADER_BYTES + size_usize * AVAILABLE_ENTRY_BYTES + EVENT_BYTES;
        let used = (available + available_bytes).next_multiple_of(CACHE_LINE_BYTES);
        RingLayout { size, available, used }
    }

    /// How many descriptors there are.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// How much memory the ring takes, in whole pages.
    pub const fn bytes(&self) -> usize {
        (self.device_event() + EVENT_BYTES).next_multiple_of(PAGE_BYTES)
    }

    /// The address half of a descriptor; the other half follows 8 bytes later.
    pub(crate) const fn descriptor(&self, index: u16) -> usize {
        index as usize * DESCRIPTOR_BYTES
    }

    /// The driver's flags, and the start of its ring.
    pub(crate) const fn driver_flags(&self) -> usize {
        self.available
    }

    /// The driver's index.
    pub(crate) const fn driver_index(&self) -> usize {
        self.available + 2
    }

    /// The driver's entry at a position that wraps.
    pub(crate) const fn driver_entry(&self, position: u16) -> usize {
        self.available + HEADER_BYTES + self.wrap(position) * AVAILABLE_ENTRY_BYTES
    }

    /// The index at which the driver wants an interrupt (`used_event`).
    pub(crate) const fn driver_event(&self) -> usize {
        self.available + HEADER_BYTES + self.size as usize * AVAILABLE_ENTRY_BYTES
    }

    /// The device's flags, and the start of its ring.
    pub(crate) const fn device_flags(&self) -> usize {
        self.used
    }

    /// The device's index.
    pub(crate) const fn device_index(&self) -> usize {
        self.used + 2
    }

    /// The device's entry at a position that wraps: the descriptor; the length follows 4 bytes later.
    pub(crate) const fn device_entry(&self, position: u16) -> usize {
        self.used + HEADER_BYTES + self.wrap(position) * USED_ENTRY_BYTES
    }

    /// The index at which the device wants a notification (`avail_event`).
    pub(crate) const fn device_event(&self) -> usize {
        self.used + HEADER_BYTES + self.size as usize * USED_ENTRY_BYTES
    }

    const fn wrap(&self, position: u16) -> usize {
        (position & (self.size - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_follow_each_other_at_every_size() {
        for size in (0..=10).map(|power| 1_u16 << power) {
            let layout = RingLayout::new(size);
            assert!(layout.descriptor(size - 1) + DESCRIPTOR_BYTES <= layout.driver_flags());
            assert!(layout.driver_event() + EVENT_BYTES <= layout.device_flags());
            assert!(layout.device_event() + EVENT_BYTES <= layout.bytes());
            assert_eq!(layout.driver_entry(size), layout.driver_entry(0));
            assert_eq!(layout.device_entry(u16::MAX), layout.device_entry(size - 1));
        }
        // Section 2.7: 16, 6 + 2 n and 6 + 8 n bytes.
        let layout = RingLayout::new(256);
        assert_eq!(layout.driver_flags(), 4096);
        assert_eq!(layout.driver_event(), 4096 + 4 + 512);
        assert_eq!(layout.device_event() - layout.device_flags(), 4 + 2048);
        assert_eq!(layout.bytes(), 2 * PAGE_BYTES);
    }
}
