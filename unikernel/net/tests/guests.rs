//! Peers that come and go, and nodes that are no peers.

use std::collections::{BTreeMap, BTreeSet};

use base::{ClusterId, Duration, Instant, NodeId, Prng, limits};
use net::links::{Config, Disposition, Links, SendError};
use pool::{PAGE_BYTES, Pool};
use wire::{Lane, Refusal, ServiceId, TraceContext};

const SILENT: Duration = Duration::from_millis(limits::LINK_GUEST_SILENT_MS);

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn set(numbers: &[u16]) -> BTreeSet<NodeId> {
    numbers.iter().copied().map(node).collect()
}

fn config(id: u16, peers: &[u16]) -> Config {
    let peers = peers.iter().copied().map(node).collect();
    Config { id: node(id), cluster: ClusterId(9), peers, epoch: 1, nonce: 1, mtu: 1500 }
}

/// A link a node, on a wire that takes no time.
struct Wire {
    now: Instant,
    links: BTreeMap<NodeId, Links>,
    pool: Pool,
    received: Vec<(NodeId, NodeId, u32)>,
    refused: Vec<(NodeId, Refusal)>,
    prng: Prng,
    loss: u64,
}

impl Wire {
    fn new(nodes: &[(u16, &[u16])]) -> Wire {
        let pool = Pool::on_heap(64, PAGE_BYTES);
        let links =
            |(id, peers): &(u16, &[u16])| (node(*id), Links::new(config(*id, peers), pool.clone()));
        let links = nodes.iter().map(links).collect();
        let (received, refused) = (Vec::new(), Vec::new());
        Wire { now: Instant::ORIGIN, links, pool, received, refused, prng: Prng::new(7), loss: 0 }
    }

    fn of(&mut self, id: u16) -> &mut Links {
        self.links.get_mut(&node(id)).unwrap()
    }

    fn set_peers(&mut self, id: u16, peers: &[u16]) {
        let now = self.now;
        self.of(id).set_peers(&set(peers), now);
    }

    fn say(&mut self, from: u16, to: u16, number: u32) -> Result<(), SendError> {
        let (now, content) = (self.now, number.to_le_bytes().to_vec());
        let trace = TraceContext::default();
        self.of(from).send(node(to), ServiceId::Raft, Lane::Urgent, trace, content.into(), now)?;
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        loop {
            let now = self.now;
            let mut frames = Vec::new();
            for links in self.links.values_mut() {
                links.check_invariants();
                while let Some((_, frame)) = links.poll_transmit(now) {
                    let to = node(u16::from_be_bytes([frame[4], frame[5]]));
                    frames.push((to, frame.to_vec()));
                }
                links.check_invariants();
            }
            if frames.is_empty() {
                break;
            }
            for (to, bytes) in frames {
                if !self.prng.chance(self.loss, 1000) {
                    self.deliver(to, &bytes);
                }
            }
        }
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8]) {
        let Some(links) = self.links.get_mut(&to) else { return };
        let mut frame = self.pool.allocate_frame().unwrap();
        frame.append_copy(bytes);
        if let Disposition::Refused(refusal) = links.handle_frame(frame, self.now) {
            self.refused.push((to, refusal));
        }
        while let Some(message) = links.poll_message() {
            let number = u32::from_le_bytes(message.content[..4].try_into().unwrap());
            self.received.push((message.from, to, number));
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.links.values().filter_map(Links::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            let now = self.now;
            self.links.values_mut().for_each(|links| links.handle_timeout(now));
            self.settle();
        }
        self.now = end;
    }

    fn guests(&mut self, id: u16) -> Vec<u16> {
        let now = self.now;
        let status = self.of(id).status(now);
        status.filter(|(_, link)| link.is_guest).map(|(id, _)| id.get()).collect()
    }
}

#[test]
fn a_stranger_with_a_message_is_a_guest_until_it_is_silent_for_too_long() {
    let mut wire = Wire::new(&[(1, &[1, 2]), (4, &[1])]);
    wire.say(4, 1, 7).unwrap();
    assert_eq!((wire.received.len(), wire.guests(1)), (1, vec![4]));
    wire.say(1, 4, 8).unwrap();
    assert_eq!(wire.received.last(), Some(&(node(1), node(4), 8)));
    wire.run(SILENT.times(3));
    assert_eq!(wire.guests(1), []);
    assert_eq!(wire.say(1, 4, 9), Err(SendError::UnknownPeer));
    assert_eq!(wire.of(1).poll_timeout(), None);
}

/// It has started as often as the first. What it says meanwhile does not keep up the link to that.
#[test]
fn a_second_machine_with_a_guests_number_is_heard_when_the_first_is_forgotten() {
    let mut wire = Wire::new(&[(1, &[1, 2]), (4, &[1])]);
    wire.say(4, 1, 7).unwrap();
    assert_eq!((wire.received.len(), wire.guests(1)), (1, vec![4]));
    *wire.of(4) = Links::new(Config { nonce: 2, ..config(4, &[1]) }, wire.pool.clone());
    wire.say(4, 1, 8).unwrap();
    assert_eq!(wire.refused.last(), Some(&(node(1), Refusal::Twin)));
    for _ in 0..4 {
        wire.run(Duration::from_nanos(SILENT.as_nanos() / 2));
        wire.say(4, 1, 9).unwrap();
    }
    assert_eq!(wire.received.last(), Some(&(node(4), node(1), 9)));
}

