//! The driver's own memory for requests: for each a header, and the byte in which the device answers.

use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use block::{BlockError, Operation};
use pool::{PAGE_BYTES, Region};

use crate::memory::SharedMemory;
use crate::queue::{Direction, Segment};

/// The distance of two slots: a header, a status byte, and room up to half a cache line.
const SLOT_BYTES: usize = 32;
/// Type, a reserved word, and the sector (section 5.2.6).
const HEADER_BYTES: u32 = 16;
const STATUS_OFFSET: usize = 16;

const TYPE_READ: u64 = 0;
const TYPE_WRITE: u64 = 1;
const TYPE_FLUSH: u64 = 4;

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// What no device answers: the byte was not written.
const STATUS_NONE: u8 = 0xff;

/// A slot, held.
#[derive(Debug)]
pub(super) struct SlotIndex(u16);

/// Slots for requests. Dropping it leaks the memory unless it was released.
#[derive(Debug)]
pub(super) struct RequestArea {
    memory: ManuallyDrop<SharedMemory>,
    free: Vec<u16>,
    is_released: bool,
}

impl RequestArea {
    /// How much memory so many slots take, in whole pages.
    pub(super) const fn bytes(slots: u16) -> usize {
        (slots as usize * SLOT_BYTES).next_multiple_of(PAGE_BYTES)
    }

    /// So many slots, all free.
    pub(super) fn new(region: Region, slots: u16) -> RequestArea {
        RequestArea {
            memory: ManuallyDrop::new(SharedMemory::new(region)),
            free: (0..slots).rev().collect(),
            is_released: false,
        }
    }

    /// The device uses the area no more: it may be freed.
    pub(super) fn release(&mut self) {
        self.is_released = true;
    }

    /// A free slot, if there is one.
    pub(super) fn take(&mut self) -> Option<SlotIndex> {
        self.free.pop().map(SlotIndex)
    }

    pub(super) fn give_back(&mut self, slot: SlotIndex) {
        self.free.push(slot.0);
    }

    /// Writes the header for `operation`.
    pub(super) fn prepare(&self, slot: &SlotIndex, operation: Operation) {
        let (kind, sector) = match operation {
            Operation::Read { sector, .. } => (TYPE_READ, sector),
            Operation::Write { sector, .. } => (TYPE_WRITE, sector),
            Operation::Flush => (TYPE_FLUSH, 0),
        };
        let offset = offset_of(slot);
        self.memory.u64_at(offset).store(kind, Ordering::Relaxed);
        self.memory.u64_at(offset + 8).store(sector, Ordering::Relaxed);
        self.memory.u8_at(offset + STATUS_OFFSET).store(STATUS_NONE, Ordering::Relaxed);
    }

    /// How the device says that it went (section 5.2.6). What the standard does not define is an error.
    pub(super) fn status(&self, slot: &SlotIndex) -> Result<(), BlockError> {
        match self.memory.u8_at(offset_of(slot) + STATUS_OFFSET).load(Ordering::Relaxed) {
            STATUS_OK => Ok(()),
            STATUS_UNSUPPORTED => Err(BlockError::Unsupported),
            _ => Err(BlockError::Device),
        }
    }

    pub(super) fn header_segment(&self, slot: &SlotIndex) -> Segment {
        let address = self.memory.device_address(offset_of(slot));
        Segment { address, length: HEADER_BYTES, direction: Direction::DeviceReads }
    }

    pub(super) fn status_segment(&self, slot: &SlotIndex) -> Segment {
        let address = self.memory.device_address(offset_of(slot) + STATUS_OFFSET);
        Segment { address, length: 1, direction: Direction::DeviceWrites }
    }
}

fn offset_of(slot: &SlotIndex) -> usize {
    usize::from(slot.0) * SLOT_BYTES
}

impl Drop for RequestArea {
    fn drop(&mut self) {
        if self.is_released {
            // SAFETY: it is not used again, and the device does not use it, as `release` says.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
