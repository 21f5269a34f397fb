//! A group of replicas, their disks, their network, and the time, from a seed.

use std::collections::BTreeMap;

use base::{ClusterId, Duration, Instant, NodeId, Prng};
use bft::{Adversary, BftNode, Config, FaultBound, Lie, Message, Record, SigningRecord, Ticket};
use bytes::Bytes;
use crypto::{Keyring, SigningKey};

use super::checkers::Checkers;
use super::copy::Copy;
use super::counts::{Counts, Kind};
use super::faults::Network;

#[derive(Debug)]
pub(super) enum Happening {
    Arrives { from: usize, to: usize, bytes: Bytes },
    Written { place: usize, life: u64, ticket: Ticket, records: Vec<Record> },
}

/// The group, and all that is around it.
#[derive(Debug)]
pub struct Cluster {
    /// Of all replicas, but for `id`.
    pub config: Config,
    /// The replicas, and behind them second copies of those that are twins.
    pub copies: Vec<Copy>,
    /// The time.
    pub now: Instant,
    /// What the network does.
    pub network: Network,
    /// What must hold.
    pub checkers: Checkers,
    /// What happened.
    pub counts: Counts,
    /// How many messages were put on the wire …
    pub messages: u64,
    /// … and how many bytes.
    pub bytes: u64,
    pub(super) prng: Prng,
    queue: BTreeMap<(Instant, u64), Happening>,
    next_happening: u64,
}

/// The secret of the replica with this slot.
///
/// # Panics
/// If there can be no such replica.
pub fn signing_key(slot: usize) -> SigningKey {
    SigningKey::take(&mut [u8::try_from(slot).unwrap() + 1; 32])
}

/// The keys of a group of this size.
///
/// # Panics
/// If there can be none.
pub fn keyring(replicas: usize) -> Keyring {
    let member = |slot: usize| {
        let id = NodeId::new(u16::try_from(slot).unwrap() + 1).unwrap();
        (id, signing_key(slot).verifying_key())
    };
    Keyring::new(ClusterId(7), 1, (0..replicas).map(member).collect()).unwrap()
}

impl Cluster {
    /// A group of the usual configuration.
    pub fn new(replicas: usize, seed: u64, network: Network) -> Cluster {
        Cluster::with(replicas, seed, network, |_| {})
    }

