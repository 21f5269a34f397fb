//! Buffers on their way back, together.

use core::mem;

use crate::{BURST, PacketBuffer};

/// Collects buffers that are to go back to their pool, and takes the pool's lock once for many of them. What
/// is in it goes back when it is full, when a buffer of another pool follows, and when it is dropped.
#[derive(Debug, Default)]
pub struct Returns {
    /// Invariant: all of one pool.
    buffers: heapless::Vec<PacketBuffer, BURST>,
}

impl Returns {
    /// Adds a buffer.
    #[inline]
    pub fn push(&mut self, buffer: PacketBuffer) {
        let fits = self.buffers.first().is_none_or(|first| first.pool().is_same(buffer.pool()));
        if !fits || self.buffers.is_full() {
            self.give_back();
        }
        self.buffers.push(buffer).expect("it was just emptied if it was full");
    }

    /// Gives everything back now.
    pub fn give_back(&mut self) {
        let Some(first) = self.buffers.first() else { return };
        let indices = self.buffers.iter().map(PacketBuffer::index);
        let keeper = first.pool().give_back(indices);
        // They have gone back already, and must not do so again.
        mem::take(&mut self.buffers).into_iter().for_each(mem::forget);
        drop(keeper);
    }
}

impl Drop for Returns {
    fn drop(&mut self) {
        self.give_back();
    }
}
