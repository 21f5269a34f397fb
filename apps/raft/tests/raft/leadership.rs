//! Handing over, stepping down, and finding out early that the leader is gone.

use crate::cluster::{Cluster, node};
use base::{Duration, NodeId};
use raft::{Event, ProposeError, StepDown, TransferError};

const SECOND: Duration = Duration::from_secs(1);

fn settled(size: u16, seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(size, seed);
    cluster.run(SECOND);
    let leader = cluster.leader().expect("a leader within a second");
    (cluster, leader)
}

fn transfer(cluster: &mut Cluster, to: Option<NodeId>) -> Result<NodeId, TransferError> {
    let (leader, now) = (cluster.leader().unwrap(), cluster.now);
    let answer = cluster.raft(leader).transfer_leadership(to, now);
    cluster.drain(leader);
    answer
}

#[test]
fn leadership_passes_to_the_node_that_is_named_within_milliseconds() {
    for seed in 0..20 {
        let (mut cluster, old) = settled(5, seed);
        let to = *cluster.others(old).last().unwrap();
        let term = cluster.raft(old).term();
        assert_eq!(transfer(&mut cluster, Some(to)), Ok(to));
        assert_eq!(cluster.status(old).transferring_to, Some(to));
        let refused = cluster.raft(old).propose(b"x".to_vec().into());
        assert_eq!(refused, Err(ProposeError::Transferring { to }));
        cluster.run(Duration::from_millis(20));
        assert_eq!(cluster.leader(), Some(to));
        assert_eq!(cluster.raft(to).term().0, term.0 + 1, "one election, and no pre-vote");
        assert!(!cluster.raft(old).is_leader());
        assert!(cluster.propose(to, b"y"));
        cluster.run(SECOND);
        assert_eq!(cluster.commands(), 1);
    }
}

#[test]
fn a_follower_that_is_behind_is_brought_up_to_date_first() {
    let (mut cluster, old) = settled(3, 2);
    let to = cluster.others(old)[0];
    cluster.isolate(to);
    for number in 0..100u32 {
        assert!(cluster.propose(old, &number.to_le_bytes()));
    }
    cluster.run(Duration::from_millis(100));
    cluster.heal();
    assert_eq!(transfer(&mut cluster, Some(to)), Ok(to));
    cluster.run(Duration::from_millis(250));
    assert_eq!(cluster.leader(), Some(to));
    assert_eq!(cluster.members[&to].applied.len(), 102, "commands and two no-ops");
}

#[test]
fn without_a_name_the_most_advanced_follower_is_chosen() {
    let (mut cluster, old) = settled(5, 3);
    let others = cluster.others(old);
    let ahead = others[2];
    for id in others.iter().filter(|id| **id != ahead) {
        cluster.hung.insert(*id);
    }
    assert!(cluster.propose(old, b"x"));
    cluster.run(Duration::from_millis(20));
    assert_eq!(transfer(&mut cluster, None), Ok(ahead));
}

#[test]
fn a_transfer_that_comes_to_nothing_ends_after_an_election_timeout() {
    let (mut cluster, leader) = settled(3, 4);
    let to = cluster.others(leader)[0];
    cluster.crash(to);
    let term = cluster.raft(leader).term();
    assert_eq!(transfer(&mut cluster, Some(to)), Ok(to));
    assert_eq!(transfer(&mut cluster, None), Err(TransferError::InProgress { to }));
    cluster.run(Duration::from_millis(310));
    assert!(cluster.events.contains(&(leader, Event::TransferFailed { term, to })));
    assert_eq!(cluster.leader(), Some(leader));
    assert!(cluster.propose(leader, b"it goes on"));
    let counters = cluster.status(leader).counters;
    assert_eq!((counters.transfers, counters.transfers_failed), (1, 1));
}

#[test]
fn a_transfer_is_refused_for_a_reason() {
    let (mut cluster, leader) = settled(3, 5);
    let (other, now) = (cluster.others(leader)[0], cluster.now);
    let asked = cluster.raft(other).transfer_leadership(None, now);
    assert_eq!(asked, Err(TransferError::NotLeader { leader: Some(leader) }));
    assert_eq!(transfer(&mut cluster, Some(leader)), Err(TransferError::AlreadyLeads));
    assert_eq!(transfer(&mut cluster, Some(node(9))), Err(TransferError::NotAVoter(node(9))));
    let (mut alone, _) = settled(1, 6);
    assert_eq!(transfer(&mut alone, None), Err(TransferError::NobodyElse));
}

