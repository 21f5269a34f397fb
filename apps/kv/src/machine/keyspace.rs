//! The keys, their values and deadlines, with their cost and a fingerprint.
//!
//! Keys lie in the order of a fixed hash. That is the order of `SCAN`: its cursor is the hash at
//! which to go on, so it needs no memory here, and a key that stays is never skipped, whatever
//! happens to the others meanwhile.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::frozen::Frozen;
use crate::hash::siphash;

/// What a key costs beside its bytes and those of its value: its share of a tree node (96 bytes,
/// nodes two thirds full), of the deadlines (48 bytes, as full), and the heap's and the shared
/// pointers' own words.
pub const ITEM_OVERHEAD_BYTES: usize = 320;

/// A value and how long it stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The value. It shares memory with nothing but replies under way.
    pub value: Bytes,
    /// The first millisecond since 1970 at which the key is gone.
    pub deadline_ms: Option<u64>,
    /// This item's part of the fingerprint.
    digest: u64,
}

/// Where a key lies: its hash, then itself.
pub type Place = (u64, Bytes);

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Keyspace {
    items: BTreeMap<Place, Item>,
    /// Invariant: one element for each item with a deadline.
    deadlines: BTreeSet<(u64, Place)>,
    /// Invariant: the sum of [`cost`] over all items.
    memory_bytes: usize,
    /// Invariant: the wrapping sum of all items' digests, which does not depend on their order.
    digest: u64,
    /// While a snapshot is taken: the items as they were when it began.
    frozen: Option<Frozen>,
}

/// What an item costs.
pub fn cost(key_bytes: usize, value_bytes: usize) -> usize {
    ITEM_OVERHEAD_BYTES + key_bytes + value_bytes
}

/// The place of a key in the order of `SCAN`, as a cursor: 63 bits, because some clients read
/// cursors as signed numbers.
fn hash(key: &[u8]) -> u64 {
    siphash(0, 0, key) >> 1
}

impl Keyspace {
    /// The item of `key`, if it is there at `clock_ms`.
    pub fn get(&self, key: &Bytes, clock_ms: u64) -> Option<&Item> {
        self.items.get(&(hash(key), key.clone())).filter(|item| item.is_visible(clock_ms))
    }

