//! Reads that share questions, and reads by lease.

use base::{Duration, Instant, LogIndex, NodeId, limits};
use raft::{Config, Message, Output, RaftNode, ReadError, Restored};

use crate::cluster::{Cluster, node};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn with_leases(seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::with(3, seed, |config| config.lease_reads = true);
    cluster.run(Duration::from_secs(2));
    let leader = cluster.leader().expect("a leader within two seconds");
    (cluster, leader)
}

/// Whether a read of the leader's own is answered without anybody being asked.
fn is_answered_at_once(cluster: &mut Cluster, leader: NodeId, context: u64) -> bool {
    let before = cluster.members[&leader].reads.len();
    cluster.read(leader, context).unwrap();
    cluster.members[&leader].reads.len() > before
}

#[test]
fn a_leader_with_a_lease_answers_at_once_and_without_one_it_asks() {
    let (mut cluster, leader) = with_leases(1);
    assert!(is_answered_at_once(&mut cluster, leader, 1));
    let follower = cluster.others(leader)[0];
    cluster.read(follower, 2).unwrap();
    cluster.run(Duration::from_millis(5));
    assert_eq!(cluster.members[&follower].reads.len(), 1);
    assert_eq!(cluster.status(leader).counters.lease_reads, 2);
    let mut without = Cluster::new(3, 1);
    without.run(SECOND);
    let leader = without.leader().unwrap();
    assert!(!is_answered_at_once(&mut without, leader, 1), "it is an option");
}

#[test]
fn a_lease_ends_before_the_promise_of_those_who_gave_it() {
    let (mut cluster, leader) = with_leases(2);
    cluster.isolate(leader);
    let cut = cluster.now;
    let mut context = 10;
    while is_answered_at_once(&mut cluster, leader, context) {
        context += 1;
        cluster.run(MILLI);
    }
    let lasted = cluster.now.since(cut);
    assert!(lasted <= Duration::from_millis(135), "{lasted}");
    assert!(cluster.leader() == Some(leader), "nobody else leads yet");
}

/// Pitfall 25: a machine that stood still must not believe its own clock.
#[test]
fn a_jump_of_the_clock_and_a_long_silence_of_the_caller_end_the_lease() {
    let (mut cluster, leader) = with_leases(3);
    let now = cluster.now;
    cluster.raft(leader).handle_time_jump(now);
    cluster.drain(leader);
    assert!(!is_answered_at_once(&mut cluster, leader, 1));
    cluster.run(Duration::from_millis(100));
    assert!(is_answered_at_once(&mut cluster, leader, 2), "heartbeats sent since then count");
    let later = cluster.now + Duration::from_millis(121);
    let raft = cluster.raft(leader);
    raft.read_index(3, later).unwrap();
    while let Some(output) = raft.poll_output() {
        assert!(!matches!(output, Output::ReadReady { .. }));
    }
}

