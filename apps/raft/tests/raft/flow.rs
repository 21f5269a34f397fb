//! One follower that is slow, or dead, costs the others nothing; and what many are sent is made once.

use base::{Duration, NodeId, limits};
use raft::{Encoder, Message, Output, ProgressState};

use crate::cluster::Cluster;

const SECOND: Duration = Duration::from_secs(1);

/// A group of 32, its leader, and two followers of it.
fn large_group(seed: u64) -> (Cluster, NodeId, [NodeId; 2]) {
    let mut cluster = Cluster::new(32, seed);
    cluster.run(SECOND);
    let leader = cluster.leader().expect("a leader within a second");
    let others = cluster.others(leader);
    (cluster, leader, [others[3], others[20]])
}

/// The longest time from a proposal to its commitment.
fn slowest_commit(cluster: &mut Cluster, leader: NodeId) -> Duration {
    let step = Duration::from_micros(100);
    let mut slowest = Duration::ZERO;
    for number in 0..200u32 {
        let start = cluster.now;
        assert!(cluster.propose(leader, &[number as u8; 4_000]));
        let last = cluster.raft(leader).last_index();
        while cluster.raft(leader).commit_index() < last {
            cluster.run(step);
        }
        slowest = slowest.max(cluster.now.since(start));
    }
    slowest
}

#[test]
fn a_dead_and_a_slow_node_of_32_slow_nobody_down() {
    let (mut cluster, leader, [dead, slow]) = large_group(1);
    let healthy = slowest_commit(&mut cluster, leader);
    cluster.crash(dead);
    cluster.slow.insert(slow, Duration::from_millis(250));
    cluster.run(SECOND);
    cluster.traffic.clear();
    let began = cluster.now;
    let hindered = slowest_commit(&mut cluster, leader);
    let bound = Duration::from_millis(7);
    assert!(healthy < bound && hindered < bound, "{healthy}, then {hindered}");
    let took = cluster.now.since(began).as_millis();
    let (messages, bytes) = cluster.traffic[&dead];
    assert!(messages <= took / 50 + 2, "heartbeats and nothing else: {messages} in {took} ms");
    assert!(bytes < 100 * messages);
    let peers = cluster.status(leader).peers;
    let peer = |id: NodeId| *peers.iter().find(|peer| peer.id == id).unwrap();
    assert_eq!(peer(dead).state, ProgressState::Probe);
    assert!(peer(slow).in_flight <= limits::APPEND_IN_FLIGHT_MAX);
    cluster.slow.clear();
    cluster.start(dead);
    cluster.run(Duration::from_secs(3));
    let truth = cluster.truth.len();
    assert!(cluster.members.values().all(|member| member.applied.len() == truth), "all catch up");
}

#[test]
fn what_is_on_its_way_to_a_follower_is_bounded_in_bytes() {
    let mut cluster = Cluster::with(3, 2, |config| config.append_in_flight_max_bytes = 300_000);
    cluster.run(SECOND);
    let leader = cluster.leader().unwrap();
    let slow = cluster.others(leader)[0];
    cluster.slow.insert(slow, Duration::from_millis(40));
    for _ in 0..50 {
        assert!(cluster.propose(leader, &[1; 60_000]));
        let peers = cluster.status(leader).peers;
        let peer = peers.iter().find(|peer| peer.id == slow).unwrap();
        // The last message that fits may go beyond by its own length.
        assert!(peer.in_flight_bytes <= 300_000 + limits::APPEND_BATCH_MAX_BYTES, "{peer:?}");
        cluster.run(Duration::from_millis(1));
    }
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.members[&slow].applied.len(), 51);
}

#[test]
fn what_31_followers_are_sent_is_encoded_once() {
    let (mut cluster, leader, _) = large_group(3);
    let raft = cluster.raft(leader);
    raft.propose(vec![7; 50_000].into()).unwrap();
    raft.propose(vec![8; 50_000].into()).unwrap();
    let mut encoder = Encoder::default();
    let mut sent = Vec::new();
    while let Some(output) = raft.poll_output() {
        if let Output::Send { message: message @ Message::Append { .. }, .. } = output {
            sent.push(encoder.encode(&message));
        }
    }
    assert_eq!(sent.len(), 2 * 31, "each entry fills a message");
    let mut places: Vec<*const u8> = sent.iter().map(|bytes| bytes.as_ptr()).collect();
    places.dedup();
    assert_eq!(places.len(), 2);
}
