//! Seeded randomness: the only kind that cores may use. Not for keys.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::time::Duration;

/// A pseudo-random generator (xoshiro256++): the same seed gives the same sequence for ever.
#[derive(Clone, Debug)]
pub struct Prng(Xoshiro256PlusPlus);

impl Prng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn new(seed: u64) -> Prng {
        Prng(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A generator of its own, whose sequence does not disturb this one's later draws.
    pub fn fork(&mut self) -> Prng {
        Prng::new(self.next_u64())
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in `0..bound`. The bias of the multiplication method is below 2^-32 for the bounds in
    /// use.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below zero");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform number in `low..=high`.
    ///
    /// # Panics
    /// If the range is empty or spans all of `u64`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "the range is empty");
        low + self.below((high - low).checked_add(1).expect("the range has a length"))
    }

    /// A uniform span in `low..=high`.
    pub fn duration_between(&mut self, low: Duration, high: Duration) -> Duration {
        Duration::from_nanos(self.between(low.as_nanos(), high.as_nanos()))
    }

    /// True in `numerator` of `denominator` cases.
    ///
    /// # Panics
    /// If `denominator` is zero.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_sequence() {
        let (mut a, mut b) = (Prng::new(7), Prng::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Prng::new(8).next_u64(), Prng::new(7).next_u64());
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut prng = Prng::new(1);
        let mut seen = [false; 4];
        for _ in 0..1_000 {
            seen[usize::try_from(prng.between(3, 6) - 3).unwrap()] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert!(!prng.chance(0, 10) && prng.chance(10, 10));
    }
}
