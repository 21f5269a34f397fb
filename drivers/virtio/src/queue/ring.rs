//! The ring as it lies in memory: each method is one access that the standard names.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use pool::Region;

use super::{Direction, RingLayout, Segment};
use crate::memory::{SharedMemory, full_fence};

/// Descriptor flag: `next` holds the next descriptor of the chain.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// The driver's flag: no interrupts, please.
const NO_INTERRUPT: u16 = 1;
/// The device's flag: no notifications, please.
const NO_NOTIFY: u16 = 1;

/// A descriptor: its address; its length, flags and successor in one word.
type Descriptor = [AtomicU64; 2];
/// What the device has used: a descriptor and a length.
type Used = [AtomicU32; 2];

/// The memory of a ring. Where its tables start is kept, so that an access to an entry is an index that is
/// cut to the ring's size, and needs no comparison.
#[derive(Debug)]
pub(super) struct Ring {
    memory: SharedMemory,
    layout: RingLayout,
    /// Invariant: one less than the size, which is a power of two.
    mask: u16,
    /// Invariant: each is a table of as many entries as the ring's size, in `memory`.
    descriptors: NonNull<Descriptor>,
    available: NonNull<AtomicU16>,
    used: NonNull<Used>,
}

// SAFETY: the pointers lead into the memory, which the ring owns, and which is only accessed atomically.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// An empty ring.
    ///
    /// # Panics
    /// If `region` is smaller than the layout.
    pub(super) fn new(region: Region, layout: RingLayout) -> Ring {
        let memory = SharedMemory::new(region);
        assert!(memory.length() >= layout.bytes(), "the region holds the ring");
        let last = layout.size() - 1;
        // The first and the last entry of each table are inside, and all of them between the two.
        let descriptors = memory.table(layout.descriptor(0), layout.descriptor(last));
        let available = memory.table(layout.driver_entry(0), layout.driver_entry(last));
        let used = memory.table(layout.device_entry(0), layout.device_entry(last));
        Ring { memory, layout, mask: last, descriptors, available, used }
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

    /// The entry of a table at a position that wraps.
    #[inline]
    fn entry<T>(&self, table: NonNull<T>, position: u16) -> &T {
        // SAFETY: the position is cut to the table's size; the table lies in the memory that this ring owns,
        // and is only ever accessed atomically.
        unsafe { table.add(usize::from(position & self.mask)).as_ref() }
    }

    /// Writes a descriptor.
    #[inline]
    pub(super) fn write_descriptor(&self, index: u16, segment: &Segment, next: Option<u16>) {
        let direction = match segment.direction {
            Direction::DeviceReads => 0,
            Direction::DeviceWrites => WRITE,
        };
        let flags = direction | if next.is_some() { NEXT } else { 0 };
        let rest =
            u64::from(segment.length) | u64::from(flags) << 32 | u64::from(next.unwrap_or(0)) << 48;
        let descriptor = self.entry(self.descriptors, index);
        descriptor[0].store(segment.address, Ordering::Relaxed);
        descriptor[1].store(rest, Ordering::Relaxed);
    }

    /// Names the head of a chain at `position`; the device does not see it before [`Ring::publish`].
    #[inline]
    pub(super) fn offer(&self, position: u16, head: u16) {
        self.entry(self.available, position).store(head, Ordering::Relaxed);
    }

    /// Shows the device everything before `index`.
    #[inline]
    pub(super) fn publish(&self, index: u16) {
        // Release: descriptors and entries are visible before the index that covers them.
        self.memory.u16_at(self.layout.driver_index()).store(index, Ordering::Release);
        // The device may be writing its wish for a notification and then looking at the index while we
        // write the index and then look at its wish. Only a full fence on both sides keeps both from
        // missing the other's write (store-load: even x86 reorders that).
        full_fence();
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
        let [descriptor, length] = self.entry(self.used, position);
        (descriptor.load(Ordering::Relaxed), length.load(Ordering::Relaxed))
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
