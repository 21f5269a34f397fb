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

/// A primary decides something, of which at first nobody else knows, and is cut off; the others go on without
/// it, and one of them lies about what it has seen. Then it is back.
fn decided_and_left(seed: u64, change: impl Fn(&mut Config)) {
    let mut prng = Prng::new(seed);
    let network = Network { stable_from: Instant::from_millis(8_000), ..Network::calm() };
    let mut cluster = Cluster::with(4, seed, network, change);
    cluster.make_liar(1 + prng.below(3) as usize, Lie::Forge);
    cluster.submit(0);
    let is_decided = |cluster: &Cluster| !cluster.copies[0].machine.executed.is_empty();
    let end = cluster.now + Duration::from_micros(prng.between(500, 20_000));
    cluster.run_until(end, is_decided);
    cluster.part(vec![1, 0, 0, 0]);
    for place in 1..4 {
        cluster.submit(place);
    }
    cluster.run(Duration::from_secs(6));
    cluster.part(Vec::new());
    cluster.expect_everything(Duration::from_secs(20));
}

/// A primary that is twins proposes one thing to two others, and another to the third. One of the two knows
/// what is decided and is cut off; the other three go on.
fn equivocated_and_left(seed: u64, change: impl Fn(&mut Config)) {
    let network = Network { stable_from: Instant::from_millis(8_000), ..Network::calm() };
    let mut cluster = Cluster::with(4, seed, network, change);
    cluster.add_twin(0);
    cluster.part(vec![0, 0, 0, 1, 1]);
    // Whichever of the two requests it is.
    let (first, second) = if seed.is_multiple_of(2) { (1, 3) } else { (3, 1) };
    cluster.submit(first);
    cluster.submit(second);
    let is_decided = |cluster: &Cluster| !cluster.copies[1].machine.executed.is_empty();
    assert!(cluster.run_until(Instant::from_millis(200), is_decided));
    cluster.part(vec![1, 1, 0, 0, 0]);
    cluster.submit(2);
    cluster.run(Duration::from_secs(6));
    cluster.part(Vec::new());
    cluster.expect_everything(Duration::from_secs(20));
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

/// What only a fast quorum has decided is found again because its voters name it.
#[test]
fn votes_that_are_forgotten_are_found() {
    let runs = (0..400).map(|seed| {
        Box::new(move || decided_and_left(seed, with(Mutant::ForgetVotes))) as Box<dyn FnOnce()>
    });
    let found = first_finding(runs);
    assert!(found.as_ref().is_some_and(|text| text.contains("agreement")), "{found:?}");
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

/// One less than the bound of the fast path does lose a decision: F = 3 of N = 4 with f = 1.
#[test]
fn a_fast_quorum_that_is_too_small_forks() {
    let runs = (0..20).map(|seed| {
        let change = |config: &mut Config| config.quorums = config.quorums.too_fast();
        Box::new(move || equivocated_and_left(seed, change)) as Box<dyn FnOnce()>
    });
    let found = first_finding(runs);
    assert!(found.as_ref().is_some_and(|text| text.contains("agreement")), "{found:?}");
}

/// Without a bug the same runs find nothing.
#[test]
fn without_a_bug_nothing_is_found() {
    for seed in 0..400 {
        decided_and_left(seed, |_| {});
        equivocated_and_left(seed, |_| {});
    }
    for seed in 0..10 {
        parted(seed, |_| {});
        with_liar(Lie::Forge, seed, |_| {});
    }
}
