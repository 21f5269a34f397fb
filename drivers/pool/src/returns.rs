//! Buffers on their way back, together.

use core::mem::ManuallyDrop;

use crate::buffer::Base;
use crate::{BURST, PacketBuffer, Pool};

/// Collects buffers that are to go back to their pool, and takes the pool's lock once for many of them. What
/// is in it goes back as soon as it is full, when a buffer of another pool follows, and when it is dropped.
#[derive(Debug, Default)]
pub struct Returns {
    /// The pool of all of them. It is there as long as they are out.
    pool: Option<ManuallyDrop<Pool>>,
    /// Invariant: none if there is no pool; else each is out, and has no handle any more.
    bases: heapless::Vec<Base, BURST>,
}

impl Returns {
    /// Adds a buffer.
    #[inline]
    pub fn push(&mut self, buffer: PacketBuffer) {
        let (pool, base) = buffer.into_parts();
        let is_same = self.pool.as_ref().is_some_and(|own| own.is_same(&pool));
        if !is_same {
            self.give_back();
            self.pool = Some(pool);
        }
        self.bases.push(base).expect("it is emptied as soon as it is full");
        if self.bases.is_full() {
            self.give_back();
        }
    }

    /// Gives everything back now.
    pub fn give_back(&mut self) {
        if let Some(pool) = self.pool.take() {
            let keeper = pool.give_back(&self.bases);
            self.bases.clear();
            // It may be the last handle of the pool.
            drop(keeper);
        }
    }
}

impl Drop for Returns {
    #[inline]
    fn drop(&mut self) {
        self.give_back();
    }
}
