//! The driver's side of a ring: who owns what, and how far each side has come.

use core::cell::Cell;
use core::fmt;
use core::mem::ManuallyDrop;

use pool::Region;

use super::ring::Ring;
use super::slots::Slots;
use super::{
    Completion, QueueError, RingAddresses, RingLayout, Segment, Suppression, notification_wanted,
};
use crate::memory::full_fence;

/// A split virtqueue whose chains are owned by tokens of type `T`.
///
/// While the device may use it ("attached"), dropping it leaks ring and tokens: the device could still
/// write to them. [`SplitQueue::detach`] ends that.
pub struct SplitQueue<T> {
    ring: ManuallyDrop<Ring>,
    slots: ManuallyDrop<Slots<T>>,
    suppression: Suppression,
    attached: bool,
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
        let queue = SplitQueue {
            ring: ManuallyDrop::new(Ring::new(region, layout)),
            slots: ManuallyDrop::new(Slots::new(layout.size())),
            suppression,
            attached: false,
            offered: 0,
            published: 0,
            taken: 0,
            announced: 0,
            fault: None,
        };
        queue.disarm();
        queue
    }

    /// How many descriptors there are.
    #[inline]
    pub fn size(&self) -> u16 {
        self.ring.layout().size()
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
    pub unsafe fn detach(&mut self, give_back: impl FnMut(T)) {
        self.slots.clear(give_back);
        self.ring.clear();
        self.attached = false;
        (self.offered, self.published, self.taken, self.announced) = (0, 0, 0, 0);
        self.fault = None;
        self.disarm();
    }

    /// The tokens in the device's hands.
    pub fn tokens(&self) -> impl Iterator<Item = &T> {
        self.slots.tokens()
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
        if self.fault.is_some() {
            return Err(token);
        }
        let ring = &*self.ring;
        let head = self.slots.hold(segments, token, |index, segment, next| {
            ring.write_descriptor(index, segment, next);
        })?;
        ring.offer(self.offered, head);
        self.offered = self.offered.wrapping_add(1);
        Ok(())
    }

    /// Offers chains of one segment each, while there are free descriptors: as [`SplitQueue::add`] for each,
    /// in fewer instructions. Returns how many; none, if the device has broken the rules.
    ///
    /// # Safety
    /// As [`SplitQueue::add`], for each.
    #[inline]
    pub unsafe fn add_burst(&mut self, chains: impl Iterator<Item = (Segment, T)>) -> u16 {
        if self.fault.is_some() {
            return 0;
        }
        let (ring, mut position) = (&*self.ring, self.offered);
        let added = self.slots.hold_burst(chains, |index, segment| {
            ring.write_descriptor(index, segment, None);
            ring.offer(position, index);
            position = position.wrapping_add(1);
        });
        self.offered = position;
        added
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
        if self.look()? == 0 {
            return Ok(None);
        }
        let (head, written) = self.ring.device_entry(self.taken);
        let (completion, _) = self.slots.release(head, written, u16::MAX)?;
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(completion))
    }

    /// Looks at the device's index, if everything that it last announced was taken. Returns how many
    /// completions there are.
    #[inline]
    fn look(&mut self) -> Result<u16, QueueError> {
        if self.announced == self.taken {
            let announced = self.ring.device_index();
            if announced.wrapping_sub(self.taken) > self.slots.chains() {
                return Err(QueueError::IndexJump);
            }
            self.announced = announced;
        }
        Ok(self.announced.wrapping_sub(self.taken))
    }

    /// Gives chains that the device has used to `take`, which says whether one counts, until `max` have
    /// counted or there are no more: as [`SplitQueue::pop`] for each, in fewer instructions.
    ///
    /// # Errors
    /// As [`SplitQueue::pop`]. What the device has used before it broke the rules was given to `take`.
    #[inline]
    pub fn pop_burst(
        &mut self,
        max: usize,
        mut take: impl FnMut(Completion<T>) -> bool,
    ) -> Result<(), QueueError> {
        self.fault.map_or(Ok(()), Err)?;
        let mut missing = max;
        let mut result = Ok(());
        while missing > 0 && result.is_ok() {
            result = match self.look() {
                Ok(0) => break,
                Ok(announced) => {
                    let count = missing.min(usize::from(announced)) as u16;
                    self.pop_announced(count, |it| missing -= usize::from(take(it)))
                }
                Err(error) => Err(error),
            };
        }
        self.fault = result.err();
        result
    }

    /// Takes the next `count` of the completions that were announced.
    #[inline]
    fn pop_announced(
        &mut self,
        count: u16,
        mut take: impl FnMut(Completion<T>),
    ) -> Result<(), QueueError> {
        let (ring, position) = (&*self.ring, Cell::new(self.taken));
        let end = self.taken.wrapping_add(count);
        let result = self.slots.release_burst(
            || {
                let (head, written) = ring.device_entry(position.get());
                (position.get() != end).then_some((head, written, u16::MAX))
            },
            |completion, _| {
                position.set(position.get().wrapping_add(1));
                take(completion);
            },
        );
        self.taken = position.get();
        result
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
        full_fence();
        self.has_completions()
    }

    /// Declines interrupts. One that is under way may still come; with event indices, so may one in 65,536.
    pub fn disarm(&self) {
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
        self.slots.check_invariants();
        let pending = self.announced.wrapping_sub(self.taken);
        assert!(pending <= self.outstanding(), "no more completions than chains");
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
            .field("free", &self.free())
            .field("outstanding", &self.outstanding())
            .field("published", &self.published)
            .field("taken", &self.taken)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
