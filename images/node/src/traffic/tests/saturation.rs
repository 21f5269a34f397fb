//! A group on cards of 16 Mbit/s, whose leader also serves clients who read without end.
//!
//! Real members and real links; what stands between them and the card is either the node's way, with its
//! classes, or what nodes without classes have: one queue, as long as there are buffers.

use std::boxed::Box;
use std::collections::VecDeque;
use std::vec::Vec;

use base::limits::{
    CLUSTER_RECEIVE_BUFFERS, CLUSTER_TRANSMIT_FRAMES_MAX, OUTSIDE_RECEIVE_BUFFERS, PACKET_BUFFERS,
};
use base::{ClusterId, Duration, Instant};
use net::addresses::node_of_mac;
use net::links::{Config, Disposition, Links};
use pool::{Frame, PAGE_BYTES, Pool};
use raft::{Encoder, Message, Output, RaftNode, Restored};
use wire::{Lane, ServiceId, TraceContext};

use super::{id, reply};
use crate::output::Port;
use crate::traffic::{Origin, Traffic};

const NODES: u16 = 3;
const NANOS_PER_BYTE: u64 = 500;
const STEP: Duration = Duration::from_micros(500);

/// What is between links and clients and the card.
enum Way {
    Classes(Box<Traffic>),
    /// Everything in the order in which it came.
    OneQueue(VecDeque<Frame>),
}

struct Member {
    raft: RaftNode,
    links: Links,
    encoder: Encoder,
    pool: Pool,
    way: Way,
    /// What the card has to send, and until when it sends what is first.
    ring: VecDeque<Frame>,
    busy_until: Instant,
}

struct Group {
    now: Instant,
    members: Vec<Member>,
    /// Where arriving frames lie.
    arrivals: Pool,
    /// Bytes that clients got.
    read: usize,
}

impl Member {
    fn new(number: u16, has_classes: bool) -> Member {
        let nodes: Vec<_> = (1..=NODES).map(id).collect();
        let receive = usize::from(CLUSTER_RECEIVE_BUFFERS + OUTSIDE_RECEIVE_BUFFERS);
        let pool = Pool::on_heap(PACKET_BUFFERS - receive, PAGE_BYTES);
        let config = raft::Config::new(id(number), nodes.clone());
        let seed = u64::from(number);
        let links = Config {
            id: id(number),
            cluster: ClusterId(1),
            peers: nodes,
            epoch: 1,
            nonce: u32::from(number),
            mtu: 1500,
        };
        Member {
            raft: RaftNode::new(config, seed, Restored::default(), Instant::ORIGIN).unwrap(),
            links: Links::new(links, pool.clone()),
            encoder: Encoder::default(),
            pool,
            way: match has_classes {
                true => Way::Classes(Box::new(Traffic::new(id(number), [1, 2], Instant::ORIGIN))),
                false => Way::OneQueue(VecDeque::new()),
            },
            ring: VecDeque::new(),
            busy_until: Instant::ORIGIN,
        }
    }

    /// Does what Raft wants, on a disk that takes no time.
    fn work(&mut self, now: Instant) {
        if self.raft.poll_timeout().is_some_and(|at| at <= now) {
            self.raft.handle_timeout(now);
        }
        self.links.handle_timeout(now);
        while let Some(message) = self.links.poll_message() {
            let content = Message::decode(&message.content).unwrap();
            self.raft.handle_message(message.from, content, now);
        }
        while let Some(output) = self.raft.poll_output() {
            match output {
                Output::Send { to, message } => {
                    let trace = TraceContext::default();
                    let bytes = self.encoder.encode(&message);
                    // As the node does it. What there is no room for is lost.
                    let _ = match message {
                        Message::Heartbeat { .. } | Message::HeartbeatReply { .. } => {
                            self.links.send_datagram(to, ServiceId::Raft, trace, bytes)
                        }
                        message => {
                            let lane = if message.is_urgent() { Lane::Urgent } else { Lane::Bulk };
                            self.links.send(to, ServiceId::Raft, lane, trace, bytes, now)
                        }
                    };
                }
                Output::Persist(persist) => self.raft.handle_persisted(persist.ticket, now),
                Output::Apply(entries) => {
                    if let Some(last) = entries.last() {
                        self.raft.handle_applied(last.index);
                    }
                }
                Output::Event(_) => {}
                other => panic!("nothing else happens here: {other:?}"),
            }
        }
    }

