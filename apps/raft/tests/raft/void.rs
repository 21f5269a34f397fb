//! Damaged entries that were never committed.

use base::{Duration, LogIndex, NodeId, Prng};
use bytes::Bytes;
use raft::{Event, HardState, LogEntry, Payload};

use crate::cluster::{Cluster, node};
use crate::repair::count;

/// A cluster whose members begin with these logs: for each the terms of its entries, the damaged ones of
/// which are named, in the term after all of them.
fn cluster_of(logs: &[(&[u64], &[u64])], seed: u64) -> Cluster {
    let mut cluster =
        Cluster::with(logs.len() as u16, seed, |config| config.entry_cache_max_bytes = 1);
    let term = logs.iter().flat_map(|(terms, _)| *terms).max().copied().unwrap_or(0) + 1;
    for (number, (terms, damaged)) in (1..).zip(logs) {
        cluster.crash(node(number));
        let disk = &mut cluster.members.get_mut(&node(number)).unwrap().disk;
        let entry = |(index, term): (u64, &u64)| LogEntry {
            index: LogIndex(index),
            term: base::Term(*term),
            payload: Payload::Command(Bytes::from(format!("{index} of term {term}"))),
        };
        disk.entries = (1..).zip(*terms).map(entry).collect();
        disk.hard_state = HardState { term: base::Term(term), vote: None };
        disk.damaged = damaged.iter().copied().map(LogIndex).collect();
    }
    cluster
}

/// Starts them; each finds its damage at once.
fn start(cluster: &mut Cluster, ids: &[NodeId]) {
    for id in ids {
        cluster.start(*id);
        let damaged = cluster.members[id].disk.damaged.clone();
        let now = cluster.now;
        for index in damaged {
            let term = cluster.raft(*id).term_at(index).unwrap();
            cluster.raft(*id).handle_damaged(index, term, now);
        }
        cluster.drain(*id);
    }
}

fn void(cluster: &Cluster) -> usize {
    count(cluster, |event| matches!(event, Event::Void { .. }))
}

fn ids(count: u16) -> Vec<NodeId> {
    (1..=count).map(node).collect()
}

/// Two leaders came and went, and each left an entry on its own disk alone, which is damaged there.
#[test]
fn members_that_wait_for_each_other_let_go() {
    let mut cluster = cluster_of(&[(&[1, 1, 2], &[3]), (&[1, 1, 3], &[3]), (&[1, 1], &[])], 1);
    start(&mut cluster, &ids(3));
    cluster.run(Duration::from_secs(5));
    let leader = cluster.leader().expect("nothing that was acknowledged is lost");
    assert!(cluster.propose(leader, b"more"));
    cluster.run(Duration::from_secs(1));
    assert!(cluster.members.values().all(|m| m.applied.len() == cluster.truth.len()));
    assert!(cluster.members.values().all(|member| member.disk.damaged.is_empty()));
    assert!(cluster.commands() == 3 && void(&cluster) >= 1, "{}", cluster.commands());
}

/// The same with a member that is off: a majority is enough to say no.
#[test]
fn a_member_that_is_off_need_not_be_asked() {
    let logs: [(&[u64], &[u64]); 5] =
        [(&[1, 2], &[2]), (&[1, 3], &[2]), (&[1], &[]), (&[1], &[]), (&[1, 3], &[])];
    let mut cluster = cluster_of(&logs, 2);
    start(&mut cluster, &ids(4));
    cluster.run(Duration::from_secs(6));
    assert!(cluster.leader().is_some() && void(&cluster) >= 1);
    // The one that was off had it intact. Nobody needs it any more.
    start(&mut cluster, &[node(5)]);
    cluster.run(Duration::from_secs(3));
    assert!(cluster.members.values().all(|m| m.applied.len() == cluster.truth.len()));
}

/// Two of three had it: it may have been committed.
#[test]
fn what_a_majority_may_have_had_is_not_let_go() {
    let mut cluster = cluster_of(&[(&[1, 3], &[2]), (&[1, 3], &[2]), (&[1], &[])], 3);
    start(&mut cluster, &ids(3));
    cluster.run(Duration::from_secs(20));
    assert_eq!((cluster.leader(), void(&cluster)), (None, 0));
    for number in 1..=2 {
        assert_eq!(cluster.status(node(number)).damage.nowhere, Some(LogIndex(2)));
    }
}

/// Nobody can say whether the one that is off had it.
#[test]
fn silence_is_no_denial() {
    let mut cluster = cluster_of(&[(&[1, 2], &[2]), (&[1, 3], &[2]), (&[1, 3], &[])], 4);
    start(&mut cluster, &ids(2));
    cluster.run(Duration::from_secs(20));
    assert_eq!((cluster.leader(), void(&cluster)), (None, 0), "it may be committed");
    start(&mut cluster, &[node(3)]);
    cluster.run(Duration::from_secs(5));
    assert_eq!(cluster.truth[1].term, base::Term(3), "and the third had it");
    assert!(cluster.members.values().all(|member| member.disk.damaged.is_empty()));
}

/// Logs as leaders leave them that come and go, damaged anywhere: if a majority had what the last of these
/// leaders left, it is there in the end, and if nothing is lost altogether that a majority had, so is a
/// leader.
#[test]
fn nothing_that_a_majority_had_is_let_go() {
    let (mut led, mut let_go) = (0, 0);
    for seed in 0..100 {
        let mut prng = Prng::new(seed);
        let size = [3, 5][seed as usize % 2];
        // A common beginning, and a tail of each member's own, or of one that it shares with others.
        let tails: Vec<Vec<u64>> =
            (0..3).map(|tail| vec![2 + tail; prng.between(1, 3) as usize]).collect();
        let logs: Vec<(Vec<u64>, Vec<u64>)> = (0..size)
            .map(|_| {
                let mut log = vec![1; 3];
                if prng.chance(3, 4) {
                    let tail = &tails[prng.below(3) as usize];
                    log.extend(&tail[..prng.between(1, tail.len() as u64) as usize]);
                }
                let damaged = (4..=log.len() as u64).filter(|_| prng.chance(1, 2)).collect();
                (log, damaged)
            })
            .collect();
        let borrowed: Vec<(&[u64], &[u64])> =
            logs.iter().map(|(log, damaged)| (&log[..], &damaged[..])).collect();
        let mut cluster = cluster_of(&borrowed, seed);
        start(&mut cluster, &ids(size as u16));
        cluster.run(Duration::from_secs(8));
        let holders = |index: u64, term: u64| {
            let has = |log: &&(Vec<u64>, Vec<u64>)| log.0.get(index as usize - 1) == Some(&term);
            let holders = logs.iter().filter(has);
            let intact = holders.clone().filter(|(_, damaged)| !damaged.contains(&index)).count();
            (2 * holders.count() > size as usize, intact > 0)
        };
        let mut is_lost = false;
        let newest = logs.iter().filter_map(|(log, _)| log.last()).max().copied().unwrap_or(0);
        for index in 4..=6 {
            for term in 2..=4 {
                let (may_be_committed, is_intact) = holders(index, term);
                is_lost |= may_be_committed && !is_intact;
                if may_be_committed && term == newest && cluster.truth.len() as u64 >= index {
                    let found = cluster.truth[index as usize - 1].term;
                    assert_eq!(found, base::Term(term), "seed {seed}: entry {index}");
                }
            }
        }
        if !is_lost {
            assert!(cluster.leader().is_some(), "seed {seed}: {logs:?}");
            led += 1;
        }
        let_go += usize::from(void(&cluster) > 0);
    }
    assert!(led > 60 && let_go > 5, "{led} {let_go}");
}