/// How long after a heartbeat that is answered at once a leader whose clock runs at `leader` percent answers
/// reads by its lease, and after how long a follower whose clock runs at `follower` percent would elect
/// another. In milliseconds of a clock that is right.
fn lease_and_promise(leader: u64, follower: u64) -> (u64, u64) {
    let start = 1_000;
    let local = |percent: u64, ms: u64| Instant::from_nanos((start + ms) * percent * 10_000);
    let member = |id: u16, percent: u64| {
        let voters = (1..=3).map(node).collect();
        let config = Config { lease_reads: true, ..Config::new(node(id), voters) };
        RaftNode::new(config, 1, Restored::default(), local(percent, 0)).unwrap()
    };
    let (mut first, mut second) = (member(1, leader), member(2, follower));
    // The first is elected, with the third's vote, and has committed its first entry. Then it is heard once.
    let elected = 400;
    let mut sent = elect_with(&mut first, local(leader, elected));
    let beat = elected + 60;
    first.handle_timeout(local(leader, beat));
    sent.extend(outputs(&mut first, local(leader, beat)));
    for (to, message) in sent.into_iter().filter(|(to, _)| *to == node(2)) {
        second.handle_message(node(1), message, local(follower, beat));
        let answers = outputs(&mut second, local(follower, beat));
        for (_, answer) in answers.into_iter().filter(|_| to == node(2)) {
            first.handle_message(node(2), answer, local(leader, beat));
        }
    }
    outputs(&mut first, local(leader, beat));
    let answers = |ms: u64| {
        let (mut first, now) = (first.clone(), local(leader, beat + ms));
        // It is called for its heartbeats, which nobody answers any more.
        for called in (0..ms).step_by(50) {
            first.handle_timeout(local(leader, beat + called));
            outputs(&mut first, local(leader, beat + called));
        }
        first.read_index(ms, now).unwrap();
        core::iter::from_fn(|| first.poll_output())
            .any(|output| matches!(output, Output::ReadReady { .. }))
    };
    let elects = |ms: u64| {
        let (mut second, now) = (second.clone(), local(follower, beat + ms));
        let (last_index, last_term) = (LogIndex(9), second.term());
        let ask = Message::PreVote { term: second.term().next(), last_index, last_term };
        second.handle_message(node(3), ask, now);
        let granted = |(_, answer): &(NodeId, Message)| {
            matches!(answer, Message::PreVoteReply { granted: true, .. })
        };
        outputs(&mut second, now).iter().any(granted)
    };
    let lease = (0..400).take_while(|ms| answers(*ms)).count() as u64;
    let promise = (0..400).take_while(|ms| !elects(*ms)).count() as u64;
    (lease, promise)
}

/// Carries out what a member wants of its disk at once, and answers what it sends.
fn outputs(raft: &mut RaftNode, now: Instant) -> Vec<(NodeId, Message)> {
    let mut sent = Vec::new();
    while let Some(output) = raft.poll_output() {
        match output {
            Output::Persist(persist) => raft.handle_persisted(persist.ticket, now),
            Output::Apply(entries) => raft.handle_applied(entries.last().unwrap().index),
            Output::Send { to, message } => sent.push((to, message)),
            _ => {}
        }
    }
    sent
}

/// Makes a member the leader with the help of node 3, which acknowledges its first entry, but not that it
/// has heard it.
fn elect_with(raft: &mut RaftNode, now: Instant) -> Vec<(NodeId, Message)> {
    raft.handle_timeout(now);
    outputs(raft, now);
    let term = raft.term().next();
    raft.handle_message(node(3), Message::PreVoteReply { term, granted: true }, now);
    outputs(raft, now);
    raft.handle_message(node(3), Message::VoteReply { term, granted: true }, now);
    let sent = outputs(raft, now);
    let accepted = Message::AppendAccepted { term, match_index: LogIndex(1) };
    raft.handle_message(node(3), accepted, now);
    assert!(raft.is_leader() && raft.commit_index() == LogIndex(1));
    sent
}

/// The bound on the error of clocks is what it says: at it a lease is safe, above it is not.
#[test]
fn a_lease_outlasts_no_promise_while_clocks_are_as_right_as_they_must_be() {
    let error = limits::LEASE_CLOCK_ERROR_MAX_PERCENT;
    for (slow, fast) in [(0, 0), (error, error), (0, 2 * error), (2 * error - 1, 0)] {
        let (lease, promise) = lease_and_promise(100 - slow, 100 + fast);
        assert!(lease > 100 && lease <= promise, "-{slow} % and +{fast} %: {lease}, {promise} ms");
    }
    let (lease, promise) = lease_and_promise(100 - 2 * error, 100 + 2 * error);
    assert!(lease > promise, "clocks that are too wrong would be noticed: {lease}, {promise} ms");
}

/// A member without the option votes whenever it likes: no lease rests on its answers.
#[test]
fn whoever_promises_nothing_does_not_count_for_a_lease() {
    let (mut cluster, leader) = with_leases(6);
    let others = cluster.others(leader);
    cluster.adjust = off;
    for id in &others {
        cluster.crash(*id);
        cluster.start(*id);
    }
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.leader(), Some(leader));
    assert!(!is_answered_at_once(&mut cluster, leader, 1), "neither other promises anything");
    cluster.adjust = on;
    cluster.crash(others[0]);
    cluster.start(others[0]);
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.leader(), Some(leader));
    assert!(is_answered_at_once(&mut cluster, leader, 2), "one of the others is enough");
}

