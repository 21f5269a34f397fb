//! What a group does without liars.

use base::{Duration, Instant};
use bft::{PhaseState, Sequence, ViewNumber};

use sim::liars::cluster::Cluster;
use sim::liars::copy::Copy;
use sim::liars::faults::Network;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_request_is_decided_by_everybody() {
    for replicas in [1, 2, 3, 4, 7, 32] {
        let mut cluster = Cluster::new(replicas, 1, Network::calm());
        cluster.submit(replicas - 1);
        cluster.expect_everything(SECOND);
        assert!(cluster.honest().all(|copy| copy.machine.applied == Sequence(1)));
        let node = cluster.node(0);
        assert_eq!(node.status().view, ViewNumber(0));
        let phase = node.log().phase(Sequence(1), ViewNumber(0));
        assert_eq!(phase, Some(PhaseState::Commit));
    }
}

fn verified(cluster: &Cluster) -> u64 {
    let verified = |copy: &Copy| copy.node.as_ref().unwrap().status().counters.verified;
    cluster.honest().map(verified).sum()
}

fn decided_fast(cluster: &Cluster) -> u64 {
    let fast = |copy: &Copy| copy.node.as_ref().unwrap().status().counters.decided_fast;
    cluster.honest().map(fast).sum()
}

/// The pattern of messages: a request, twice between the primary and all 31, and the decision for them.
#[test]
fn messages_are_few() {
    let mut cluster = Cluster::new(32, 1, Network::calm());
    cluster.submit(5);
    // Most of that the others are given a start.
    cluster.expect_everything(Duration::from_millis(180));
    // Statuses come in between, one of each replica in a quarter of a second.
    assert!((94..=94 + 64).contains(&cluster.messages), "{}", cluster.messages);
    // 31 check the proposal, and of the decision all but that and what is theirs; the primary checks 29
    // votes. Two come too late: nothing of theirs is in the decision.
    let signatures = verified(&cluster);
    assert!(signatures <= 31 + 29 + 31 * 28 + 2, "{signatures}");
    assert_eq!(decided_fast(&cluster), 32);
}

/// Three more than the fast path can do without are known to be silent: four times between the primary and
/// the q - 1 = 20 that it asks, and the decision for all 28.
#[test]
fn messages_are_few_when_some_are_silent() {
    let mut cluster = Cluster::new(32, 1, Network::calm());
    (6..9).for_each(|place| cluster.crash(place));
    cluster.submit(5);
    cluster.expect_everything(SECOND);
    cluster.run(Duration::from_millis(300));
    let (messages, signatures) = (cluster.messages, verified(&cluster));
    cluster.submit(5);
    cluster.expect_everything(Duration::from_millis(180));
    let messages = cluster.messages - messages;
    assert!((1 + 4 * 20 + 31..=112 + 64).contains(&messages), "{messages}");
    // 20 check the proposal, and of the first certificate all but that and what is theirs; the primary checks
    // 20 votes, twice; and of the decision those who signed it check all signatures but their own.
    let signatures = verified(&cluster) - signatures;
    assert!(signatures <= 20 * (1 + 19) + 2 * 20 + 20 * 20 + 8 * 21, "{signatures}");
    assert_eq!(decided_fast(&cluster), 0);
}

/// One that is not needed is silent, and nothing waits for it; nor for two.
#[test]
fn two_of_32_are_not_waited_for() {
    let mut cluster = Cluster::new(32, 1, Network::calm());
    (6..8).for_each(|place| cluster.crash(place));
    for number in 1..4 {
        let began = cluster.now;
        cluster.submit(5);
        let is_answered = |cluster: &Cluster| cluster.copies[5].machine.applied == Sequence(number);
        assert!(cluster.run_until(began + Duration::from_millis(20), is_answered));
        cluster.expect_everything(SECOND);
    }
    assert_eq!(decided_fast(&cluster), 3 * 30);
}

/// Whoever waits for the answer has the proof before those who do not: until then nobody verifies it but for
/// the answer.
#[test]
fn an_answer_waits_for_few_signatures() {
    for asked in [0, 5] {
        let mut cluster = Cluster::new(32, 1, Network::calm());
        cluster.submit(asked);
        let end = cluster.now + Duration::from_millis(100);
        assert!(
            cluster
                .run_until(end, |cluster| { cluster.copies[asked].machine.applied == Sequence(1) })
        );
        // 31 proposals, and the votes at the primary and of whoever asks.
        let all = verified(&cluster);
        assert!(all <= 31 + 29 + 29, "{all}");
    }
}

