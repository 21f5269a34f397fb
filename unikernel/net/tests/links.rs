//! Links over wires that lose, repeat, overtake and corrupt.

use std::collections::BTreeMap;

use base::{ClusterId, Duration, Instant, NodeId, Prng, limits};
use net::links::{Config, Disposition, Links, Message, SendError};
use pool::{PAGE_BYTES, Pool};
use wire::{Lane, Refusal, ServiceId, TraceContext};

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

struct Network {
    now: Instant,
    nodes: BTreeMap<NodeId, (Links, Pool)>,
    received: BTreeMap<NodeId, Vec<Message>>,
    queue: BTreeMap<(Instant, u64), (NodeId, Vec<u8>)>,
    frames: u64,
    prng: Prng,
    loss: u64,
    duplication: u64,
    corruption: u64,
    delay_max: Duration,
}

fn links(id: NodeId, size: u16, epoch: u32, pool: &Pool) -> Links {
    machine(id, size, epoch, 10 + epoch, pool)
}

fn machine(id: NodeId, size: u16, epoch: u32, nonce: u32, pool: &Pool) -> Links {
    let peers = (1..=size).map(node).collect();
    Links::new(Config { id, cluster: ClusterId(9), peers, epoch, nonce, mtu: 1500 }, pool.clone())
}

impl Network {
    fn new(size: u16, seed: u64) -> Network {
        let mut nodes = BTreeMap::new();
        for id in (1..=size).map(node) {
            let pool = Pool::on_heap(64, PAGE_BYTES);
            nodes.insert(id, (links(id, size, 1, &pool), pool));
        }
        Network {
            now: Instant::ORIGIN,
            nodes,
            received: BTreeMap::new(),
            queue: BTreeMap::new(),
            frames: 0,
            prng: Prng::new(seed),
            loss: 0,
            duplication: 0,
            corruption: 0,
            delay_max: Duration::from_millis(1),
        }
    }

    fn send(&mut self, from: u16, to: u16, lane: Lane, content: Vec<u8>) -> Result<(), SendError> {
        let now = self.now;
        let trace = TraceContext { trace_id: content.len() as u128, span_id: 1, flags: 0 };
        let links = &mut self.nodes.get_mut(&node(from)).unwrap().0;
        links.send(node(to), ServiceId::Raft, lane, trace, content.into(), now)?;
        self.drain(node(from));
        Ok(())
    }

