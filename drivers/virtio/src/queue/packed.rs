//! The driver's side of a packed ring (Virtio 1.3, section 2.8): one ring for both directions.
//!
//! A chain lies in descriptors that follow each other, and has a number, under which the device completes it.
//! Completions overwrite descriptors, in the order in which chains are completed; so what the driver needs
//! of a chain is in a record of its own here, too.

use core::cell::Cell;
use core::fmt;
use core::mem::ManuallyDrop;

use pool::Region;

use super::packed_ring::{PackedRing, Wish};
use super::slots::Slots;
use super::{Completion, QueueError, RingAddresses, Segment, Suppression};

/// How far the driver has written. Bursts work on a copy of it.
#[derive(Clone, Copy, Debug, Default)]
struct Writer {
    /// The position behind the last descriptor that was written, and behind the last that the device sees.
    offered: u16,
    published: u16,
    /// The flags of the descriptor at `published`. They are written last, and until then the device sees
    /// none of what follows.
    withheld: u16,
}

impl Writer {
    /// Writes the next descriptor, one of the chain with this number.
    #[inline]
    fn write(&mut self, ring: &PackedRing, segment: &Segment, number: u16, is_last: bool) {
        let position = self.offered;
        let flags = ring.flags(position, segment.direction, is_last);
        ring.write(position, segment, number);
        if position == self.published {
            self.withheld = flags;
        } else {
            ring.write_flags(position, flags);
        }
        self.offered = position.wrapping_add(1);
    }
}

/// A packed virtqueue whose chains are owned by tokens of type `T`: as [`super::SplitQueue`], of which it
/// differs only in memory.
pub struct PackedQueue<T> {
    ring: ManuallyDrop<PackedRing>,
    slots: ManuallyDrop<Slots<T>>,
    suppression: Suppression,
    attached: bool,
    writer: Writer,
    /// The position of the next completion, never behind `published`. Invariant: the descriptors from here to
    /// `offered` are in use.
    taken: u16,
    fault: Option<QueueError>,
}

impl<T> PackedQueue<T> {
    /// How much memory a ring of `size` descriptors takes, in whole pages.
    pub const fn bytes(size: u16) -> usize {
        PackedRing::bytes(size)
    }

    /// An empty ring of `size` descriptors in `region`, which declines interrupts.
    ///
    /// # Panics
    /// If `size` is not a power of two up to [`super::SIZE_MAX`], or the region is smaller than
    /// [`PackedQueue::bytes`].
    pub fn new(region: Region, size: u16, suppression: Suppression) -> PackedQueue<T> {
        let queue = PackedQueue {
            ring: ManuallyDrop::new(PackedRing::new(region, size)),
            slots: ManuallyDrop::new(Slots::new(size)),
            suppression,
            attached: false,
            writer: Writer::default(),
            taken: 0,
            fault: None,
        };
        queue.disarm();
        queue
    }

    /// How many descriptors there are.
    #[inline]
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// How many descriptors no chain uses.
    #[inline]
    pub fn free(&self) -> u16 {
        self.slots.free()
    }

    /// How many chains are in the device's hands.
    #[inline]
    pub fn outstanding(&self) -> u16 {
        self.slots.chains()
    }

    /// Where the parts of the ring are. From now on the device may use it.
    pub fn attach(&mut self) -> RingAddresses {
        self.attached = true;
        let [descriptors, driver, device] = self.ring.addresses();
        RingAddresses { descriptors, driver, device }
    }

    /// Takes everything back from the device, and makes the ring a new one.
    ///
    /// # Safety
    /// As [`super::SplitQueue::detach`].
    pub unsafe fn detach(&mut self, give_back: impl FnMut(T)) {
        self.slots.clear(give_back);
        self.ring.clear();
        self.attached = false;
        (self.writer, self.taken) = (Writer::default(), 0);
        self.fault = None;
        self.disarm();
    }

    /// The tokens in the device's hands.
    pub fn tokens(&self) -> impl Iterator<Item = &T> {
        self.slots.tokens()
    }

    /// Offers a chain to the device: see [`super::SplitQueue::add`].
    ///
    /// # Panics
    /// If there are no segments, or one that the device reads follows one that it writes.
    ///
    /// # Safety
    /// As [`super::SplitQueue::add`].
    #[inline]
    pub unsafe fn add(&mut self, segments: &[Segment], token: T) -> Result<(), T> {
        if self.fault.is_some() {
            return Err(token);
        }
        // All descriptors of a chain have its number here; the device looks at the last (section 2.8.8).
        let number = self.slots.first_free();
        let (ring, mut writer) = (&*self.ring, self.writer);
        self.slots.hold(segments, token, |_, segment, next| {
            writer.write(ring, segment, number, next.is_none());
        })?;
        self.writer = writer;
        Ok(())
    }

