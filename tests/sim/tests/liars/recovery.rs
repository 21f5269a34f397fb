//! Replicas that crash, that come back, and that have lost something.

use base::{Duration, Instant, Prng, limits};
use bft::{Event, Lie, Sequence, SigningRecord};

use sim::liars::cluster::Cluster;
use sim::liars::faults::Network;
use sim::liars::machine;

const SECOND: Duration = Duration::from_millis(1_000);

/// All replicas, one after the other or at once, on a bad network: nothing that was decided is undone,
/// and no replica says two things.
#[test]
fn crashes_at_any_time() {
    for seed in 0..20 {
        let mut prng = Prng::new(seed);
        let stable_from = Instant::from_millis(8_000);
        let mut cluster = Cluster::new(4, seed, Network::stormy(50, stable_from));
        for at in 0..60 {
            cluster.submit(at % 4);
            cluster.run(Duration::from_millis(prng.between(1, 120)));
            let place = prng.below(4) as usize;
            if cluster.copies[place].node.is_none() {
                cluster.restart(place, None);
            } else if prng.chance(1, 4) {
                cluster.crash(place);
            }
            if prng.chance(1, 20) {
                (0..4).for_each(|place| cluster.crash(place));
                (0..4).for_each(|place| cluster.restart(place, None));
            }
        }
        for place in 0..4 {
            if cluster.copies[place].node.is_none() {
                cluster.restart(place, None);
            }
        }
        // What a replica had not given to others is forgotten with it: clients ask again.
        for number in 0..cluster.checkers.submitted {
            cluster.submit_again(number as usize % 4, machine::request(number));
        }
        cluster.expect_everything(Duration::from_secs(30));
        assert!(cluster.checkers.votes > 100);
    }
}

/// A primary that has proposed, and starts anew, proposes the same and counts its own vote again: with one
/// backup gone there is no quorum without it.
#[test]
fn a_primary_that_starts_anew_goes_on() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(4, seed, Network::calm());
        cluster.crash(3);
        cluster.submit(1);
        let end = Instant::from_millis(100);
        assert!(cluster.run_until(end, |cluster| !cluster.copies[0].disk.is_empty()));
        cluster.run(Duration::from_millis(seed));
        cluster.crash(0);
        cluster.run(Duration::from_millis(20));
        cluster.restart(0, None);
        cluster.expect_everything(Duration::from_millis(450));
        assert_eq!(cluster.node(0).status().view.0, 0);
    }
}

/// A replica that was away for several windows fetches the state, in parts, and then the rest.
#[test]
fn a_replica_left_behind_fetches_the_state() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(4, seed, Network::calm());
        cluster.crash(3);
        for at in 0..60 {
            cluster.submit(at % 3);
            cluster.run(Duration::from_millis(15));
        }
        cluster.restart(3, None);
        cluster.expect_everything(Duration::from_secs(5));
        let status = cluster.node(3).status();
        assert!(status.counters.states_installed > 0, "{status:?}");
        cluster.submit(3);
        cluster.expect_everything(Duration::from_secs(2));
    }
}

/// One that missed a few decisions fetches those, and no state.
#[test]
fn a_replica_that_missed_little_fetches_decisions() {
    let mut cluster = Cluster::new(4, 5, Network::calm());
    cluster.crash(3);
    (0..5).for_each(|_| {
        cluster.submit(1);
        cluster.run(Duration::from_millis(20));
    });
    cluster.restart(3, None);
    cluster.expect_everything(Duration::from_secs(3));
    assert_eq!(cluster.node(3).status().counters.states_installed, 0);
}

/// A replica that has left its view alone, while a primary that it hears nothing of goes on with the
/// others, is brought what they decide, further than its window reaches: with the checkpoints.
#[test]
fn a_replica_that_waits_alone_for_another_view_follows() {
    for seed in 0..5 {
        let late = Instant::from_millis(60_000);
        let plain = Network { stable_from: late, ..Network::calm() };
        let mut cluster = Cluster::new(4, seed, plain);
        for primary in 0..2 {
            cluster.crash(primary);
            cluster.submit(3);
            cluster.run(SECOND.times(2));
            cluster.restart(primary, None);
            cluster.run(SECOND);
        }
        assert_eq!(cluster.node(3).status().view.0, 2);
        cluster.make_liar(2, Lie::Withhold);
        cluster.part(vec![0, 0, 0, 1]);
        cluster.submit(3);
        cluster.run(SECOND.times(3));
        let status = cluster.node(3).status();
        assert!(status.view.0 == 3 && !status.is_active, "{status:?}");

        cluster.part(Vec::new());
        for at in 0..40 {
            cluster.submit(at % 2);
            cluster.run(Duration::from_millis(50));
        }
        let is_done = |cluster: &Cluster| cluster.has_executed_everything();
        assert!(cluster.run_until(cluster.now + SECOND.times(3), is_done));
        let status = cluster.node(3).status();
        assert!(!status.is_active && status.low >= Sequence(32), "{status:?}");
    }
}

