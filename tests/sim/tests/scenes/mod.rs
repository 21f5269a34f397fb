//! Scenes of damaged disks that chance seldom makes.

use base::{Duration, NodeId};
use sim::plan::{Plan, Profile};
use sim::trace::Trace;
use sim::world::World;

/// Three nodes to which nothing happens but what the scene does, with snapshots so often.
pub fn quiet_cluster(seed: u64, snapshot_entries: u64) -> World {
    let plan = Plan::with_profile(seed, Some(Profile::Rot));
    let mut plan = Plan { nodes: 3, troubles: Vec::new(), ..plan };
    plan.temper.misread_per_mille = 0;
    plan.tuning.snapshot_entries = snapshot_entries;
    let mut world = World::new(plan, None, seed, Trace::new(false));
    world.run_for(Duration::from_secs(2));
    world
}

/// Waits until somebody leads of those that are on.
fn leader(world: &mut World) -> NodeId {
    for _ in 0..3_000 {
        if let Some(leader) = world.leaders().next() {
            return leader;
        }
        world.run_for(Duration::from_millis(1));
    }
    panic!("nobody leads");
}

/// Two leaders came and went, each with an entry on its own disk alone, and both are damaged. All are off.
/// Answers how many are damaged.
pub fn tails_of_two_leaders(seed: u64) -> (World, usize) {
    let mut world = quiet_cluster(seed, 100_000);
    let ids: Vec<NodeId> = world.ids().collect();
    let first = leader(&mut world);
    let others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != first).collect();
    others.iter().for_each(|id| world.power_off(*id));
    world.begin_write(first);
    // Until the marker speaks of it, nothing tells damage from a torn write.
    world.run_for(Duration::from_millis(400));
    world.power_off(first);
    others.iter().for_each(|id| world.power_on(*id));
    world.run_for(Duration::from_millis(100));
    let second = leader(&mut world);
    others.iter().filter(|id| **id != second).for_each(|id| world.power_off(*id));
    world.begin_write(second);
    // Until the marker speaks of it, nothing tells damage from a torn write.
    world.run_for(Duration::from_millis(400));
    world.power_off(second);
    let damaged = [first, second].map(|id| world.damage_tail(id));
    (world, damaged.into_iter().filter(|is_damaged| *is_damaged).count())
}

/// A node is off, and its snapshots are damaged, to which its log does not reach back.
pub fn lost_state(seed: u64) -> (World, NodeId) {
    let mut world = quiet_cluster(seed, 10);
    let ids: Vec<NodeId> = world.ids().collect();
    ids.iter().cycle().take(60).for_each(|id| world.ask(*id));
    world.run_for(Duration::from_secs(1));
    let victim = ids[seed as usize % ids.len()];
    world.power_off(victim);
    world.damage_snapshots(victim);
    (world, victim)
}
