//! What is asked of the simulator itself: that it repeats itself, and that its trouble is real.

mod scenes;

use std::collections::BTreeMap;

use sim::counts::Counts;
use sim::plan::Profile;
use sim::runner::{self, Options, Success};

/// Runs that together must have seen everything: whatever the seeds draw, and some of each profile.
const DRAWN: std::ops::Range<u64> = 0..60;
const OF_EACH: std::ops::Range<u64> = 0..8;

fn success(seed: u64, options: &Options) -> Success {
    runner::run(seed, options).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Counts and fingerprints of all runs, by seed.
fn run_all(seeds: std::ops::Range<u64>, jobs: usize) -> BTreeMap<u64, (u64, Counts)> {
    run_all_of(&Options::default(), seeds, jobs)
}

fn run_all_of(
    options: &Options,
    seeds: std::ops::Range<u64>,
    jobs: usize,
) -> BTreeMap<u64, (u64, Counts)> {
    let mut results = BTreeMap::new();
    runner::run_all(seeds, options, jobs, false, |ran| {
        let summary = ran.result.unwrap_or_else(|failure| panic!("{failure}")).summary;
        let is_next = results.last_key_value().is_none_or(|(last, _)| *last < ran.seed);
        assert!(is_next, "in their order");
        results.insert(ran.seed, (summary.digest, summary.counts));
    });
    results
}

#[test]
fn every_fault_fires() {
    let mut counts = Counts::default();
    let results = run_all(DRAWN, 2);
    results.values().for_each(|(_, more)| counts += *more);
    assert_eq!(results.len() as u64, DRAWN.end - DRAWN.start);
    for profile in Profile::ALL.into_iter().filter(|profile| *profile != Profile::Large) {
        let options = Options { profile: Some(profile), ..Options::default() };
        let results = run_all_of(&options, OF_EACH, 2);
        results.values().for_each(|(_, more)| counts += *more);
    }
    // It takes two leaders that leave entries of their own, damaged on both: chance seldom makes that.
    let (mut world, _) = scenes::tails_of_two_leaders(1);
    counts += world.insist_on_recovery().counts;
    let (mut world, _) = scenes::lost_state(1);
    counts += world.insist_on_recovery().counts;
    assert_eq!(counts.missing(), Vec::<&str>::new(), "\n{counts}");
}

#[test]
fn a_seed_repeats_itself_exactly() {
    for profile in Profile::ALL.into_iter().filter(|profile| *profile != Profile::Large) {
        let plain = Options { profile: Some(profile), ..Options::default() };
        let traced = Options { keeps_lines: true, ..plain };
        let (first, second) = (success(7, &plain), success(7, &traced));
        assert_eq!(first.summary, second.summary, "{profile:?}");
        assert!(first.lines.is_empty() && !second.lines.is_empty());
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    assert_eq!(run_all(3..15, 1), run_all(3..15, 4));
}

#[test]
fn another_seed_does_something_else() {
    let digests = [success(1, &Options::default()), success(2, &Options::default())];
    assert_ne!(digests[0].summary.digest, digests[1].summary.digest);
}

#[test]
fn a_trace_can_be_read() {
    let options =
        Options { keeps_lines: true, profile: Some(Profile::Partitions), ..Options::default() };
    let lines = success(3, &options).lines;
    for wanted in
        ["starts", "Append of term", "votes for", "leads in term", "trouble: ", "asks node"]
    {
        assert!(lines.iter().any(|line| line.contains(wanted)), "{wanted}");
    }
}
