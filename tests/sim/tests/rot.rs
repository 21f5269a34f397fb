//! Damage that chance seldom does: what the nodes must make up for together, and what nobody can survive.

mod scenes;

use base::Duration;
use sim::counts::Kind;

use scenes::{lost_state, quiet_cluster, tails_of_two_leaders};

/// The cluster stops and every node says why, instead of going on without the entry.
#[test]
fn an_entry_that_no_disk_holds_is_not_forgotten() {
    for seed in 0..10 {
        let mut world = quiet_cluster(seed, 100_000);
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

/// Neither votes for anybody who lacks its entry, and none of them is fit to lead.
#[test]
fn nodes_that_wait_for_each_other_let_go_of_what_was_never_committed() {
    let mut void = 0;
    for seed in 0..10 {
        let (mut world, damaged) = tails_of_two_leaders(seed);
        let ids: Vec<_> = world.ids().collect();
        ids.iter().for_each(|id| world.power_on(*id));
        let summary = world.insist_on_recovery();
        assert!(damaged > 0, "seed {seed}");
        void += summary.counts.get(Kind::EntriesVoid);
    }
    assert!(void > 5, "{void}");
}

#[test]
fn a_node_without_a_state_has_it_from_another() {
    for seed in 0..10 {
        let (mut world, victim) = lost_state(seed);
        world.power_on(victim);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.damage_of(victim).expect("it has read its disk").state, None);
        let summary = world.insist_on_recovery();
        assert_eq!(summary.counts.get(Kind::StatesRecalled), 1, "seed {seed}");
    }
}

/// All nodes have lost their snapshots: nothing goes on, and each says why.
#[test]
fn a_state_that_no_disk_holds_is_not_made_up() {
    for seed in 0..5 {
        let (mut world, victim) = lost_state(seed);
        let ids: Vec<_> = world.ids().collect();
        for id in ids.iter().filter(|id| **id != victim) {
            world.power_off(*id);
            world.damage_snapshots(*id);
        }
        ids.iter().for_each(|id| world.power_on(*id));
        world.run_for(Duration::from_secs(8));
        assert_eq!(world.leaders().count(), 0, "seed {seed}");
        for id in ids {
            let damage = world.damage_of(id).expect("it has read its disk");
            assert!(damage.state.is_some(), "seed {seed}: node {id} says why");
        }
    }
}
