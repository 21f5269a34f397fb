//! What a decision of 32 replicas costs: in one process and one thread, messages change hands as values, the
//! disk is durable at once, and time stands still. All are honest.

use std::collections::VecDeque;
use std::time::Instant as Clock;

use base::{ClusterId, Instant, NodeId};
use bft::{BftNode, Config, FaultBound, Message, Output, Sequence};
use bytes::Bytes;
use crypto::{Digest, Keyring, SigningKey};

const REPLICAS: usize = 32;
const DECISIONS: u64 = 64;

/// For each decision.
pub struct Cost {
    /// Of one processor, of all replicas together, in milliseconds.
    pub processor: f64,
    /// Of that, until the replica that was asked has the proof.
    pub answered: f64,
    pub messages: f64,
    pub kibibytes: f64,
    pub signatures: f64,
}

struct Group {
    nodes: Vec<BftNode>,
    wires: VecDeque<(usize, usize, Message)>,
    messages: u64,
    bytes: u64,
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
        Group { nodes, wires: VecDeque::new(), messages: 0, bytes: 0 }
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
                Output::Persist(persist) => node.handle_persisted(persist.ticket, Instant::ORIGIN),
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
        self.nodes[to].handle_message(from, message, Instant::ORIGIN);
        self.settle(to);
    }
}

pub fn cost() -> Cost {
    let mut group = Group::new();
    let mut answered = 0.0;
    #[allow(clippy::disallowed_methods, reason = "here time is what is measured")]
    let now = Clock::now;
    let started = now();
    for number in 1..=DECISIONS {
        let asked = now();
        let request = Bytes::copy_from_slice(&number.to_le_bytes());
        group.nodes[0].propose(request, Instant::ORIGIN).expect("there is room");
        group.settle(0);
        while group.nodes[0].executed() < Sequence(number) {
            group.deliver();
        }
        answered += asked.elapsed().as_secs_f64();
        while !group.wires.is_empty() {
            group.deliver();
        }
    }
    let all = started.elapsed().as_secs_f64();
    let signatures: u64 = group.nodes.iter().map(|node| node.status().counters.verified).sum();
    let each = |sum: f64| sum / DECISIONS as f64;
    Cost {
        processor: each(all * 1e3),
        answered: each(answered * 1e3),
        messages: each(group.messages as f64),
        kibibytes: each(group.bytes as f64 / 1024.0),
        signatures: each(signatures as f64),
    }
}
