//! Memory that the driver and the device use at the same time.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use pool::Region;

/// Makes visible what was written before, before anything is read after it.
///
/// On x86-64, compilers make a locked instruction that changes nothing of `fence(SeqCst)`. A processor takes
/// it for a fence; QEMU, where it emulates a machine with one processor, takes it for what it is. Newer ones
/// heed `mfence`; 7.2 translates it into nothing. So nobody relies on this alone to be woken: who goes to
/// sleep lets an interrupt line fall, if there is one, before the last look, which is a fence everywhere, and
/// a device that has not moved is notified again.
#[inline]
pub(crate) fn full_fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: it only orders accesses to memory, which the compiler does not move across it.
    unsafe {
        core::arch::asm!("mfence", options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// A region that a device may write at any moment: every access of the driver is atomic.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    region: Region,
}

impl SharedMemory {
    /// Takes over `region` and zeroes it.
    pub(crate) fn new(region: Region) -> SharedMemory {
        let memory = SharedMemory { region };
        memory.clear();
        memory
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> usize {
        self.region.length()
    }

    /// The device's address of the byte at `offset`.
    pub(crate) fn device_address(&self, offset: usize) -> u64 {
        self.region.device_address() + offset as u64
    }

    /// Zeroes everything.
    pub(crate) fn clear(&self) {
        for offset in (0..self.region.length()).step_by(size_of::<u64>()) {
            self.u64_at(offset).store(0, Ordering::Relaxed);
        }
    }

    /// Where `T` lies at `offset`.
    ///
    /// # Panics
    /// If it does not lie inside the region, on its alignment.
    #[inline]
    fn place<T>(&self, offset: usize) -> *mut T {
        let inside = self.region.length().checked_sub(size_of::<T>());
        assert!(inside.is_some_and(|last| offset <= last), "the access lies inside the region");
        assert!(offset.is_multiple_of(align_of::<T>()), "the access is aligned");
        // SAFETY: the offset lies inside the region, as just asserted.
        unsafe { self.region.base().add(offset) }.as_ptr().cast()
    }

    /// A table of `T` whose first and last entries lie at these offsets.
    ///
    /// # Panics
    /// If they do not lie inside the region, on their alignment.
    pub(crate) fn table<T>(&self, first: usize, last: usize) -> NonNull<T> {
        let _ = self.place::<T>(last);
        NonNull::new(self.place(first)).expect("a region does not start at zero")
    }

    #[inline]
    pub(crate) fn u8_at(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: `place` gives a valid address, and the region is only ever accessed atomically.
        unsafe { AtomicU8::from_ptr(self.place(offset)) }
    }

    #[inline]
    pub(crate) fn u16_at(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: `place` gives a valid, aligned address, and the region is only ever accessed atomically.
        unsafe { AtomicU16::from_ptr(self.place(offset)) }
    }

    #[inline]
    pub(crate) fn u32_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `place` gives a valid, aligned address, and the region is only ever accessed atomically.
        unsafe { AtomicU32::from_ptr(self.place(offset)) }
    }

    #[inline]
    pub(crate) fn u64_at(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `place` gives a valid, aligned address, and the region is only ever accessed atomically.
        unsafe { AtomicU64::from_ptr(self.place(offset)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::PAGE_BYTES;

    #[test]
    fn accesses_reach_the_last_byte_and_no_further() {
        let memory = SharedMemory::new(Region::on_heap(PAGE_BYTES));
        memory.u64_at(PAGE_BYTES - 8).store(u64::MAX, Ordering::Relaxed);
        assert_eq!(memory.u8_at(PAGE_BYTES - 1).load(Ordering::Relaxed), 0xff);
        let beyond = std::panic::catch_unwind(|| memory.u16_at(PAGE_BYTES).load(Ordering::Relaxed));
        assert!(beyond.is_err());
        let askew = std::panic::catch_unwind(|| memory.u32_at(2).load(Ordering::Relaxed));
        assert!(askew.is_err());
    }
}