    /// Sets a key. Both texts are copied, so that they do not keep alive what they are a part of.
    pub fn put(&mut self, key: &[u8], value: &[u8], deadline_ms: Option<u64>) {
        let place = (hash(key), Bytes::copy_from_slice(key));
        self.keep(&place);
        self.remove_at(&place);
        let digest = siphash(place.0, deadline_ms.unwrap_or(u64::MAX), value);
        // The hash stands for the key, 63 bits of it: enough to tell nodes apart that disagree by
        // accident.
        self.digest = self.digest.wrapping_add(digest);
        self.memory_bytes += cost(key.len(), value.len());
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, place.clone()));
        }
        let value = Bytes::copy_from_slice(value);
        self.items.insert(place, Item { value, deadline_ms, digest });
    }

    /// Changes how long a key stays; does nothing if there is no such key.
    pub fn set_deadline(&mut self, key: &Bytes, deadline_ms: Option<u64>) {
        let place = (hash(key), key.clone());
        self.keep(&place);
        let Some((place, mut item)) = self.items.remove_entry(&place) else {
            return;
        };
        if let Some(before_ms) = item.deadline_ms {
            self.deadlines.remove(&(before_ms, place.clone()));
        }
        if let Some(deadline_ms) = deadline_ms {
            self.deadlines.insert((deadline_ms, place.clone()));
        }
        self.digest = self.digest.wrapping_sub(item.digest);
        item.deadline_ms = deadline_ms;
        item.digest = siphash(place.0, deadline_ms.unwrap_or(u64::MAX), &item.value);
        self.digest = self.digest.wrapping_add(item.digest);
        self.items.insert(place, item);
    }

    /// Removes a key, whether its time is over or not.
    pub fn remove(&mut self, key: &Bytes) -> Option<Item> {
        self.remove_at(&(hash(key), key.clone()))
    }

    fn remove_at(&mut self, place: &Place) -> Option<Item> {
        self.keep(place);
        let item = self.items.remove(place)?;
        self.memory_bytes -= cost(place.1.len(), item.value.len());
        self.digest = self.digest.wrapping_sub(item.digest);
        if let Some(deadline_ms) = item.deadline_ms {
            self.deadlines.remove(&(deadline_ms, place.clone()));
        }
        Some(item)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        let mut frozen = self.frozen.take();
        if let Some(frozen) = &mut frozen {
            self.items.iter().for_each(|(place, item)| frozen.keep(place, Some(item)));
        }
        *self = Keyspace { frozen, ..Keyspace::default() };
    }

    /// The item at `place` is about to change.
    fn keep(&mut self, place: &Place) {
        if let Some(frozen) = &mut self.frozen {
            frozen.keep(place, self.items.get(place));
        }
    }

    /// Remembers all items as they are now, for [`Keyspace::walk_frozen`].
    pub fn freeze(&mut self) {
        self.frozen = Some(Frozen::default());
    }

    /// The next of the remembered items, in the order of their places.
    pub fn walk_frozen(&mut self) -> Option<(Place, Item)> {
        self.frozen.as_mut()?.walk(&self.items)
    }

    /// What the memory of items that have changed occupies.
    pub fn frozen_bytes(&self) -> usize {
        self.frozen.as_ref().map_or(0, Frozen::kept_bytes)
    }

    /// Forgets them.
    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Whether a key lies behind all others in the order of places.
    pub fn is_behind_all(&self, key: &[u8]) -> bool {
        let place = (hash(key), Bytes::copy_from_slice(key));
        self.items.last_key_value().is_none_or(|(last, _)| *last < place)
    }

    /// Removes keys whose time is over at `clock_ms`, the earliest deadlines first, at most
    /// `count_max`.
    pub fn expire(&mut self, clock_ms: u64, count_max: usize) -> u64 {
        let mut expired = 0;
        for _ in 0..count_max {
            match self.deadlines.first() {
                Some((deadline_ms, place)) if *deadline_ms <= clock_ms => {
                    let place = place.clone();
                    self.remove_at(&place).expect("a deadline belongs to an item");
                    expired += 1;
                }
                Some(_) | None => break,
            }
        }
        expired
    }

    /// The visible keys from the cursor on, each with the cursor at which it lies.
    pub fn scan(&self, cursor: u64, clock_ms: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        self.items
            .range((cursor, Bytes::new())..)
            .filter(move |(_, item)| item.is_visible(clock_ms))
            .map(|((place, key), _)| (*place, key))
    }

    /// How many keys there are, those included whose time is over.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// How many keys have a deadline.
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }

    /// The earliest deadline.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// What all items cost.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The fingerprint of all items.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let mut deadlines = 0;
        let (mut memory_bytes, mut digest) = (0, 0u64);
        for (place, item) in &self.items {
            assert_eq!(place.0, hash(&place.1), "a key lies at its hash");
            memory_bytes += cost(place.1.len(), item.value.len());
            digest = digest.wrapping_add(item.digest);
            if let Some(deadline_ms) = item.deadline_ms {
                deadlines += 1;
                assert!(
                    self.deadlines.contains(&(deadline_ms, place.clone())),
                    "deadlines are known"
                );
            }
        }
        assert_eq!(self.deadlines.len(), deadlines, "every deadline belongs to an item");
        assert_eq!(self.memory_bytes, memory_bytes, "the cost is the sum of all costs");
        assert_eq!(self.digest, digest, "the fingerprint is the sum of all fingerprints");
    }
}

impl Item {
    fn is_visible(&self, clock_ms: u64) -> bool {
        self.deadline_ms.is_none_or(|deadline_ms| deadline_ms > clock_ms)
    }
}
