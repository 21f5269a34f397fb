//! Partial partitions: every node hears somebody, and few hear everybody.

/// Who hears whom, by places in a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topology {
    /// Two halves that do not hear each other, and one node that both hear.
    Bridge,
    /// Each hears the one before and the one behind.
    Chain,
    /// A chain whose ends hear each other.
    Ring,
}

impl Topology {
    /// Whether the nodes at two of `count` places hear each other.
    pub fn joins(self, one: usize, other: usize, count: usize) -> bool {
        let (first, second) = (one.min(other), one.max(other));
        match self {
            Topology::Bridge => first == 0 || (first <= count / 2) == (second <= count / 2),
            Topology::Chain => second - first <= 1,
            Topology::Ring => second - first <= 1 || (first == 0 && second + 1 == count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many others each of five nodes hears.
    fn heard(topology: Topology) -> Vec<usize> {
        let joined = |one| (0..5).filter(move |other| topology.joins(one, *other, 5));
        (0..5).map(|one| joined(one).count() - 1).collect()
    }

    #[test]
    fn who_hears_whom() {
        assert_eq!(heard(Topology::Bridge), [4, 2, 2, 2, 2]);
        assert_eq!(heard(Topology::Chain), [1, 2, 2, 2, 1]);
        assert_eq!(heard(Topology::Ring), [2, 2, 2, 2, 2]);
    }
}
