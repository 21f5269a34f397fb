//! A window onto a device's registers.

use core::ptr::NonNull;

/// Registers that are mapped somewhere. Every access is volatile, and checked to lie in the window.
#[derive(Debug)]
pub(crate) struct Registers {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: registers have no ties to a thread, and every access is one instruction of the device's width.
unsafe impl Send for Registers {}

impl Registers {
    /// The window of `length` bytes at `base`.
    ///
    /// # Safety
    /// The bytes are mapped, and stay so for ever; reading and writing them harms nobody but the device.
    pub(crate) unsafe fn new(base: NonNull<u8>, length: usize) -> Registers {
        Registers { base, length }
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The window onto a part of these, for somebody else to use.
    ///
    /// # Panics
    /// If the part does not lie inside.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Registers {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length), "the part lies in the window");
        // SAFETY: the offset lies inside the window, as just asserted.
        Registers { base: unsafe { self.base.add(offset) }, length }
    }

    fn place<T>(&self, offset: usize) -> *mut T {
        let inside = self.length.checked_sub(size_of::<T>());
        assert!(inside.is_some_and(|last| offset <= last), "the register lies in the window");
        // SAFETY: the offset lies inside the window, as just asserted.
        let place = unsafe { self.base.add(offset) }.as_ptr().cast::<T>();
        assert!(place.is_aligned(), "the register is aligned");
        place
    }

    /// The register at `offset`, read as a whole.
    pub(crate) fn read<T: Register>(&self, offset: usize) -> T {
        // SAFETY: `place` gives a mapped, aligned address, and every bit pattern is a `T`.
        unsafe { self.place::<T>(offset).read_volatile() }
    }

    /// Writes the register at `offset` as a whole.
    pub(crate) fn write<T: Register>(&self, offset: usize, value: T) {
        // SAFETY: `place` gives a mapped, aligned address.
        unsafe { self.place::<T>(offset).write_volatile(value) };
    }
}

/// The widths of registers.
pub(crate) trait Register: Copy {}

impl Register for u8 {}
impl Register for u16 {}
impl Register for u32 {}
