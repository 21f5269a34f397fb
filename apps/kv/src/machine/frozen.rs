//! The items as they were at one moment, while they go on changing: copy on write, key by key.
//!
//! A snapshot walks through all places in their order. What changes behind it does not matter any
//! more; of what changes before it, the item as it was is kept until the walk has come by.

use alloc::collections::BTreeMap;
use core::ops::Bound;

use super::keyspace::{Item, Place, cost};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Frozen {
    /// Everything up to here has been walked past.
    passed: Option<Place>,
    /// What has changed since and is still to come: as it was, or `None` if it was not there.
    /// Invariant: every place is behind `passed`.
    kept: BTreeMap<Place, Option<Item>>,
    kept_bytes: usize,
}

impl Frozen {
    /// The item at `place` is about to change: this is what it is now.
    pub fn keep(&mut self, place: &Place, item: Option<&Item>) {
        let is_passed = self.passed.as_ref().is_some_and(|passed| place <= passed);
        if is_passed || self.kept.contains_key(place) {
            return;
        }
        self.kept_bytes += kept_cost(place, item);
        self.kept.insert(place.clone(), item.cloned());
    }

    /// The next item as it was, in the order of places. `items` is what there is now.
    pub fn walk(&mut self, items: &BTreeMap<Place, Item>) -> Option<(Place, Item)> {
        loop {
            let from = self.passed.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let live = items.range((from, Bound::Unbounded)).next();
            let kept = self.kept.first_key_value();
            let is_kept = match (live, kept) {
                (None, None) => return None,
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some((live, _)), Some((kept, _))) => kept <= live,
            };
            let (place, item) = if is_kept {
                let (place, item) = self.kept.pop_first()?;
                self.kept_bytes -= kept_cost(&place, item.as_ref());
                (place, item)
            } else {
                let (place, item) = live?;
                (place.clone(), Some(item.clone()))
            };
            self.passed = Some(place.clone());
            if let Some(item) = item {
                return Some((place, item));
            }
        }
    }

    /// What is kept beside the items themselves occupies so much.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }
}

fn kept_cost(place: &Place, item: Option<&Item>) -> usize {
    cost(place.1.len(), item.map_or(0, |item| item.value.len()))
}
