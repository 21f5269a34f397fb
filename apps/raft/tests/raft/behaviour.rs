//! What a group does, scenario by scenario.

use crate::cluster::{Cluster, node};
use base::{Duration, NodeId, limits};
use raft::{ProposeError, ReadError};

const SECOND: Duration = Duration::from_secs(1);

fn settled(size: u16, seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(size, seed);
    cluster.run(SECOND);
    let leader = cluster.leader().expect("a leader within a second");
    (cluster, leader)
}

#[test]
fn three_members_elect_one_leader_who_stays() {
    for seed in 0..50 {
        let (mut cluster, leader) = settled(3, seed);
        let term = cluster.raft(leader).term();
        cluster.run(Duration::from_secs(5));
        assert_eq!(cluster.leader(), Some(leader));
        assert_eq!(cluster.raft(leader).term(), term);
    }
}

#[test]
fn one_member_is_its_own_majority() {
    let (mut cluster, leader) = settled(1, 1);
    assert!(cluster.propose(leader, b"alone"));
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 1);
    cluster.read(leader, 7).unwrap();
    assert_eq!(cluster.members[&leader].reads.len(), 1);
}

#[test]
fn thirty_two_members_elect_a_leader_within_a_second() {
    for seed in 0..10 {
        let (mut cluster, leader) = settled(32, seed);
        assert!(cluster.propose(leader, b"x"));
        cluster.run(Duration::from_millis(200));
        assert!(cluster.members.values().all(|member| member.applied.len() == 2));
    }
}

#[test]
fn commands_reach_every_member_once_and_in_order() {
    let (mut cluster, leader) = settled(5, 3);
    for number in 0..200u32 {
        assert!(cluster.propose(leader, &number.to_le_bytes()));
        if number % 7 == 0 {
            cluster.run(Duration::from_micros(300));
        }
    }
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 200);
    assert!(cluster.members.values().all(|member| member.applied.len() == 201));
}

/// Pitfall 6: PreVote and CheckQuorum together.
#[test]
fn a_member_that_was_cut_off_comes_back_without_an_election() {
    let (mut cluster, leader) = settled(3, 4);
    let term = cluster.raft(leader).term();
    let away = cluster.members.keys().copied().find(|id| *id != leader).unwrap();
    cluster.isolate(away);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.raft(away).term(), term, "it asks, and does not stand");
    cluster.heal();
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.raft(leader).term(), term);
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_its_entries_are_replaced() {
    let (mut cluster, old) = settled(3, 5);
    cluster.isolate(old);
    assert!(cluster.propose(old, b"lost"));
    cluster.run(SECOND);
    assert!(!cluster.raft(old).is_leader(), "CheckQuorum");
    let new = cluster.leader().expect("the majority has elected another");
    assert!(cluster.propose(new, b"kept"));
    cluster.heal();
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 1);
    let applied = cluster.members.values().map(|member| member.applied.len());
    assert!(applied.collect::<Vec<_>>().windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn every_member_restarts_and_nothing_is_lost() {
    let (mut cluster, leader) = settled(3, 6);
    for number in 0..50u32 {
        cluster.propose(leader, &number.to_le_bytes());
    }
    cluster.run(SECOND);
    for id in (1..=3).map(node) {
        cluster.crash(id);
    }
    cluster.run(SECOND);
    for id in (1..=3).map(node) {
        cluster.start(id);
    }
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 50);
    assert!(cluster.members.values().all(|member| member.applied.len() == 52), "and two no-ops");
}

#[test]
fn a_follower_that_missed_much_is_fed_from_the_disk() {
    let mut cluster = Cluster::with(3, 7, |config| config.entry_cache_max_bytes = 64);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let away = cluster.members.keys().copied().find(|id| *id != leader).unwrap();
    cluster.crash(away);
    for number in 0..500u32 {
        cluster.propose(leader, &number.to_le_bytes());
        cluster.run(Duration::from_millis(1));
    }
    cluster.run(SECOND);
    cluster.start(away);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.members[&away].applied.len(), 501);
    assert!(cluster.raft(leader).status(cluster_now()).counters.fetches > 0);
}

/// The caller would read what is then thrown away, and again for the next message.
#[test]
fn no_more_is_wanted_from_the_disk_than_is_used_at_once() {
    let mut cluster = Cluster::with(3, 7, |config| {
        config.entry_cache_max_bytes = 64;
        config.append_batch_max_entries = 3;
    });
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    for number in 0..500u32 {
        cluster.propose(leader, &number.to_le_bytes());
        cluster.run(Duration::from_millis(1));
    }
    cluster.run(SECOND);
    cluster.start(away);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.members[&away].applied.len(), 501);
    assert_eq!(cluster.fetched_max, 3, "for an append");
    cluster.crash(away);
    cluster.start(away);
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.members[&away].applied.len(), 501);
    assert_eq!(cluster.fetched_max, limits::APPLY_BATCH_MAX_ENTRIES as u64, "to be applied");
}