/// Pitfall 9: heartbeats that leave in time say nothing about the disk.
#[test]
fn a_leader_whose_disk_hangs_makes_way() {
    for seed in 0..10 {
        let (mut cluster, old) = settled(3, seed);
        cluster.hung.insert(old);
        assert!(cluster.propose(old, b"x"));
        cluster.run(Duration::from_millis(1900));
        assert!(cluster.raft(old).is_leader(), "it may be slow for a while");
        cluster.run(Duration::from_millis(300));
        let term = cluster.raft(old).term();
        let stepped = |(id, event): &(NodeId, Event)| {
            *id == old && stepped_down(event) == Some(StepDown::DiskStalled)
        };
        assert!(cluster.events.iter().any(stepped));
        let new = cluster.leader().expect("the successor was told at once");
        assert_ne!(new, old);
        assert!(cluster.propose(new, b"y"));
        cluster.run(Duration::from_secs(3));
        assert_eq!(cluster.leader(), Some(new), "whose disk hangs does not stand");
        assert!(cluster.raft(new).term() >= term);
        cluster.hung.clear();
        cluster.run(SECOND);
        assert_eq!(cluster.members[&old].applied.len(), cluster.truth.len(), "it follows again");
    }
}

fn stepped_down(event: &Event) -> Option<StepDown> {
    match event {
        Event::SteppedDown { reason, .. } => Some(*reason),
        Event::Standing { .. }
        | Event::Leader { .. }
        | Event::MembershipChanged { .. }
        | Event::SnapshotInstalled { .. }
        | Event::SnapshotRefused { .. }
        | Event::Transferring { .. }
        | Event::TransferFailed { .. }
        | Event::Damaged { .. }
        | Event::Repaired { .. }
        | Event::Nowhere { .. }
        | Event::Void { .. }
        | Event::StateRecalled { .. }
        | Event::LeaderLost { .. } => None,
    }
}

#[test]
fn a_follower_whose_disk_hangs_does_not_stand() {
    let (mut cluster, leader) = settled(3, 7);
    let hung = cluster.others(leader)[0];
    cluster.hung.insert(hung);
    assert!(cluster.propose(leader, b"x"));
    cluster.run(Duration::from_millis(2_500));
    assert_eq!(cluster.leader(), Some(leader), "it does not matter to the others");
    cluster.crash(leader);
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.leader(), None, "one vote of two");
    assert!(cluster.status(hung).counters.stands_withheld > 0);
    cluster.hung.clear();
    cluster.run(SECOND);
    assert!(cluster.leader().is_some());
}

#[test]
fn when_all_know_that_the_leader_is_gone_the_next_one_leads_in_a_fraction_of_the_timeout() {
    for size in [3, 5, 32] {
        for seed in 0..20 {
            let (mut cluster, old) = settled(size, seed);
            cluster.crash(old);
            let now = cluster.now;
            for id in cluster.others(old) {
                cluster.raft(id).handle_peer_unreachable(old, now);
                cluster.drain(id);
            }
            cluster.run(Duration::from_millis(60));
            let new = cluster.leader().unwrap_or_else(|| panic!("size {size}, seed {seed}"));
            assert_ne!(new, old);
        }
    }
}

/// Safety and stability do not depend on the caller being right.
#[test]
fn a_follower_that_wrongly_suspects_the_leader_for_ever_disturbs_nobody() {
    let (mut cluster, leader) = settled(5, 9);
    let wrong = cluster.others(leader)[1];
    let term = cluster.raft(leader).term();
    cluster.events.clear();
    for step in 0..2_000u32 {
        let now = cluster.now;
        cluster.raft(wrong).handle_peer_unreachable(leader, now);
        cluster.drain(wrong);
        cluster.run(Duration::from_millis(5));
        if step % 50 == 0 {
            assert!(cluster.propose(leader, &step.to_le_bytes()));
        }
    }
    cluster.run(Duration::from_millis(100));
    assert_eq!(cluster.leader(), Some(leader));
    assert!(cluster.members.values().all(|m| m.raft.as_ref().unwrap().term() == term));
    assert!(cluster.events.iter().all(|(id, _)| *id == wrong), "nobody else notices");
    assert_eq!(cluster.members[&wrong].applied.len(), 41, "not even its own log stops");
    let counters = cluster.status(wrong).counters;
    assert!(counters.suspicions_ignored > 0);
    assert!(counters.pre_candidacies <= 40, "one question in 300 ms: {counters:?}");
}

/// Two of five know, the other three hear the leader: nothing happens. Three of five know: a new leader.
#[test]
fn a_majority_must_know() {
    for (knowing, changes) in [(2, false), (3, true)] {
        let (mut cluster, leader) = settled(5, 10);
        let others = cluster.others(leader);
        // The leader reaches those who do not know, who therefore keep their promise.
        for id in &others[..knowing] {
            cluster.blocked.insert((leader, *id));
            cluster.blocked.insert((*id, leader));
        }
        let now = cluster.now;
        for id in &others[..knowing] {
            cluster.raft(*id).handle_peer_unreachable(leader, now);
            cluster.drain(*id);
        }
        cluster.run(Duration::from_millis(100));
        assert_eq!(cluster.leader() != Some(leader), changes);
    }
}
