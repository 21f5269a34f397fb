//! What the driver remembers of the chains in the device's hands, out of the device's reach.
//!
//! There are as many slots as the ring has descriptors, and a chain takes one for each of its descriptors:
//! the number of the first is the chain's. On a split ring the numbers are those of the descriptors
//! themselves; on a packed one, where descriptors follow each other, only that of the first means something.

use alloc::vec::Vec;

use super::{Completion, Direction, QueueError, Segment};

#[derive(Debug)]
struct Slot<T> {
    /// Invariant: present exactly if this is the first slot of a chain in the device's hands.
    token: Option<T>,
    /// For a first slot: how many bytes the device may write.
    writable_bytes: u32,
    /// The next slot of the chain, or of the free list.
    next: u16,
    /// For a first slot: how many the chain has.
    descriptors: u16,
}

impl<T> Slot<T> {
    /// Makes a free slot the first of a chain.
    #[inline]
    fn fill(&mut self, token: T, writable_bytes: u32, descriptors: u16) {
        let before = self.token.replace(token);
        debug_assert!(before.is_none(), "a free slot has no token");
        // Nor is there code in every loop that would drop it.
        core::mem::forget(before);
        (self.writable_bytes, self.descriptors) = (writable_bytes, descriptors);
    }
}

/// Which slots are free. Bursts work on a copy of it, which stays in the processor's registers.
#[derive(Clone, Copy, Debug)]
struct FreeList {
    /// The first, of so many.
    first: u16,
    count: u16,
    /// Chains in the device's hands. Invariant: their slots and the free ones are all there are.
    chains: u16,
}

/// The slots of one ring, and the tokens of its chains.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    list: FreeList,
}

impl<T> Slots<T> {
    /// So many free slots.
    pub(super) fn new(size: u16) -> Slots<T> {
        let free = |number| Slot {
            token: None,
            writable_bytes: 0,
            next: (number + 1) % size,
            descriptors: 0,
        };
        let list = FreeList { first: 0, count: size, chains: 0 };
        Slots { slots: (0..size).map(free).collect(), list }
    }

    /// Frees every slot. The tokens go to `give_back`.
    pub(super) fn clear(&mut self, give_back: impl FnMut(T)) {
        self.slots.iter_mut().filter_map(|slot| slot.token.take()).for_each(give_back);
        let size = self.slots.len() as u16; // As many as `new` was told.
        for (slot, number) in self.slots.iter_mut().zip(0..) {
            slot.next = (number + 1) % size;
        }
        self.list = FreeList { first: 0, count: size, chains: 0 };
    }

    /// How many slots no chain has.
    #[inline]
    pub(super) fn free(&self) -> u16 {
        self.list.count
    }

    /// The number that the next chain gets, if there is a free slot.
    #[inline]
    pub(super) fn first_free(&self) -> u16 {
        self.list.first
    }

    /// How many chains there are.
    #[inline]
    pub(super) fn chains(&self) -> u16 {
        self.list.chains
    }

