//! The whole: machines, wires, clients and time.

use std::collections::BTreeMap;

use base::{Duration, Instant, NodeId, Prng};
use net::addresses::node_of_mac;
use node::{Node, Output, Port};

use crate::checkers::Checkers;
use crate::clients::{ClientCounts, Clients};
use crate::disk::DiskCounts;
use crate::machine::Machine;
use crate::network::{Network, NetworkCounts, Weather};
use crate::plan::{Plan, Trouble, node};

/// After trouble has ended, a cluster must serve again within this time.
const RECOVERY: Duration = Duration::from_secs(5);
/// And all nodes must have applied everything within this time.
const AGREEMENT: Duration = Duration::from_secs(5);
/// The date when a run begins.
const WALL_MS: u64 = 1_700_000_000_000;

/// Something that will happen.
#[derive(Debug)]
enum Event {
    Arrival { to: NodeId, bytes: Vec<u8> },
    DiskDone { machine: NodeId, life: u64, operation: u64 },
    Wake { machine: NodeId, life: u64 },
    Client { client: usize },
    Trouble,
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Simulated time.
    pub simulated: Duration,
    /// Steps.
    pub steps: u64,
    /// Machines that lost power.
    pub crashes: u64,
    /// Terms that had a leader.
    pub terms: usize,
    /// The end of the log.
    pub entries: u64,
    /// The clients.
    pub clients: ClientCounts,
    /// The wires.
    pub network: NetworkCounts,
    /// The disks, together.
    pub disks: DiskCounts,
    /// Splits, blocks and slow ways.
    pub splits: u64,
}

/// The world of one run.
#[derive(Debug)]
pub struct World {
    now: Instant,
    prng: Prng,
    plan: Plan,
    machines: BTreeMap<NodeId, Machine>,
    network: Network,
    clients: Clients,
    checkers: Checkers,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    wakes: BTreeMap<NodeId, Instant>,
    are_clients_busy: bool,
    /// A request that is not a client's, and its answer.
    awaited: Option<(NodeId, node::RequestId)>,
    found: Option<kv::Reply>,
    summary: Summary,
}

impl World {
    /// The world of a plan; every machine is switched on.
    pub fn new(plan: Plan, mutant: Option<raft::Mutant>, seed: u64) -> World {
        let mut prng = Prng::new(seed);
        let voters: Vec<NodeId> = (1..=plan.nodes).map(node).collect();
        let machine = |id: &NodeId| {
            let seed = prng.next_u64();
            (*id, Machine::new(*id, voters.clone(), plan.temper.clone(), mutant, seed))
        };
        let machines: BTreeMap<NodeId, Machine> = voters.iter().map(machine).collect();
        let mut world = World {
            now: Instant::ORIGIN,
            machines,
            network: Network::new(plan.weather.clone(), prng.next_u64()),
            clients: Clients::new(plan.clients, prng.next_u64()),
            checkers: Checkers::default(),
            events: BTreeMap::new(),
            next_event: 0,
            wakes: BTreeMap::new(),
            are_clients_busy: true,
            awaited: None,
            found: None,
            summary: Summary::default(),
            prng,
            plan,
        };
        voters.into_iter().for_each(|id| world.start(id));
        world
    }

