//! Groups with as many liars as may be.

use base::{Duration, Instant};

use bft::Lie;
use sim::liars::cluster::Cluster;
use sim::liars::faults::Network;

/// Every kind of liar, as the first primary and as a backup, on a good and on a bad network.
#[test]
fn one_liar_of_four() {
    for lie in Lie::ALL {
        for (place, lost, seed) in [(0, 0, 1), (0, 100, 2), (2, 0, 3), (2, 100, 4)] {
            let stable_from = Instant::from_millis(3_000);
            let network =
                if lost == 0 { Network::calm() } else { Network::stormy(lost, stable_from) };
            let mut cluster = Cluster::new(4, seed, network);
            cluster.make_liar(place, lie);
            let honest: Vec<usize> = (0..4).filter(|at| *at != place).collect();
            for at in 0..30 {
                cluster.submit(honest[at % 3]);
                cluster.run(Duration::from_millis(40));
            }
            cluster.expect_everything(Duration::from_secs(30));
            assert!(cluster.checkers.certificates > 0, "{lie:?}");
        }
    }
}

/// Two of eight, of every pair of kinds.
#[test]
fn two_liars_of_eight() {
    let mut seed = 10;
    for one in Lie::ALL {
        for other in Lie::ALL {
            seed += 1;
            let mut cluster = Cluster::new(8, seed, Network::calm());
            cluster.make_liar(0, one);
            cluster.make_liar(1 + (seed as usize % 7), other);
            let honest: Vec<usize> =
                (0..8).filter(|at| cluster.copies[*at].adversary.is_none()).collect();
            for at in 0..8 {
                cluster.submit(honest[at % honest.len()]);
                cluster.run(Duration::from_millis(60));
            }
            cluster.expect_everything(Duration::from_secs(30));
        }
    }
}

/// A liar that floods costs the others no more than its allowance: they decide about as fast as without it.
#[test]
fn a_flood_does_not_slow_the_others() {
    let time_for =
        |lie: Option<Lie>| {
            let mut cluster = Cluster::new(4, 20, Network::calm());
            if let Some(lie) = lie {
                cluster.make_liar(3, lie);
            }
            for at in 0..50 {
                cluster.submit(at % 3);
                assert!(cluster.run_until(
                    cluster.now + Duration::from_secs(1),
                    Cluster::has_executed_everything
                ));
            }
            let checks: Vec<u64> =
                (0..3).map(|place| cluster.node(place).status().counters.verified).collect();
            (cluster.now.as_millis(), checks)
        };
    let (alone, checks_alone) = time_for(None);
    for lie in [Lie::Flood, Lie::Forge, Lie::Garbage] {
        let (flooded, checks) = time_for(Some(lie));
        assert!(flooded <= 2 * alone + 100, "{lie:?}: {flooded} ms instead of {alone}");
        let bound = |place: usize| 3 * checks_alone[place] + 500;
        assert!((0..3).all(|place| checks[place] <= bound(place)), "{checks:?} {checks_alone:?}");
    }
}