    /// The tokens of all chains.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.token.as_ref())
    }

    /// Takes slots for a chain, and calls `write` for each segment with its slot, and the next one, if
    /// another segment follows. Returns the chain's number; the token, if there are too few slots.
    ///
    /// # Panics
    /// If there are no segments, or one that the device reads follows one that it writes.
    #[inline]
    pub(super) fn hold(
        &mut self,
        segments: &[Segment],
        token: T,
        mut write: impl FnMut(u16, &Segment, Option<u16>),
    ) -> Result<u16, T> {
        assert!(!segments.is_empty(), "a chain has a segment");
        assert!(
            segments.is_sorted_by_key(|segment| segment.direction == Direction::DeviceWrites),
            "what the device reads comes first (sections 2.7.4.2 and 2.8.17)"
        );
        if segments.len() > usize::from(self.list.count) {
            return Err(token);
        }
        let head = self.list.first;
        let mut writable_bytes = 0_u32;
        for (position, segment) in segments.iter().enumerate() {
            let number = self.list.first;
            let next = self.slots[usize::from(number)].next;
            write(number, segment, (position + 1 < segments.len()).then_some(next));
            writable_bytes = writable_bytes.saturating_add(segment.writable_bytes());
            self.list.first = next;
        }
        // No more than there are slots.
        let descriptors = segments.len() as u16;
        let slot = &mut self.slots[usize::from(head)];
        slot.fill(token, writable_bytes, descriptors);
        self.list.count -= descriptors;
        self.list.chains += 1;
        Ok(head)
    }

    /// As [`Slots::hold`] for chains of one segment each, while there are slots and chains. Returns how many.
    #[inline]
    pub(super) fn hold_burst(
        &mut self,
        mut chains: impl Iterator<Item = (Segment, T)>,
        mut write: impl FnMut(u16, &Segment),
    ) -> u16 {
        let (slots, mut list) = (&mut self.slots[..], self.list);
        while list.count > 0 {
            let Some((segment, token)) = chains.next() else { break };
            let slot = &mut slots[usize::from(list.first)];
            write(list.first, &segment);
            slot.fill(token, segment.writable_bytes(), 1);
            list.first = slot.next;
            list.count -= 1;
        }
        let held = self.list.count - list.count;
        list.chains += held;
        self.list = list;
        held
    }

    /// Takes the chain back that the device says it has used. Returns it with the number of its descriptors.
    ///
    /// # Errors
    /// If the device cannot have done so; nothing is taken then.
    #[inline]
    pub(super) fn release(
        &mut self,
        number: u32,
        written: u32,
        shown: u16,
    ) -> Result<(Completion<T>, u16), QueueError> {
        self.list.release(&mut self.slots, number, written, shown)
    }

    /// Takes back one chain after the other, as `next` names them with the bytes that the device says it
    /// wrote, and gives each to `take` with the number of its descriptors.
    ///
    /// # Errors
    /// As [`Slots::release`]. What was taken before stays taken.
    #[inline]
    pub(super) fn release_burst(
        &mut self,
        mut next: impl FnMut() -> Option<(u32, u32, u16)>,
        mut take: impl FnMut(Completion<T>, u16),
    ) -> Result<(), QueueError> {
        let (slots, mut list) = (&mut self.slots[..], self.list);
        let mut result = Ok(());
        while let Some((number, written, shown)) = next() {
            match list.release(slots, number, written, shown) {
                Ok((completion, descriptors)) => take(completion, descriptors),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.list = list;
        result
    }

    /// Asserts what must hold between any two calls.
    ///
    /// # Panics
    /// If it does not.
    pub(super) fn check_invariants(&self) {
        let heads = self.slots.iter().filter(|slot| slot.token.is_some());
        let (chains, descriptors) =
            heads.fold((0, 0), |(chains, sum), slot| (chains + 1, sum + slot.descriptors));
        assert_eq!(chains, self.list.chains, "every chain has its token");
        let size = descriptors + self.list.count;
        assert_eq!(usize::from(size), self.slots.len(), "no slot is lost");
        let mut seen = alloc::vec![false; self.slots.len()];
        let mut number = self.list.first;
        for _ in 0..self.list.count {
            assert!(!core::mem::replace(&mut seen[usize::from(number)], true), "free once");
            assert!(self.slots[usize::from(number)].token.is_none(), "free or held, not both");
            number = self.slots[usize::from(number)].next;
        }
    }
}

impl FreeList {
    /// See [`Slots::release`].
    #[inline]
    fn release<T>(
        &mut self,
        slots: &mut [Slot<T>],
        number: u32,
        written: u32,
        shown: u16,
    ) -> Result<(Completion<T>, u16), QueueError> {
        let slot = slots.get_mut(number as usize).ok_or(QueueError::UnknownDescriptor)?;
        let (writable_bytes, descriptors) = (slot.writable_bytes, slot.descriptors);
        // A chain that the device was not shown has descriptors that it does not have.
        if slot.token.is_none() || descriptors > shown {
            return Err(QueueError::NotOutstanding);
        }
        let written = match writable_bytes {
            // Some devices give a length for chains that they only read; it means nothing (section 2.7.8.3).
            0 => 0,
            _ if written > writable_bytes => return Err(QueueError::TooLong),
            _ => written,
        };
        let token = slot.token.take().expect("it was there a few lines above");
        let number = number as u16; // There is a slot of that number.
        let next = core::mem::replace(&mut self.first, number);
        match descriptors {
            1 => slot.next = next,
            _ => last_of_chain(slots, number, descriptors).next = next,
        }
        self.count += descriptors;
        self.chains -= 1;
        Ok((Completion { token, written }, descriptors))
    }
}

/// The last slot of a chain of so many. Apart, for chains of bursts have one.
#[inline(never)]
fn last_of_chain<T>(slots: &mut [Slot<T>], first: u16, descriptors: u16) -> &mut Slot<T> {
    let mut last = first;
    for _ in 1..descriptors {
        last = slots[usize::from(last)].next;
    }
    &mut slots[usize::from(last)]
}
