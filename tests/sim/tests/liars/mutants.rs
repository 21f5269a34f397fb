//! Bugs put in on purpose: the checkers must find each of them, or they would find nothing else either.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base::{Duration, Instant, Prng};
use bft::{Config, Mutant};

use bft::Lie;
use sim::liars::cluster::Cluster;
use sim::liars::faults::Network;
use sim::liars::twins;

/// What the first of these runs that fails says; none if all pass.
fn first_finding(runs: impl Iterator<Item = Box<dyn FnOnce()>>) -> Option<String> {
    for run in runs {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            return Some(text.unwrap_or_default());
        }
    }
    None
}

fn with(mutant: Mutant) -> impl Fn(&mut Config) {
    move |config| config.mutant = Some(mutant)
}

/// One liar among four.
fn with_liar(lie: Lie, seed: u64, change: impl Fn(&mut Config)) {
    let mut cluster = Cluster::with(4, seed, Network::calm(), change);
    cluster.make_liar(0, lie);
    for at in 0..20 {
        cluster.submit(1 + at % 3);
        cluster.run(Duration::from_millis(50));
    }
    cluster.expect_everything(Duration::from_secs(20));
}

/// Four honest replicas, parted in other ways again and again.
fn parted(seed: u64, change: impl Fn(&mut Config)) {
    let mut prng = Prng::new(seed);
    let network = Network::stormy(100, Instant::from_millis(20_000));
    let mut cluster = Cluster::with(4, seed, network, change);
    for at in 0..40 {
        cluster.network.groups = (0..4).map(|_| u32::from(prng.chance(1, 4))).collect();
        cluster.submit(at % 4);
        cluster.run(Duration::from_millis(prng.between(20, 600)));
    }
    cluster.expect_everything(Duration::from_secs(60));
}

#[test]
fn votes_before_the_disk_has_them_are_found() {
    let run = || with_liar(Lie::Silent, 1, with(Mutant::NoPersistBeforeVote));
    let found = first_finding([Box::new(run) as Box<dyn FnOnce()>].into_iter());
    assert!(found.is_some_and(|text| text.contains("not on the disk")));
}

#[test]
fn two_votes_in_one_view_are_found() {
    let runs = (0..20).map(|seed| {
        Box::new(move || with_liar(Lie::Replay, seed, with(Mutant::AcceptTwice)))
            as Box<dyn FnOnce()>
    });
    let runs = runs.chain((0..64).map(|code| {
        let run = move || twins::run(0, code % 16, code / 16, with(Mutant::AcceptTwice));
        Box::new(run) as Box<dyn FnOnce()>
    }));
    let found = first_finding(runs);
    assert!(found.as_ref().is_some_and(|text| text.contains("votes twice")), "{found:?}");
}

#[test]
fn view_changes_that_forget_are_found() {
    let runs = (0..200).map(|seed| {
        Box::new(move || parted(seed, with(Mutant::ForgetPrepared))) as Box<dyn FnOnce()>
    });
    // Two decisions, or none any more: those who know the first vote for no other.
    assert!(first_finding(runs).is_some());
}

#[test]
fn certificates_that_are_not_looked_at_are_found() {
    let runs = (0..20).map(|seed| {
        let run = move || with_liar(Lie::Forge, seed, with(Mutant::TrustCertificates));
        Box::new(run) as Box<dyn FnOnce()>
    });
    let found = first_finding(runs);
    assert!(found.as_ref().is_some_and(|text| text.contains("anybody can check")), "{found:?}");
}

/// One less than the bound does fork, with the code that all run: q = 2 of N = 4 with f = 1.
#[test]
fn a_quorum_that_is_too_small_forks() {
    let runs = (0..twins::PARTITIONS).map(|partition| {
        let change = |config: &mut Config| config.quorums = config.quorums.too_small();
        Box::new(move || twins::run(0, partition, partition, change)) as Box<dyn FnOnce()>
    });
    let found = first_finding(runs);
    assert!(found.as_ref().is_some_and(|text| text.contains("agreement")), "{found:?}");
}

/// Without a bug the same runs find nothing.
#[test]
fn without_a_bug_nothing_is_found() {
    for seed in 0..10 {
        parted(seed, |_| {});
        with_liar(Lie::Forge, seed, |_| {});
    }
}
