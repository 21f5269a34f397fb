//! Followers that need what is gone.

use base::{Duration, Instant, LogIndex, NodeId, Term, limits};
use bytes::Bytes;
use raft::{
    Change, Config, Configuration, HardState, LogEntry, Message, Output, Payload, ProgressState,
    RaftNode, Restored, SnapshotMeta, TermRuns,
};

use crate::cluster::{Cluster, node};
use crate::disk::SNAPSHOT_BYTES;

const SECOND: Duration = Duration::from_secs(1);
const PARTS: u64 = SNAPSHOT_BYTES.div_ceil(limits::SNAPSHOT_PART_MAX_BYTES) as u64;

/// Three members, one of which is off and has missed 200 entries that the others have given up.
fn one_missed_what_is_gone(seed: u64) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::new(3, seed);
    cluster.run(SECOND);
    let leader = cluster.leader().expect("a leader within a second");
    let away = cluster.others(leader)[0];
    cluster.crash(away);
    for number in 0..200u32 {
        assert!(cluster.propose(leader, &number.to_le_bytes()));
    }
    cluster.run(SECOND);
    cluster.others(away).iter().for_each(|id| cluster.snapshot(*id, true));
    (cluster, leader, away)
}

#[test]
fn a_follower_that_missed_what_is_gone_gets_a_snapshot_and_goes_on() {
    for seed in 0..5 {
        let (mut cluster, leader, away) = one_missed_what_is_gone(seed);
        cluster.start(away);
        cluster.run(Duration::from_millis(100));
        assert!(cluster.propose(leader, b"meanwhile"));
        cluster.run(SECOND);
        let counters = cluster.status(away).counters;
        assert_eq!((counters.snapshots_installed, counters.snapshot_parts_stored), (1, PARTS));
        assert_eq!(cluster.members[&away].applied.len(), cluster.truth.len());
        let peers = cluster.status(leader).peers;
        assert!(peers.iter().all(|peer| peer.state == ProgressState::Replicate));
        // What it has now is enough to start from, and to lead.
        cluster.crash(away);
        cluster.start(away);
        cluster.run(SECOND);
        let now = cluster.now;
        cluster.raft(leader).transfer_leadership(Some(away), now).unwrap();
        cluster.drain(leader);
        cluster.run(SECOND);
        assert_eq!(cluster.leader(), Some(away));
        assert!(cluster.propose(away, b"x"));
        cluster.run(SECOND);
        assert_eq!(cluster.commands(), 202);
    }
}

#[test]
fn parts_that_are_lost_are_sent_again() {
    let (mut cluster, _, away) = one_missed_what_is_gone(6);
    cluster.loss = 200;
    cluster.duplication = 200;
    cluster.start(away);
    cluster.run(Duration::from_secs(10));
    cluster.loss = 0;
    cluster.run(SECOND);
    assert!(cluster.status(away).counters.snapshots_installed >= 1);
    assert_eq!(cluster.members[&away].applied.len(), cluster.truth.len());
}

#[test]
fn another_leader_goes_on_where_the_first_stopped() {
    let (mut cluster, leader, away) = one_missed_what_is_gone(7);
    cluster.slow.insert(away, Duration::from_millis(5));
    cluster.start(away);
    while cluster.status(away).counters.snapshot_parts_stored < 4 {
        cluster.run(Duration::from_millis(1));
    }
    cluster.crash(leader);
    cluster.run(Duration::from_secs(2));
    assert!(cluster.leader().is_some_and(|new| new != leader));
    let counters = cluster.status(away).counters;
    assert_eq!(counters.snapshots_installed, 1);
    assert!(counters.snapshot_parts_stored <= PARTS + 1, "no part was stored twice: {counters:?}");
    assert_eq!(cluster.members[&away].applied.len(), cluster.truth.len());
}

#[test]
fn a_damaged_snapshot_is_asked_for_again() {
    let (mut cluster, _, away) = one_missed_what_is_gone(8);
    cluster.rot = 1000;
    cluster.start(away);
    while cluster.status(away).counters.snapshots_refused == 0 {
        cluster.run(Duration::from_millis(1));
    }
    cluster.rot = 0;
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.status(away).counters.snapshots_installed, 1);
    assert_eq!(cluster.members[&away].applied.len(), cluster.truth.len());
}

#[test]
fn without_a_snapshot_the_leader_asks_again_after_each_heartbeat() {
    let (mut cluster, leader, away) = one_missed_what_is_gone(9);
    let snapshot = cluster.members.get_mut(&leader).unwrap().disk.snapshot.take();
    cluster.start(away);
    cluster.run(SECOND);
    let peers = cluster.status(leader).peers;
    assert!(peers.iter().any(|peer| peer.state == ProgressState::Snapshot));
    cluster.members.get_mut(&leader).unwrap().disk.snapshot = snapshot;
    cluster.run(SECOND);
    assert_eq!(cluster.members[&away].applied.len(), cluster.truth.len());
}