    /// A group whose configuration is changed so.
    ///
    /// # Panics
    /// If there is no such group.
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
            counts: Counts::default(),
            messages: 0,
            bytes: 0,
            prng: Prng::new(seed),
            queue: BTreeMap::new(),
            next_happening: 0,
        };
        (0..replicas).for_each(|slot| cluster.add_copy(slot));
        cluster
    }

    fn add_copy(&mut self, slot: usize) {
        let mut copy = Copy::new(slot);
        let (seed, now) = (self.prng.next_u64(), self.now);
        let config = self.config_of(slot);
        let node = BftNode::new(config, signing_key(slot), seed, now);
        copy.node = Some(node.expect("the configuration is good"));
        self.copies.push(copy);
    }

    /// The replica in this place runs twice from now on.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn add_twin(&mut self, place: usize) {
        self.add_copy(self.copies[place].slot);
        for twin in [place, self.copies.len() - 1] {
            self.copies[twin].is_twin = true;
        }
    }

    /// The configuration of the replica with this slot.
    ///
    /// # Panics
    /// If there is none.
    pub fn config_of(&self, slot: usize) -> Config {
        Config { id: self.config.keyring.member(slot).unwrap(), ..self.config.clone() }
    }

    /// The replica in this place lies from now on.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn make_liar(&mut self, place: usize, lie: Lie) {
        let slot = self.copies[place].slot;
        let keyring = self.config.keyring.clone();
        self.copies[place].adversary = Some(Adversary::new(lie, slot, signing_key(slot), keyring));
    }

    /// A client asks the replica in this place. Answers the number of its request.
    pub fn submit(&mut self, place: usize) -> u64 {
        let request = self.checkers.request();
        self.submit_again(place, request);
        self.checkers.submitted - 1
    }

    /// The same with a request that was made before.
    pub fn submit_again(&mut self, place: usize, request: Bytes) {
        let now = self.now;
        if let Some(node) = &mut self.copies[place].node {
            let _ = node.propose(request, now);
        }
        self.settle(place);
    }

    /// A replica loses power, and what was being written.
    pub fn crash(&mut self, place: usize) {
        self.copies[place].crash(&mut self.counts);
    }

    /// The network tells everybody that the replica in this place is gone, whether it is or not.
    pub fn say_gone(&mut self, place: usize) {
        let (now, gone) = (self.now, self.config.keyring.member(self.copies[place].slot));
        for told in 0..self.copies.len() {
            if let (Some(node), Some(gone)) = (&mut self.copies[told].node, gone) {
                node.handle_peer_unreachable(gone, now);
                self.settle(told);
            }
        }
    }

    /// Starts a replica again, with what its disk has, or with `record` in place of that.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn restart(&mut self, place: usize, record: Option<SigningRecord>) {
        let (seed, now) = (self.prng.next_u64(), self.now);
        let config = self.config_of(self.copies[place].slot);
        let copy = &mut self.copies[place];
        let restored = copy.restored(record);
        copy.start(config, restored, seed, now);
        self.counts.note(Kind::Restarts);
        self.settle(place);
    }

    /// Parts the network so, until it is stable; all are connected if there are no groups.
    pub fn part(&mut self, groups: Vec<u32>) {
        self.counts.add(Kind::Partitions, u64::from(!groups.is_empty()));
        self.network.groups = groups;
    }

    pub(super) fn schedule(&mut self, at: Instant, happening: Happening) {
        self.next_happening += 1;
        self.queue.insert((at, self.next_happening), happening);
    }

    /// When the last write of this copy will be done, if there is one.
    pub(super) fn last_write(&self, place: usize) -> Option<Instant> {
        self.queue.iter().rev().find_map(|((at, _), happening)| match happening {
            Happening::Written { place: its, .. } if *its == place => Some(*at),
            Happening::Written { .. } | Happening::Arrives { .. } => None,
        })
    }

    /// Runs for so long.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `end` or until something holds; answers whether it does.
    ///
    /// # Panics
    /// If something does not hold that must.
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
                    copy.writing -= records.len();
                    copy.disk.extend(records);
                    node.handle_persisted(ticket, now);
                    self.settle(place);
                }
            }
        }
    }

    /// The replicas that are honest and run.
    pub fn honest(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter().filter(|copy| copy.is_honest() && copy.node.is_some())
    }

    /// Whether all honest replicas that run have executed everything, and stand at the same number.
    ///
    /// # Panics
    /// If nobody is honest.
    pub fn has_executed_everything(&self) -> bool {
        let all = usize::try_from(self.checkers.submitted).unwrap();
        let mut honest = self.honest().map(|copy| &copy.machine);
        let first = honest.next().expect("somebody is honest");
        first.executed.len() == all && honest.all(|machine| machine.chain == first.chain)
    }

    /// Liveness: once the network is stable, everything is executed everywhere.
    ///
    /// # Panics
    /// If not.
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

    /// The replica in this place.
    ///
    /// # Panics
    /// If it is off.
    pub fn node(&self, place: usize) -> &BftNode {
        self.copies[place].node.as_ref().expect("it runs")
    }

    /// What happened. To be asked for once, at the end.
    pub fn take_counts(&mut self) -> Counts {
        for copy in &self.copies {
            copy.count_node(&mut self.counts);
        }
        self.counts.add(Kind::Decisions, self.checkers.certificates);
        self.counts.add(Kind::Votes, self.checkers.votes);
        self.counts.add(Kind::Sent, self.messages);
        core::mem::take(&mut self.counts)
    }
}
