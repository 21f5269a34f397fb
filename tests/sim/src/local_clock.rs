//! The clock of one machine: it runs too fast or too slow, may leap, and may halt with its machine.

use base::{Duration, Instant, Prng};

const MILLION: u64 = 1_000_000;

/// A clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalClock {
    /// By how many parts in a million it is too fast, or too slow if negative.
    error_ppm: i64,
    /// By how much it has leapt forward.
    ahead: Duration,
    /// How long it has halted, by itself.
    behind: Duration,
    /// What it shows while it is halted.
    halted: Option<Instant>,
}

impl LocalClock {
    /// A clock that is so wrong: as little as it may be, or as much, or anything in between.
    pub fn draw((error_min_ppm, error_max_ppm): (u64, u64), prng: &mut Prng) -> LocalClock {
        let error = match prng.below(3) {
            0 => error_min_ppm,
            1 => error_max_ppm,
            _ => prng.between(error_min_ppm, error_max_ppm),
        };
        let error = i64::try_from(error).expect("a clock is not wrong by millions of millions");
        let is_slow = prng.chance(1, 2);
        LocalClock { error_ppm: if is_slow { -error } else { error }, ..LocalClock::default() }
    }

    /// So many of its nanoseconds pass in a million of the world's.
    fn rate(&self) -> u64 {
        MILLION.saturating_add_signed(self.error_ppm)
    }

    /// What it shows at a time of the world's.
    pub fn at(&self, now: Instant) -> Instant {
        self.halted.unwrap_or_else(|| {
            let shown = u128::from(now.as_nanos()) * u128::from(self.rate()) / u128::from(MILLION);
            let shown = Instant::from_nanos(shown as u64) + self.ahead;
            Instant::ORIGIN + (shown.since(Instant::ORIGIN) - self.behind)
        })
    }

    /// How long the world has to wait from `now` on until it shows `shown`.
    pub fn until(&self, shown: Instant, now: Instant) -> Duration {
        let span = u128::from(shown.since(self.at(now)).as_nanos());
        let span = (span * u128::from(MILLION)).div_ceil(u128::from(self.rate()));
        Duration::from_nanos(span as u64)
    }

    /// It leaps forward.
    pub fn leap(&mut self, span: Duration) {
        self.ahead = self.ahead + span;
    }

    /// It halts.
    pub fn halt(&mut self, now: Instant) {
        self.halted = Some(self.at(now));
    }

    /// It goes on from where it halted, if it did.
    pub fn go_on(&mut self, now: Instant) {
        if let Some(halted) = self.halted.take() {
            self.behind = self.behind + self.at(now).since(halted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR_MAX_PPM: u64 = 50_000;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_clock_is_at_most_as_wrong_as_it_may_be() {
        let mut prng = Prng::new(1);
        let shown =
            |prng: &mut Prng| LocalClock::draw((0, ERROR_MAX_PPM), prng).at(ms(1_000)).as_millis();
        let all: Vec<u64> = (0..100).map(|_| shown(&mut prng)).collect();
        assert!(all.iter().all(|shown| (950..=1_050).contains(shown)));
        assert!([950, 1_000, 1_050].iter().all(|shown| all.contains(shown)));
        assert_eq!(LocalClock::draw((0, 0), &mut prng).at(ms(7)), ms(7));
    }

    #[test]
    fn whoever_waits_for_a_time_sees_it() {
        let mut prng = Prng::new(2);
        for _ in 0..1_000 {
            let clock = LocalClock::draw((0, ERROR_MAX_PPM), &mut prng);
            let now = Instant::from_nanos(prng.below(1 << 40));
            let shown = clock.at(now) + Duration::from_nanos(prng.below(1 << 30));
            let waited = clock.until(shown, now);
            assert!(clock.at(now + waited) + Duration::from_nanos(1) >= shown);
            assert!(clock.at(now + waited).since(shown) <= Duration::from_nanos(2));
        }
    }

    #[test]
    fn a_clock_that_has_halted_goes_on_from_there() {
        let mut clock = LocalClock::default();
        clock.leap(Duration::from_millis(5));
        clock.halt(ms(10));
        assert_eq!(clock.at(ms(90)), ms(15));
        clock.go_on(ms(100));
        assert_eq!((clock.at(ms(100)), clock.at(ms(101))), (ms(15), ms(16)));
        clock.go_on(ms(200));
        assert_eq!(clock.at(ms(200)), ms(115), "it had not halted again");
    }
}
