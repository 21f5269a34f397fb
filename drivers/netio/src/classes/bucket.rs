//! How fast a class may send: a token bucket in whole numbers.

use crate::limits::{SHAPE_MAX_BURST_BYTES, SHAPE_MAX_BYTES_PER_SECOND};

const NANOS: u64 = 1_000_000_000;

/// A rate, and how much may be sent at once after a pause. Bytes are those of frames, as they are in buffers:
/// without preamble, check sequence and gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    bytes_per_second: u64,
    burst_bytes: u64,
}

impl Shape {
    /// `None` if one of the two is zero or beyond [`crate::limits`].
    pub const fn new(bytes_per_second: u64, burst_bytes: u64) -> Option<Shape> {
        let is_fine = bytes_per_second > 0
            && bytes_per_second <= SHAPE_MAX_BYTES_PER_SECOND
            && burst_bytes > 0
            && burst_bytes <= SHAPE_MAX_BURST_BYTES;
        if is_fine { Some(Shape { bytes_per_second, burst_bytes }) } else { None }
    }

    /// The rate in bytes per second.
    pub const fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// The largest burst in bytes. A longer frame can never be sent.
    pub const fn burst_bytes(&self) -> u64 {
        self.burst_bytes
    }
}

/// A token bucket (RFC 2697 describes the like), full at the start.
///
/// Credit is counted in nano-bytes: a nanosecond at one byte per second earns one. So nothing is ever
/// rounded, however often or seldom it is asked, and there is no drift.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    shape: Shape,
    /// Invariant: at most what the burst is worth.
    credit: u64,
    /// Until when credit was given.
    at_ns: u64,
}

impl Bucket {
    pub(super) fn new(shape: Shape, now_ns: u64) -> Bucket {
        Bucket { shape, credit: shape.burst_bytes * NANOS, at_ns: now_ns }
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Gives the credit that was earned since the last time. A clock that goes back earns nothing.
    pub(super) fn refill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.at_ns);
        let earned = u128::from(passed) * u128::from(self.shape.bytes_per_second);
        let full = self.shape.burst_bytes * NANOS;
        // What is earned beyond a full bucket is lost; what is less fits 64 bits.
        self.credit = (u128::from(self.credit) + earned).min(u128::from(full)) as u64;
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// Whether `bytes` may be sent with the credit of the last refill.
    pub(super) fn affords(&self, bytes: usize) -> bool {
        u128::from(self.credit) >= cost(bytes)
    }

    /// Pays for `bytes`.
    ///
    /// # Panics
    /// If the bucket does not afford them.
    pub(super) fn pay(&mut self, bytes: usize) {
        assert!(self.affords(bytes), "only what can be paid for is sent");
        self.credit -= cost(bytes) as u64;
    }

    /// When `bytes` can be paid for, in nanoseconds; the caller has refused what exceeds the burst.
    pub(super) fn ready_at(&self, bytes: usize) -> u64 {
        let missing = cost(bytes).saturating_sub(u128::from(self.credit));
        let wait = missing.div_ceil(u128::from(self.shape.bytes_per_second));
        self.at_ns.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn cost(bytes: usize) -> u128 {
    bytes as u128 * u128::from(NANOS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shape_has_a_rate_and_a_burst_within_limits() {
        assert!(Shape::new(1, 1).is_some());
        assert!(Shape::new(SHAPE_MAX_BYTES_PER_SECOND, SHAPE_MAX_BURST_BYTES).is_some());
        assert!(Shape::new(0, 1).is_none() && Shape::new(1, 0).is_none());
        assert!(Shape::new(SHAPE_MAX_BYTES_PER_SECOND + 1, 1).is_none());
        assert!(Shape::new(1, SHAPE_MAX_BURST_BYTES + 1).is_none());
    }

    proptest! {
        /// However time is cut, the same is earned; and what was said to be ready then is, and not a
        /// nanosecond before.
        #[test]
        fn nothing_is_rounded(
            rate in 1..=SHAPE_MAX_BYTES_PER_SECOND,
            burst in 1..=SHAPE_MAX_BURST_BYTES,
            spans in proptest::collection::vec(0..10_000_000_000_u64, 1..50),
        ) {
            let shape = Shape::new(rate, burst).unwrap();
            let (mut often, mut once) = (Bucket::new(shape, 0), Bucket::new(shape, 0));
            often.pay(burst as usize);
            once.pay(burst as usize);
            for span in &spans {
                often.refill(often.at_ns + span);
            }
            once.refill(spans.iter().sum());
            prop_assert_eq!(often.credit, once.credit);

            once.pay((once.credit / NANOS) as usize);
            let ready = once.ready_at(burst as usize);
            let mut early = once;
            early.refill(ready - 1);
            prop_assert!(!early.affords(burst as usize));
            once.refill(ready);
            prop_assert!(once.affords(burst as usize));
        }
    }
}