#[test]
fn a_leader_that_hands_over_has_no_lease_for_the_rest_of_its_term() {
    let (mut cluster, leader) = with_leases(4);
    let to = cluster.others(leader)[0];
    cluster.crash(to);
    let now = cluster.now;
    cluster.raft(leader).transfer_leadership(Some(to), now).unwrap();
    cluster.drain(leader);
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(leader), "it goes on");
    assert!(!is_answered_at_once(&mut cluster, leader, 1), "its word may still arrive");
}

/// Whoever relies on a promise relies on it whatever the other is told, and after a restart.
#[test]
fn with_leases_nobody_votes_early() {
    let config = Config { lease_reads: true, ..Config::new(node(1), (1..=3).map(node).collect()) };
    let start = Instant::from_millis(1_000);
    let mut raft = RaftNode::new(config, 1, Restored::default(), start).unwrap();
    let ask = |raft: &mut RaftNode, from: u16, at: Instant| {
        let term = raft.term().next();
        let (last_index, last_term) = (LogIndex(9), term);
        let vote = Message::Vote { term, last_index, last_term, on_transfer: false };
        raft.handle_message(node(from), vote, at);
        let mut granted = false;
        while let Some(output) = raft.poll_output() {
            match output {
                Output::Persist(persist) => raft.handle_persisted(persist.ticket, at),
                Output::Send { message: Message::VoteReply { granted: true, .. }, .. } => {
                    granted = true;
                }
                _ => {}
            }
        }
        granted
    };
    assert!(!ask(&mut raft, 2, start + Duration::from_millis(149)), "an earlier life promised");
    let led = start + Duration::from_millis(200);
    let heartbeat = Message::Heartbeat { term: raft.term().next(), commit: LogIndex(0), round: 1 };
    raft.handle_message(node(2), heartbeat, led);
    raft.handle_peer_unreachable(node(2), led);
    assert!(!ask(&mut raft, 3, led + Duration::from_millis(50)), "whatever it is told");
    // Another term does not free it either.
    let later = Message::AppendAccepted { term: raft.term().next(), match_index: LogIndex(0) };
    raft.handle_message(node(3), later, led + Duration::from_millis(60));
    assert!(!ask(&mut raft, 3, led + Duration::from_millis(70)), "in whatever term it is");
    let (term, last_index) = (raft.term(), LogIndex(9));
    let vote = Message::Vote { term, last_index, last_term: term, on_transfer: false };
    raft.handle_message(node(3), vote, led + Duration::from_millis(80));
    assert_eq!(raft.status(led).vote, None, "nor in its own");
    assert!(ask(&mut raft, 3, led + Duration::from_millis(150)));
}

/// A member that was cut off for long asks for votes just when the leader is cut off and the third has
/// restarted: without the promise of its earlier life, the old leader would answer by its lease what the new
/// one has changed.
#[test]
fn a_restart_frees_nobody_from_a_promise() {
    for seed in 0..40 {
        let (mut cluster, old) = with_leases(seed);
        let [restarted, away] = cluster.others(old)[..] else { panic!("there are three") };
        cluster.isolate(away);
        cluster.run(Duration::from_millis(900 + 7 * seed));
        cluster.crash(restarted);
        cluster.start(restarted);
        cluster.heal();
        cluster.isolate(old);
        for context in 0..400 {
            cluster.run(MILLI);
            if let Some(leader) = cluster.leader().filter(|leader| *leader != old) {
                cluster.propose(leader, b"x");
            }
            let _ = cluster.read(old, context);
        }
        cluster.run(SECOND);
        assert!(cluster.leader().is_some_and(|leader| leader != old), "seed {seed}");
    }
}

