//! How one view follows another: how soon, and what it costs.

use base::{Duration, Instant, limits};
use bft::{Lie, ViewNumber};
use sim::liars::cluster::Cluster;
use sim::liars::faults::Network;

/// Signatures that were verified, by all that run together.
fn verified(cluster: &Cluster) -> u64 {
    cluster.honest().map(|copy| copy.node.as_ref().unwrap().status().counters.verified).sum()
}

/// Those that this one has verified.
fn of(cluster: &Cluster, place: usize) -> u64 {
    cluster.node(place).status().counters.verified
}

fn is_everywhere(cluster: &Cluster, view: u64) -> bool {
    cluster.honest().all(|copy| {
        let status = copy.node.as_ref().unwrap().status();
        status.view == ViewNumber(view) && status.is_active
    })
}

/// 32 replicas that have decided something, and have told each other so.
fn large() -> Cluster {
    let mut cluster = Cluster::with(32, 6, Network::calm(), |config| {
        (config.checkpoint_every, config.window, config.in_flight_max) = (32, 64, 8);
    });
    for at in 0..5 {
        cluster.submit(27 + at);
        cluster.expect_everything(Duration::from_secs(1));
    }
    cluster.run(Duration::from_millis(300));
    cluster
}

/// The network says that the primary is gone: nobody waits for an answer first. A new view is there with as
/// many signatures as a quorum of view changes has, for each of those that the next decision needs; what is
/// decided is neither proven nor voted on once more.
#[test]
fn a_primary_that_is_said_to_be_gone_is_replaced_at_once() {
    let mut cluster = large();
    let (began, before) = (cluster.now, verified(&cluster));
    cluster.crash(0);
    cluster.say_gone(0);
    cluster.submit(31);
    let all = cluster.checkers.submitted;
    let is_answered = |cluster: &Cluster| cluster.copies[31].machine.executed.len() as u64 == all;
    let patience = cluster.config.gone_after;
    assert!(cluster.run_until(began + Duration::from_millis(200), is_answered));
    assert!(cluster.now.since(began) < patience + Duration::from_millis(40), "{}", cluster.now);
    // The new primary looks at 20 view changes, 20 others at those of 21 and the new view; a decision is 460.
    let cost = verified(&cluster) - before;
    assert!(cost <= 20 + 20 * 22 + 460, "{cost}");
    // Those who were told later follow.
    cluster.run(Duration::from_secs(1));
    assert!(is_everywhere(&cluster, 1));
    let cost = verified(&cluster) - before;
    assert!(cost <= 20 + 30 * 22 + 20 * 20 + 40 + 30 * 21, "{cost}");
}

/// One after the other is killed, and each is replaced at once.
#[test]
fn primaries_that_are_killed_in_turn_are_replaced_at_once() {
    let mut cluster = large();
    for primary in 0..5 {
        let (began, before) = (cluster.now, verified(&cluster) - of(&cluster, primary));
        cluster.crash(primary);
        cluster.say_gone(primary);
        cluster.submit(31);
        cluster.expect_everything(Duration::from_millis(500));
        assert!(cluster.now.since(began) < Duration::from_millis(300), "{primary}");
        cluster.run(Duration::from_millis(500));
        assert!(is_everywhere(&cluster, 1 + primary as u64), "after {primary}");
        // Each has the new view to look at, and a decision. What others said of views before is of no
        // interest any more.
        let (cost, alive) = (verified(&cluster) - before, 31 - primary as u64);
        assert!(cost <= alive * (22 + 1 + 19 + 20), "{cost}");
    }
}

/// A primary is killed when it has told only who asked: the next one learns of that decision from there, and
/// the others later, for the next answer does not wait until all have verified it.
#[test]
fn a_primary_that_is_killed_when_it_has_answered_is_replaced_as_soon() {
    let mut cluster = large();
    for primary in 0..2 {
        let before = verified(&cluster) - of(&cluster, primary);
        let began = cluster.now;
        cluster.crash(primary);
        cluster.say_gone(primary);
        cluster.submit(31);
        let all = cluster.checkers.submitted;
        let is_answered =
            |cluster: &Cluster| cluster.copies[31].machine.executed.len() as u64 == all;
        assert!(cluster.run_until(began + Duration::from_millis(200), is_answered));
        // View changes, the new view of all, a decision of one phase, and here and there what was decided.
        let cost = verified(&cluster) - before;
        assert!(cost <= 20 + 30 * 22 + 30 + 2 * 29 + 2 * 30, "{cost}");
    }
    cluster.expect_everything(Duration::from_secs(2));
}

/// What is said of a primary that is there is contradicted by it.
#[test]
fn a_primary_that_is_falsely_said_to_be_gone_stays() {
    for replicas in [4, 8, 32] {
        let mut cluster = Cluster::new(replicas, 7, Network::calm());
        for _ in 0..20 {
            cluster.say_gone(0);
            cluster.submit(2);
            cluster.run(Duration::from_millis(60));
        }
        cluster.expect_everything(Duration::from_secs(1));
        assert!(is_everywhere(&cluster, 0));
    }
}