    /// Offers chains of one segment each: see [`super::SplitQueue::add_burst`].
    ///
    /// # Safety
    /// As [`super::SplitQueue::add`], for each.
    #[inline]
    pub unsafe fn add_burst(&mut self, chains: impl Iterator<Item = (Segment, T)>) -> u16 {
        if self.fault.is_some() {
            return 0;
        }
        let (ring, mut writer) = (&*self.ring, self.writer);
        let added = self.slots.hold_burst(chains, |number, segment| {
            writer.write(ring, segment, number, true);
        });
        self.writer = writer;
        added
    }

    /// Shows the device every chain added since the last time. True if it wants to be notified of it.
    #[must_use = "a device that is not notified may never look"]
    #[inline]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.writer.published, self.writer.offered);
        if old == new {
            return false;
        }
        self.ring.write_flags(old, self.writer.withheld);
        self.writer.published = new;
        self.ring.full_fence();
        match self.ring.device_wish() {
            Wish::Always => true,
            Wish::Never => false,
            Wish::Passing(event) => self.ring.has_passed(event, new, old),
        }
    }

    /// Whether the device has announced completions that were not taken.
    #[inline]
    pub fn has_completions(&self) -> bool {
        self.ring.is_used(self.taken)
    }

    /// The next chain that the device has used, if any.
    ///
    /// # Errors
    /// If the device breaks the rules; then for ever, and every token stays in the queue.
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Completion<T>>, QueueError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.ring.is_used(self.taken) {
            return Ok(None);
        }
        let completion = self.complete();
        self.fault = completion.as_ref().err().copied();
        completion.map(Some)
    }

    fn complete(&mut self) -> Result<Completion<T>, QueueError> {
        let (number, written) = self.ring.completion(self.taken);
        let shown = self.writer.published.wrapping_sub(self.taken);
        let (completion, descriptors) = self.slots.release(number.into(), written, shown)?;
        self.taken = self.taken.wrapping_add(descriptors);
        Ok(completion)
    }

    /// Gives chains that the device has used to `take`: see [`super::SplitQueue::pop_burst`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn pop_burst(
        &mut self,
        max: usize,
        mut take: impl FnMut(Completion<T>) -> bool,
    ) -> Result<(), QueueError> {
        self.fault.map_or(Ok(()), Err)?;
        let (missing, position) = (Cell::new(max), Cell::new(self.taken));
        let (ring, published) = (&*self.ring, self.writer.published);
        let result = self.slots.release_burst(
            || {
                let position = position.get();
                (missing.get() > 0 && ring.is_used(position)).then(|| {
                    let (number, written) = ring.completion(position);
                    (number.into(), written, published.wrapping_sub(position))
                })
            },
            |completion, descriptors| {
                position.set(position.get().wrapping_add(descriptors));
                missing.set(missing.get() - usize::from(take(completion)));
            },
        );
        self.taken = position.get();
        self.fault = result.err();
        result
    }

    /// Asks for an interrupt at the next completion. True if there is one already: then look before you
    /// sleep.
    #[must_use = "a completion that is there already causes no interrupt"]
    pub fn arm(&mut self) -> bool {
        self.ring.set_driver_wish(match self.suppression {
            Suppression::EventIndex => Wish::Passing(self.taken),
            Suppression::Flags => Wish::Always,
        });
        // The mirror image of `publish`: our wish is visible before we look at the device's flags.
        self.ring.full_fence();
        self.has_completions()
    }

    /// Declines interrupts. One that is under way may still come.
    pub fn disarm(&self) {
        self.ring.set_driver_wish(Wish::Never);
    }

    /// Asserts what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.slots.check_invariants();
        let descriptors = self.writer.offered.wrapping_sub(self.taken);
        assert_eq!(descriptors, self.size() - self.free(), "no descriptor is lost");
        let unseen = self.writer.offered.wrapping_sub(self.writer.published);
        assert!(unseen <= descriptors, "what the device does not see is in use");
    }
}

impl<T> Drop for PackedQueue<T> {
    fn drop(&mut self) {
        if !self.attached {
            // SAFETY: neither is used again, and no device uses them: none was told of them, or it was
            // reset, as the caller of `detach` promised.
            unsafe {
                ManuallyDrop::drop(&mut self.slots);
                ManuallyDrop::drop(&mut self.ring);
            }
        }
    }
}

impl<T> fmt::Debug for PackedQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedQueue")
            .field("size", &self.size())
            .field("free", &self.free())
            .field("outstanding", &self.outstanding())
            .field("published", &self.writer.published)
            .field("taken", &self.taken)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
