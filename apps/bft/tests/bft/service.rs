//! What a group does without liars.

use base::{Duration, Instant};
use bft::{PhaseState, Sequence, ViewNumber};

use crate::cluster::Cluster;
use crate::faults::Network;

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

/// The pattern of messages: a request, and then five times N - 1, of which no replica but the primary gets
/// more than three.
#[test]
fn messages_are_few() {
    let mut cluster = Cluster::new(32, 1, Network::calm());
    cluster.submit(5);
    cluster.expect_everything(Duration::from_millis(100));
    let signatures: u64 =
        cluster.honest().map(|copy| copy.node.as_ref().unwrap().status().counters.verified).sum();
    // Statuses come in between, one of each replica in a quarter of a second.
    assert!((156..=156 + 64).contains(&cluster.messages), "{}", cluster.messages);
    // Each certificate has 21 signatures: 31 replicas check two of them, and the proposal.
    assert!(signatures <= 31 * (2 * 21 + 1) + 2 * 20, "{signatures}");
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
