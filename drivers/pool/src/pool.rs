//! The pool: equal buffers in one region and a stack of those that are free.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use crate::buffer::Base;
use crate::{BURST, Frame, PAGE_BYTES, PacketBuffer, Region};

/// A fixed number of equal buffers. Cheap to clone: every clone is the same pool.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The memory of all buffers, which lasts as long as this.
    _region: Region,
    /// What makes an address of the processor one of the device, which wraps.
    to_device: u64,
    buffer_bytes: usize,
    buffers: usize,
    state: Mutex<State>,
    exhausted: AtomicU64,
    copied_bytes: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Free buffers; its capacity is reserved at the start, so that it never allocates again.
    ///
    /// Invariant: a buffer is either here, once, or in exactly one live `PacketBuffer`.
    free: Vec<Base>,
    /// One handle that stands for all buffers that are out: to count each would take two atomic operations
    /// per packet.
    ///
    /// Invariant: present exactly if some buffer is not in `free`.
    keeper: Option<Pool>,
}

/// What a pool has counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStatistics {
    /// How many buffers there are.
    pub buffers: usize,
    /// How many of them nobody holds.
    pub free: usize,
    /// How often somebody asked and there was none.
    pub exhausted: u64,
    /// How many payload bytes were copied into or out of buffers by the processor.
    pub copied_bytes: u64,
}

impl Pool {
    /// As many buffers of `buffer_bytes` as `region` holds.
    ///
    /// # Panics
    /// If `buffer_bytes` is zero, 4 GiB or more, or not a multiple of [`PAGE_BYTES`], or the region is
    /// smaller than one buffer.
    pub fn new(region: Region, buffer_bytes: usize) -> Pool {
        assert!(
            buffer_bytes > 0 && buffer_bytes.is_multiple_of(PAGE_BYTES),
            "buffers are whole pages"
        );
        assert!(u32::try_from(buffer_bytes).is_ok(), "a buffer is shorter than 4 GiB");
        let buffers = region.length() / buffer_bytes;
        assert!(buffers > 0, "the region holds at least one buffer");
        // SAFETY: the offset of a buffer that the region holds.
        let base = |index| Base(unsafe { region.base().add(index * buffer_bytes) });
        // Reversed, so that the first taken is the first in memory: captures and dumps read better.
        let free = (0..buffers).rev().map(base).collect();
        let to_device = region.device_address().wrapping_sub(region.base().addr().get() as u64);
        Pool(Arc::new(Shared {
            _region: region,
            to_device,
            buffer_bytes,
            buffers,
            state: Mutex::new(State { free, keeper: None }),
            exhausted: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
        }))
    }

    /// A pool in memory of the heap, for hosts and tests.
    ///
    /// # Panics
    /// As [`Pool::new`].
    pub fn on_heap(buffers: usize, buffer_bytes: usize) -> Pool {
        Pool::new(Region::on_heap(buffers * buffer_bytes), buffer_bytes)
    }

    /// A free buffer, or `None` (counted) if every buffer is held.
    ///
    /// Its bytes are those that its last holder left.
    #[inline]
    pub fn allocate(&self) -> Option<PacketBuffer> {
        let mut state = self.0.state.lock();
        let base = state.free.pop();
        if base.is_none() {
            self.0.exhausted.fetch_add(1, Ordering::Relaxed);
        } else if state.keeper.is_none() {
            state.keeper = Some(self.clone());
        }
        drop(state);
        base.map(|base| self.buffer(base))
    }

    /// So many free buffers, at most [`BURST`], and fewer (counted) if there are not as many. Those that are
    /// not taken out of the result go back.
    #[inline]
    pub fn allocate_burst(&self, count: usize) -> Burst<'_> {
        let count = count.min(BURST);
        // Filled where it is: it is long, and each move of it a copy.
        let mut burst = Burst { pool: self, bases: heapless::Vec::new() };
        let mut state = self.0.state.lock();
        let first = state.free.len().saturating_sub(count);
        burst.bases.extend_from_slice(&state.free[first..]).expect("no more than a burst");
        state.free.truncate(first);
        if burst.bases.len() < count {
            self.0.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        if !burst.bases.is_empty() && state.keeper.is_none() {
            state.keeper = Some(self.clone());
        }
        drop(state);
        burst
    }

    /// The handle of a buffer that was just taken from the free list.
    #[inline]
    fn buffer(&self, base: Base) -> PacketBuffer {
        // SAFETY: the copy is never dropped, and does not outlive the keeper, which is there until the
        // last buffer has come back.
        let pool = unsafe { core::ptr::read(self) };
        let pool = ManuallyDrop::new(pool);
        // SAFETY: it was just taken from the free list.
        unsafe { PacketBuffer::new(pool, base) }
    }

    /// An empty frame with the usual headroom, or `None` (counted) if every buffer is held.
    pub fn allocate_frame(&self) -> Option<Frame> {
        self.allocate().map(Frame::new)
    }

    /// How many buffers nobody holds.
    pub fn free(&self) -> usize {
        self.0.state.lock().free.len()
    }

    /// The length of every buffer.
    #[inline]
    pub fn buffer_bytes(&self) -> usize {
        self.0.buffer_bytes
    }

    /// Notes that the processor copied payload bytes that might have stayed where they were.
    pub fn count_copied(&self, bytes: usize) {
        self.0.copied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            buffers: self.0.buffers,
            free: self.free(),
            exhausted: self.0.exhausted.load(Ordering::Relaxed),
            copied_bytes: self.0.copied_bytes.load(Ordering::Relaxed),
        }
    }

    /// The device's address of what lies at `base`, in one of the buffers.
    #[inline]
    pub(crate) fn device_address_of(&self, base: NonNull<u8>) -> u64 {
        (base.addr().get() as u64).wrapping_add(self.0.to_device)
    }

    /// Whether both are handles of one pool.
    #[inline]
    pub(crate) fn is_same(&self, other: &Pool) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Takes buffers back. If they are the last that were out, the caller gets the handle that stood for
    /// them, to drop it when nothing of the pool is borrowed any more.
    #[inline]
    pub(crate) fn give_back(&self, bases: &[Base]) -> Option<Pool> {
        let mut state = self.0.state.lock();
        state.free.extend_from_slice(bases);
        debug_assert!(state.free.len() <= self.0.buffers, "a buffer is given back once");
        if state.free.len() == self.0.buffers { state.keeper.take() } else { None }
    }
}

/// Buffers that were taken together, on their way to their holders.
#[derive(Debug)]
pub struct Burst<'a> {
    pool: &'a Pool,
    /// Invariant: each was taken from the free list, and has no handle yet.
    bases: heapless::Vec<Base, BURST>,
}

impl Iterator for Burst<'_> {
    type Item = PacketBuffer;

    #[inline]
    fn next(&mut self) -> Option<PacketBuffer> {
        self.bases.pop().map(|base| self.pool.buffer(base))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.bases.len(), Some(self.bases.len()))
    }
}

impl ExactSizeIterator for Burst<'_> {}

impl Drop for Burst<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.bases.is_empty() {
            // Whoever borrows the pool has a handle of it: this is not the last.
            drop(self.pool.give_back(&self.bases));
        }
    }
}