/// Those who are asked first are silent: everybody is asked, once for all of them, and decisions are as fast
/// as without them from then on.
#[test]
fn replicas_that_are_silent_are_asked_last() {
    for (replicas, silent) in [(4, 1), (8, 2), (32, 8)] {
        let mut cluster = Cluster::new(replicas, 4, Network::calm());
        (1..=silent).for_each(|place| cluster.crash(place));
        let mut slow = 0;
        for _ in 0..2 * replicas {
            let began = cluster.now;
            cluster.submit(0);
            cluster.expect_everything(SECOND);
            slow += usize::from(cluster.now.since(began) > cluster.config.fast_patience);
            cluster.run(Duration::from_millis(20));
        }
        assert!((1..=3).contains(&slow), "{replicas}: {slow}");
        assert_eq!(cluster.node(0).status().view, ViewNumber(0));
        // One comes back, and is asked again when it has been heard.
        cluster.restart(1, None);
        cluster.run(Duration::from_secs(10));
        let signed = cluster.node(1).status().counters.signed;
        for _ in 0..replicas {
            cluster.submit(0);
            cluster.expect_everything(SECOND);
        }
        assert!(cluster.node(1).status().counters.signed > signed + replicas as u64 / 4);
    }
}

/// Replicas that fall silent by turns, after they have been asked: what they delay is decided within the time
/// in which everybody is asked.
#[test]
fn replicas_that_fall_silent_by_turns_delay_and_do_not_stop() {
    let mut cluster = Cluster::new(8, 5, Network::calm());
    for at in 0..24 {
        let gone = [1 + at % 7, 1 + (at + 3) % 7];
        cluster.submit(0);
        cluster.run(Duration::from_micros(300 * at as u64 % 4_000));
        gone.iter().for_each(|place| cluster.crash(*place));
        cluster.expect_everything(Duration::from_millis(700));
        gone.iter().for_each(|place| cluster.restart(*place, None));
        cluster.expect_everything(SECOND);
    }
    assert_eq!(cluster.node(0).status().view, ViewNumber(0));
}

#[test]
fn many_requests_are_ordered_in_batches_and_the_window_moves() {
    let mut cluster = Cluster::new(4, 2, Network::calm());
    for round in 0..60 {
        (0..10).for_each(|at| {
            cluster.submit((round + at) % 4);
        });
        cluster.run(Duration::from_millis(5));
    }
    cluster.expect_everything(SECOND);
    let applied = cluster.copies[0].machine.applied;
    assert!(applied.0 < 300, "batches: {applied}");
    assert!(applied.0 > 40, "several windows: {applied}");
    for copy in cluster.honest() {
        let status = copy.node.as_ref().unwrap().status();
        assert!(status.low.0 + 8 >= applied.0 - 8, "{status:?}");
        assert_eq!(status.view, ViewNumber(0), "nobody was suspected");
    }
}

#[test]
fn a_lossy_network_delays_and_does_not_stop() {
    for seed in 0..12 {
        let stable_from = Instant::from_millis(6_000);
        let mut cluster = Cluster::new(4, seed, Network::stormy(200, stable_from));
        for at in 0..40 {
            cluster.submit(at % 4);
            cluster.run(Duration::from_millis(100));
        }
        cluster.expect_everything(Duration::from_secs(20));
    }
}

/// The primary is gone: the others find another one, and what was prepared is decided.
#[test]
fn a_primary_that_is_killed_is_replaced() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(4, seed, Network::calm());
        (0..6).for_each(|at| {
            cluster.submit(1 + at % 3);
        });
        cluster.run(Duration::from_millis(seed));
        cluster.crash(0);
        (0..6).for_each(|at| {
            cluster.submit(1 + at % 3);
        });
        cluster.expect_everything(Duration::from_secs(5));
        assert!(cluster.honest().all(|copy| copy.node.as_ref().unwrap().status().view.0 >= 1));
        cluster.restart(0, None);
        cluster.submit(0);
        cluster.expect_everything(Duration::from_secs(5));
    }
}

/// f primaries in a row are gone: timeouts double, and the first that works is found.
#[test]
fn several_primaries_are_gone() {
    let mut cluster = Cluster::new(8, 3, Network::calm());
    cluster.crash(0);
    cluster.crash(1);
    cluster.submit(4);
    cluster.expect_everything(Duration::from_secs(10));
    assert_eq!(cluster.node(4).status().view, ViewNumber(2));
}
