//! Entries that are damaged on the disks of members.

use base::{Duration, LogIndex, NodeId, Prng};
use raft::Event;

use crate::cluster::{Cluster, node};

/// A cluster whose leader has committed so many commands, with little in memory.
pub fn cluster_with(size: u16, commands: u64, seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(size, seed, |config| config.entry_cache_max_bytes = 1);
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader().expect("somebody leads");
    for number in 0..commands {
        assert!(cluster.propose(leader, format!("command {number}").as_bytes()));
        cluster.run(Duration::from_millis(5));
    }
    cluster.run(Duration::from_secs(1));
    (cluster, leader)
}

pub fn restart(cluster: &mut Cluster, id: NodeId) {
    cluster.crash(id);
    cluster.start(id);
}

/// How often something was told by all members.
pub fn count(cluster: &Cluster, of: impl Fn(&Event) -> bool) -> usize {
    cluster.events.iter().filter(|(_, event)| of(event)).count()
}

fn repaired(cluster: &Cluster) -> usize {
    count(cluster, |event| matches!(event, Event::Repaired { .. }))
}

/// Every entry stays intact on one member at least: nothing is lost, and all of it is repaired.
#[test]
fn any_damage_that_leaves_one_copy_is_repaired() {
    let mut total = 0;
    for seed in 0..60 {
        let size = [3, 5][seed as usize % 2];
        let (mut cluster, _) = cluster_with(size, 40, seed);
        let mut prng = Prng::new(seed);
        let last = cluster.truth.len() as u64;
        for index in (1..=last).map(LogIndex) {
            let spared = 1 + prng.below(u64::from(size)) as u16;
            for number in (1..=size).filter(|number| *number != spared) {
                if prng.chance(1, 3) {
                    cluster.members.get_mut(&node(number)).unwrap().disk.damaged.insert(index);
                }
            }
        }
        let damaged: usize = cluster.members.values().map(|m| m.disk.damaged.len()).sum();
        (1..=size).for_each(|number| cluster.crash(node(number)));
        (1..=size).for_each(|number| cluster.start(node(number)));
        cluster.run(Duration::from_secs(20));
        for (id, member) in &cluster.members {
            assert!(member.applied.len() as u64 > last, "seed {seed}: node {id} has all of it");
            assert!(member.disk.damaged.is_empty(), "seed {seed}: node {id}");
        }
        assert_eq!(repaired(&cluster), damaged, "seed {seed}");
        total += damaged;
    }
    assert!(total > 1_000, "{total}");
}

/// Nobody has the entry: the cluster stops and says so, instead of going on without it.
#[test]
fn what_nobody_has_any_more_is_not_forgotten() {
    let (mut cluster, _) = cluster_with(3, 20, 1);
    let commands = cluster.commands();
    for number in 1..=3 {
        cluster.members.get_mut(&node(number)).unwrap().disk.damaged.insert(LogIndex(10));
        cluster.crash(node(number));
    }
    (1..=3).for_each(|number| cluster.start(node(number)));
    cluster.run(Duration::from_secs(30));
    assert_eq!(cluster.commands(), commands);
    let knows = |id: &NodeId| cluster.status(*id).damage.nowhere == Some(LogIndex(10));
    assert!(cluster.members.keys().all(knows), "all say why");
    assert!(cluster.members.values().all(|member| member.applied.len() < 10));
    assert_eq!(cluster.leader(), None, "nobody can lead");
    // A disk comes back from repair.
    cluster.members.get_mut(&node(2)).unwrap().disk.damaged.clear();
    restart(&mut cluster, node(2));
    cluster.run(Duration::from_secs(10));
    assert!(cluster.members.values().all(|member| member.applied.len() > 20));
}

/// A member that knows its damage votes: who lacks what it may have acknowledged does not get its vote.
#[test]
fn a_damaged_entry_is_not_taken_for_absent() {
    let (mut cluster, leader) = cluster_with(3, 20, 3);
    let [behind, damaged] = cluster.others(leader)[..] else { panic!("two follow") };
    cluster.isolate(behind);
    assert!(cluster.propose(leader, b"acknowledged"));
    cluster.run(Duration::from_millis(100));
    let last = LogIndex(cluster.truth.len() as u64);
    cluster.crash(leader);
    let disk = &mut cluster.members.get_mut(&damaged).unwrap().disk;
    disk.damaged.extend((1..=last.0).map(LogIndex));
    restart(&mut cluster, damaged);
    let now = cluster.now;
    let term = cluster.raft(damaged).term_at(last).unwrap();
    cluster.raft(damaged).handle_damaged(last, term, now);
    cluster.heal();
    cluster.run(Duration::from_secs(10));
    assert_eq!(cluster.leader(), None, "one is not whole, the other is not up to date");
    cluster.start(leader);
    cluster.run(Duration::from_secs(10));
    assert!(cluster.leader().is_some());
    assert!(cluster.members[&damaged].disk.damaged.is_empty());
    assert!(cluster.members.values().all(|m| m.applied.len() as u64 > last.0));
}

/// The others have given up the entry: it comes as a snapshot.
#[test]
fn what_is_in_snapshots_only_comes_as_one() {
    let (mut cluster, leader) = cluster_with(3, 30, 4);
    let victim = cluster.others(leader)[0];
    cluster.members.get_mut(&victim).unwrap().disk.damaged.insert(LogIndex(7));
    cluster.crash(victim);
    let others = cluster.others(victim);
    others.into_iter().for_each(|id| cluster.snapshot(id, true));
    cluster.start(victim);
    cluster.run(Duration::from_secs(10));
    assert!(cluster.members[&victim].applied.len() >= 31);
    assert_eq!(cluster.status(victim).counters.snapshots_installed, 1);
    assert_eq!(cluster.status(victim).damage.entries, 0);
}

/// A leader that finds damage has copies from its followers, and goes on leading.
#[test]
fn a_leader_is_healed_by_its_followers() {
    let (mut cluster, leader) = cluster_with(3, 30, 5);
    let now = cluster.now;
    let term = cluster.raft(leader).term_at(LogIndex(9)).unwrap();
    cluster.members.get_mut(&leader).unwrap().disk.damaged.insert(LogIndex(9));
    cluster.raft(leader).handle_damaged(LogIndex(9), term, now);
    cluster.drain(leader);
    assert!(cluster.propose(leader, b"more"));
    cluster.run(Duration::from_millis(500));
    assert_eq!((cluster.leader(), repaired(&cluster)), (Some(leader), 1));
    assert!(cluster.members.values().all(|member| member.applied.len() >= 32));
}
