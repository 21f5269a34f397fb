//! How many replicas must agree.
//!
//! With N replicas of which f may lie, two quorums of q have 2q - N members in common. One of these must
//! be honest, so 2q - N >= f + 1; and a quorum must exist without the liars, so q <= N - f. The familiar
//! 2f + 1 is only what this comes to at N = 3f + 1: with N = 32 and f = 8 it would be 17, and two quorums
//! of 17 may have no honest member in common.
//!
//! If F replicas vote for one batch, that decides it at once, as in SBFT (G. Golan Gueta et al., DSN 2019,
//! section V; there N = 3f + 2c + 1 and F = 3f + c + 1). Nobody but the voters need know, so it must follow
//! from what any q of all say when they leave the view: among them are w = F + q - N - f honest voters at
//! least, and all others together must be fewer, q - w < w. So F is the least number with
//! 2F > 2N + 2f - q, and no less than q: 4 of 4, and 30 of 32.

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
/// Invariant: 2 x quorum - replicas > liars, and quorum <= replicas - liars. It follows that the fast quorum
/// is at most replicas, and that among its witnesses there is an honest one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quorums {
    replicas: usize,
    liars: usize,
    quorum: usize,
    fast: usize,
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
        let fast = quorum.max((2 * replicas + 2 * liars - quorum) / 2 + 1);
        Ok(Quorums { replicas, liars, quorum, fast })
    }

    /// Quorums of one less than is safe: a bug that checkers must find.
    #[cfg(any(test, feature = "mutants"))]
    pub fn too_small(self) -> Quorums {
        Quorums { quorum: (self.replicas + self.liars) / 2, ..self }
    }

    /// Fast quorums of one less than is safe: another one.
    #[cfg(any(test, feature = "mutants"))]
    pub fn too_fast(self) -> Quorums {
        Quorums { fast: self.fast - 1, ..self }
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

    /// How many prepares decide by themselves (F).
    pub fn fast_quorum(self) -> usize {
        self.fast
    }

    /// How many of a quorum must have voted for a batch that a fast quorum may have decided (w). No two
    /// batches can have as many, and liars alone are fewer.
    pub fn witnesses(self) -> usize {
        self.fast + self.quorum - self.replicas - self.liars
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

    /// Whether a batch that `fast` votes decided may be lost: if there are votes of the honest for it, for
    /// another batch, or for none, of which a quorum tells the next primary, with what liars like to say,
    /// so that the batch with `witnesses` is another one, or there are two.
    fn can_lose(quorums: Quorums, fast: usize, witnesses: usize) -> bool {
        let (liars, quorum) = (quorums.liars(), quorums.quorum());
        let honest = quorums.replicas() - liars;
        // All liars have voted for it, or it would take more of the honest.
        (fast.saturating_sub(liars)..=honest).any(|voters| {
            // The rest of the honest have voted for the other batch.
            let others = honest - voters;
            (0..=voters.min(quorum)).any(|told| {
                let against = quorum - told;
                against <= others + liars && (told < witnesses || against >= witnesses)
            })
        })
    }

    /// For every group up to the largest: what a fast quorum has decided is found again, and with one vote
    /// less it may be lost, however many witnesses are asked for.
    #[test]
    fn what_is_decided_fast_is_never_lost_and_one_vote_less_may_be() {
        let (mut groups, mut tight) = (0, 0);
        for (replicas, liars) in (1..=32).flat_map(|n| (0..n).map(move |f| (n, f))) {
            for quorum in 1..=replicas {
                let Ok(quorums) = Quorums::new(replicas, liars, quorum) else { continue };
                let name = format!("N = {replicas}, f = {liars}, q = {quorum}");
                let (fast, witnesses) = (quorums.fast_quorum(), quorums.witnesses());
                assert!((quorum..=replicas).contains(&fast), "{name}");
                assert!(witnesses > liars && 2 * witnesses > quorum, "{name}");
                assert!(!can_lose(quorums, fast, witnesses), "{name}");
                groups += 1;
                if fast > quorum {
                    let fewer = |witnesses| can_lose(quorums, fast - 1, witnesses);
                    assert!((1..=replicas).all(fewer), "{name}");
                    tight += 1;
                }
            }
        }
        assert!(groups > 1000 && tight > 300, "{groups} {tight}");
    }

    #[test]
    fn the_usual_numbers() {
        let of = |replicas, bound| {
            let quorums = Quorums::of(replicas, bound).unwrap();
            (quorums.liars(), quorums.weak(), quorums.quorum(), quorums.fast_quorum())
        };
        assert_eq!(of(1, FaultBound::Quarter), (0, 1, 1, 1));
        assert_eq!(of(4, FaultBound::Quarter), (1, 2, 3, 4));
        assert_eq!(of(7, FaultBound::Third), (2, 3, 5, 7));
        assert_eq!(of(32, FaultBound::Quarter), (8, 9, 21, 30));
        assert_eq!(of(32, FaultBound::Third), (10, 11, 22, 32));
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
