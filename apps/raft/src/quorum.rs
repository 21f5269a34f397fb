//! When enough members agree: a majority of the voters, and while the voters are being exchanged a majority
//! of the old ones too (thesis, section 4.3). Elections, commitment, CheckQuorum and reads all ask here.

use base::{NodeId, limits};

/// The voters whose agreement is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quorum<'a> {
    /// A majority of these.
    incoming: &'a [NodeId],
    /// And of these, unless there are none.
    outgoing: &'a [NodeId],
}

impl<'a> Quorum<'a> {
    pub(crate) fn new(incoming: &'a [NodeId], outgoing: &'a [NodeId]) -> Quorum<'a> {
        Quorum { incoming, outgoing }
    }

    /// Whether enough voters agree. Without voters nobody ever does.
    pub(crate) fn has(self, agrees: impl Fn(NodeId) -> bool) -> bool {
        let majority = |voters: &[NodeId]| {
            2 * voters.iter().filter(|voter| agrees(**voter)).count() > voters.len()
        };
        majority(self.incoming) && (self.outgoing.is_empty() || majority(self.outgoing))
    }

    /// The greatest value that enough voters have reached; `None` without voters.
    pub(crate) fn reached<T: Ord + Copy + Default>(self, of: impl Fn(NodeId) -> T) -> Option<T> {
        let majority = |voters: &[NodeId]| {
            // A leader asks after each answer of a follower: no allocation for that.
            let mut values = [T::default(); limits::CLUSTER_NODES_MAX];
            let values = &mut values[..voters.len()];
            values.iter_mut().zip(voters).for_each(|(value, voter)| *value = of(*voter));
            values.sort_unstable_by(|a, b| b.cmp(a));
            // Of the values in descending order, the one that the last member of a majority has.
            values.get(voters.len() / 2).copied()
        };
        let incoming = majority(self.incoming)?;
        if self.outgoing.is_empty() {
            return Some(incoming);
        }
        majority(self.outgoing).map(|outgoing| incoming.min(outgoing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(bits: u32) -> Vec<NodeId> {
        (0..5).filter(|bit| bits & (1 << bit) != 0).filter_map(|bit| NodeId::new(bit + 1)).collect()
    }

    /// More than half, said without dividing: for every subset that is no majority, its complement is one
    /// or as large.
    fn naive(voters: &[NodeId], agreeing: &[NodeId]) -> bool {
        let (mut for_it, mut against) = (0, 0);
        for voter in voters {
            if agreeing.contains(voter) {
                for_it += 1;
            } else {
                against += 1;
            }
        }
        for_it > against
    }

    /// Every pair of sets of up to five voters, and every set of those that agree.
    #[test]
    fn agreement_is_that_of_a_naive_count() {
        for (incoming, outgoing) in
            (0..32).flat_map(|i| (0..32).map(move |o| (subset(i), subset(o))))
        {
            for agreeing in (0..32).map(subset) {
                let expected = naive(&incoming, &agreeing)
                    && (outgoing.is_empty() || naive(&outgoing, &agreeing));
                let quorum = Quorum::new(&incoming, &outgoing);
                assert_eq!(quorum.has(|id| agreeing.contains(&id)), expected);
            }
        }
    }

    /// Two quorums of the same voters have a member in common, and so have two of a joint configuration and
    /// of either half: that is all that safety rests on (pitfall 1).
    #[test]
    fn quorums_overlap() {
        for (old, new) in (1..32).flat_map(|i| (1..32).map(move |o| (subset(i), subset(o)))) {
            let (before, joint) = (Quorum::new(&old, &[]), Quorum::new(&new, &old));
            let after = Quorum::new(&new, &[]);
            for agreeing in 0..32u32 {
                let here = subset(agreeing);
                let rest = subset(!agreeing & 31);
                let has = |quorum: Quorum<'_>, ids: &[NodeId]| quorum.has(|id| ids.contains(&id));
                assert!(!(has(joint, &here) && has(before, &rest)));
                assert!(!(has(joint, &here) && has(after, &rest)));
                assert!(!(has(joint, &here) && has(joint, &rest)));
            }
        }
    }

    /// Every way in which five members can have reached 0 to 3.
    #[test]
    fn what_is_reached_is_the_greatest_that_enough_have() {
        for (incoming, outgoing) in
            (0..32).flat_map(|i| (0..32).map(move |o| (subset(i), subset(o))))
        {
            let quorum = Quorum::new(&incoming, &outgoing);
            for code in 0..1024u32 {
                let of = |id: NodeId| (code >> (2 * (u32::from(id.get()) - 1))) & 3;
                let expected = (0..4).rev().find(|value| quorum.has(|id| of(id) >= *value));
                assert_eq!(quorum.reached(of), expected);
            }
        }
    }
}
