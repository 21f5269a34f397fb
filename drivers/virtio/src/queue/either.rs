//! A ring of either format, chosen when it is set up.

use core::fmt;

use pool::Region;

use super::{
    Completion, PackedQueue, QueueError, RingAddresses, RingLayout, Segment, SplitQueue,
    Suppression,
};

/// How a ring lies in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingFormat {
    /// A table of descriptors and two rings (Virtio 1.3, section 2.7).
    Split,
    /// One ring of descriptors (section 2.8, `VIRTIO_F_RING_PACKED`).
    Packed,
}

impl fmt::Display for RingFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RingFormat::Split => "split",
            RingFormat::Packed => "packed",
        })
    }
}

/// A virtqueue. Each method is that of [`SplitQueue`].
#[derive(Debug)]
#[allow(missing_docs)] // The variants are the formats.
pub enum Queue<T> {
    Split(SplitQueue<T>),
    Packed(PackedQueue<T>),
}

impl<T> Queue<T> {
    /// How much memory a ring of `size` descriptors takes, in whole pages.
    pub const fn bytes(format: RingFormat, size: u16) -> usize {
        match format {
            RingFormat::Split => RingLayout::new(size).bytes(),
            RingFormat::Packed => PackedQueue::<T>::bytes(size),
        }
    }

    /// An empty ring of `size` descriptors in `region`, which declines interrupts.
    ///
    /// # Panics
    /// If `size` is not a power of two up to [`super::SIZE_MAX`], or the region is smaller than
    /// [`Queue::bytes`].
    pub fn new(
        format: RingFormat,
        region: Region,
        size: u16,
        suppression: Suppression,
    ) -> Queue<T> {
        match format {
            RingFormat::Split => {
                Queue::Split(SplitQueue::new(region, RingLayout::new(size), suppression))
            }
            RingFormat::Packed => Queue::Packed(PackedQueue::new(region, size, suppression)),
        }
    }

    /// How it lies in memory.
    pub fn format(&self) -> RingFormat {
        match self {
            Queue::Split(_) => RingFormat::Split,
            Queue::Packed(_) => RingFormat::Packed,
        }
    }

    /// See [`SplitQueue::size`].
    #[inline]
    pub fn size(&self) -> u16 {
        match self {
            Queue::Split(queue) => queue.size(),
            Queue::Packed(queue) => queue.size(),
        }
    }

    /// See [`SplitQueue::free`].
    #[inline]
    pub fn free(&self) -> u16 {
        match self {
            Queue::Split(queue) => queue.free(),
            Queue::Packed(queue) => queue.free(),
        }
    }

    /// See [`SplitQueue::outstanding`].
    #[inline]
    pub fn outstanding(&self) -> u16 {
        match self {
            Queue::Split(queue) => queue.outstanding(),
            Queue::Packed(queue) => queue.outstanding(),
        }
    }

    /// See [`SplitQueue::attach`].
    pub fn attach(&mut self) -> RingAddresses {
        match self {
            Queue::Split(queue) => queue.attach(),
            Queue::Packed(queue) => queue.attach(),
        }
    }

    /// See [`SplitQueue::detach`].
    ///
    /// # Safety
    /// The device has been reset, and has confirmed it: it uses neither the ring nor the chains any more.
    pub unsafe fn detach(&mut self, give_back: impl FnMut(T)) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Queue::Split(queue) => queue.detach(give_back),
                Queue::Packed(queue) => queue.detach(give_back),
            }
        }
    }

    /// Calls `see` for each token in the device's hands.
    pub fn for_each_token(&self, see: impl FnMut(&T)) {
        match self {
            Queue::Split(queue) => queue.tokens().for_each(see),
            Queue::Packed(queue) => queue.tokens().for_each(see),
        }
    }

    /// See [`SplitQueue::add`].
    ///
    /// # Panics
    /// If there are no segments, or one that the device reads follows one that it writes.
    ///
    /// # Safety
    /// The segments lie in memory that the token owns, or that outlives the queue, and nobody uses that
    /// memory while the queue has the token.
    #[inline]
    pub unsafe fn add(&mut self, segments: &[Segment], token: T) -> Result<(), T> {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Queue::Split(queue) => queue.add(segments, token),
                Queue::Packed(queue) => queue.add(segments, token),
            }
        }
    }

    /// See [`SplitQueue::add_burst`].
    ///
    /// # Safety
    /// As [`Queue::add`], for each.
    #[inline]
    pub unsafe fn add_burst(&mut self, chains: impl Iterator<Item = (Segment, T)>) -> u16 {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Queue::Split(queue) => queue.add_burst(chains),
                Queue::Packed(queue) => queue.add_burst(chains),
            }
        }
    }

    /// See [`SplitQueue::publish`].
    #[must_use = "a device that is not notified may never look"]
    #[inline]
    pub fn publish(&mut self) -> bool {
        match self {
            Queue::Split(queue) => queue.publish(),
            Queue::Packed(queue) => queue.publish(),
        }
    }

    /// See [`SplitQueue::has_completions`].
    #[inline]
    pub fn has_completions(&self) -> bool {
        match self {
            Queue::Split(queue) => queue.has_completions(),
            Queue::Packed(queue) => queue.has_completions(),
        }
    }

    /// See [`SplitQueue::pop`].
    ///
    /// # Errors
    /// If the device breaks the rules; then for ever, and every token stays in the queue.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Completion<T>>, QueueError> {
        match self {
            Queue::Split(queue) => queue.pop(),
            Queue::Packed(queue) => queue.pop(),
        }
    }

    /// See [`SplitQueue::pop_burst`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn pop_burst(
        &mut self,
        max: usize,
        take: impl FnMut(Completion<T>) -> bool,
    ) -> Result<(), QueueError> {
        match self {
            Queue::Split(queue) => queue.pop_burst(max, take),
            Queue::Packed(queue) => queue.pop_burst(max, take),
        }
    }

    /// See [`SplitQueue::arm`].
    #[must_use = "a completion that is there already causes no interrupt"]
    pub fn arm(&mut self) -> bool {
        match self {
            Queue::Split(queue) => queue.arm(),
            Queue::Packed(queue) => queue.arm(),
        }
    }

    /// See [`SplitQueue::disarm`].
    pub fn disarm(&mut self) {
        match self {
            Queue::Split(queue) => queue.disarm(),
            Queue::Packed(queue) => queue.disarm(),
        }
    }

    /// Asserts what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        match self {
            Queue::Split(queue) => queue.check_invariants(),
            Queue::Packed(queue) => queue.check_invariants(),
        }
    }
}