    /// Fetches what is to be sent, and fills the card's ring.
    fn fetch(&mut self, has_clients: bool, now: Instant) {
        if self.ring.is_empty() {
            // What comes now is sent from now on.
            self.busy_until = now;
        }
        let (links, pool) = (&mut self.links, &self.pool);
        match &mut self.way {
            Way::Classes(traffic) => {
                traffic.set_room(Port::Cluster, CLUSTER_TRANSMIT_FRAMES_MAX - self.ring.len());
                traffic.fetch_from_links(
                    |bulk| if bulk { links.poll_transmit(now) } else { links.poll_urgent(now) },
                    now,
                );
                while has_clients && traffic.room(Port::Cluster, Origin::Redis) > 0 {
                    traffic.send_of_stack(Port::Cluster, reply(pool), now);
                }
                while let Some((_, frame)) = traffic.poll_transmit(now) {
                    self.ring.push_back(frame);
                }
            }
            Way::OneQueue(queue) => {
                while let Some((_, frame)) = links.poll_transmit(now) {
                    queue.push_back(frame);
                }
                // The links are left one buffer for each peer.
                while has_clients && pool.free() > usize::from(NODES) {
                    queue.push_back(reply(pool));
                }
                self.ring.append(queue);
            }
        }
    }

    /// The frames that the card has sent by now.
    fn transmit(&mut self, now: Instant) -> Vec<Frame> {
        let mut sent = Vec::new();
        while let Some(first) = self.ring.front() {
            let ends = self.busy_until + Duration::from_nanos(first.len() as u64 * NANOS_PER_BYTE);
            if ends > now {
                break;
            }
            self.busy_until = ends;
            sent.extend(self.ring.pop_front());
        }
        sent
    }
}

impl Group {
    fn new(has_classes: bool) -> Group {
        Group {
            now: Instant::ORIGIN,
            members: (1..=NODES).map(|number| Member::new(number, has_classes)).collect(),
            arrivals: Pool::on_heap(64, PAGE_BYTES),
            read: 0,
        }
    }

    fn leader(&self) -> Option<usize> {
        let is_leader =
            |member: &Member| member.raft.status(self.now).state == raft::RaftState::Leader;
        self.members.iter().position(is_leader)
    }

    fn candidacies(&self) -> u64 {
        let of = |member: &Member| member.raft.status(self.now).counters.candidacies;
        self.members.iter().map(of).sum()
    }

    /// For so long; clients read from this member's card.
    fn run(&mut self, span: Duration, busy: Option<usize>) {
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            let mut frames = Vec::new();
            for (index, member) in self.members.iter_mut().enumerate() {
                member.work(now);
                member.fetch(busy == Some(index), now);
                frames.extend(member.transmit(now));
            }
            for frame in frames {
                self.arrive(&frame);
            }
        }
    }

    fn arrive(&mut self, frame: &[u8]) {
        let to = node_of_mac(frame[..6].try_into().unwrap()).unwrap();
        let Some(member) = self.members.get_mut(usize::from(to.get()) - 1) else {
            self.read += frame.len();
            return;
        };
        let mut arrival = self.arrivals.allocate_frame().expect("it is taken at once");
        arrival.append_copy(frame);
        let taken = member.links.handle_frame(arrival, self.now);
        assert!(matches!(taken, Disposition::Taken), "{taken:?}");
    }
}

/// How many candidates there were while clients read, by fits and starts, for twenty seconds.
fn candidates_under_load(has_classes: bool) -> u64 {
    let mut group = Group::new(has_classes);
    group.run(Duration::from_secs(2), None);
    assert!(group.leader().is_some(), "somebody leads");
    let before = group.candidacies();
    let fit = Duration::from_millis(600);
    for _ in 0..20 {
        let leader = group.leader();
        group.run(fit, leader);
        group.run(Duration::from_millis(400), None);
    }
    // They had what the card could carry, but for a few heartbeats.
    let carried = 20 * fit.as_nanos() / NANOS_PER_BYTE;
    let read = group.read as u64;
    assert!(read * 100 >= carried * 95, "{read} of {carried} bytes");
    group.candidacies() - before
}

#[test]
fn nobody_stands_for_election_while_a_bulk_transfer_saturates_the_leaders_card() {
    assert_eq!(candidates_under_load(true), 0);
}

#[test]
fn without_classes_the_same_load_makes_followers_stand() {
    let candidates = candidates_under_load(false);
    assert!(candidates > 0, "then classes are of no use");
}
