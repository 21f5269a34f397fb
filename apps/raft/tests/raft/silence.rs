//! Leaders that are silent, and members that stood still themselves.

use base::{Duration, Instant, LogIndex, NodeId, Term, limits};
use raft::{Config, Message, Output, RaftNode, Restored};

use crate::cluster::{Cluster, node};

const SECOND: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_millis(limits::HEARTBEAT_MS);
/// A silence of this length is suspicious after a leader that was always punctual.
const SUSPICIOUS: Duration = Duration::from_millis(
    limits::HEARTBEATS_AWAITED * limits::HEARTBEAT_MS + limits::HEARTBEAT_LATENESS_FLOOR_MS,
);

/// How long it takes until somebody else leads when the leader falls silent at some moment.
fn replaced_after(size: u16, seed: u64, suspects_silence: bool) -> Duration {
    let adjust = |config: &mut Config| config.suspects_silence = false;
    let mut cluster = match suspects_silence {
        true => Cluster::new(size, seed),
        false => Cluster::with(size, seed, adjust),
    };
    cluster.run(SECOND + Duration::from_millis(7 * seed));
    let old = cluster.leader().expect("a leader within a second");
    cluster.isolate(old);
    let cut = cluster.now;
    while cluster.leader().is_none_or(|leader| leader == old) {
        cluster.run(Duration::from_millis(1));
    }
    cluster.now.since(cut)
}

#[test]
fn a_leader_that_falls_silent_is_replaced_before_the_election_timeout() {
    let shortest = Duration::from_millis(limits::ELECTION_TIMEOUT_MIN_MS);
    for size in [3, 5, 32] {
        let mut spans = [true, false].map(|suspects| {
            let spans = (0..20).map(|seed| replaced_after(size, seed, suspects));
            spans.collect::<Vec<Duration>>()
        });
        spans.iter_mut().for_each(|spans| spans.sort_unstable());
        let [with, without] = spans;
        assert!(with[19] < shortest, "size {size}: {with:?}");
        let gained = Duration::from_millis(25);
        assert!(with[10] + gained < without[10], "size {size}: {with:?}, else {without:?}");
    }
}

/// A follower of node 1, which has been punctual until now.
fn follower() -> (RaftNode, Instant) {
    follower_of(|_| {})
}

fn follower_of(adjust: fn(&mut Config)) -> (RaftNode, Instant) {
    let mut config = Config::new(node(2), (1..=3).map(node).collect());
    adjust(&mut config);
    let mut now = Instant::from_millis(1_000);
    let mut raft = RaftNode::new(config, 1, Restored::default(), now).unwrap();
    for round in 1..20 {
        now += HEARTBEAT;
        let heartbeat = Message::Heartbeat { term: Term(1), commit: LogIndex(0), round };
        raft.handle_message(node(1), heartbeat, now);
        drain(&mut raft, now);
    }
    assert_eq!(raft.leader(), Some(node(1)));
    (raft, now)
}

/// Whom it asks whether they would elect it.
fn drain(raft: &mut RaftNode, now: Instant) -> Vec<NodeId> {
    let mut asked = Vec::new();
    while let Some(output) = raft.poll_output() {
        match output {
            Output::Persist(persist) => raft.handle_persisted(persist.ticket, now),
            Output::Send { to, message: Message::PreVote { .. } } => asked.push(to),
            _ => {}
        }
    }
    asked
}

#[test]
fn a_follower_asks_the_others_when_the_leader_is_silent_for_suspiciously_long() {
    let (mut raft, heard) = follower();
    let due = heard + SUSPICIOUS;
    assert_eq!(raft.poll_timeout(), Some(due));
    raft.handle_timeout(due);
    assert_eq!((raft.counters().silences, raft.counters().suspicions), (1, 1));
    let asks = raft.poll_timeout().unwrap();
    assert!(asks > due && asks.since(due) <= Duration::from_millis(limits::SUSPICION_DELAY_MAX_MS));
    raft.handle_timeout(asks);
    assert_eq!(drain(&mut raft, asks), [node(1), node(3)]);
}

/// Who was not called in time was perhaps not given what the leader sent, either.
#[test]
fn a_follower_that_is_called_late_suspects_nobody() {
    let (mut raft, heard) = follower();
    let late = heard + SUSPICIOUS + Duration::from_millis(limits::OWN_LATENESS_MAX_MS + 1);
    raft.handle_timeout(late);
    assert_eq!((raft.counters().silences, raft.counters().suspicions), (0, 0));
    assert!(drain(&mut raft, late).is_empty());
    // Nor does one whose clock has jumped, however punctual it is from then on: it begins to wait.
    let (mut raft, heard) = follower();
    let jumped = heard + Duration::from_millis(90);
    raft.handle_time_jump(jumped);
    raft.handle_timeout(heard + SUSPICIOUS);
    assert_eq!(raft.counters().silences, 0);
    assert_eq!(raft.poll_timeout(), Some(jumped + SUSPICIOUS));
}

#[test]
fn with_leases_a_silent_leader_is_not_suspected() {
    let mut cluster = Cluster::with(3, 1, |config| config.lease_reads = true);
    cluster.run(SECOND);
    let old = cluster.leader().unwrap();
    cluster.isolate(old);
    cluster.run(SECOND);
    let others = cluster.others(old);
    assert!(others.iter().all(|id| cluster.status(*id).counters.silences == 0));
    assert!(cluster.leader().is_some_and(|leader| leader != old));
}

/// A machine that stood still waits for the leader to be heard before it stands: but only once, or one that
/// is always late would never stand at all.
#[test]
fn a_jump_of_the_clock_puts_an_election_off_once() {
    let (mut raft, heard) = follower_of(|config| config.suspects_silence = false);
    let first = heard + Duration::from_millis(140);
    raft.handle_time_jump(first);
    let deadline = raft.poll_timeout().unwrap();
    let span = deadline.since(first).as_millis();
    let timeout = limits::ELECTION_TIMEOUT_MIN_MS..=limits::ELECTION_TIMEOUT_MAX_MS;
    assert!(timeout.contains(&span), "{span} ms");
    raft.handle_time_jump(first + Duration::from_millis(100));
    assert_eq!(raft.poll_timeout(), Some(deadline), "not again");
    let word = first + Duration::from_millis(110);
    let heartbeat = Message::Heartbeat { term: raft.term(), commit: LogIndex(0), round: 99 };
    raft.handle_message(node(1), heartbeat, word);
    let third = word + Duration::from_millis(140);
    raft.handle_time_jump(third);
    let span = raft.poll_timeout().unwrap().since(third).as_millis();
    assert!(timeout.contains(&span), "it was heard since: {span} ms");
}