    fn drain(&mut self, id: NodeId) {
        let (links, _) = self.nodes.get_mut(&id).unwrap();
        links.check_invariants();
        while let Some(message) = links.poll_message() {
            self.received.entry(id).or_default().push(message);
        }
        while let Some((_, frame)) = links.poll_transmit(self.now) {
            let to = node(u16::from_be_bytes([frame[4], frame[5]]));
            if self.prng.chance(self.loss, 1000) {
                continue;
            }
            for _ in 0..1 + u64::from(self.prng.chance(self.duplication, 1000)) {
                let mut bytes = frame.to_vec();
                if self.prng.chance(self.corruption, 1000) {
                    let position = self.prng.below(bytes.len() as u64) as usize;
                    bytes[position] ^= 1 << self.prng.below(8);
                }
                let delay = self.prng.duration_between(Duration::from_micros(50), self.delay_max);
                self.frames += 1;
                self.queue.insert((self.now + delay, self.frames), (to, bytes));
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.nodes.values().filter_map(|(links, _)| links.poll_timeout()).min();
            let Some(next) = [arrival, timeout].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.queue.pop_first().unwrap();
                self.deliver(to, &bytes);
            } else {
                let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
                for id in ids {
                    let now = self.now;
                    self.nodes.get_mut(&id).unwrap().0.handle_timeout(now);
                    self.drain(id);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8]) -> Option<Disposition> {
        let (links, pool) = self.nodes.get_mut(&to)?;
        let mut frame = pool.allocate_frame()?;
        frame.append_copy(bytes);
        let disposition = links.handle_frame(frame, self.now);
        self.drain(to);
        Some(disposition)
    }

    fn restart(&mut self, id: NodeId, epoch: u32) {
        let size = self.nodes.len() as u16;
        let (old, pool) = self.nodes.get_mut(&id).unwrap();
        *old = links(id, size, epoch, pool);
    }
}

fn content(number: u32, length: usize) -> Vec<u8> {
    let mut content = number.to_le_bytes().to_vec();
    content.resize(length.max(4), number as u8);
    content
}

fn numbers(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|m| u32::from_le_bytes(m.content[..4].try_into().unwrap())).collect()
}

#[test]
fn messages_arrive_once_and_in_order_whatever_the_wire_does() {
    for seed in 0..200 {
        let mut network = Network::new(2, seed);
        network.loss = seed % 4 * 50;
        network.duplication = seed % 3 * 100;
        network.corruption = seed % 5 * 10;
        network.delay_max = Duration::from_millis(1 + seed % 3 * 10);
        for number in 0..60 {
            let length = network.prng.below(6000) as usize;
            network.send(1, 2, Lane::Bulk, content(number, length)).unwrap();
            if number % 10 == 0 {
                network.send(2, 1, Lane::Bulk, content(number, length)).unwrap();
            }
            network.run(Duration::from_millis(1));
        }
        network.run(Duration::from_secs(20));
        let received = &network.received[&node(2)];
        assert_eq!(numbers(received), (0..60).collect::<Vec<_>>(), "seed {seed}");
        assert!(received.iter().all(|m| m.trace.trace_id == m.content.len() as u128));
        assert_eq!(network.received[&node(1)].len(), 6);
        assert!(
            network
                .nodes
                .values()
                .all(|(links, pool)| links.poll_timeout().is_none() && pool.free() == 64),
            "seed {seed}: idle links have no deadline and hold no buffer"
        );
    }
}

#[test]
fn urgent_messages_do_not_wait_for_bulk() {
    let mut network = Network::new(2, 1);
    for number in 0..3 {
        network.send(1, 2, Lane::Bulk, content(number, 1_000_000)).unwrap();
    }
    network.send(1, 2, Lane::Urgent, content(99, 50)).unwrap();
    network.run(Duration::from_millis(2));
    assert_eq!(numbers(&network.received[&node(2)]), [99]);
    network.run(Duration::from_secs(20));
    assert_eq!(numbers(&network.received[&node(2)]), [99, 0, 1, 2]);
}

/// News of later frames does not put off the time at which the first is sent again (RFC 6298, 5.3).
#[test]
fn a_frame_that_is_lost_twice_is_sent_again_though_later_ones_arrive() {
    let mut network = Network::new(2, 1);
    for number in 0..60 {
        // The window opens.
        network.send(1, 2, Lane::Urgent, content(number, 100)).unwrap();
        network.run(Duration::from_millis(1));
    }
    network.run(Duration::from_millis(10));
    network.loss = 1000;
    network.send(1, 2, Lane::Urgent, content(60, 100)).unwrap();
    network.run(Duration::from_millis(25));
    network.loss = 0;
    for number in 61..71 {
        network.send(1, 2, Lane::Urgent, content(number, 100)).unwrap();
        network.run(Duration::from_millis(15));
    }
    assert_eq!(numbers(&network.received[&node(2)]), (0..71).collect::<Vec<_>>());
}

#[test]
fn a_message_to_an_idle_link_leaves_at_once() {
    let mut network = Network::new(2, 1);
    network.send(1, 2, Lane::Urgent, content(1, 10)).unwrap();
    assert_eq!(network.queue.len(), 1);
}

#[test]
fn what_is_copied_is_counted_into_frames_out_of_them_and_together() {
    for (length, copies) in [(100, 1), (4_000, 2)] {
        let mut network = Network::new(2, 1);
        let copied = |network: &Network, id| network.nodes[&node(id)].1.statistics().copied_bytes;
        network.send(1, 2, Lane::Bulk, content(1, length)).unwrap();
        assert_eq!(copied(&network, 1), length as u64);
        // The wire has copies of its own.
        let mut arrived = 0;
        while let Some((_, (to, bytes))) = network.queue.pop_first() {
            arrived += if to == node(2) { bytes.len() as u64 } else { 0 };
            network.deliver(to, &bytes);
        }
        assert_eq!(copied(&network, 2), arrived + copies * length as u64);
        assert_eq!(network.received[&node(2)].len(), 1);
    }
}

#[test]
fn lengths_at_and_above_the_limit() {
    let mut network = Network::new(2, 1);
    let longest = limits::MESSAGE_MAX_BYTES;
    assert_eq!(network.send(1, 2, Lane::Bulk, vec![]), Err(SendError::Length));
    assert_eq!(network.send(1, 2, Lane::Bulk, vec![0; longest + 1]), Err(SendError::Length));
    assert_eq!(network.send(1, 3, Lane::Bulk, vec![0]), Err(SendError::UnknownPeer));
    network.send(1, 2, Lane::Bulk, vec![7; longest]).unwrap();
    network.run(Duration::from_secs(20));
    assert_eq!(network.received[&node(2)][0].content.len(), longest);
}

#[test]
fn a_queue_is_bounded_and_a_silent_peer_is_given_up() {
    let mut network = Network::new(2, 1);
    network.loss = 1000;
    let mut sent = 0;
    while network.send(1, 2, Lane::Urgent, content(sent, 100)).is_ok() {
        sent += 1;
    }
    assert!((512..600).contains(&sent), "{sent}");
    network.run(Duration::from_secs(3));
    assert_eq!(network.nodes[&node(1)].0.poll_timeout(), None, "nothing is tried for ever");
    network.loss = 0;
    network.send(1, 2, Lane::Urgent, content(7, 100)).unwrap();
    network.run(Duration::from_millis(50));
    assert_eq!(numbers(&network.received[&node(2)]), [7], "a new message goes out at once");
}

#[test]
fn a_node_that_restarts_is_found_again_both_ways() {
    for seed in 0..50 {
        let mut network = Network::new(2, seed);
        network.loss = seed % 3 * 30;
        for number in 0..20 {
            network.send(1, 2, Lane::Bulk, content(number, 3000)).unwrap();
            network.send(2, 1, Lane::Bulk, content(number, 3000)).unwrap();
        }
        network.run(Duration::from_millis(2));
        network.restart(node(2), 2);
        network.received.clear();
        for number in 100..110 {
            network.send(1, 2, Lane::Bulk, content(number, 3000)).unwrap();
            network.send(2, 1, Lane::Bulk, content(number, 3000)).unwrap();
            network.run(Duration::from_millis(400));
        }
        network.run(Duration::from_secs(10));
        for id in [1, 2] {
            let numbers = numbers(&network.received[&node(id)]);
            assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: {numbers:?}");
            assert!(numbers.ends_with(&[108, 109]), "seed {seed}: {numbers:?}");
        }
    }
}

#[test]
fn frames_of_an_earlier_life_are_refused_and_counted() {
    let mut network = Network::new(2, 1);
    network.send(1, 2, Lane::Urgent, content(1, 10)).unwrap();
    let (_, (_, replay)) = network.queue.first_key_value().map(|(k, v)| (*k, v.clone())).unwrap();
    network.run(Duration::from_secs(1));
    network.restart(node(1), 2);
    network.send(1, 2, Lane::Urgent, content(2, 10)).unwrap();
    network.run(Duration::from_secs(1));
    let disposition = network.deliver(node(2), &replay);
    assert!(matches!(disposition, Some(Disposition::Refused(Refusal::Stale))));
    assert_eq!(numbers(&network.received[&node(2)]), [1, 2]);
    let refused = network.nodes[&node(2)].0.counters().refused;
    assert_eq!(refused[Refusal::Stale as usize], 1);
}

/// Two machines with one number, or a disk that was put back: peers know a later life than this one.
#[test]
fn frames_for_a_later_life_are_refused_and_counted() {
    let mut network = Network::new(2, 1);
    network.restart(node(1), 2);
    network.send(1, 2, Lane::Urgent, content(1, 10)).unwrap();
    network.run(Duration::from_secs(1));
    network.restart(node(1), 1);
    network.send(2, 1, Lane::Urgent, content(2, 10)).unwrap();
    network.run(Duration::from_secs(1));
    assert!(!network.received.contains_key(&node(1)), "it was taken");
    let refused = network.nodes[&node(1)].0.counters().refused;
    assert!(refused[Refusal::Superseded as usize] > 0, "{refused:?}");
}

/// Two machines were given the number 1 and have started equally often: nothing that the second one says is
/// believed, and it hears that others know another.
#[test]
fn of_two_machines_with_one_number_and_as_many_starts_the_first_is_believed() {
    let mut network = Network::new(2, 1);
    network.send(1, 2, Lane::Urgent, content(1, 10)).unwrap();
    network.run(Duration::from_secs(1));
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let twin = machine(node(1), 2, 1, 99, &pool);
    let first = network.nodes.insert(node(1), (twin, pool)).unwrap();
    for number in 2..5 {
        network.send(1, 2, Lane::Urgent, content(number, 10)).unwrap();
        network.send(2, 1, Lane::Urgent, content(number, 10)).unwrap();
        network.run(Duration::from_millis(100));
    }
    let of = |network: &Network, id| network.nodes[&node(id)].0.counters().refused;
    assert!(of(&network, 2)[Refusal::Twin as usize] >= 3);
    assert!(of(&network, 1)[Refusal::Superseded as usize] >= 3);
    assert!(
        !network.received.contains_key(&node(1)),
        "what is for the first is not for the second"
    );
    let seen = network.nodes[&node(2)].0.status(network.now).next().unwrap();
    assert!(seen.0 == node(1) && seen.1.twins >= 3);

    // The first one is as well as before.
    network.nodes.insert(node(1), first);
    network.send(1, 2, Lane::Urgent, content(7, 10)).unwrap();
    network.run(Duration::from_secs(2));
    assert_eq!(numbers(&network.received[&node(2)]), [1, 7]);
    let back = numbers(&network.received[&node(1)]);
    assert!(back.ends_with(&[4]), "{back:?}");

    // A later start of the second is another matter: that may be what has become of the first.
    let pool = Pool::on_heap(64, PAGE_BYTES);
    network.nodes.insert(node(1), (machine(node(1), 2, 2, 99, &pool), pool));
    network.send(1, 2, Lane::Urgent, content(8, 10)).unwrap();
    network.run(Duration::from_secs(1));
    assert_eq!(numbers(&network.received[&node(2)]), [1, 7, 8]);
}

#[test]
fn garbage_is_refused_and_foreign_frames_are_given_back() {
    let mut network = Network::new(2, 1);
    network.send(1, 2, Lane::Urgent, content(1, 10)).unwrap();
    let (_, (_, good)) = network.queue.pop_first().unwrap();
    let mut prng = Prng::new(5);
    for _ in 0..5000 {
        let mut bytes = good.clone();
        for _ in 0..1 + prng.below(4) {
            let position = prng.below(bytes.len() as u64) as usize;
            bytes[position] = prng.next_u64() as u8;
        }
        bytes.truncate(prng.below(2 * bytes.len() as u64) as usize);
        network.deliver(node(2), &bytes);
    }
    assert!(network.received.get(&node(2)).is_none_or(|m| numbers(m) == [1]));
    let arp = [0xff; 60];
    assert!(matches!(network.deliver(node(2), &arp), Some(Disposition::Foreign(_))));
    assert_eq!(network.nodes[&node(2)].1.free(), 64);
}

#[test]
fn thirty_two_nodes_talk_to_each_other() {
    let mut network = Network::new(32, 1);
    for from in 1..=32 {
        for to in (1..=32).filter(|to| *to != from) {
            network.send(from, to, Lane::Urgent, content(u32::from(from), 100)).unwrap();
        }
    }
    network.run(Duration::from_secs(2));
    assert!((1..=32).all(|id| network.received[&node(id)].len() == 31));
}
