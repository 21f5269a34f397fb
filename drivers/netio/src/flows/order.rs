//! The order of use: places in a ring of links, which a place that no flow has closes.

use alloc::vec;
use alloc::vec::Vec;

/// The neighbours of a place in the order of use.
#[derive(Clone, Copy, Debug)]
struct Links {
    /// What was used next …
    newer: u16,
    /// … and before.
    older: u16,
}

/// Which flows were used when.
///
/// The links lie apart from the flows: to move one touches four places, which are in one or two pages then.
///
/// Invariant: from the last place, to which no flow belongs, the links lead both ways through every flow's
/// place and back.
#[derive(Clone, Debug)]
pub(super) struct Order {
    links: Vec<Links>,
    /// The oldest is newer than this one, and the newest older: so no end is a case of its own.
    end: u16,
}

impl Order {
    /// None of `places` places is in it yet.
    pub(super) fn new(places: u16) -> Order {
        let alone = Links { newer: places, older: places };
        Order { links: vec![alone; usize::from(places) + 1], end: places }
    }

    /// What was used last.
    #[inline]
    pub(super) fn newest(&self) -> Option<u16> {
        self.older(self.end)
    }

    /// What has not been used for longest.
    #[inline]
    pub(super) fn oldest(&self) -> Option<u16> {
        Some(self.links[usize::from(self.end)].newer).filter(|place| *place != self.end)
    }

    /// What was used before this one.
    #[inline]
    pub(super) fn older(&self, place: u16) -> Option<u16> {
        Some(self.links[usize::from(place)].older).filter(|place| *place != self.end)
    }

    /// A place that is in the order is used now.
    #[inline]
    pub(super) fn touch(&mut self, place: u16) {
        // Frames come in bursts: most belong to the flow of the one before.
        if self.links[usize::from(place)].newer != self.end {
            self.remove(place);
            self.add(place);
        }
    }

    /// A place that is not in the order is used now.
    #[inline]
    pub(super) fn add(&mut self, place: u16) {
        let older = self.links[usize::from(self.end)].older;
        self.links[usize::from(older)].newer = place;
        self.links[usize::from(place)] = Links { newer: self.end, older };
        self.links[usize::from(self.end)].older = place;
    }

    /// Takes a place out of the order.
    #[inline]
    pub(super) fn remove(&mut self, place: u16) {
        let Links { newer, older } = self.links[usize::from(place)];
        self.links[usize::from(newer)].older = older;
        self.links[usize::from(older)].newer = newer;
    }
}
