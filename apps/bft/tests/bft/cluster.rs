//! A group of replicas, their disks, their network, and the time, from a seed.

use std::collections::BTreeMap;

use base::{ClusterId, Duration, Instant, NodeId, Prng};
use bft::{
    BftNode, Config, Event, FaultBound, Message, Output, Record, Restored, Sequence, SigningRecord,
    Ticket,
};
use bytes::Bytes;
use crypto::{Digest, Keyring, SigningKey};

use crate::adversary::{Adversary, Lie};
use crate::checkers::Checkers;
use crate::faults::Network;
use crate::machine::Machine;

/// A running copy of a replica, and what it has of a machine. Twins are two copies of one replica.
pub struct Copy {
    pub slot: usize,
    pub node: Option<BftNode>,
    pub machine: Machine,
    pub disk: Vec<Record>,
    pub snapshots: BTreeMap<Sequence, Bytes>,
    pub adversary: Option<Adversary>,
    /// It runs the code of all, and is a liar all the same: it has a twin.
    pub is_twin: bool,
    pub events: Vec<Event>,
    incoming: Vec<u8>,
    /// Which life of the copy it is: writes of earlier ones are lost.
    life: u64,
}

impl Copy {
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none() && !self.is_twin
    }
}

enum Happening {
    Arrives { from: usize, to: usize, bytes: Bytes },
    Written { place: usize, life: u64, ticket: Ticket, records: Vec<Record> },
}

pub struct Cluster {
    pub config: Config,
    pub copies: Vec<Copy>,
    pub now: Instant,
    pub network: Network,
    pub checkers: Checkers,
    pub messages: u64,
    pub bytes: u64,
    prng: Prng,
    queue: BTreeMap<(Instant, u64), Happening>,
    next_happening: u64,
}

pub fn signing_key(slot: usize) -> SigningKey {
    SigningKey::take(&mut [u8::try_from(slot).unwrap() + 1; 32])
}

pub fn keyring(replicas: usize) -> Keyring {
    let member = |slot: usize| {
        let id = NodeId::new(u16::try_from(slot).unwrap() + 1).unwrap();
        (id, signing_key(slot).verifying_key())
    };
    Keyring::new(ClusterId(7), 1, (0..replicas).map(member).collect()).unwrap()
}

impl Cluster {
    pub fn new(replicas: usize, seed: u64, network: Network) -> Cluster {
        Cluster::with(replicas, seed, network, |_| {})
    }

    pub fn with(
        replicas: usize,
        seed: u64,
        network: Network,
        change: impl Fn(&mut Config),
    ) -> Cluster {
        let id = NodeId::new(1).unwrap();
        let mut config = Config::new(id, keyring(replicas), FaultBound::Quarter).unwrap();
        // Small, so that short runs come by all of it.
        config.checkpoint_every = 8;
        config.window = 16;
        config.in_flight_max = 4;
        change(&mut config);
        let mut cluster = Cluster {
            config,
            copies: Vec::new(),
            now: Instant::ORIGIN,
            network,
            checkers: Checkers::default(),
            messages: 0,
            bytes: 0,
            prng: Prng::new(seed),
            queue: BTreeMap::new(),
            next_happening: 0,
        };
        (0..replicas).for_each(|slot| cluster.add_copy(slot));
        cluster
    }

    /// One more copy of the replica with this slot.
    pub fn add_copy(&mut self, slot: usize) {
        let (machine, snapshots) = (Machine::default(), BTreeMap::new());
        let mut copy = Copy {
            slot,
            node: None,
            machine,
            disk: Vec::new(),
            snapshots,
            adversary: None,
            is_twin: false,
            events: Vec::new(),
            incoming: Vec::new(),
            life: 0,
        };
        let seed = self.prng.next_u64();
        let config = self.config_of(slot);
        copy.node = Some(BftNode::new(config, signing_key(slot), seed, self.now).unwrap());
        self.copies.push(copy);
    }

    pub fn config_of(&self, slot: usize) -> Config {
        Config { id: self.config.keyring.member(slot).unwrap(), ..self.config.clone() }
    }

    pub fn make_liar(&mut self, place: usize, lie: Lie) {
        let slot = self.copies[place].slot;
        let keyring = self.config.keyring.clone();
        self.copies[place].adversary = Some(Adversary::new(lie, slot, signing_key(slot), keyring));
    }

    /// A client asks the replica in this place. It asks again elsewhere if that is not there.
    pub fn submit(&mut self, place: usize) -> u64 {
        let request = self.checkers.request();
        self.submit_again(place, request);
        self.checkers.submitted - 1
    }

