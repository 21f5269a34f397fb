//! How long things took: counts in buckets whose width grows with what they hold.

use crate::limits::LATENCY_BUCKETS;

/// Each power of two is cut into so many buckets of equal width, as HdrHistogram does.
const PARTS: u64 = 4;
const PART_BITS: u32 = PARTS.trailing_zeros();

/// A histogram of nanoseconds from 0 to 8.6 s; what took longer is counted in the last bucket.
///
/// Below 4 ns it is exact. Above, a bucket is at most a quarter as wide as the least that it holds, so a
/// percentile is never too low and at most 25 % too high.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LatencyHistogram {
    counts: [u32; LATENCY_BUCKETS],
    count: u64,
    max_ns: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram::new()
    }
}

impl LatencyHistogram {
    /// The longest span that has a bucket of its own, in nanoseconds.
    pub const LONGEST_NS: u64 = upper_edge(LATENCY_BUCKETS - 1);

    /// An empty one.
    pub const fn new() -> LatencyHistogram {
        LatencyHistogram { counts: [0; LATENCY_BUCKETS], count: 0, max_ns: 0 }
    }

    /// Counts a span of `nanos` nanoseconds. A bucket that has counted 2^32 - 1 stays there.
    pub fn record(&mut self, nanos: u64) {
        let bucket = &mut self.counts[bucket_of(nanos)];
        if *bucket < u32::MAX {
            *bucket += 1;
            self.count += 1;
        }
        self.max_ns = self.max_ns.max(nanos);
    }

    /// How many spans were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest span, exactly.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The span that `per_mille` of 1000 spans do not exceed (500 is the median, 999 is p99.9), in
    /// nanoseconds; `None` if there are none. See the type for the error. More than 1000 counts as 1000.
    pub fn percentile_ns(&self, per_mille: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        // The nearest rank: the first span is the answer for 0, too.
        let rank = (u128::from(self.count) * u128::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0_u128;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u128::from(count);
            if seen >= rank {
                // Nothing was longer than the longest, which is exact. The last bucket has no other edge.
                let is_last = bucket == LATENCY_BUCKETS - 1;
                return Some(if is_last {
                    self.max_ns
                } else {
                    upper_edge(bucket).min(self.max_ns)
                });
            }
        }
        Some(self.max_ns)
    }
}

/// The bucket that `nanos` is counted in.
const fn bucket_of(nanos: u64) -> usize {
    if nanos < PARTS {
        return nanos as usize;
    }
    // The highest bits, the first of which is set, and how often they were halved for that.
    let halvings = nanos.ilog2() - PART_BITS;
    let bucket = (halvings as u64 * PARTS + (nanos >> halvings)) as usize;
    if bucket < LATENCY_BUCKETS { bucket } else { LATENCY_BUCKETS - 1 }
}

/// The longest span that falls into `bucket`.
const fn upper_edge(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PARTS {
        return bucket;
    }
    let halvings = bucket / PARTS - 1;
    let highest_bits = bucket % PARTS + PARTS;
    ((highest_bits + 1) << halvings) - 1
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        for bucket in 0..LATENCY_BUCKETS {
            assert_eq!(bucket_of(upper_edge(bucket)), bucket);
            let next = (bucket + 1).min(LATENCY_BUCKETS - 1);
            assert_eq!(bucket_of(upper_edge(bucket) + 1), next);
        }
        assert_eq!(LatencyHistogram::LONGEST_NS, (1 << 33) - 1);
    }

    #[test]
    fn an_empty_one_has_no_percentile_and_the_longest_is_exact() {
        let mut histogram = LatencyHistogram::new();
        assert_eq!(histogram.percentile_ns(500), None);
        histogram.record(u64::MAX);
        assert_eq!(histogram.percentile_ns(0), Some(u64::MAX));
        histogram.record(1_000);
        assert_eq!(histogram.percentile_ns(1000), Some(u64::MAX));
        assert_eq!((histogram.count(), histogram.max_ns()), (2, u64::MAX));
    }

    proptest! {
        #[test]
        fn percentiles_are_never_too_low_and_at_most_a_quarter_too_high(
            mut spans in proptest::collection::vec((0..=33_u32, any::<u64>()), 1..200),
            per_mille in 0..=1000_u64,
        ) {
            let mut spans: Vec<u64> =
                spans.drain(..).map(|(bits, random)| random & ((1 << bits) - 1)).collect();
            let mut histogram = LatencyHistogram::new();
            spans.iter().for_each(|&span| histogram.record(span));
            spans.sort_unstable();
            let rank = (spans.len() * per_mille as usize).div_ceil(1000).max(1);
            let (exact, told) = (spans[rank - 1], histogram.percentile_ns(per_mille).unwrap());
            prop_assert!(exact <= told && told - exact <= exact / 4, "{} was told for {}", told, exact);
        }
    }
}