/// A state that is not what a quorum has is refused, and another peer is asked: one of the three has it
/// as it is, each in turn.
#[test]
fn a_state_that_is_not_ours_is_refused() {
    let mut refused = 0;
    for good in 0..3 {
        let mut cluster = Cluster::new(4, 6, Network::calm());
        cluster.crash(3);
        for at in 0..60 {
            cluster.submit(at % 3);
            cluster.run(Duration::from_millis(15));
        }
        for copy in cluster.copies.iter_mut().filter(|copy| copy.slot != good) {
            for snapshot in copy.snapshots.values_mut() {
                let mut bytes = snapshot.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                *snapshot = bytes.into();
            }
        }
        cluster.restart(3, None);
        cluster.expect_everything(Duration::from_secs(5));
        assert!(cluster.node(3).status().counters.states_installed > 0);
        let is_refusal = |event: &&Event| matches!(event, Event::StateRefused { .. });
        refused += cluster.copies[3].events.iter().filter(is_refusal).count();
    }
    assert!(refused >= 2, "{refused}");
}

/// A replica whose signing record is damaged signs nothing until the window has moved past what it may have
/// signed, and then takes part again.
#[test]
fn without_its_signing_record_a_replica_abstains() {
    for seed in 0..5 {
        let mut cluster = Cluster::new(4, seed, Network::calm());
        for at in 0..20 {
            cluster.submit(at % 4);
            cluster.run(Duration::from_millis(10));
        }
        cluster.crash(3);
        let view = Some(cluster.node(0).status().view);
        cluster.restart(3, Some(SigningRecord::Damaged { view }));
        let executed = cluster.node(0).status().executed;
        let mut signed_again = None;
        for at in 0..80 {
            cluster.submit(at % 4);
            cluster.run(Duration::from_millis(10));
            let status = cluster.node(3).status();
            assert!(!status.is_abstaining || status.counters.signed == 0, "{status:?}");
            if !status.is_abstaining && signed_again.is_none() {
                assert!(status.low >= Sequence(executed.0 + 16), "{status:?} {executed}");
                signed_again = Some(at);
            }
        }
        assert!(signed_again.is_some_and(|at| at > 5), "{signed_again:?}");
        cluster.expect_everything(Duration::from_secs(5));
        // It is needed now, and it is there.
        cluster.crash(2);
        cluster.submit(1);
        cluster.expect_everything(Duration::from_secs(5));
    }
}

/// If the record of views is gone too, it waits for a view that it cannot have left.
#[test]
fn without_any_record_a_replica_waits_for_another_view() {
    let mut cluster = Cluster::new(4, 9, Network::calm());
    cluster.submit(0);
    cluster.run(Duration::from_millis(50));
    cluster.crash(3);
    cluster.restart(3, Some(SigningRecord::Damaged { view: None }));
    for at in 0..60 {
        cluster.submit(at % 4);
        cluster.run(Duration::from_millis(20));
    }
    cluster.expect_everything(Duration::from_secs(5));
    let status = cluster.node(3).status();
    assert!(status.is_abstaining && status.counters.signed == 0, "{status:?}");
    assert!(status.low >= Sequence(17), "the window alone has moved past: {status:?}");
}

#[test]
fn an_idle_group_says_little_and_wakes_with_the_first_request() {
    let mut cluster = Cluster::new(4, 12, Network::calm());
    cluster.submit(1);
    cluster.expect_everything(SECOND);
    cluster.run(SECOND.times(2)); // Each has told each how far it is.

    let received = |cluster: &Cluster| -> u64 {
        (0..4).map(|place| cluster.node(place).status().counters.received).sum()
    };
    let before = received(&cluster);
    cluster.run(SECOND.times(10));
    let calm_ms = limits::BFT_STATUS_EVERY_MS * limits::BFT_STATUS_CALM_FACTOR;
    let told = 4 * SECOND.times(10).as_millis() / calm_ms;
    let said = received(&cluster) - before;
    assert!(said > 0 && said <= told + 4, "{said} messages in ten seconds, not about {told}");

    cluster.submit(2);
    cluster.expect_everything(SECOND);
}