    /// Runs the plan of `seed` to its end.
    ///
    /// # Panics
    /// If anything does not hold: with what, and the seed says how to see it again.
    pub fn run_seed(seed: u64, mutant: Option<raft::Mutant>) -> Summary {
        let mut world = World::new(Plan::new(seed), mutant, !seed);
        world.make_trouble();
        world.recover();
        world.summary()
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.events.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    /// The first phase.
    fn make_trouble(&mut self) {
        for client in self.clients.idle() {
            self.schedule(self.now, Event::Client { client });
        }
        let first = self.now + self.plan.pause;
        self.schedule(first, Event::Trouble);
        self.run_until(self.now + self.plan.trouble);
        self.are_clients_busy = false;
    }

    /// The second phase: all is well, and so must be the cluster.
    fn recover(&mut self) {
        self.events.retain(|_, event| !matches!(event, Event::Trouble));
        self.network.heal();
        self.network.set_weather(Weather::calm());
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        for id in &ids {
            if self.machines[id].node.is_none() {
                self.start(*id);
            }
        }
        // Whatever is asked of any node is answered, and the clients that wait get their answers.
        self.run_until(self.now + RECOVERY);
        for id in ids {
            self.ask(id, "serving");
        }
        self.run_until(self.now + AGREEMENT);
        assert!(self.clients.idle().len() == self.plan.clients, "a client was never answered");
        self.check_agreement();
        self.clients.check();
    }

    /// Asks a node to write, and insists on an answer.
    fn ask(&mut self, id: NodeId, what: &'static str) {
        let (now, end) = (self.now, self.now + Duration::from_secs(1));
        let words = [&b"SET"[..], b"probe", what.as_bytes()].map(bytes::Bytes::from_static);
        let node = self.node_mut(id).expect("every machine is on");
        let request = node.execute(words.to_vec(), now);
        let mut answer = self.drain(id, Some(request));
        while answer.is_none() && self.step_until(end) {
            answer = self.found.take();
        }
        let answer = answer.unwrap_or_else(|| panic!("node {id} does not answer"));
        assert_eq!(answer, kv::Reply::Ok, "node {id} is not {what}");
    }

    fn check_agreement(&mut self) {
        let state = |machine: &Machine| {
            let kv = machine.node.as_ref().and_then(Node::kv).expect("every node runs");
            (kv.applied(), kv.machine().digest())
        };
        let states: Vec<_> = self.machines.values().map(state).collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "not in agreement: {states:?}");
    }

    fn run_until(&mut self, end: Instant) {
        while self.step_until(end) {}
        self.now = end;
    }

