//! The driver's side of a ring: who owns what, and how far each side has come.

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering, fence};

use pool::Region;

use super::ring::Ring;
use super::{
    Completion, Direction, QueueError, RingAddresses, RingLayout, Segment, Suppression,
    notification_wanted,
};

/// The driver's record of a descriptor, out of the device's reach.
#[derive(Debug)]
struct Slot<T> {
    /// Invariant: present exactly if this is the head of a chain in the device's hands.
    token: Option<T>,
    /// The next descriptor of the chain, or of the free list.
    next: u16,
    /// For a head: the last descriptor of its chain.
    tail: u16,
    /// For a head: how many descriptors its chain has.
    descriptors: u16,
    /// For a head: how many bytes the device may write.
    writable_bytes: u32,
}

/// A split virtqueue whose chains are owned by tokens of type `T`.
///
/// While the device may use it ("attached"), dropping it leaks ring and tokens: the device could still
/// write to them. [`SplitQueue::detach`] ends that.
pub struct SplitQueue<T> {
    ring: ManuallyDrop<Ring>,
    slots: ManuallyDrop<Vec<Slot<T>>>,
    suppression: Suppression,
    attached: bool,
    /// The first descriptor of the free list, of `free` descriptors.
    free_head: u16,
    free: u16,
    /// Chains in the device's hands. Invariant: their descriptors and the free ones are all there are.
    outstanding: u16,
    /// The driver's index as the device will see it, and as it sees it now.
    offered: u16,
    published: u16,
    /// How many completions were taken, and how many were announced when last looked.
    taken: u16,
    announced: u16,
    fault: Option<QueueError>,
}

impl<T> SplitQueue<T> {
    /// An empty ring with `layout`, in `region`, which declines interrupts.
    ///
    /// # Panics
    /// If the region is smaller than the layout.
    pub fn new(region: Region, layout: RingLayout, suppression: Suppression) -> SplitQueue<T> {
        let slots = (0..layout.size()).map(|_| Slot {
            token: None,
            next: 0,
            tail: 0,
            descriptors: 0,
            writable_bytes: 0,
        });
        let mut queue = SplitQueue {
            ring: ManuallyDrop::new(Ring::new(region, layout)),
            slots: ManuallyDrop::new(slots.collect()),
            suppression,
            attached: false,
            free_head: 0,
            free: 0,
            outstanding: 0,
            offered: 0,
            published: 0,
            taken: 0,
            announced: 0,
            fault: None,
        };
        queue.restart();
        queue
    }

    /// The state of a new ring. No token is in a slot.
    fn restart(&mut self) {
        let size = self.size();
        self.ring.clear();
        for index in 0..size {
            self.slots[usize::from(index)].next = (index + 1) % size;
        }
        (self.free_head, self.free, self.outstanding) = (0, size, 0);
        (self.offered, self.published, self.taken, self.announced) = (0, 0, 0, 0);
        self.fault = None;
        self.disarm();
    }

    /// How many descriptors there are.
    #[inline]
    pub fn size(&self) -> u16 {
        self.ring.layout().size()
    }

    /// How many descriptors no chain uses.
    #[inline]
    pub fn free(&self) -> u16 {
        self.free
    }

    /// How many chains are in the device's hands.
    #[inline]
    pub fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// Where the parts of the ring are. From now on the device may use it.
    pub fn attach(&mut self) -> RingAddresses {
        self.attached = true;
        let layout = self.ring.layout();
        RingAddresses {
            descriptors: self.ring.device_address(layout.descriptor(0)),
            driver: self.ring.device_address(layout.driver_flags()),
            device: self.ring.device_address(layout.device_flags()),
        }
    }

    /// Takes everything back from the device, and makes the ring a new one.
    ///
    /// # Safety
    /// The device has been reset, and has confirmed it: it uses neither the ring nor the chains any more.
    pub unsafe fn detach(&mut self, mut give_back: impl FnMut(T)) {
        for slot in self.slots.iter_mut() {
            if let Some(token) = slot.token.take() {
                give_back(token);
            }
        }
        self.attached = false;
        self.restart();
    }