/// Without a word of the network the request that is not executed is what tells.
#[test]
fn a_primary_that_is_silent_costs_one_timeout() {
    let mut cluster = large();
    let began = cluster.now;
    cluster.crash(0);
    cluster.submit(31);
    let limit = cluster.config.relay_after + cluster.config.progress_timeout;
    cluster.expect_everything(limit + Duration::from_millis(800));
    assert!(cluster.now.since(began) < limit + Duration::from_millis(800));
}

/// Where all share few processors answers come one after the other. As long as they do, nobody else is asked:
/// that would only make all of it slower.
#[test]
fn replicas_that_answer_one_after_the_other_are_waited_for() {
    let late = Instant::ORIGIN + Duration::from_secs(60);
    let slow = Network { delay_max: Duration::from_millis(300), ..Network::stormy(0, late) };
    for seed in 0..8 {
        let mut cluster = Cluster::with(32, seed, Network { doubled: 0, ..slow.clone() }, |_| {});
        cluster.submit(0);
        cluster.expect_everything(Duration::from_secs(2));
        cluster.run(Duration::from_secs(1));
        assert!(is_everywhere(&cluster, 0));
        // A proposal for each of 20, two quorums for 21, and the decision for all others.
        let least = 20 + 21 * 2 * 20 + 11 * 21;
        assert!(verified(&cluster) <= least + 21, "{}", verified(&cluster));
    }
}

/// What was decided before is not decided once more, whoever has the decision: the next primary, or another.
#[test]
fn what_is_decided_goes_on_without_votes() {
    for (seed, knows) in [(0, 1), (1, 2), (2, 3)] {
        let mut cluster = Cluster::new(4, seed, Network::calm());
        cluster.submit(knows);
        let is_known = |cluster: &Cluster| !cluster.copies[knows].machine.executed.is_empty();
        assert!(cluster.run_until(cluster.now + Duration::from_secs(1), is_known));
        // The primary has told only who waits for it.
        cluster.crash(0);
        let signed = cluster.node(knows).status().counters.signed;
        cluster.say_gone(0);
        cluster.expect_everything(Duration::from_secs(2));
        cluster.submit(3);
        cluster.expect_everything(Duration::from_secs(2));
        // A view change, and a prepare and a commit for what came then; the primary signs for the view too.
        assert!(cluster.node(knows).status().counters.signed <= signed + 5);
    }
}

/// How long each of so many entries takes while the first primary says everything late, in milliseconds.
fn spans_with_delays(replicas: usize, entries: usize) -> (Cluster, Vec<u64>) {
    let mut cluster = Cluster::new(replicas, 8, Network::calm());
    cluster.make_liar(0, Lie::Delay);
    let mut spans = Vec::new();
    for at in 0..entries {
        let began = cluster.now;
        let asked = 1 + at % (replicas - 1);
        cluster.submit(asked);
        let all = cluster.checkers.submitted;
        let is_answered =
            |cluster: &Cluster| cluster.copies[asked].machine.executed.len() as u64 == all;
        assert!(cluster.run_until(began + Duration::from_secs(10), is_answered));
        spans.push(cluster.now.since(began).as_millis());
        cluster.run(Duration::from_millis(100));
    }
    (cluster, spans)
}

/// The first entry that takes longer than a view may bring nothing is the last slow one: nobody can tell a
/// primary that is faster from one that is busy. From then on the liar is a backup, and costs a moment once
/// in the span in which it is asked last.
#[test]
fn a_primary_that_delays_is_deposed() {
    for replicas in [4, 8, 32] {
        let (cluster, spans) = spans_with_delays(replicas, 60);
        let (timeout, lasted) = (cluster.config.progress_timeout, cluster.now.as_millis());
        let deposed = spans.iter().position(|span| *span > timeout.as_millis());
        let deposed = deposed.expect("one takes too long");
        assert!(deposed < 5, "{replicas}: {spans:?}");
        let slow = spans[deposed..].iter().filter(|span| **span > 150).count() as u64;
        assert!(slow <= 1 + lasted / limits::BFT_DOUBT_MS, "{replicas}: {spans:?}");
        let patience = cluster.config.relay_after + timeout;
        assert!(spans[deposed] < patience.as_millis() + 300, "{replicas}: {spans:?}");
        let mut views = cluster.honest().map(|copy| copy.node.as_ref().unwrap().status().view);
        assert!(views.all(|view| view == ViewNumber(1)), "it stays deposed");
    }
}

/// One of four is gone when half of the window is used: all that is left is a quorum, and the primary asks
/// everybody wherever in the window it is.
#[test]
fn a_bare_quorum_goes_on_and_on() {
    let mut cluster = Cluster::with(4, 9, Network::calm(), |config| {
        (config.checkpoint_every, config.window, config.in_flight_max) = (32, 64, 8);
    });
    for at in 0..150 {
        if at == 25 {
            cluster.crash(1);
        }
        cluster.submit([0, 2, 3][at % 3]);
        cluster.expect_everything(Duration::from_millis(500));
    }
    assert!(is_everywhere(&cluster, 0));
}