    /// Does the next thing, if it is due before `end`.
    fn step_until(&mut self, end: Instant) -> bool {
        match self.events.first_key_value() {
            Some(((at, _), _)) if *at <= end => {}
            _ => return false,
        }
        let ((at, _), event) = self.events.pop_first().expect("it was looked at");
        self.now = at;
        self.summary.steps += 1;
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrival { to, bytes } => {
                let Some(machine) = self.machines.get_mut(&to) else { return };
                let frame = machine.packets.allocate_frame();
                if let (Some(node), Some(mut frame)) = (&mut machine.node, frame) {
                    frame.append_copy(&bytes);
                    node.handle_frame(Port::Cluster, frame, now);
                    self.drain(to, None);
                }
            }
            Event::DiskDone { machine: id, life, operation } => {
                let Some(machine) = self.machines.get_mut(&id) else { return };
                if machine.life != life {
                    return;
                }
                let completion = machine.disk.complete(operation);
                if let (Some(node), Some(completion)) = (&mut machine.node, completion) {
                    node.handle_completion(completion, now);
                    self.drain(id, None);
                }
            }
            Event::Wake { machine: id, life } => {
                self.wakes.remove(&id);
                let Some(machine) = self.machines.get_mut(&id) else { return };
                if machine.life == life
                    && let Some(node) = &mut machine.node
                {
                    node.handle_timeout(now);
                    self.drain(id, None);
                }
            }
            Event::Client { client } => self.call(client),
            Event::Trouble => {
                let trouble = self.plan.next_trouble(&mut self.prng);
                self.suffer(trouble);
                let pause = self.plan.pause.as_nanos();
                let pause = Duration::from_nanos(self.prng.between(pause / 4, pause * 2));
                self.schedule(now + pause, Event::Trouble);
            }
        }
    }

    /// A client asks the next thing, of some node that is on.
    fn call(&mut self, client: usize) {
        if !self.are_clients_busy || !self.clients.idle().contains(&client) {
            return;
        }
        let id = node(1 + self.prng.below(u64::from(self.plan.nodes)) as u16);
        let now = self.now;
        let is_ready = self.node_mut(id).is_some_and(|node| node.kv().is_some());
        if !is_ready {
            let later = now + Duration::from_millis(self.prng.between(1, 30));
            return self.schedule(later, Event::Client { client });
        }
        let (words, operation, key) = self.clients.next_command();
        if let Some(node) = self.node_mut(id) {
            let request = node.execute(words, now);
            self.clients.note_call(client, id, request, operation, key, now);
            self.drain(id, None);
        }
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.machines.get_mut(&id)?.node.as_mut()
    }

    fn start(&mut self, id: NodeId) {
        let (now, seed) = (self.now, self.prng.next_u64());
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.start(seed, WALL_MS + now.as_millis(), now);
            self.drain(id, None);
        }
    }

    fn crash(&mut self, id: NodeId) {
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.crash();
            self.summary.crashes += 1;
            let lost = self.clients.note_crash(id);
            lost.into_iter().for_each(|client| self.wake_client(client));
        }
    }

    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Power(id) => {
                match self.machines.get(&id).map(|machine| machine.node.is_some()) {
                    Some(true) => self.crash(id),
                    Some(false) => self.start(id),
                    None => {}
                }
            }
            Trouble::Blackout => {
                let ids: Vec<NodeId> = self.machines.keys().copied().collect();
                let on = |id: &NodeId| self.machines[id].node.is_some();
                let running: Vec<NodeId> = ids.iter().copied().filter(on).collect();
                running.into_iter().for_each(|id| self.crash(id));
                ids.into_iter().for_each(|id| self.start(id));
            }
            Trouble::Split(groups) => {
                self.summary.splits += 1;
                self.network.partition(&groups);
            }
            Trouble::Deaf(a, b) => {
                self.summary.splits += 1;
                self.network.block(a, b);
            }
            Trouble::Slow(a, b, extra) => self.network.slow_down(a, b, extra),
            Trouble::Mend => self.network.heal(),
        }
    }

    fn wake_client(&mut self, client: usize) {
        let at = self.now + Duration::from_millis(self.prng.between(1, 20));
        self.schedule(at, Event::Client { client });
    }

    /// Carries out what a node wants, and looks at it. Answers the reply to `awaited`, if it came.
    fn drain(&mut self, id: NodeId, awaited: Option<node::RequestId>) -> Option<kv::Reply> {
        let now = self.now;
        if awaited.is_some() {
            self.awaited = awaited.map(|request| (id, request));
        }
        loop {
            let machine = self.machines.get_mut(&id)?;
            let Some(output) = machine.node.as_mut()?.poll_output(now) else { break };
            match output {
                Output::Transmit(_, frame) => self.transmit(id, &frame),
                Output::Disk(request) => {
                    let (operation, delay) = machine.disk.submit(request);
                    let life = machine.life;
                    self.schedule(now + delay, Event::DiskDone { machine: id, life, operation });
                }
                Output::Console(_) => {}
                Output::Answer(request, reply) => {
                    if self.awaited == Some((id, request)) {
                        self.awaited = None;
                        self.found = Some(reply);
                    } else {
                        let client = self.clients.note_answer(id, request, &reply, now);
                        client.into_iter().for_each(|client| self.wake_client(client));
                    }
                }
                Output::Stop(stop) => panic!("node {id} stops: {stop:?}"),
            }
        }
        let node = self.machines.get_mut(&id)?.node.as_mut()?;
        self.checkers.check(id, node);
        if let Some(at) = node.poll_timeout(now) {
            self.schedule_wake(id, at);
        }
        self.found.take_if(|_| awaited.is_some())
    }

    /// One wake-up a machine is enough: the earliest.
    fn schedule_wake(&mut self, id: NodeId, at: Instant) {
        if self.wakes.get(&id).is_some_and(|known| *known <= at) {
            return;
        }
        self.wakes.insert(id, at);
        let life = self.machines[&id].life;
        self.schedule(at.max(self.now), Event::Wake { machine: id, life });
    }

    fn transmit(&mut self, from: NodeId, bytes: &[u8]) {
        let mac = bytes.first_chunk::<6>().copied().unwrap_or_default();
        let to = node_of_mac(mac);
        let all: Vec<NodeId> = self.machines.keys().copied().filter(|id| *id != from).collect();
        let receivers = to.map_or(all, |to| vec![to]);
        for to in receivers {
            for arrival in self.network.send(from, to, bytes.to_vec(), self.now) {
                self.schedule(arrival.at, Event::Arrival { to: arrival.to, bytes: arrival.bytes });
            }
        }
    }

    fn summary(&self) -> Summary {
        let add = |a: DiskCounts, b: DiskCounts| DiskCounts {
            flushes: a.flushes + b.flushes,
            sectors_written: a.sectors_written + b.sectors_written,
            kept: a.kept + b.kept,
            lost: a.lost + b.lost,
            torn: a.torn + b.torn,
        };
        Summary {
            simulated: self.now.since(Instant::ORIGIN),
            terms: self.checkers.terms(),
            entries: self.checkers.applied().0,
            clients: self.clients.counts(),
            network: self.network.counts(),
            disks: self.machines.values().map(|m| m.disk.counts()).fold(DiskCounts::default(), add),
            ..self.summary
        }
    }
}
