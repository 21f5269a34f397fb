//! The followers of a leader.
//!
//! They are few, are looked at after every message, and are seldom others than before: a sorted vector is
//! faster to go through than a tree, and no harder to search.

use alloc::vec::Vec;

use base::NodeId;

use crate::progress::Progress;

/// What a leader knows of each of its followers.
#[derive(Clone, Debug)]
pub(crate) struct Followers {
    /// Invariant: ids strictly ascend.
    list: Vec<(NodeId, Progress)>,
}

impl Followers {
    /// These, each as `progress` has it; `ids` strictly ascend.
    pub(crate) fn new(
        ids: impl Iterator<Item = NodeId>,
        progress: impl Fn() -> Progress,
    ) -> Followers {
        Followers { list: ids.map(|id| (id, progress())).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn place_of(&self, id: NodeId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&id, |(id, _)| *id)
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.place_of(id).is_ok()
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Progress> {
        self.place_of(id).ok().map(|place| &self.list[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.place_of(id).ok().map(|place| &mut self.list[place].1)
    }

    /// All ids, in ascending order.
    pub(crate) fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> {
        self.list.iter().map(|(id, _)| *id)
    }

    /// All, in ascending order of their ids.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Progress)> {
        self.list.iter().map(|(id, progress)| (*id, progress))
    }

    /// All, in ascending order of their ids.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Progress)> {
        self.list.iter_mut().map(|(id, progress)| (*id, progress))
    }

    /// Takes in a follower, if it is not one already.
    pub(crate) fn add(&mut self, id: NodeId, progress: Progress) {
        if let Err(place) = self.place_of(id) {
            self.list.insert(place, (id, progress));
        }
    }

    /// Lets go of all but those of which `keeps` is true.
    pub(crate) fn retain(&mut self, keeps: impl Fn(NodeId, &Progress) -> bool) {
        self.list.retain(|(id, progress)| keeps(*id, progress));
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.list.is_sorted_by(|(a, _), (b, _)| a < b), "each is there once, in order");
    }
}

#[cfg(test)]
mod tests {
    use base::LogIndex;

    use super::*;

    #[test]
    fn each_has_its_place_by_number() {
        let node = |number| NodeId::new(number).unwrap();
        let progress = |last| Progress::new(LogIndex(last));
        let mut followers = Followers::new([2, 5].into_iter().map(node), || progress(1));
        for (id, last) in [(4, 7), (1, 7), (9, 7), (5, 8)] {
            followers.add(node(id), progress(last));
            followers.check_invariants();
        }
        assert!(followers.ids().eq([1, 2, 4, 5, 9].map(node)));
        assert_eq!(followers.get(node(4)).unwrap().next_index, LogIndex(8));
        assert_eq!(followers.get(node(5)).unwrap().next_index, LogIndex(2), "it stays as it was");
        assert!(followers.get_mut(node(3)).is_none() && !followers.contains(node(3)));
        followers.retain(|id, _| id != node(4));
        assert!(followers.ids().eq([1, 2, 5, 9].map(node)));
    }
}