fn cluster_now() -> base::Instant {
    base::Instant::from_millis(10_000)
}

#[test]
fn reads_are_answered_by_any_member_after_a_majority_agrees() {
    let (mut cluster, leader) = settled(3, 8);
    cluster.propose(leader, b"x");
    cluster.run(SECOND);
    for (context, id) in (100..).zip((1..=3).map(node)) {
        cluster.read(id, context).unwrap();
    }
    cluster.run(Duration::from_millis(100));
    let commit = cluster.raft(leader).commit_index();
    for (context, id) in (100..).zip((1..=3).map(node)) {
        assert_eq!(cluster.members[&id].reads, [(context, Some(commit))]);
    }
}

#[test]
fn a_leader_without_a_majority_answers_no_read() {
    let (mut cluster, leader) = settled(3, 9);
    cluster.isolate(leader);
    cluster.read(leader, 1).unwrap();
    cluster.run(SECOND);
    assert_eq!(cluster.members[&leader].reads, [(1, None)]);
    assert_eq!(cluster.read(leader, 2), Err(ReadError::NoLeader));
}

#[test]
fn proposals_have_limits() {
    let (mut cluster, leader) = settled(3, 10);
    let follower = cluster.members.keys().copied().find(|id| *id != leader).unwrap();
    let refused = cluster.raft(follower).propose(b"x".to_vec().into());
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
    let longest = base::limits::ENTRY_PAYLOAD_MAX_BYTES;
    let raft = cluster.raft(leader);
    assert_eq!(raft.propose(vec![0; longest + 1].into()), Err(ProposeError::TooLarge));
    assert!(raft.propose(vec![0; longest].into()).is_ok());
    let busy = (0..20).map(|_| raft.propose(vec![0; longest].into())).find(Result::is_err);
    assert_eq!(busy, Some(Err(ProposeError::Busy)));
    cluster.drain(leader);
    cluster.run(SECOND);
    assert!(cluster.raft(leader).propose(b"again".to_vec().into()).is_ok());
    cluster.raft(leader).set_log_full(true);
    assert_eq!(cluster.raft(leader).propose(b"x".to_vec().into()), Err(ProposeError::LogFull));
}

#[test]
fn a_follower_whose_disk_is_full_acknowledges_nothing_until_there_is_room() {
    let (mut cluster, leader) = settled(3, 11);
    let full = cluster.members.keys().copied().find(|id| *id != leader).unwrap();
    cluster.raft(full).set_log_full(true);
    assert!(cluster.propose(leader, b"x"));
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 1, "two of three suffice");
    assert_eq!(cluster.members[&full].applied.len(), 1, "the no-op");
    cluster.raft(full).set_log_full(false);
    cluster.run(SECOND);
    assert_eq!(cluster.members[&full].applied.len(), 2);
}

/// Loss, duplication, reordering, slow writes, crashes, partitions; then calm, in which all must agree.
#[test]
fn whatever_happens_no_two_members_disagree() {
    for seed in 0..300 {
        let size = 3 + 2 * (seed % 2) as u16;
        let mut cluster = Cluster::with(size, seed, |config| config.entry_cache_max_bytes = 200);
        cluster.loss = seed % 5 * 20;
        cluster.duplication = seed % 3 * 50;
        cluster.delay_max = Duration::from_millis(1 + seed % 4 * 15);
        cluster.write_max = Duration::from_millis(1 + seed % 3 * 20);
        let mut number = 0u32;
        for _ in 0..120 {
            trouble(&mut cluster, size);
            cluster.run(Duration::from_millis(50));
            if let Some(leader) = cluster.leader() {
                for _ in 0..5 {
                    number += 1;
                    cluster.propose(leader, &number.to_le_bytes());
                }
            }
        }
        calm(&mut cluster, size, seed);
    }
}

fn trouble(cluster: &mut Cluster, size: u16) {
    let id = node(1 + cluster.prng.below(u64::from(size)) as u16);
    let other = node(1 + cluster.prng.below(u64::from(size)) as u16);
    match cluster.prng.below(30) {
        0 => cluster.crash(id),
        1..4 if cluster.members[&id].raft.is_none() => cluster.start(id),
        4 => cluster.isolate(id),
        5 => {
            cluster.blocked.insert((id, other));
        }
        6..9 => cluster.heal(),
        _ => {}
    }
}

fn calm(cluster: &mut Cluster, size: u16, seed: u64) {
    cluster.heal();
    cluster.loss = 0;
    for id in (1..=size).map(node) {
        if cluster.members[&id].raft.is_none() {
            cluster.start(id);
        }
    }
    cluster.run(Duration::from_secs(3));
    let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads"));
    assert!(cluster.propose(leader, b"last"), "seed {seed}");
    cluster.run(Duration::from_secs(2));
    for (id, member) in &cluster.members {
        assert_eq!(member.applied.len(), cluster.truth.len(), "seed {seed}: node {id} is behind");
    }
    assert_eq!(cluster.truth.last().map(|e| e.payload.bytes()), Some(b"last".to_vec().into()));
}
