//! The three parts of a split ring as they lie in the machine's memory (Virtio 1.3, section 2.7).
//!
//! Nothing that is read here is believed: indices wrap, entries are looked up within their table.

use std::sync::atomic::{AtomicU16, Ordering, fence};

use vm_memory::{ByteValued, VolatileMemory, VolatileRef, VolatileSlice};

use crate::port::memory::Memory;

/// `struct virtq_desc` (section 2.7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) flags: u16,
    pub(super) next: u16,
}

// SAFETY: integers without padding; every pattern of bytes is one.
unsafe impl ByteValued for Descriptor {}

pub(super) const DESCRIPTOR_BYTES: usize = size_of::<Descriptor>();

/// `struct virtq_used_elem` (section 2.7.8).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct UsedElement {
    head: u32,
    written: u32,
}

// SAFETY: as above.
unsafe impl ByteValued for UsedElement {}

/// In both rings: flags, index, entries, the other side's event.
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;
const EVENT_BYTES: usize = 2;
const HEAD_BYTES: usize = size_of::<u16>();
const USED_BYTES: usize = size_of::<UsedElement>();

/// The machine does not want to be rung (`VIRTQ_AVAIL_F_NO_INTERRUPT`).
const NO_INTERRUPT: u16 = 1;
/// We do not want to be rung (`VIRTQ_USED_F_NO_NOTIFY`).
const NO_NOTIFY: u16 = 1;

/// Where a ring is in the machine's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Addresses {
    pub(in super::super) descriptors: u64,
    pub(in super::super) available: u64,
    pub(in super::super) used: u64,
}

/// A ring, and the memory that it is in.
#[derive(Debug)]
pub(super) struct Mapped {
    /// Invariant: lies in `memory`, and is given away only with a life that ends before it.
    shared: Shared<'static>,
    pub(super) memory: Memory,
    pub(super) addresses: Addresses,
}

// SAFETY: as `Memory`, from which it is made.
unsafe impl Send for Mapped {}

impl Mapped {
    /// `None` if the ring is not in the memory.
    pub(super) fn new(memory: &Memory, addresses: Addresses, size: u16) -> Option<Mapped> {
        let shared = Shared::map(memory, &addresses, size)?;
        // SAFETY: the same type but for how long its memory stays mapped, which is as long as the clone of
        // `memory` beside it is there.
        let shared = unsafe { core::mem::transmute::<Shared<'_>, Shared<'static>>(shared) };
        Some(Mapped { shared, memory: memory.clone(), addresses })
    }

    pub(super) fn shared(&self) -> &Shared<'_> {
        &self.shared
    }
}

/// A ring of `size` entries.
#[derive(Debug)]
pub(super) struct Shared<'m> {
    size: u16,
    pub(super) descriptors: VolatileSlice<'m>,
    available: VolatileSlice<'m>,
    used: VolatileSlice<'m>,
}

const INSIDE: &str = "the parts were mapped with this size, and are aligned";

impl<'m> Shared<'m> {
    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// `None` if a part is not in the memory, or lies askew (section 2.7: aligned at 16, 2 and 4 bytes). What
    /// counts is where it is here: a hypervisor may say of its memory that it begins at an odd address.
    fn map(memory: &'m Memory, addresses: &Addresses, size: u16) -> Option<Shared<'m>> {
        let map = |address: u64, bytes: usize, alignment: usize| {
            let part = memory.whole(address, bytes)?;
            let place = part.ptr_guard().as_ptr().addr();
            place.is_multiple_of(alignment).then_some(part)
        };
        let entries = usize::from(size);
        let around = ENTRIES + EVENT_BYTES;
        Some(Shared {
            size,
            descriptors: map(addresses.descriptors, entries * DESCRIPTOR_BYTES, 16)?,
            available: map(addresses.available, around + entries * HEAD_BYTES, 2)?,
            used: map(addresses.used, around + entries * USED_BYTES, 4)?,
        })
    }

    fn slot(&self, index: u16) -> usize {
        usize::from(index & (self.size - 1))
    }

    fn atomic<'s>(part: &'s VolatileSlice<'m>, offset: usize) -> &'s AtomicU16 {
        part.get_atomic_ref(offset).expect(INSIDE)
    }

    fn available_event(&self) -> &AtomicU16 {
        Self::atomic(&self.used, ENTRIES + usize::from(self.size) * USED_BYTES)
    }

    fn used_event(&self) -> &AtomicU16 {
        Self::atomic(&self.available, ENTRIES + usize::from(self.size) * HEAD_BYTES)
    }

    /// For which used entry the machine asks to be rung.
    pub(super) fn call_event(&self) -> u16 {
        self.used_event().load(Ordering::Relaxed)
    }

    /// How far the machine has come. What it wrote before that may be read now.
    pub(super) fn available_index(&self) -> u16 {
        Self::atomic(&self.available, INDEX).load(Ordering::Acquire)
    }

    /// The first descriptor of the chain at `index`.
    pub(super) fn head(&self, index: u16) -> u16 {
        let offset = ENTRIES + self.slot(index) * HEAD_BYTES;
        Self::atomic(&self.available, offset).load(Ordering::Relaxed)
    }

    /// How far the device has come, as the ring says.
    pub(super) fn used_index(&self) -> u16 {
        Self::atomic(&self.used, INDEX).load(Ordering::Relaxed)
    }

    /// Writes an entry; the machine does not see it before [`Shared::publish`].
    pub(super) fn write_used(&self, index: u16, head: u16, written: u32) {
        let offset = ENTRIES + self.slot(index) * USED_BYTES;
        let place: VolatileRef<'_, UsedElement> = self.used.get_ref(offset).expect(INSIDE);
        place.store(UsedElement { head: head.into(), written });
    }

    /// Shows the machine everything up to `index`.
    pub(super) fn publish(&self, index: u16) {
        Self::atomic(&self.used, INDEX).store(index, Ordering::Release);
    }

    /// Asks to be rung for what the machine makes available at or behind `index`, and says how far it has
    /// come meanwhile.
    pub(super) fn arm(&self, index: u16, has_events: bool) -> u16 {
        match has_events {
            true => self.available_event().store(index, Ordering::Relaxed),
            false => Self::atomic(&self.used, FLAGS).store(0, Ordering::Relaxed),
        }
        // The machine publishes its index and then reads what we asked for; we do the opposite. One of the
        // two sees the other's write: without a full fence neither may, and both wait for ever.
        fence(Ordering::SeqCst);
        self.available_index()
    }

    /// Declines to be rung. With events there is nothing to do: the one that was asked for is passed.
    pub(super) fn disarm(&self, has_events: bool) {
        if !has_events {
            Self::atomic(&self.used, FLAGS).store(NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Whether the machine wants to be rung, now that `old` has become `new`.
    pub(super) fn wants_call(&self, old: u16, new: u16, has_events: bool) -> bool {
        fence(Ordering::SeqCst);
        if has_events {
            let event = self.used_event().load(Ordering::Relaxed);
            // Section 2.7.10.1; the indices wrap.
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            Self::atomic(&self.available, FLAGS).load(Ordering::Relaxed) & NO_INTERRUPT == 0
        }
    }
}
