//! Scenes in which a cluster must go on serving, or say that it cannot: partial partitions, disks that finish
//! nothing, clocks that leap, orders.

use base::{Duration, NodeId, limits};
use sim::counts::Kind;
use sim::plan::{Plan, Profile, Topology};
use sim::trace::Trace;
use sim::world::World;

/// A cluster with a leader, to which nothing happens but what the test does.
fn quiet_cluster(nodes: u16) -> World {
    quiet_cluster_from(1, nodes)
}

/// The wires and disks are those of the first seed; what nodes draw follows from this one.
fn quiet_cluster_from(seed: u64, nodes: u16) -> World {
    let plan = Plan::with_profile(1, Some(Profile::Calm));
    let mut world = World::new(
        Plan { nodes, clients: 0, troubles: Vec::new(), ..plan },
        None,
        seed,
        Trace::new(false),
    );
    world.run_for(Duration::from_secs(1));
    assert!(world.leaders().next().is_some());
    world
}

fn leader(world: &World) -> NodeId {
    world.leaders().next().expect("one leads")
}

/// All nodes, the leader at this place.
fn line(world: &World, place: usize) -> Vec<NodeId> {
    let leader = leader(world);
    let mut line: Vec<NodeId> = world.ids().filter(|id| *id != leader).collect();
    line.insert(place, leader);
    line
}

#[test]
fn a_leader_that_a_majority_hears_stays_in_a_partial_partition() {
    for (topology, nodes, place) in
        [(Topology::Bridge, 5, 0), (Topology::Chain, 3, 1), (Topology::Ring, 5, 2)]
    {
        let mut world = quiet_cluster(nodes);
        let (before, terms) = (leader(&world), world.terms_with_leaders());
        let line = line(&world, place);
        world.arrange_line(topology, &line);
        world.run_for(Duration::from_secs(2));
        assert_eq!(leader(&world), before, "{topology:?}");
        assert_eq!(world.terms_with_leaders(), terms, "{topology:?}: nobody disturbs it");
        world.ask(before);
        world.insist_on_recovery();
    }
}

#[test]
fn a_leader_that_no_majority_hears_is_replaced_in_a_partial_partition() {
    // At the end of a chain of five only one other hears it; at the end of a chain of three the same, but
    // that makes a majority.
    for (topology, nodes, place) in [(Topology::Chain, 5, 0), (Topology::Chain, 7, 6)] {
        let mut world = quiet_cluster(nodes);
        let before = leader(&world);
        let line = line(&world, place);
        world.arrange_line(topology, &line);
        world.run_for(Duration::from_secs(2));
        assert!(world.leaders().all(|id| id != before), "{topology:?} of {nodes}");
        world.insist_on_recovery();
    }
}

#[test]
fn a_leader_whose_disk_finishes_nothing_makes_way_for_another() {
    let mut world = quiet_cluster(3);
    let before = leader(&world);
    world.lose_disk_of(before);
    // A write that cannot become durable here shows that the disk does not answer.
    let others: Vec<NodeId> = world.ids().filter(|id| *id != before).collect();
    world.ask(others[0]);
    world.run_for(Duration::from_millis(limits::PERSIST_STALL_MAX_MS + 500));
    let after = leader(&world);
    assert_ne!(after, before);
    others.iter().for_each(|id| world.ask(*id));
    let summary = world.insist_on_recovery();
    assert_eq!(summary.counts.get(Kind::DiskStalls), 1);
}

#[test]
fn a_follower_whose_disk_finishes_nothing_holds_nobody_up() {
    let mut world = quiet_cluster(3);
    let lost = world.ids().find(|id| *id != leader(&world)).expect("two follow");
    world.lose_disk_of(lost);
    for _ in 0..20 {
        world.run_for(Duration::from_millis(50));
        world.ask(leader(&world));
    }
    let summary = world.insist_on_recovery();
    assert_eq!(summary.counts.get(Kind::LeaderChanges), 0);
}

#[test]
fn an_order_to_hand_over_or_to_stop_is_obeyed_at_once() {
    let mut world = quiet_cluster(3);
    let before = leader(&world);
    world.type_line(before, "raft transfer");
    world.run_for(Duration::from_millis(100));
    let between = leader(&world);
    assert_ne!(between, before);
    world.type_line(between, "poweroff");
    world.run_for(Duration::from_millis(100));
    let after = leader(&world);
    assert_ne!(after, between);
    world.ask(after);
    let summary = world.insist_on_recovery();
    let counts = summary.counts;
    assert_eq!([Kind::HandOvers, Kind::Stops].map(|kind| counts.get(kind)), [2, 1]);
}

/// Frames that came while the disk was read had taken all buffers, and each waited for one (seed 6142 of the
/// version that found it).
#[test]
fn a_node_whose_disk_is_long_in_coming_takes_part_in_the_end() {
    let mut world = quiet_cluster(5);
    let late = world.ids().find(|id| *id != leader(&world)).expect("four follow");
    world.power_off(late);
    world.start_with_hung_disk(late, Duration::from_secs(10));
    world.run_for(Duration::from_secs(11));
    world.ask(late);
    world.insist_on_recovery();
}

/// A node that still had a write to answer was elected after it was told to stop, and stopped as the leader
/// (seed 3069 of the version that found it).
#[test]
fn a_node_that_is_elected_while_it_stops_hands_over() {
    let mut elected = 0;
    for seed in 0..40 {
        let mut world = quiet_cluster_from(seed, 5);
        let gone = leader(&world);
        let place = seed as usize % 4;
        let stopping = world.ids().filter(|id| *id != gone).nth(place).expect("four follow");
        world.power_off(gone);
        world.begin_write(stopping);
        world.order(stopping, "poweroff");
        for _ in 0..60 {
            world.run_for(Duration::from_millis(10));
            let was_elected = world.leaders().any(|id| id == stopping);
            elected += u32::from(was_elected);
            if was_elected {
                world.run_for(Duration::from_millis(50));
                assert!(world.leaders().any(|id| id != stopping && id != gone), "{stopping}");
            }
        }
        world.insist_on_recovery();
    }
    assert!(elected > 0, "one of them was elected");
}
