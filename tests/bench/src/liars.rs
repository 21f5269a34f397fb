//! What a decision of 32 replicas costs: in one process and one thread, messages change hands as values, the
//! disk is durable at once, and time goes on only when nothing is left to do. All are honest.

use std::collections::VecDeque;
use std::time::Instant as Clock;

use base::{ClusterId, Duration, Instant, NodeId};
use bft::{BftNode, Config, FaultBound, Message, Output, Sequence};
use bytes::Bytes;
use crypto::{Digest, Keyring, SigningKey};

const REPLICAS: usize = 32;
const DECISIONS: u64 = 64;
/// Who is asked: not the primary, which needs no proof.
const ASKED: usize = 5;

/// For each decision.
pub struct Cost {
    /// Of one processor, of all replicas together, in milliseconds.
    pub processor: f64,
    /// Of that, until the replica that was asked has the proof.
    pub answered: f64,
    /// Until it has the proof, and then.
    pub early: Spent,
    pub all: Spent,
}

/// What has been sent, signed and verified.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub messages: f64,
    pub kibibytes: f64,
    pub verified: f64,
    pub signed: f64,
}

struct Group {
    nodes: Vec<BftNode>,
    wires: VecDeque<(usize, usize, Message)>,
    messages: u64,
    bytes: u64,
    now: Instant,
}

fn key(slot: usize) -> SigningKey {
    SigningKey::take(&mut [u8::try_from(slot).expect("below 32") + 1; 32])
}

impl Group {
    fn new() -> Group {
        let ids: Vec<NodeId> = (1..).filter_map(NodeId::new).take(REPLICAS).collect();
        let members = ids.iter().zip(0..).map(|(id, slot)| (*id, key(slot).verifying_key()));
        let keyring = Keyring::new(ClusterId(1), 1, members.collect()).expect("keys differ");
        let node = |(slot, id): (usize, &NodeId)| {
            let config = Config::new(*id, keyring.clone(), FaultBound::Quarter).expect("it works");
            BftNode::new(config, key(slot), 1, Instant::ORIGIN).expect("it works")
        };
        let nodes = ids.iter().enumerate().map(node).collect();
        Group { nodes, wires: VecDeque::new(), messages: 0, bytes: 0, now: Instant::ORIGIN }
    }

    fn settle(&mut self, place: usize) {
        while let Some(output) = self.nodes[place].poll_output() {
            let node = &mut self.nodes[place];
            match output {
                Output::Send { to, message } => {
                    let mut bytes = Vec::new();
                    message.encode(&mut bytes);
                    self.messages += 1;
                    self.bytes += bytes.len() as u64;
                    self.wires.push_back((place, usize::from(to.get()) - 1, message));
                }
                Output::Persist(persist) => node.handle_persisted(persist.ticket, self.now),
                Output::Apply { sequence, .. } => node.handle_applied(sequence),
                Output::TakeCheckpoint { sequence } => {
                    node.handle_checkpoint(sequence, Digest::of(&sequence.0.to_le_bytes()));
                }
                Output::Stable { .. }
                | Output::ReadState { .. }
                | Output::StoreState { .. }
                | Output::Event(_) => {}
            }
        }
    }

    fn deliver(&mut self) {
        let Some((from, to, message)) = self.wires.pop_front() else { return };
        let from = NodeId::new(u16::try_from(from).expect("below 32") + 1).expect("from 1 on");
        self.nodes[to].handle_message(from, message, self.now);
        self.settle(to);
        // What takes more than a turn has as many as it needs.
        while self.nodes[to].is_busy() {
            self.nodes[to].handle_timeout(self.now);
            self.settle(to);
        }
    }

    fn deliver_all(&mut self) {
        while !self.wires.is_empty() {
            self.deliver();
        }
    }

    /// What has been spent since the start.
    fn spent(&self) -> Spent {
        let counters = |count: fn(&bft::Counters) -> u64| {
            self.nodes.iter().map(|node| count(&node.status().counters)).sum::<u64>() as f64
        };
        Spent {
            messages: self.messages as f64,
            kibibytes: self.bytes as f64 / 1024.0,
            verified: counters(|counters| counters.verified),
            signed: counters(|counters| counters.signed),
        }
    }
}

impl Spent {
    /// The mean of a decision, if this is the sum of all.
    fn mean(self) -> Spent {
        let each = |sum: f64| sum / DECISIONS as f64;
        Spent {
            messages: each(self.messages),
            kibibytes: each(self.kibibytes),
            verified: each(self.verified),
            signed: each(self.signed),
        }
    }

    fn add(&mut self, later: Spent, earlier: Spent) {
        self.messages += later.messages - earlier.messages;
        self.kibibytes += later.kibibytes - earlier.kibibytes;
        self.verified += later.verified - earlier.verified;
        self.signed += later.signed - earlier.signed;
    }
}

pub fn cost() -> Cost {
    let mut group = Group::new();
    let (mut answered, mut early) = (0.0, Spent::default());
    #[allow(clippy::disallowed_methods, reason = "here time is what is measured")]
    let now = Clock::now;
    let started = now();
    for number in 1..=DECISIONS {
        let (asked, before) = (now(), group.spent());
        let request = Bytes::copy_from_slice(&number.to_le_bytes());
        group.nodes[ASKED].propose(request, group.now).expect("there is room");
        group.settle(ASKED);
        while group.nodes[ASKED].executed() < Sequence(number) {
            group.deliver();
        }
        answered += asked.elapsed().as_secs_f64();
        early.add(group.spent(), before);
        group.deliver_all();
        // The primary tells the rest.
        group.now = group.now + Duration::from_secs(1);
        group.nodes[0].handle_timeout(group.now);
        group.settle(0);
        group.deliver_all();
    }
    let all = started.elapsed().as_secs_f64();
    let each = |seconds: f64| seconds * 1e3 / DECISIONS as f64;
    Cost {
        processor: each(all),
        answered: each(answered),
        early: early.mean(),
        all: group.spent().mean(),
    }
}
