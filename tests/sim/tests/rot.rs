//! What nobody can survive: the last copy of an entry is destroyed.

use base::Duration;
use sim::plan::{Plan, Profile};
use sim::trace::Trace;
use sim::world::World;

/// The cluster stops and every node says why, instead of going on without the entry.
#[test]
fn an_entry_that_no_disk_holds_is_not_forgotten() {
    for seed in 0..10 {
        let plan = Plan::with_profile(seed, Some(Profile::Rot));
        let mut plan = Plan { nodes: 3, troubles: Vec::new(), ..plan };
        plan.tuning.snapshot_entries = 100_000;
        let mut world = World::new(plan, None, seed, Trace::new(false));
        world.run_for(Duration::from_secs(2));
        let ids: Vec<_> = world.ids().collect();
        ids.iter().cycle().take(12).for_each(|id| world.ask(*id));
        world.run_for(Duration::from_secs(1));
        ids.iter().for_each(|id| world.power_off(*id));
        let lost = world.destroy_an_entry();
        assert!(world.committed() > lost);
        ids.iter().for_each(|id| world.power_on(*id));
        world.run_for(Duration::from_secs(8));
        for id in &ids {
            let damage = world.damage_of(*id).expect("it has read its disk");
            assert_eq!(damage.nowhere, Some(lost), "seed {seed}: node {id} says why");
        }
        assert_eq!(world.leaders().count(), 0, "seed {seed}: nobody leads without entry {lost}");
        let committed = world.committed();
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.committed(), committed, "seed {seed}: nothing goes on");
    }
}
