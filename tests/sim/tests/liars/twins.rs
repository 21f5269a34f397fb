//! All scenarios of twins in a group of four.

use sim::liars::twins::{PARTITIONS, run};

/// Every replica as a twin, the primaries of all views in question among them, and every pair of
/// partitions.
#[test]
fn every_pair_of_partitions_and_every_twin() {
    for twin in 0..4 {
        for first in 0..PARTITIONS {
            for second in 0..PARTITIONS {
                run(twin, first, second, |_| {});
            }
        }
    }
}
