//! What seeds bring: a run follows from its seed, and every fault fires.

use sim::liars::seeds::{run_all, run_seed};
use sim::liars::{Counts, Kind};

/// Enough that each kind of liar and fault has its turn.
const SEEDS: u64 = 60;

#[test]
fn every_kind_of_liar_and_fault_has_its_turn() {
    let totals = run_all(0..SEEDS, (2, false), None, |ran| {
        assert!(ran.result.is_ok(), "{ran}");
    });
    let missing: Vec<_> = Kind::all().filter(|kind| totals.counts.get(*kind) == 0).collect();
    assert!(missing.is_empty(), "{missing:?} never happened:\n{}", totals.counts);
}

#[test]
fn a_seed_is_repeated_by_its_number() {
    let counts = |seed| -> Counts { run_seed(seed, None).result.unwrap() };
    for seed in [3, 7] {
        assert_eq!(counts(seed), counts(seed));
    }
}