#[test]
fn a_log_is_kept_for_followers_in_reach_and_not_for_others() {
    let mut cluster = Cluster::new(3, 10);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let slow = cluster.others(leader)[0];
    cluster.slow.insert(slow, Duration::from_millis(60));
    for number in 0..50u32 {
        cluster.propose(leader, &number.to_le_bytes());
        cluster.run(Duration::from_millis(2));
    }
    cluster.run(Duration::from_millis(20));
    cluster.snapshot(leader, false);
    let status = cluster.status(leader);
    let matched = status.peers.iter().find(|peer| peer.id == slow).unwrap().match_index;
    assert_eq!(status.first_index, matched.next());
    cluster.crash(slow);
    cluster.run(SECOND);
    cluster.snapshot(leader, false);
    assert_eq!(cluster.status(leader).first_index, cluster.raft(leader).last_applied().next());
}

#[test]
fn a_node_joins_by_a_snapshot_and_knows_the_members_from_it() {
    let mut cluster = Cluster::new(3, 11);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    cluster.change(&[Change::AddLearner(node(4))]).unwrap();
    cluster.run(SECOND);
    cluster.snapshot(leader, true);
    cluster.join(node(4));
    cluster.run(SECOND);
    assert_eq!(cluster.status(node(4)).counters.snapshots_installed, 1);
    assert_eq!(cluster.status(node(4)).configuration.learners, [node(4)]);
    cluster.change(&[Change::Promote(node(4))]).unwrap();
    cluster.run(SECOND);
    cluster.crash(node(4));
    cluster.start(node(4));
    assert_eq!(cluster.status(node(4)).configuration.voters.len(), 4);
}

// ---- One follower, message by message -----------------------------------------------------------

fn follower(terms: &[u64], commit: u64) -> RaftNode {
    let voters: Vec<NodeId> = (1..=3).map(node).collect();
    let mut runs: Vec<(LogIndex, Term)> = Vec::new();
    let mut recent = Vec::new();
    for (index, term) in (1..).zip(terms) {
        if runs.last().is_none_or(|(_, last)| last.0 < *term) {
            runs.push((LogIndex(index), Term(*term)));
        }
        let (index, term) = (LogIndex(index), Term(*term));
        recent.push(LogEntry { index, term, payload: Payload::Noop });
    }
    let restored = Restored {
        hard_state: HardState { term: Term(9), vote: Some(node(2)) },
        terms: TermRuns::new(runs).unwrap(),
        last_index: LogIndex(terms.len() as u64),
        recent,
        ..Restored::default()
    };
    let now = Instant::ORIGIN;
    let mut raft = RaftNode::new(Config::new(node(1), voters), 1, restored, now).unwrap();
    let heartbeat = Message::Heartbeat { term: Term(9), commit: LogIndex(commit), round: 1 };
    raft.handle_message(node(2), heartbeat, now);
    outputs(&mut raft);
    raft
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    let configuration = Configuration::of_voters((1..=3).map(node).collect());
    SnapshotMeta { index: LogIndex(index), term: Term(term), configuration }
}

fn part(meta: &SnapshotMeta, total_bytes: u64, offset: u64, bytes: &'static [u8]) -> Message {
    let (term, meta, bytes) = (Term(9), meta.clone(), Bytes::from_static(bytes));
    Message::Snapshot { term, meta: Box::new(meta), total_bytes, offset, bytes }
}

fn accepted(meta: &SnapshotMeta, next_offset: u64) -> Output {
    let (index, snapshot_term) = (meta.index, meta.term);
    let message = Message::SnapshotAccepted { term: Term(9), index, snapshot_term, next_offset };
    Output::Send { to: node(2), message }
}

/// What the member wants done; what is to be written is durable at once, and what is to be applied, applied.
fn outputs(raft: &mut RaftNode) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some(output) = raft.poll_output() {
        match &output {
            Output::Persist(persist) => raft.handle_persisted(persist.ticket, Instant::ORIGIN),
            Output::Apply(entries) => raft.handle_applied(entries.last().unwrap().index),
            Output::Event(_) => continue,
            _ => {}
        }
        outputs.push(output);
    }
    raft.check_invariants();
    outputs
}

fn receive(raft: &mut RaftNode, message: Message) -> Vec<Output> {
    raft.handle_message(node(2), message, Instant::ORIGIN);
    outputs(raft)
}

/// Pitfall 28: what is committed here is not replaced by what is older.
#[test]
fn a_snapshot_that_is_of_no_use_is_accepted_without_being_stored() {
    let mut raft = follower(&[1, 1, 2, 2], 3);
    let old = meta(3, 2);
    assert_eq!(receive(&mut raft, part(&old, 100, 0, b"abc")), [accepted(&old, 100)]);
    assert_eq!((raft.first_index(), raft.last_index()), (LogIndex(1), LogIndex(4)));
}

