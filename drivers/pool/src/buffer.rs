//! One buffer, owned.

use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use crate::Pool;

/// A whole buffer of a pool. The holder owns its bytes; dropping it gives it back to the pool.
#[derive(Debug)]
pub struct PacketBuffer {
    /// A handle that is not counted: the pool keeps one for all buffers that are out.
    pool: ManuallyDrop<Pool>,
    base: NonNull<u8>,
    index: u32,
}

// SAFETY: the buffer is the only owner of its bytes, and the pool's free list is behind a lock.
unsafe impl Send for PacketBuffer {}
// SAFETY: a shared buffer only lets its bytes be read.
unsafe impl Sync for PacketBuffer {}

impl PacketBuffer {
    #[inline]
    pub(crate) fn new(pool: ManuallyDrop<Pool>, index: u32) -> PacketBuffer {
        let base = pool.base_of(index);
        PacketBuffer { pool, base, index }
    }

    /// The address at which a device finds the first byte.
    #[inline]
    pub fn device_address(&self) -> u64 {
        self.pool.device_address_of(self.base)
    }

    /// The pool that it came from and goes back to.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// What is left of it, for somebody who gives it back: its pool, which is there as long as it is out, and
    /// its number.
    #[inline]
    pub(crate) fn into_parts(self) -> (ManuallyDrop<Pool>, u32) {
        let buffer = ManuallyDrop::new(self);
        // SAFETY: the handle is not counted, and its original is never used again.
        (unsafe { core::ptr::read(&raw const buffer.pool) }, buffer.index)
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
        // The last one that comes back may be the last handle of the pool, too.
        drop(self.pool.give_back(&[self.index]));
    }
}