    /// The tokens in the device's hands.
    pub fn tokens(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.token.as_ref())
    }

    /// Offers a chain to the device, which does not see it before [`SplitQueue::publish`]. The token comes
    /// back at once if too few descriptors are free, or the device has broken the rules.
    ///
    /// # Panics
    /// If there are no segments, or one that the device reads follows one that it writes.
    ///
    /// # Safety
    /// The segments lie in memory that the token owns, or that outlives the queue, and nobody uses that
    /// memory while the queue has the token.
    #[inline]
    pub unsafe fn add(&mut self, segments: &[Segment], token: T) -> Result<(), T> {
        assert!(!segments.is_empty(), "a chain has a segment");
        assert!(
            segments.is_sorted_by_key(|segment| segment.direction == Direction::DeviceWrites),
            "what the device reads comes first (section 2.7.4.2)"
        );
        if segments.len() > usize::from(self.free) || self.fault.is_some() {
            return Err(token);
        }
        let head = self.free_head;
        let mut tail = head;
        let mut writable_bytes = 0_u32;
        for (position, segment) in segments.iter().enumerate() {
            let index = self.free_head;
            let next = self.slots[usize::from(index)].next;
            let is_last = position + 1 == segments.len();
            self.ring.write_descriptor(index, segment, (!is_last).then_some(next));
            if segment.direction == Direction::DeviceWrites {
                writable_bytes = writable_bytes.saturating_add(segment.length);
            }
            tail = index;
            self.free_head = next;
        }
        // A chain has no more descriptors than a ring, whose size is a `u16`.
        let descriptors = segments.len() as u16;
        let slot = &mut self.slots[usize::from(head)];
        debug_assert!(slot.token.is_none(), "a free descriptor has no token");
        (slot.token, slot.tail) = (Some(token), tail);
        (slot.descriptors, slot.writable_bytes) = (descriptors, writable_bytes);
        self.free -= descriptors;
        self.outstanding += 1;
        self.ring.offer(self.offered, head);
        self.offered = self.offered.wrapping_add(1);
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
        self.ring.publish(new);
        self.published = new;
        match self.suppression {
            Suppression::EventIndex => notification_wanted(self.ring.device_event(), new, old),
            Suppression::Flags => !self.ring.device_declines(),
        }
    }

    /// Whether the device has announced completions that were not taken.
    #[inline]
    pub fn has_completions(&self) -> bool {
        self.announced != self.taken || self.ring.device_index() != self.taken
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
        let completion = self.next_completion();
        self.fault = completion.as_ref().err().copied();
        completion
    }

    #[inline]
    fn next_completion(&mut self) -> Result<Option<Completion<T>>, QueueError> {
        if self.announced == self.taken {
            let announced = self.ring.device_index();
            if announced.wrapping_sub(self.taken) > self.outstanding {
                return Err(QueueError::IndexJump);
            }
            self.announced = announced;
            if announced == self.taken {
                return Ok(None);
            }
        }
        let (head, written) = self.ring.device_entry(self.taken);
        let head = u16::try_from(head)
            .ok()
            .filter(|head| *head < self.size())
            .ok_or(QueueError::UnknownDescriptor)?;
        let slot = &mut self.slots[usize::from(head)];
        if slot.token.is_none() {
            return Err(QueueError::NotOutstanding);
        }
        // Some devices give a length for chains that they only read; it means nothing (section 2.7.8.3).
        if slot.writable_bytes > 0 && written > slot.writable_bytes {
            return Err(QueueError::TooLong);
        }
        let written = written.min(slot.writable_bytes);
        let token = slot.token.take().expect("it was there four lines above");
        let (tail, descriptors) = (slot.tail, slot.descriptors);
        self.slots[usize::from(tail)].next = self.free_head;
        self.free_head = head;
        self.free += descriptors;
        self.outstanding -= 1;
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(Completion { token, written }))
    }

    /// Asks for an interrupt at the next completion. True if there is one already: then look before you
    /// sleep.
    #[must_use = "a completion that is there already causes no interrupt"]
    pub fn arm(&mut self) -> bool {
        match self.suppression {
            Suppression::EventIndex => self.ring.set_driver_event(self.taken),
            Suppression::Flags => self.ring.set_driver_declines(false),
        }
        // The mirror image of `publish`: our wish is visible before we look at the device's index.
        fence(Ordering::SeqCst);
        self.has_completions()
    }

    /// Declines interrupts. One that is under way may still come; with event indices, so may one in 65,536.
    pub fn disarm(&mut self) {
        match self.suppression {
            // The index just passed is the one that is longest in coming.
            Suppression::EventIndex => self.ring.set_driver_event(self.taken.wrapping_sub(1)),
            Suppression::Flags => self.ring.set_driver_declines(true),
        }
    }

    /// Asserts what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let heads = self.slots.iter().filter(|slot| slot.token.is_some());
        let (chains, descriptors) =
            heads.fold((0, 0), |(chains, sum), slot| (chains + 1, sum + slot.descriptors));
        assert_eq!(chains, self.outstanding, "every chain has its token");
        assert_eq!(descriptors + self.free, self.size(), "no descriptor is lost");
        let mut seen = alloc::vec![false; usize::from(self.size())];
        let mut index = self.free_head;
        for _ in 0..self.free {
            assert!(!core::mem::replace(&mut seen[usize::from(index)], true), "free once");
            assert!(self.slots[usize::from(index)].token.is_none(), "free or held, not both");
            index = self.slots[usize::from(index)].next;
        }
        let pending = self.announced.wrapping_sub(self.taken);
        assert!(pending <= self.outstanding, "no more completions than chains");
    }
}

impl<T> Drop for SplitQueue<T> {
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

impl<T> fmt::Debug for SplitQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitQueue")
            .field("size", &self.size())
            .field("free", &self.free)
            .field("outstanding", &self.outstanding)
            .field("published", &self.published)
            .field("taken", &self.taken)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
