//! The ring as it lies in memory: each method is one access that the standard names.

use core::sync::atomic::{Ordering, fence};

use pool::Region;

use super::{Direction, RingLayout, Segment};
use crate::memory::SharedMemory;

/// Descriptor flag: `next` holds the next descriptor of the chain.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// The driver's flag: no interrupts, please.
const NO_INTERRUPT: u16 = 1;
/// The device's flag: no notifications, please.
const NO_NOTIFY: u16 = 1;

/// The memory of a ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: SharedMemory,
    layout: RingLayout,
}

impl Ring {
    /// An empty ring.
    ///
    /// # Panics
    /// If `region` is smaller than the layout.
    pub(super) fn new(region: Region, layout: RingLayout) -> Ring {
        let memory = SharedMemory::new(region);
        assert!(memory.length() >= layout.bytes(), "the region holds the ring");
        Ring { memory, layout }
    }

    pub(super) fn layout(&self) -> RingLayout {
        self.layout
    }

    pub(super) fn device_address(&self, offset: usize) -> u64 {
        self.memory.device_address(offset)
    }

    /// Back to the state of a new ring.
    pub(super) fn clear(&self) {
        self.memory.clear();
    }

    /// Writes a descriptor: its address, and its length, flags and successor in one word.
    #[inline]
    pub(super) fn write_descriptor(&self, index: u16, segment: &Segment, next: Option<u16>) {
        let direction = match segment.direction {
            Direction::DeviceReads => 0,
            Direction::DeviceWrites => WRITE,
        };
        let flags = direction | if next.is_some() { NEXT } else { 0 };
        let rest =
            u64::from(segment.length) | u64::from(flags) << 32 | u64::from(next.unwrap_or(0)) << 48;
        let offset = self.layout.descriptor(index);
        self.memory.u64_at(offset).store(segment.address, Ordering::Relaxed);
        self.memory.u64_at(offset + 8).store(rest, Ordering::Relaxed);
    }

    /// Names the head of a chain at `position`; the device does not see it before [`Ring::publish`].
    #[inline]
    pub(super) fn offer(&self, position: u16, head: u16) {
        self.memory.u16_at(self.layout.driver_entry(position)).store(head, Ordering::Relaxed);
    }

    /// Shows the device everything before `index`.
    #[inline]
    pub(super) fn publish(&self, index: u16) {
        // Release: descriptors and entries are visible before the index that covers them.
        self.memory.u16_at(self.layout.driver_index()).store(index, Ordering::Release);
        // The device may be writing its wish for a notification and then looking at the index while we
        // write the index and then look at its wish. Only a full fence on both sides keeps both from
        // missing the other's write (store-load: even x86 reorders that).
        fence(Ordering::SeqCst);
    }

    /// The index at which the device wants a notification.
    pub(super) fn device_event(&self) -> u16 {
        self.memory.u16_at(self.layout.device_event()).load(Ordering::Relaxed)
    }

    /// Whether the device wants no notification at all.
    pub(super) fn device_declines(&self) -> bool {
        self.memory.u16_at(self.layout.device_flags()).load(Ordering::Relaxed) & NO_NOTIFY != 0
    }

    /// How far the device has come. Acquire: the entries before it, and the buffers, are visible after it.
    #[inline]
    pub(super) fn device_index(&self) -> u16 {
        self.memory.u16_at(self.layout.device_index()).load(Ordering::Acquire)
    }

    /// What the device wrote at `position`: a descriptor and a length, neither of them checked.
    #[inline]
    pub(super) fn device_entry(&self, position: u16) -> (u32, u32) {
        let offset = self.layout.device_entry(position);
        (
            self.memory.u32_at(offset).load(Ordering::Relaxed),
            self.memory.u32_at(offset + 4).load(Ordering::Relaxed),
        )
    }

    /// Asks for an interrupt when the device passes `index`.
    pub(super) fn set_driver_event(&self, index: u16) {
        self.memory.u16_at(self.layout.driver_event()).store(index, Ordering::Relaxed);
    }

    /// Declines interrupts, or accepts them again.
    pub(super) fn set_driver_declines(&self, declines: bool) {
        let flags = if declines { NO_INTERRUPT } else { 0 };
        self.memory.u16_at(self.layout.driver_flags()).store(flags, Ordering::Relaxed);
    }
}