/// Pitfalls 27 and 28: the entries behind a snapshot stay if the log had the very entry that it ends with.
#[test]
fn what_lies_behind_a_snapshot_stays_if_it_belongs_there_and_goes_if_not() {
    for (term, last, applied) in [(2, 5, vec![]), (3, 4, vec![])] {
        let mut raft = follower(&[1, 1, 2, 2, 2], 2);
        let meta = meta(4, term);
        let stored = receive(&mut raft, part(&meta, 3, 0, b"abc"));
        assert!(matches!(stored[..], [Output::StoreSnapshot { offset: 0, .. }]));
        raft.handle_snapshot_stored(&meta, 3);
        assert_eq!(outputs(&mut raft), applied, "it says so when it is installed");
        raft.handle_snapshot_installed(&meta);
        let done = outputs(&mut raft);
        assert_eq!(
            done,
            [Output::RestoreState { meta: Box::new(meta.clone()) }, accepted(&meta, 3)]
        );
        assert_eq!((raft.first_index(), raft.last_index()), (LogIndex(5), LogIndex(last)));
        assert_eq!(raft.term_at(LogIndex(4)), Some(Term(term)));
        assert_eq!((raft.commit_index(), raft.last_applied()), (LogIndex(4), LogIndex(4)));
        // And what follows is applied behind it.
        let entries = vec![LogEntry { index: LogIndex(5), term: Term(9), payload: Payload::Noop }];
        let append = Message::Append {
            term: Term(9),
            prev_index: LogIndex(4),
            prev_term: Term(term),
            commit: LogIndex(5),
            entries: entries.clone().into(),
        };
        assert!(receive(&mut raft, append).contains(&Output::Apply(entries)));
    }
}

#[test]
fn parts_come_in_any_order_and_are_stored_in_theirs() {
    let mut raft = follower(&[1], 1);
    let meta = meta(7, 5);
    assert_eq!(receive(&mut raft, part(&meta, 9, 3, b"def")), [accepted(&meta, 0)]);
    assert!(matches!(
        receive(&mut raft, part(&meta, 9, 0, b"abc"))[..],
        [Output::StoreSnapshot { .. }]
    ));
    raft.handle_snapshot_stored(&meta, 3);
    assert_eq!(outputs(&mut raft), [accepted(&meta, 3)]);
    assert_eq!(receive(&mut raft, part(&meta, 9, 6, b"ghi")), [accepted(&meta, 3)], "a gap");
    assert_eq!(receive(&mut raft, part(&meta, 9, 0, b"abc")), [accepted(&meta, 3)], "a duplicate");
    // Another snapshot begins anew.
    let newer = self::meta(8, 5);
    let stored = receive(&mut raft, part(&newer, 4, 0, b"abcd"));
    assert!(matches!(stored[..], [Output::StoreSnapshot { offset: 0, .. }]));
    raft.handle_snapshot_stored(&meta, 3);
    assert_eq!(outputs(&mut raft), [], "the caller speaks of the one before");
    raft.handle_snapshot_refused(&newer);
    assert_eq!(outputs(&mut raft), [accepted(&newer, 0)]);
}

/// While the caller installs, the state that it will have must not become older than what is applied.
#[test]
fn nothing_is_committed_past_a_snapshot_that_is_being_installed() {
    let mut raft = follower(&[1, 1, 2, 2, 2], 2);
    let meta = meta(4, 2);
    receive(&mut raft, part(&meta, 3, 0, b"abc"));
    let heartbeat = Message::Heartbeat { term: Term(9), commit: LogIndex(5), round: 2 };
    receive(&mut raft, heartbeat.clone());
    assert_eq!(raft.commit_index(), LogIndex(3));
    let append = Message::Append {
        term: Term(9),
        prev_index: LogIndex(5),
        prev_term: Term(2),
        commit: LogIndex(5),
        entries: Vec::new().into(),
    };
    assert_eq!(receive(&mut raft, append), [], "the leader will ask again");
    raft.handle_snapshot_installed(&meta);
    outputs(&mut raft);
    receive(&mut raft, heartbeat);
    assert_eq!(raft.commit_index(), LogIndex(5));
}

