//! A run of memory that a device can reach, and the device's address for it.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::ptr::NonNull;

use crate::PAGE_BYTES;

/// Memory that is physically contiguous, page-aligned, and owned by whoever holds this value.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    length: usize,
    device_address: u64,
    /// Where the allocation starts that it lies in, if it lies on the heap.
    heap: Option<NonNull<u8>>,
}

// SAFETY: a `Region` is the only owner of its memory, which has no ties to a thread.
unsafe impl Send for Region {}
// SAFETY: a shared `Region` gives out nothing but addresses.
unsafe impl Sync for Region {}

impl Region {
    /// Takes over `length` bytes at `base`, which a device sees at `device_address`.
    ///
    /// # Panics
    /// If one of the three is not a multiple of [`PAGE_BYTES`].
    ///
    /// # Safety
    /// The memory is readable and writable, physically contiguous, used by nobody else, and stays so for
    /// ever.
    pub unsafe fn new(base: NonNull<u8>, length: usize, device_address: u64) -> Region {
        assert!(base.addr().get().is_multiple_of(PAGE_BYTES), "the region starts on a page");
        assert!(length.is_multiple_of(PAGE_BYTES), "the region is whole pages");
        assert!(device_address.is_multiple_of(PAGE_BYTES as u64), "a device sees it on a page");
        Region { base, length, device_address, heap: None }
    }

    /// Zeroed memory from the heap, for a host, where "device address" means the pointer itself.
    ///
    /// # Panics
    /// If `length` is zero or not a multiple of [`PAGE_BYTES`].
    pub fn on_heap(length: usize) -> Region {
        let layout = Region::heap_layout(length);
        // SAFETY: the layout has a size, as `heap_layout` asserts.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        let offset = start.align_offset(PAGE_BYTES);
        // SAFETY: the allocation is a page longer than the region, and the offset is shorter than a page.
        let base = unsafe { start.add(offset) };
        let device_address = base.as_ptr().expose_provenance() as u64;
        Region { base, length, device_address, heap: Some(start) }
    }

    /// A page more than wanted, instead of an alignment: what is aligned beyond the usual is cleared byte by
    /// byte, while a system hands out large memory that is clear already.
    fn heap_layout(length: usize) -> Layout {
        assert!(length > 0 && length.is_multiple_of(PAGE_BYTES), "the region is whole pages");
        Layout::from_size_align(length + PAGE_BYTES, 1).expect("far below the address space")
    }

    /// Where the memory starts.
    #[inline]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// How many bytes there are.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The device's address of the first byte.
    #[inline]
    pub fn device_address(&self) -> u64 {
        self.device_address
    }

    /// Cuts the region in two at `length`.
    ///
    /// # Panics
    /// If `length` is beyond the end or not a multiple of [`PAGE_BYTES`], or the region lies on the heap.
    pub fn split_at(self, length: usize) -> (Region, Region) {
        assert!(
            length <= self.length && length.is_multiple_of(PAGE_BYTES),
            "the cut lies on a page inside"
        );
        assert!(self.heap.is_none(), "memory of the heap is given back in one piece");
        // SAFETY: the offset is inside the region, as just asserted.
        let tail = unsafe { self.base.add(length) };
        let part =
            |base, length, device_address| Region { base, length, device_address, heap: None };
        (
            part(self.base, length, self.device_address),
            part(tail, self.length - length, self.device_address + length as u64),
        )
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(start) = self.heap {
            // SAFETY: `on_heap` allocated it with this very layout, and this is its only owner.
            unsafe { dealloc(start.as_ptr(), Region::heap_layout(self.length)) };
        }
    }
}
