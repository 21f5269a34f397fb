//! Leaders that are silent for longer than usual: they are replaced early if they are gone, and stay if they
//! are only late.

use base::{Duration, NodeId, Prng, limits};
use sim::counts::Kind;
use sim::network::Weather;
use sim::plan::{Plan, Profile, Tuning};
use sim::trace::Trace;
use sim::world::World;

fn plan(seed: u64, profile: Profile, suspects_silence: bool) -> Plan {
    let plan = Plan::with_profile(seed, Some(profile));
    let tuning = Tuning { suspects_silence, lease_reads: false, ..plan.tuning };
    Plan { nodes: 3, tuning, troubles: Vec::new(), reactions: Vec::new(), ..plan }
}

fn leader(world: &World) -> NodeId {
    world.leaders().next().expect("one leads")
}

/// How long it takes until another leads after a leader has stood still at some moment.
fn replaced_after(seed: u64, suspects_silence: bool) -> Duration {
    let plan = plan(seed, Profile::Calm, suspects_silence);
    let plan = Plan { clients: 0, weather: Weather::calm(), ..plan };
    let mut world = World::new(plan, None, seed, Trace::new(false));
    world.run_for(Duration::from_millis(1_000 + 7 * seed));
    let (old, since) = (leader(&world), world.now());
    world.stand_still(old, Duration::from_secs(1));
    while world.leaders().all(|id| id == old) {
        world.run_for(Duration::from_millis(1));
    }
    world.now().since(since)
}

#[test]
fn a_leader_that_stands_still_is_replaced_before_the_election_timeout() {
    let spans = |suspects| {
        let mut spans: Vec<_> = (0..20).map(|seed| replaced_after(seed, suspects)).collect();
        spans.sort_unstable();
        spans
    };
    let (with, without) = (spans(true), spans(false));
    println!(
        "p50 {} ms, most {} ms; by the election timeout alone {} and {} ms",
        with[10].as_millis(),
        with[19].as_millis(),
        without[10].as_millis(),
        without[19].as_millis()
    );
    assert!(with[19] < Duration::from_millis(limits::ELECTION_TIMEOUT_MIN_MS), "{with:?}");
    assert!(with[10] + Duration::from_millis(25) < without[10], "{with:?}, else {without:?}");
}

/// How many leaders there are while machines are busy: clients write all the time, flushes take long, and
/// somebody stands still for a moment several times a second, as on a host that has more to do.
fn leaders_under_load(seed: u64, suspects_silence: bool) -> (usize, u64) {
    let plan = plan(seed, Profile::SlowDisks, suspects_silence);
    let mut world = World::new(plan, None, seed, Trace::new(false));
    world.start_clients();
    world.run_for(Duration::from_secs(1));
    let mut prng = Prng::new(seed);
    for _ in 0..100 {
        let ids: Vec<NodeId> = world.ids().collect();
        let id = ids[prng.below(ids.len() as u64) as usize];
        let span = prng.duration_between(Duration::from_millis(5), Duration::from_millis(70));
        world.stand_still(id, span);
        world.run_for(Duration::from_millis(100));
    }
    let leaders = world.terms_with_leaders();
    let counts = world.insist_on_recovery().counts;
    (leaders, counts.get(Kind::Pauses))
}

#[test]
fn nobody_is_replaced_under_load_who_would_not_be_else() {
    let sum = |suspects| {
        let runs = (0..12).map(|seed| leaders_under_load(seed, suspects));
        runs.fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1))
    };
    let ((with, pauses), (without, _)) = (sum(true), sum(false));
    println!("{with} leaders, by the election timeout alone {without}; {pauses} pauses");
    assert_eq!(pauses, 1_200);
    assert!(with <= without, "{with} leaders, by the election timeout alone {without}");
}
