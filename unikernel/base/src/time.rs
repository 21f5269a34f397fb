//! Time as a value: nanoseconds since an origin that the caller chooses (on hardware, boot).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A point on one node's monotonic clock, in nanoseconds since that clock's origin.
///
/// Instants of two nodes are never compared: clocks are not synchronised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Duration(u64);

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Instant = Instant(0);

    /// The point `nanos` nanoseconds after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// The point `millis` milliseconds after the origin.
    #[inline]
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the origin.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the origin.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// The first of some deadlines, of those that there are. Every loop asks for this at every turn, and the
    /// standard adaptors make a hundred times as much of it.
    pub fn earliest<const N: usize>(deadlines: [Option<Instant>; N]) -> Option<Instant> {
        let mut first: Option<Instant> = None;
        for deadline in deadlines {
            if let Some(at) = deadline
                && first.is_none_or(|first| at < first)
            {
                first = deadline;
            }
        }
        first
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);

    /// A span of `nanos` nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Duration {
        Duration(nanos)
    }

    /// A span of `micros` microseconds.
    #[inline]
    pub const fn from_micros(micros: u64) -> Duration {
        Duration(micros.saturating_mul(1_000))
    }

    /// A span of `millis` milliseconds.
    #[inline]
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(millis.saturating_mul(1_000_000))
    }

    /// A span of `secs` seconds.
    #[inline]
    pub const fn from_secs(secs: u64) -> Duration {
        Duration(secs.saturating_mul(1_000_000_000))
    }

    /// The span in nanoseconds.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The span in whole microseconds.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// The span in whole milliseconds.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span `factor` times; saturates.
    #[inline]
    pub const fn times(self, factor: u64) -> Duration {
        Duration(self.0.saturating_mul(factor))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Add for Duration {
    type Output = Duration;

    fn add(self, other: Duration) -> Duration {
        Duration(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Duration;

    /// Saturates at zero.
    fn sub(self, other: Duration) -> Duration {
        Duration(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Instant {
    /// Seconds with three decimals, as log lines show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000_000_000, self.as_millis() % 1_000)
    }
}

impl fmt::Display for Duration {
    /// The largest unit that keeps three significant digits: `17 ns`, `4.21 us`, `150 ms`, `2.50 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000 => return write!(f, "{} ns", self.0),
            1_000..1_000_000 => (1_000, "us"),
            1_000_000..1_000_000_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let (whole, hundredths) = (self.0 / unit, self.0 % unit * 100 / unit);
        match whole {
            0..10 => write!(f, "{whole}.{hundredths:02} {name}"),
            10..100 => write!(f, "{whole}.{} {name}", hundredths / 10),
            _ => write!(f, "{whole} {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_never_go_negative() {
        let (early, late) = (Instant::from_millis(1), Instant::from_millis(3));
        assert_eq!(late.since(early), Duration::from_millis(2));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Duration::from_millis(1) - Duration::from_millis(2), Duration::ZERO);
    }

    #[test]
    fn the_earliest_of_the_deadlines_that_there_are() {
        let [early, late] = [1, 3].map(|millis| Some(Instant::from_millis(millis)));
        assert_eq!(Instant::earliest([late, None, early]), early);
        assert_eq!(Instant::earliest([None, late]), late);
        assert_eq!(Instant::earliest([None, None]), None);
    }

    #[test]
    fn additions_saturate() {
        assert_eq!(
            Instant::from_nanos(u64::MAX) + Duration::from_secs(1),
            Instant::from_nanos(u64::MAX)
        );
        assert_eq!(Duration::from_secs(u64::MAX).as_nanos(), u64::MAX);
    }

    #[test]
    fn spans_print_three_digits() {
        let text = |nanos| Duration::from_nanos(nanos).to_string();
        assert_eq!(text(17), "17 ns");
        assert_eq!(text(4_219), "4.21 us");
        assert_eq!(text(42_190_000), "42.1 ms");
        assert_eq!(text(150_000_000), "150 ms");
        assert_eq!(text(2_500_000_000), "2.50 s");
        assert_eq!(Instant::from_millis(12_034).to_string(), "12.034");
    }
}
