//! The driver's side of a packed ring (Virtio 1.3, section 2.8): one ring for both directions.
//!
//! A chain lies in descriptors that follow each other, and has a number, under which the device completes it.
//! Completions overwrite descriptors, in the order in which chains are completed; so what the driver needs
//! of a chain is in a record of its own here, too.

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;

use pool::Region;

use super::packed_ring::{PackedRing, Wish};
use super::{Completion, Direction, QueueError, RingAddresses, Segment, Suppression};

/// The driver's record of a chain, out of the device's reach.
#[derive(Debug)]
struct Slot<T> {
    /// Invariant: present exactly if the chain with this number is in the device's hands.
    token: Option<T>,
    /// For a free number: the next free one.
    next: u16,
    /// How many descriptors the chain has.
    descriptors: u16,
    /// How many bytes the device may write.
    writable_bytes: u32,
}

/// A packed virtqueue whose chains are owned by tokens of type `T`: as [`super::SplitQueue`], of which it
/// differs only in memory.
pub struct PackedQueue<T> {
    ring: ManuallyDrop<PackedRing>,
    /// By the numbers of chains.
    slots: ManuallyDrop<Vec<Slot<T>>>,
    suppression: Suppression,
    attached: bool,
    /// The first free number. Invariant: there is one whenever a descriptor is free.
    free_head: u16,
    /// Chains in the device's hands.
    outstanding: u16,
    /// The position behind the last descriptor that was written, and behind the last that the device sees.
    offered: u16,
    published: u16,
    /// The flags of the descriptor at `published`. They are written last, and until then the device sees
    /// none of what follows.
    withheld: u16,
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
        let slots =
            (0..size).map(|_| Slot { token: None, next: 0, descriptors: 0, writable_bytes: 0 });
        let mut queue = PackedQueue {
            ring: ManuallyDrop::new(PackedRing::new(region, size)),
            slots: ManuallyDrop::new(slots.collect()),
            suppression,
            attached: false,
            free_head: 0,
            outstanding: 0,
            offered: 0,
            published: 0,
            withheld: 0,
            taken: 0,
            fault: None,
        };
        queue.restart();
        queue
    }

    /// The state of a new ring. No token is in a slot.
    fn restart(&mut self) {
        let size = self.size();
        self.ring.clear();
        for number in 0..size {
            self.slots[usize::from(number)].next = (number + 1) % size;
        }
        (self.free_head, self.outstanding) = (0, 0);
        (self.offered, self.published, self.withheld, self.taken) = (0, 0, 0, 0);
        self.fault = None;
        self.disarm();
    }

    /// How many descriptors there are.
    #[inline]
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// How many descriptors no chain uses.
    #[inline]
    pub fn free(&self) -> u16 {
        self.size() - self.offered.wrapping_sub(self.taken)
    }

    /// How many chains are in the device's hands.
    #[inline]
    pub fn outstanding(&self) -> u16 {
        self.outstanding
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
        let tokens = self.slots.iter_mut().filter_map(|slot| slot.token.take());
        tokens.for_each(give_back);
        self.attached = false;
        self.restart();
    }

    /// The tokens in the device's hands.
    pub fn tokens(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.token.as_ref())
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
        assert!(!segments.is_empty(), "a chain has a segment");
        assert!(
            segments.is_sorted_by_key(|segment| segment.direction == Direction::DeviceWrites),
            "what the device reads comes first (section 2.8.17)"
        );
        if segments.len() > usize::from(self.free()) || self.fault.is_some() {
            return Err(token);
        }
        let number = self.free_head;
        let mut writable_bytes = 0_u32;
        for (index, segment) in segments.iter().enumerate() {
            let position = self.offered;
            let is_last = index + 1 == segments.len();
            let flags = self.ring.flags(position, segment.direction, is_last);
            self.ring.write(position, segment, number);
            if position == self.published {
                self.withheld = flags;
            } else {
                self.ring.write_flags(position, flags);
            }
            if segment.direction == Direction::DeviceWrites {
                writable_bytes = writable_bytes.saturating_add(segment.length);
            }
            self.offered = self.offered.wrapping_add(1);
        }
        let slot = &mut self.slots[usize::from(number)];
        debug_assert!(slot.token.is_none(), "a free number has no token");
        slot.token = Some(token);
        // A chain has no more descriptors than a ring, whose size is a `u16`.
        (slot.descriptors, slot.writable_bytes) = (segments.len() as u16, writable_bytes);
        self.free_head = slot.next;
        self.outstanding += 1;
        Ok(())
    }

    /// Shows the device every chain added since the last time. True if it wants to be notified of it.
    #[must_use = "a device that is not notified may never look"]
    #[inline]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.offered);
        if old == new {
            return false;
        }
        self.ring.write_flags(old, self.withheld);
        self.published = new;
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
        let shown = self.published.wrapping_sub(self.taken);
        let slot = self.slots.get_mut(usize::from(number)).ok_or(QueueError::UnknownDescriptor)?;
        // A chain that the device was not shown has descriptors that it does not have.
        if slot.token.is_none() || slot.descriptors > shown {
            return Err(QueueError::NotOutstanding);
        }
        // Of chains that a device only reads the length means nothing, as on a split ring.
        if slot.writable_bytes > 0 && written > slot.writable_bytes {
            return Err(QueueError::TooLong);
        }
        let token = slot.token.take().expect("it was there a few lines above");
        let written = written.min(slot.writable_bytes);
        slot.next = self.free_head;
        self.free_head = number;
        self.outstanding -= 1;
        self.taken = self.taken.wrapping_add(slot.descriptors);
        Ok(Completion { token, written })
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
    pub fn disarm(&mut self) {
        self.ring.set_driver_wish(Wish::Never);
    }

    /// Asserts what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let held = self.slots.iter().filter(|slot| slot.token.is_some());
        let (chains, descriptors) =
            held.fold((0, 0), |(chains, sum), slot| (chains + 1, sum + slot.descriptors));
        assert_eq!(chains, self.outstanding, "every chain has its token");
        assert_eq!(descriptors, self.offered.wrapping_sub(self.taken), "no descriptor is lost");
        assert!(descriptors <= self.size(), "no descriptor is used twice");
        let mut seen = alloc::vec![false; usize::from(self.size())];
        let mut number = self.free_head;
        for _ in 0..self.size() - self.outstanding {
            assert!(!core::mem::replace(&mut seen[usize::from(number)], true), "free once");
            assert!(self.slots[usize::from(number)].token.is_none(), "free or held, not both");
            number = self.slots[usize::from(number)].next;
        }
        let unseen = self.offered.wrapping_sub(self.published);
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
            .field("outstanding", &self.outstanding)
            .field("published", &self.published)
            .field("taken", &self.taken)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
