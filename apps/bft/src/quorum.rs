//! How many replicas must agree.
//!
//! With N replicas of which f may lie, two quorums of q have 2q - N members in common. One of these must
//! be honest, so 2q - N >= f + 1; and a quorum must exist without the liars, so q <= N - f. The familiar
//! 2f + 1 is only what this comes to at N = 3f + 1: with N = 32 and f = 8 it would be 17, and two quorums
//! of 17 may have no honest member in common.

use core::fmt;

use base::limits;

/// How many liars a group is to survive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FaultBound {
    /// A quarter of the replicas, rounded down: there is room for faults of other kinds.
    #[default]
    Quarter,
    /// As many as can be survived at all: less than a third.
    Third,
}

/// Why numbers make no quorums.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuorumError {
    /// No replicas, or more than a group may have.
    Size(usize),
    /// Two quorums could have no honest replica in common: two orders could be decided.
    Unsafe,
    /// Without the liars there could be no quorum: nothing would be decided.
    Unreachable,
}

impl fmt::Display for QuorumError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuorumError::Size(size) => write!(f, "{size} replicas, but there may be 1 to 32"),
            QuorumError::Unsafe => f.write_str("two quorums could meet in liars only"),
            QuorumError::Unreachable => f.write_str("there could be no quorum without the liars"),
        }
    }
}

impl core::error::Error for QuorumError {}

/// The numbers that a group of replicas counts by.
///
/// Invariant: 2 x quorum - replicas > liars, and quorum <= replicas - liars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorums {
    replicas: usize,
    liars: usize,
    quorum: usize,
}

impl Quorums {
    /// The numbers for a group of this size: the smallest quorum that is safe, which waits for the fewest
    /// slow replicas.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn of(replicas: usize, bound: FaultBound) -> Result<Quorums, QuorumError> {
        let liars = match bound {
            FaultBound::Quarter => replicas / 4,
            FaultBound::Third => replicas.saturating_sub(1) / 3,
        };
        Quorums::new(replicas, liars, replicas.saturating_add(liars) / 2 + 1)
    }

    /// Numbers of one's own choice.
    ///
    /// # Errors
    /// If they are not safe, or not live.
    pub fn new(replicas: usize, liars: usize, quorum: usize) -> Result<Quorums, QuorumError> {
        if replicas == 0 || replicas > limits::BFT_REPLICAS_MAX {
            return Err(QuorumError::Size(replicas));
        }
        if quorum > replicas.saturating_sub(liars) {
            return Err(QuorumError::Unreachable);
        }
        if 2 * quorum <= replicas + liars {
            return Err(QuorumError::Unsafe);
        }
        Ok(Quorums { replicas, liars, quorum })
    }

    /// Quorums of one less than is safe: a bug that checkers must find.
    #[cfg(any(test, feature = "mutants"))]
    pub fn too_small(self) -> Quorums {
        Quorums { quorum: (self.replicas + self.liars) / 2, ..self }
    }

    /// How many replicas there are (N).
    pub fn replicas(self) -> usize {
        self.replicas
    }

    /// How many of them may lie (f).
    pub fn liars(self) -> usize {
        self.liars
    }

    /// How many make a certificate (q).
    pub fn quorum(self) -> usize {
        self.quorum
    }

    /// How many must say something so that an honest one says it (f + 1).
    pub fn weak(self) -> usize {
        self.liars + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether liars can have two things certified. Honest replicas vote once, for one of two or for none;
    /// liars vote for both. Every assignment of votes is tried.
    fn can_fork(replicas: usize, liars: usize, quorum: usize) -> bool {
        let honest = replicas - liars;
        (0..3usize.pow(u32::try_from(honest).unwrap())).any(|code| {
            let votes =
                |choice| (0..honest).filter(move |at| code / 3usize.pow(*at as u32) % 3 == choice);
            votes(1).count() + liars >= quorum && votes(2).count() + liars >= quorum
        })
    }

    /// For every group of up to nine: what is refused as unsafe forks, what is taken does not, and one less
    /// than the smallest that is taken does.
    #[test]
    fn exactly_what_cannot_fork_and_cannot_stall_is_taken() {
        let mut taken = 0;
        for (replicas, liars) in (1..=9).flat_map(|n| (0..n).map(move |f| (n, f))) {
            for quorum in 1..=replicas {
                let can_stall = replicas - liars < quorum;
                let expected = !can_stall && !can_fork(replicas, liars, quorum);
                let found = Quorums::new(replicas, liars, quorum);
                assert_eq!(found.is_ok(), expected, "N = {replicas}, f = {liars}, q = {quorum}");
                taken += usize::from(expected);
            }
            if let Ok(quorums) = Quorums::new(replicas, liars, (replicas + liars) / 2 + 1) {
                assert!(can_fork(replicas, liars, quorums.too_small().quorum()));
            }
        }
        assert!(taken > 30, "{taken}");
    }

    #[test]
    fn the_usual_numbers() {
        let of = |replicas, bound| {
            let quorums = Quorums::of(replicas, bound).unwrap();
            (quorums.liars(), quorums.quorum(), quorums.weak())
        };
        assert_eq!(of(1, FaultBound::Quarter), (0, 1, 1));
        assert_eq!(of(4, FaultBound::Quarter), (1, 3, 2));
        assert_eq!(of(7, FaultBound::Third), (2, 5, 3));
        assert_eq!(of(32, FaultBound::Quarter), (8, 21, 9));
        assert_eq!(of(32, FaultBound::Third), (10, 22, 11));
        for size in 1..=32 {
            for bound in [FaultBound::Quarter, FaultBound::Third] {
                assert!(Quorums::of(size, bound).is_ok(), "{size}");
            }
        }
        assert_eq!(Quorums::of(33, FaultBound::Quarter), Err(QuorumError::Size(33)));
        assert_eq!(Quorums::new(32, 8, 17), Err(QuorumError::Unsafe));
        assert_eq!(Quorums::new(32, 8, 25), Err(QuorumError::Unreachable));
        assert_eq!(Quorums::new(4, usize::MAX, 3), Err(QuorumError::Unreachable));
    }
}
