//! A run from its beginning to its end.

use base::{Duration, Prng};
use bft::{Config, SigningRecord};

use super::cluster::Cluster;
use super::counts::{Counts, Kind};
use super::faults::Network;
use super::machine;
use super::plan::{Liar, Plan};

/// How long it may take, once the network is stable, until everything is executed everywhere.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// Runs a plan.
///
/// # Panics
/// If something does not hold that must.
pub fn run(seed: u64, plan: &Plan, change: impl Fn(&mut Config)) -> Counts {
    let mut prng = Prng::new(seed);
    let network = Network {
        lost: plan.lost,
        doubled: plan.doubled,
        delay_max: plan.delay_max,
        groups: Vec::new(),
        stable_from: plan.stable_from,
    };
    let mut cluster = Cluster::with(plan.replicas, prng.next_u64(), network, change);
    for (place, liar) in &plan.liars {
        match liar {
            Liar::Adversary(lie) => cluster.make_liar(*place, *lie),
            Liar::Twin => cluster.add_twin(*place),
        }
    }
    make_trouble(&mut cluster, plan, &mut prng);
    for place in 0..cluster.copies.len() {
        start(&mut cluster, place);
    }
    // What only liars were asked for, or was forgotten in a crash: clients ask somebody else.
    let asked = (0..plan.replicas).find(|at| is_sound(plan, *at)).expect("most are honest");
    for number in 0..cluster.checkers.submitted {
        cluster.submit_again(asked, machine::request(number));
    }
    cluster.expect_everything(RECOVERS_WITHIN);
    cluster.take_counts()
}

/// It neither lies nor abstains.
fn is_sound(plan: &Plan, place: usize) -> bool {
    plan.damaged != Some(place) && plan.liars.iter().all(|(liar, _)| *liar != place)
}

/// Rounds of requests and faults, until the network is stable.
fn make_trouble(cluster: &mut Cluster, plan: &Plan, prng: &mut Prng) {
    let copies = cluster.copies.len() as u64;
    let mut damaged = plan.damaged;
    while cluster.now < plan.stable_from {
        cluster.submit(prng.below(plan.replicas as u64) as usize);
        if prng.chance(plan.parted, 1_000) {
            let is_heal = !cluster.network.groups.is_empty() && prng.chance(1, 2);
            let groups = (0..copies).map(|_| u32::from(prng.chance(1, 3))).collect();
            cluster.part(if is_heal { Vec::new() } else { groups });
        }
        if prng.chance(plan.crashing, 1_000) {
            let place = prng.below(copies) as usize;
            if cluster.copies[place].node.is_none() {
                start(cluster, place);
            } else {
                cluster.crash(place);
            }
        }
        if prng.chance(plan.crashing, 8_000) {
            cluster.counts.note(Kind::PowerCuts);
            (0..cluster.copies.len()).for_each(|place| cluster.crash(place));
            (0..cluster.copies.len()).for_each(|place| start(cluster, place));
        }
        if prng.chance(1, 10)
            && let Some(place) = damaged.take()
        {
            cluster.crash(place);
            let view = prng.chance(1, 2).then_some(cluster.copies[place].recorded_view());
            cluster.counts.note(Kind::RecordsDamaged);
            cluster.restart(place, Some(SigningRecord::Damaged { view }));
        }
        let round = prng.duration_between(Duration::from_millis(1), plan.round_max);
        cluster.run(round);
    }
}

/// A replica that is off starts again; one whose record was damaged has none of what was before.
fn start(cluster: &mut Cluster, place: usize) {
    if cluster.copies[place].node.is_none() {
        cluster.restart(place, None);
    }
}