    pub fn submit_again(&mut self, place: usize, request: Bytes) {
        let now = self.now;
        if let Some(node) = &mut self.copies[place].node {
            let _ = node.propose(request, now);
        }
        self.settle(place);
    }

    pub fn crash(&mut self, place: usize) {
        let copy = &mut self.copies[place];
        copy.node = None;
        copy.life += 1;
    }

    /// Starts a replica again, with its signing record or without.
    pub fn restart(&mut self, place: usize, record: Option<SigningRecord>) {
        let seed = self.prng.next_u64();
        let config = self.config_of(self.copies[place].slot);
        let copy = &mut self.copies[place];
        let latest = copy.snapshots.last_key_value().map(|(_, bytes)| bytes.clone());
        copy.machine = latest.map(|bytes| Machine::restore(&bytes).unwrap()).unwrap_or_default();
        let record = record.unwrap_or_else(|| SigningRecord::Intact(copy.disk.clone()));
        let restored = Restored { applied: copy.machine.applied, record };
        let node = BftNode::restore(config, signing_key(copy.slot), restored, seed, self.now);
        copy.node = Some(node.unwrap());
        self.settle(place);
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at, self.next_happening), happening);
    }

    /// Runs for so long.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `end` or until something holds; answers whether it does.
    pub fn run_until(&mut self, end: Instant, holds: impl Fn(&Cluster) -> bool) -> bool {
        while !holds(self) {
            let due = |copy: &Copy| copy.node.as_ref().and_then(BftNode::poll_timeout);
            let timer = self
                .copies
                .iter()
                .enumerate()
                .filter_map(|(place, copy)| Some((due(copy)?, place)));
            let timer = timer.min();
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let next = Instant::earliest([timer.map(|(at, _)| at), arrival]);
            let Some(next) = next.filter(|next| *next < end) else { return false };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, happening) = self.queue.pop_first().unwrap();
                self.happen(happening);
            } else {
                let (_, place) = timer.unwrap();
                let now = self.now;
                self.copies[place].node.as_mut().unwrap().handle_timeout(now);
                self.settle(place);
            }
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Arrives { from, to, bytes } => {
                if let Some(adversary) = &mut self.copies[to].adversary {
                    adversary.hear(&bytes, &mut self.prng);
                }
                let from = self.config.keyring.member(from).unwrap();
                let copy = &mut self.copies[to];
                if let (Some(node), Ok(message)) = (&mut copy.node, Message::decode(&bytes)) {
                    node.handle_message(from, message, now);
                    self.settle(to);
                }
            }
            Happening::Written { place, life, ticket, records } => {
                let copy = &mut self.copies[place];
                if let Some(node) = copy.node.as_mut().filter(|_| copy.life == life) {
                    copy.disk.extend(records);
                    node.handle_persisted(ticket, now);
                    self.settle(place);
                }
            }
        }
    }

    /// Does everything that a replica wants done, and checks it.
    fn settle(&mut self, place: usize) {
        while let Some(node) = &mut self.copies[place].node {
            node.check_invariants();
            let Some(output) = node.poll_output() else { break };
            self.carry_out(place, output);
        }
    }

    fn carry_out(&mut self, place: usize, output: Output) {
        match output {
            Output::Send { to, message } => {
                let to = self.config.keyring.slot(to).unwrap();
                self.send(place, to, message);
            }
            Output::Persist(persist) => {
                let at = self.now + Duration::from_micros(self.prng.between(100, 3_000));
                // The disk finishes writes in their order.
                let last = self.queue.iter().rev().find_map(|((at, _), happening)| {
                    matches!(happening, Happening::Written { place: p, .. } if *p == place)
                        .then_some(*at)
                });
                let at = last.map_or(at, |last| last.max(at));
                let life = self.copies[place].life;
                let (ticket, records) = (persist.ticket, persist.records);
                self.schedule(at, Happening::Written { place, life, ticket, records });
            }
            Output::Apply { sequence, batch, certificate } => {
                let (group, quorums) = (self.config.keyring.clone(), self.config.quorums);
                let copy = &mut self.copies[place];
                if copy.is_honest() {
                    let group = (&group, quorums);
                    self.checkers.applies(&copy.machine, sequence, &batch, &certificate, group);
                }
                copy.machine.apply(sequence, &batch);
                if copy.is_honest() {
                    self.checkers.applied(&copy.machine);
                }
                copy.node.as_mut().unwrap().handle_applied(sequence);
            }
            Output::TakeCheckpoint { sequence } => {
                let copy = &mut self.copies[place];
                let snapshot = copy.machine.snapshot();
                let digest = Digest::of(&snapshot);
                copy.snapshots.insert(sequence, snapshot);
                copy.node.as_mut().unwrap().handle_checkpoint(sequence, digest);
            }
            Output::Stable { certificate } => {
                let copy = &mut self.copies[place];
                copy.snapshots = copy.snapshots.split_off(&certificate.sequence);
            }
            Output::ReadState { peer, sequence, offset, max_bytes } => {
                let copy = &mut self.copies[place];
                let Some(all) = copy.snapshots.get(&sequence) else { return };
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
                // Small parts, so that there are several.
                let part = all.slice(from..all.len().min(from + max_bytes.min(100)));
                if !part.is_empty() {
                    let (node, total) = (copy.node.as_mut().unwrap(), all.len() as u64);
                    node.handle_state_part(peer, sequence, offset, total, part);
                }
            }
            Output::StoreState { certificate, offset, bytes, is_last } => {
                self.store_state(place, &certificate, offset, &bytes, is_last);
            }
            Output::Event(event) => self.copies[place].events.push(event),
        }
    }

    fn store_state(
        &mut self,
        place: usize,
        certificate: &bft::QuorumCertificate,
        offset: u64,
        bytes: &Bytes,
        is_last: bool,
    ) {
        let (sequence, now) = (certificate.sequence, self.now);
        let copy = &mut self.copies[place];
        if offset == 0 {
            copy.incoming.clear();
        }
        copy.incoming.extend_from_slice(bytes);
        if !is_last {
            return;
        }
        let node = copy.node.as_mut().unwrap();
        if Digest::of(&copy.incoming) != certificate.digest {
            return node.handle_state_refused(sequence, now);
        }
        copy.machine = Machine::restore(&copy.incoming).unwrap();
        copy.snapshots.insert(sequence, core::mem::take(&mut copy.incoming).into());
        node.handle_state_installed(sequence, now);
    }

    fn send(&mut self, place: usize, to: usize, message: Message) {
        let copy = &mut self.copies[place];
        if copy.is_honest() {
            self.checkers.sends(copy.slot, &message, &copy.disk);
        }
        let said = match &mut copy.adversary {
            Some(adversary) => {
                let said = adversary.tamper(to, &message, &mut self.prng);
                said.into_iter().map(|said| (said.from, said.to, said.bytes, said.late)).collect()
            }
            None => {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                vec![(copy.slot, to, Bytes::from(bytes), Duration::ZERO)]
            }
        };
        for (from, to, bytes, late) in said {
            self.messages += 1;
            self.bytes += bytes.len() as u64;
            self.put_on_wire(place, from, to, &bytes, late);
        }
    }

    /// To every copy of the replica that it is for.
    fn put_on_wire(&mut self, place: usize, from: usize, to: usize, bytes: &Bytes, late: Duration) {
        let places: Vec<usize> =
            (0..self.copies.len()).filter(|at| self.copies[*at].slot == to).collect();
        for to in places {
            let arrivals = self.network.arrivals(place, to, self.now, &mut self.prng);
            for at in arrivals {
                let bytes = bytes.clone();
                self.schedule(at + late, Happening::Arrives { from, to, bytes });
            }
        }
    }

    /// The replicas that are honest and run.
    pub fn honest(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter().filter(|copy| copy.is_honest() && copy.node.is_some())
    }

    /// Whether all honest replicas that run have executed everything, and stand at the same number.
    pub fn has_executed_everything(&self) -> bool {
        let all = usize::try_from(self.checkers.submitted).unwrap();
        let mut honest = self.honest().map(|copy| &copy.machine);
        let first = honest.next().expect("somebody is honest");
        first.executed.len() == all && honest.all(|machine| machine.chain == first.chain)
    }

    /// Liveness: once the network is stable, everything is executed everywhere.
    pub fn expect_everything(&mut self, within: Duration) {
        let end = self.now.max(self.network.stable_from) + within;
        let is_done = self.run_until(end, Cluster::has_executed_everything);
        if !is_done {
            let all: Vec<_> = self
                .copies
                .iter()
                .map(|copy| {
                    let status = copy.node.as_ref().map(BftNode::status);
                    format!("{} {} {status:?}", copy.slot, copy.machine.executed.len())
                })
                .collect();
            panic!(
                "{} submitted, not executed by all:\n{}",
                self.checkers.submitted,
                all.join("\n")
            );
        }
    }

    pub fn node(&self, place: usize) -> &BftNode {
        self.copies[place].node.as_ref().expect("it runs")
    }
}