/// The entries before the snapshot may be gone from the caller's disk before it says that all is done.
#[test]
fn nothing_is_applied_while_a_snapshot_is_being_installed() {
    for is_installed in [true, false] {
        let mut raft = follower(&[1, 1, 2, 2, 2], 1);
        let meta = meta(5, 3);
        receive(&mut raft, part(&meta, 3, 0, b"abc"));
        let heartbeat = Message::Heartbeat { term: Term(9), commit: LogIndex(3), round: 2 };
        let before = receive(&mut raft, heartbeat);
        let is_apply = |output: &Output| matches!(output, Output::Apply(_) | Output::Fetch(_));
        assert!(!before.iter().any(is_apply), "{before:?}");
        assert_eq!((raft.commit_index(), raft.last_applied()), (LogIndex(3), LogIndex(1)));
        if is_installed {
            raft.handle_snapshot_installed(&meta);
        } else {
            raft.handle_snapshot_refused(&meta);
        }
        let after = outputs(&mut raft);
        assert_eq!(after.iter().any(is_apply), !is_installed, "{after:?}");
        let applied = if is_installed { 5 } else { 3 };
        assert_eq!(raft.last_applied(), LogIndex(applied));
    }
}

/// What a crash leaves: a snapshot, and a log that begins before, at, or behind its end.
#[test]
fn a_member_starts_from_its_snapshot() {
    let configuration = Configuration::of_voters((1..=3).map(node).collect());
    let snapshot = SnapshotMeta { index: LogIndex(5), term: Term(3), configuration };
    for (first, last) in [(1, 9), (6, 9), (6, 5), (1, 3)] {
        let terms = TermRuns::new(vec![(LogIndex(first), Term(3))]).unwrap();
        let terms = if last < first { TermRuns::default() } else { terms };
        let restored = Restored {
            hard_state: HardState { term: Term(4), vote: None },
            snapshot: Some(snapshot.clone()),
            terms,
            last_index: LogIndex(last),
            ..Restored::default()
        };
        let config = Config::new(node(1), (1..=3).map(node).collect());
        let raft = RaftNode::new(config, 1, restored, Instant::ORIGIN).unwrap();
        raft.check_invariants();
        assert_eq!((raft.first_index(), raft.last_applied()), (LogIndex(6), LogIndex(5)));
        assert_eq!(raft.last_index(), LogIndex(last.max(5)));
    }
}

/// Everything at once: loss, crashes, partitions, damaged parts, changes of members, and logs given up.
#[test]
fn whatever_happens_to_logs_and_snapshots_no_two_members_disagree() {
    let (mut installed, mut refused) = (0, 0);
    for seed in 0..100 {
        let mut cluster = Cluster::with(3, seed, |config| config.entry_cache_max_bytes = 2_000);
        cluster.loss = seed % 4 * 20;
        cluster.duplication = seed % 3 * 50;
        cluster.rot = seed % 5 * 10;
        cluster.delay_max = Duration::from_millis(1 + seed % 3 * 10);
        cluster.write_max = Duration::from_millis(1 + seed % 2 * 10);
        (4..=5).map(node).for_each(|id| cluster.join(id));
        for round in 0..100u32 {
            trouble(&mut cluster);
            cluster.run(Duration::from_millis(50));
            let Some(leader) = cluster.leader() else { continue };
            for _ in 0..3 {
                cluster.propose(leader, &round.to_le_bytes());
            }
            let id = node(4 + cluster.prng.below(2) as u16);
            let _ = match cluster.prng.below(20) {
                0 => cluster.change(&[Change::AddLearner(id)]),
                1 => cluster.change(&[Change::Promote(id)]),
                2 => cluster.change(&[Change::Demote(id)]),
                _ => continue,
            };
        }
        calm(&mut cluster, seed);
        let counters = |id| cluster.status(node(id)).counters;
        installed += (1..=5).map(|id| counters(id).snapshots_installed).sum::<u64>();
        refused += (1..=5).map(|id| counters(id).snapshots_refused).sum::<u64>();
    }
    assert!(installed > 50 && refused > 2, "it has happened: {installed}, {refused}");
}

fn trouble(cluster: &mut Cluster) {
    let id = node(1 + cluster.prng.below(5) as u16);
    match cluster.prng.below(30) {
        0 => cluster.crash(id),
        1..5 if cluster.members[&id].raft.is_none() => cluster.start(id),
        5 => cluster.isolate(id),
        6..9 => cluster.heal(),
        9..12 => cluster.snapshot(id, true),
        12 => cluster.snapshot(id, false),
        _ => {}
    }
}

fn calm(cluster: &mut Cluster, seed: u64) {
    cluster.heal();
    (cluster.loss, cluster.rot) = (0, 0);
    for id in (1..=5).map(node) {
        if cluster.members[&id].raft.is_none() {
            cluster.start(id);
        }
    }
    cluster.run(Duration::from_secs(4));
    let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads"));
    assert!(cluster.propose(leader, b"last"), "seed {seed}");
    cluster.run(Duration::from_secs(2));
    for id in cluster.status(leader).configuration.members() {
        let applied = cluster.members[&id].applied.len();
        assert_eq!(applied, cluster.truth.len(), "seed {seed}: node {id} is behind");
    }
}