/// Partitions, crashes, transfers and wrong suspicions, with and without leases: the group itself sees to it
/// that a read sees everything that was applied anywhere when it was asked.
#[test]
fn whatever_happens_no_read_is_stale() {
    let mut answered = [0, 0];
    for seed in 0..160 {
        let has_leases = seed % 2 == 1;
        let mut cluster =
            Cluster::with(3 + 2 * (seed / 2 % 2) as u16, seed, if has_leases { on } else { off });
        cluster.loss = seed % 3 * 30;
        cluster.delay_max = Duration::from_millis(1 + seed % 5 * 6);
        cluster.run(SECOND);
        let mut context = 0;
        for _ in 0..150 {
            trouble(&mut cluster);
            cluster.run(Duration::from_millis(20));
            let all: Vec<NodeId> = cluster.members.keys().copied().collect();
            for id in all {
                if cluster.members[&id].raft.is_none() {
                    continue;
                }
                cluster.propose(id, b"x");
                context += 1;
                let _ = cluster.read(id, context);
            }
        }
        let reads = cluster.members.values().flat_map(|member| &member.reads);
        answered[usize::from(has_leases)] += reads.filter(|(_, index)| index.is_some()).count();
    }
    assert!(answered.iter().all(|count| *count > 10_000), "{answered:?}");
}

fn on(config: &mut Config) {
    config.lease_reads = true;
}

fn off(config: &mut Config) {
    config.lease_reads = false;
}

fn trouble(cluster: &mut Cluster) {
    let size = cluster.members.len() as u64;
    let id = node(1 + cluster.prng.below(size) as u16);
    let other = node(1 + cluster.prng.below(size) as u16);
    let (now, is_on) = (cluster.now, cluster.members[&id].raft.is_some());
    match cluster.prng.below(40) {
        0 => cluster.crash(id),
        1..5 if !is_on => cluster.start(id),
        5 => cluster.isolate(id),
        6 => {
            cluster.blocked.insert((id, other));
        }
        7 => cluster.others(id).iter().for_each(|to| {
            // It hears, and is not heard.
            cluster.blocked.insert((id, *to));
        }),
        8..12 => cluster.heal(),
        12..15 if is_on => {
            let _ = cluster.raft(id).transfer_leadership(None, now);
            cluster.drain(id);
        }
        15..20 if is_on => {
            cluster.raft(id).handle_peer_unreachable(other, now);
            cluster.drain(id);
        }
        _ => {}
    }
}

#[test]
fn reads_of_a_follower_that_wait_together_are_asked_together() {
    let mut cluster = Cluster::new(3, 5);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let follower = cluster.others(leader)[0];
    cluster.traffic.clear();
    for context in 0..100 {
        cluster.read(follower, context).unwrap();
    }
    cluster.run(Duration::from_millis(30));
    assert_eq!(cluster.members[&follower].reads.len(), 100);
    assert!(cluster.members[&follower].reads.iter().all(|(_, index)| index.is_some()));
    let to_leader = cluster.traffic[&leader].0;
    assert!(to_leader < 20, "two questions and a few heartbeats: {to_leader}");
}

#[test]
fn a_question_that_is_lost_holds_up_the_next_for_a_moment_and_fails_in_the_end() {
    let mut cluster = Cluster::new(3, 6);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let follower = cluster.others(leader)[0];
    cluster.blocked.insert((follower, leader));
    cluster.read(follower, 1).unwrap();
    cluster.run(Duration::from_millis(10));
    cluster.heal();
    cluster.read(follower, 2).unwrap();
    cluster.run(Duration::from_millis(70));
    let answered = |cluster: &Cluster| cluster.members[&follower].reads.clone();
    assert!(matches!(answered(&cluster)[..], [(2, Some(_))]), "{:?}", answered(&cluster));
    cluster.run(Duration::from_millis(500));
    assert!(answered(&cluster).contains(&(1, None)));
    assert_eq!(cluster.read(follower, 3), Ok(()));
    cluster.crash(leader);
    cluster.run(SECOND);
    let fresh = cluster.read(follower, 4);
    assert!(fresh == Ok(()) || fresh == Err(ReadError::NoLeader));
}
