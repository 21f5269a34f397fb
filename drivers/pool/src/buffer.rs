//! One buffer, owned.

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::Pool;

/// Where a buffer without a handle starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base(pub(crate) NonNull<u8>);

// SAFETY: an address without a right to use it; the handle has that.
unsafe impl Send for Base {}

/// A whole buffer of a pool. The holder owns its bytes; dropping it gives it back to the pool.
#[derive(Debug)]
pub struct PacketBuffer {
    /// A handle that is not counted: the pool keeps one for all buffers that are out.
    pool: ManuallyDrop<Pool>,
    /// Where its bytes start, which is also its name: what is moved with every packet is two words.
    base: NonNull<u8>,
}

// SAFETY: the buffer is the only owner of its bytes, and the pool's free list is behind a lock.
unsafe impl Send for PacketBuffer {}
// SAFETY: a shared buffer only lets its bytes be read.
unsafe impl Sync for PacketBuffer {}

impl PacketBuffer {
    /// The handle of the buffer at `base`.
    ///
    /// # Safety
    /// The buffer is one of the pool's, was taken from its free list, and has no other handle.
    #[inline]
    pub(crate) unsafe fn new(pool: ManuallyDrop<Pool>, Base(base): Base) -> PacketBuffer {
        PacketBuffer { pool, base }
    }

    /// The address at which a device finds the first byte.
    #[inline]
    pub fn device_address(&self) -> u64 {
        self.pool.device_address_of(self.base)
    }

    /// Where its first byte is.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The pool that it came from and goes back to.
    #[inline]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What is left of it, for somebody who gives it back: its pool, which is there as long as it is out, and
    /// its place.
    #[inline]
    pub(crate) fn into_parts(self) -> (ManuallyDrop<Pool>, Base) {
        let buffer = ManuallyDrop::new(self);
        // SAFETY: the handle is not counted, and its original is never used again.
        (unsafe { core::ptr::read(&raw const buffer.pool) }, Base(buffer.base))
    }
}

impl Deref for PacketBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the pool gave these initialised bytes to this handle alone.
        unsafe { core::slice::from_raw_parts(self.base.as_ptr(), self.pool.buffer_bytes()) }
    }
}

impl DerefMut for PacketBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the pool gave these initialised bytes to this handle alone, which is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.base.as_ptr(), self.pool.buffer_bytes()) }
    }
}

impl Drop for PacketBuffer {
    #[inline]
    fn drop(&mut self) {
        give_back(&self.pool, Base(self.base));
    }
}

/// Apart, so that loops that might drop a buffer, and hardly ever do, stay short. Bursts go by way of
/// [`crate::Returns`].
#[inline(never)]
fn give_back(pool: &Pool, base: Base) {
    // The last one that comes back may be the last handle of the pool, too.
    drop(pool.give_back(&[base]));
}
