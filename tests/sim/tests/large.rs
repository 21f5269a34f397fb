//! Thirty-two nodes: they elect, they write, and they outlive the loss of fifteen.

use base::{Duration, NodeId};
use sim::counts::Kind;
use sim::plan::{Plan, Profile};
use sim::trace::Trace;
use sim::world::World;

const NODES: usize = 32;

/// A cluster with clients, to which nothing happens but what the test does.
fn quiet_cluster() -> World {
    let plan = Plan::with_profile(1, Some(Profile::Large));
    assert_eq!(usize::from(plan.nodes), NODES);
    World::new(Plan { troubles: Vec::new(), ..plan }, None, 1, Trace::new(false))
}

#[test]
fn a_large_cluster_outlives_the_loss_of_a_minority() {
    let mut world = quiet_cluster();
    world.run_for(Duration::from_secs(1));
    let leaders: Vec<NodeId> = world.leaders().collect();
    assert_eq!(leaders.len(), 1, "one leads");
    world.ids().for_each(|id| world.ask(id));

    // The leader goes too, and as many others as a majority can spare.
    let others = world.ids().filter(|id| *id != leaders[0]);
    let lost: Vec<NodeId> = leaders.iter().copied().chain(others).take((NODES - 1) / 2).collect();
    lost.iter().for_each(|id| world.power_off(*id));
    world.run_for(Duration::from_secs(1));
    assert!(world.leaders().next().is_some_and(|leader| !lost.contains(&leader)));
    world.ids().filter(|id| !lost.contains(id)).for_each(|id| world.ask(id));

    let summary = world.insist_on_recovery();
    assert_eq!(summary.counts.get(Kind::Crashes), 15);
    assert!(summary.counts.get(Kind::LeaderChanges) >= 1);
    assert!(summary.entries > 60, "what was asked is in the log: {} entries", summary.entries);
}