#[test]
fn a_stranger_without_a_message_is_refused_and_counted() {
    // Node 1 does not know node 2, which acknowledges what an earlier peer of that number has sent.
    let mut wire = Wire::new(&[(1, &[1, 2]), (2, &[1])]);
    wire.say(1, 2, 1).unwrap();
    wire.set_peers(1, &[]);
    wire.run(SILENT.times(2));
    wire.refused.clear();
    let mut late = Wire::new(&[(1, &[1, 2]), (2, &[1])]);
    let content = 3u32.to_le_bytes().to_vec();
    let (now, trace) = (late.now, TraceContext::default());
    late.of(1).send(node(2), ServiceId::Raft, Lane::Urgent, trace, content.into(), now).unwrap();
    let data = late.of(1).poll_transmit(now).unwrap().1.to_vec();
    late.deliver(node(2), &data);
    let later = now + Duration::from_millis(40);
    let acknowledgement = late.of(2).poll_transmit(later).unwrap().1.to_vec();
    wire.deliver(node(1), &acknowledgement);
    assert_eq!(wire.refused, [(node(1), Refusal::Source)]);
    assert_eq!(wire.guests(1), []);
    assert_eq!(wire.of(1).counters().refused[Refusal::Source as usize], 1);
}

/// At the limit, above it, and far above it.
#[test]
fn guests_are_few() {
    let most = limits::LINK_GUESTS_MAX as u16;
    let strangers: Vec<(u16, &[u16])> = (2..250).map(|id| (id, &[1u16][..])).collect();
    let mut wire = Wire::new(&[&[(1, &[][..])], &strangers[..]].concat());
    for id in 2..2 + most {
        wire.say(id, 1, 1).unwrap();
    }
    assert_eq!((wire.guests(1).len(), wire.refused.len()), (usize::from(most), 0));
    for id in 2 + most..250 {
        wire.say(id, 1, 1).unwrap();
    }
    assert_eq!(wire.guests(1), (2..2 + most).collect::<Vec<_>>());
    assert!(wire.refused.iter().all(|refused| *refused == (node(1), Refusal::Source)));
    assert!(wire.refused.len() >= 200);
    // Room is made by those who become peers, and by those who are silent.
    wire.set_peers(1, &[2]);
    wire.say(249, 1, 1).unwrap();
    assert!(wire.guests(1).contains(&249) && !wire.guests(1).contains(&2));
    wire.run(SILENT.times(4));
    assert_eq!(wire.guests(1), []);
    assert!(wire.of(1).status(Instant::ORIGIN).any(|(id, link)| id == node(2) && !link.is_guest));
}

#[test]
fn what_is_under_way_to_a_peer_that_leaves_still_arrives() {
    let mut wire = Wire::new(&[(1, &[1, 2]), (2, &[1, 2])]);
    wire.loss = 1000;
    wire.say(1, 2, 1).unwrap();
    wire.set_peers(1, &[]);
    wire.loss = 0;
    wire.run(Duration::from_secs(1));
    assert_eq!(wire.received, [(node(1), node(2), 1)]);
    wire.say(2, 1, 2).unwrap();
    assert_eq!(wire.guests(1), [2], "it is answered as long as it speaks");
}

/// Whatever comes and goes: who are peers in the end hear each other, within a while.
#[test]
fn peers_that_come_and_go_find_each_other_again() {
    for seed in 0..200 {
        let all = [1, 2, 3, 4];
        let mut wire = Wire::new(&all.map(|id| (id, &all[..])));
        wire.prng = Prng::new(seed);
        wire.loss = seed % 4 * 50;
        for number in 0..60 {
            let (from, to) = (1 + wire.prng.below(4) as u16, 1 + wire.prng.below(4) as u16);
            match wire.prng.below(4) {
                0 => {
                    let bits = wire.prng.below(16);
                    let peers: Vec<u16> =
                        all.into_iter().filter(|id| bits >> (id - 1) & 1 == 1).collect();
                    wire.set_peers(from, &peers);
                }
                1 => {
                    let span = wire.prng.duration_between(Duration::ZERO, SILENT.times(2));
                    wire.run(span);
                }
                // Nobody may be there.
                _ => drop(wire.say(from, to, number)),
            }
        }
        all.into_iter().for_each(|id| wire.set_peers(id, &all));
        wire.loss = 0;
        // The first message may go under with a stream that one of the two has forgotten.
        for number in [1_000, 1_001] {
            for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
                assert_eq!(wire.say(from, to, number).is_ok(), from != to, "seed {seed}");
            }
            wire.run(Duration::from_secs(20));
        }
        for (from, to) in all.into_iter().flat_map(|from| all.map(|to| (from, to))) {
            let heard = wire.received.contains(&(node(from), node(to), 1_001));
            assert_eq!(heard, from != to, "seed {seed}: {from} to {to}");
        }
        assert_eq!(wire.pool.free(), 64);
    }
}
