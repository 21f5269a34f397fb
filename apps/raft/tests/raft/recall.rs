//! Members that have lost the snapshot that their logs begin behind.

use base::{Duration, LogIndex, NodeId};
use raft::Event;

use crate::cluster::{Cluster, node};
use crate::repair::{cluster_with, count, restart};

/// The snapshot of a member cannot be read any more.
fn lose_snapshot(cluster: &mut Cluster, id: NodeId) {
    cluster.crash(id);
    let disk = &mut cluster.members.get_mut(&id).unwrap().disk;
    assert!(disk.snapshot.is_some());
    disk.is_snapshot_lost = true;
}

fn recalled(cluster: &Cluster) -> usize {
    count(cluster, |event| matches!(event, Event::StateRecalled { .. }))
}

fn is_whole(cluster: &Cluster, id: NodeId) -> bool {
    let member = &cluster.members[&id];
    member.applied.len() == cluster.truth.len() && !member.disk.is_snapshot_lost
}

/// While it is asked for its state, a follower goes on acknowledging; then it has it.
#[test]
fn a_follower_has_its_state_from_the_leader() {
    let (mut cluster, leader) = cluster_with(3, 30, 1);
    let [victim, other] = cluster.others(leader)[..] else { panic!("two follow") };
    cluster.snapshot(victim, true);
    lose_snapshot(&mut cluster, victim);
    cluster.start(victim);
    cluster.crash(other);
    assert!(cluster.propose(leader, b"with its help"));
    cluster.run(Duration::from_secs(3));
    assert!(cluster.truth.len() > 31 && is_whole(&cluster, victim));
    assert_eq!((recalled(&cluster), cluster.status(victim).damage.state), (1, None));
    assert_eq!(cluster.leader(), Some(leader), "nobody had to be elected for that");
}

/// Nobody leads: one has no state, the other lacks entries. The state goes the other way than the entries.
#[test]
fn a_member_that_must_lead_has_its_state_from_one_that_cannot() {
    let (mut cluster, leader) = cluster_with(3, 30, 2);
    let [victim, behind] = cluster.others(leader)[..] else { panic!("two follow") };
    cluster.snapshot(victim, true);
    cluster.isolate(behind);
    assert!(cluster.propose(leader, b"acknowledged"));
    cluster.run(Duration::from_millis(200));
    let last = LogIndex(cluster.truth.len() as u64);
    cluster.crash(leader);
    lose_snapshot(&mut cluster, victim);
    cluster.heal();
    cluster.start(victim);
    // It does not know any more how much of its log is committed.
    restart(&mut cluster, behind);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(victim));
    assert!(cluster.truth.len() as u64 > last.0 && is_whole(&cluster, victim));
    assert_eq!(recalled(&cluster), 1);
}

/// Nobody else has the entries that the lost snapshot stands for: nothing goes on without them.
#[test]
fn a_state_that_nobody_has_is_not_made_up() {
    let (mut cluster, leader) = cluster_with(3, 30, 3);
    let [victim, behind] = cluster.others(leader)[..] else { panic!("two follow") };
    cluster.isolate(behind);
    assert!(cluster.propose(leader, b"acknowledged"));
    cluster.run(Duration::from_millis(200));
    let last = LogIndex(cluster.truth.len() as u64);
    cluster.snapshot(victim, true);
    cluster.crash(leader);
    lose_snapshot(&mut cluster, victim);
    cluster.heal();
    cluster.start(victim);
    cluster.run(Duration::from_secs(10));
    assert_eq!((cluster.leader(), cluster.truth.len() as u64), (None, last.0));
    assert_eq!(cluster.status(victim).damage.state, Some(last), "and it says why");
    cluster.start(leader);
    cluster.run(Duration::from_secs(5));
    assert!((1..=3).all(|number| is_whole(&cluster, node(number))));
}

/// Two of three have lost theirs, at different places, and messages are lost: the third has it.
#[test]
fn one_state_is_enough() {
    for seed in 0..20 {
        let (mut cluster, leader) = cluster_with(3, 30, seed);
        let [first, second] = cluster.others(leader)[..] else { panic!("two follow") };
        cluster.snapshot(first, true);
        assert!(cluster.propose(leader, b"between"));
        cluster.run(Duration::from_millis(100));
        cluster.snapshot(second, true);
        cluster.loss = 100;
        lose_snapshot(&mut cluster, first);
        lose_snapshot(&mut cluster, second);
        restart(&mut cluster, leader);
        cluster.start(first);
        cluster.start(second);
        cluster.run(Duration::from_secs(10));
        cluster.loss = 0;
        cluster.run(Duration::from_secs(2));
        assert!((1..=3).all(|number| is_whole(&cluster, node(number))), "seed {seed}");
        assert_eq!(recalled(&cluster), 2, "seed {seed}");
    }
}
