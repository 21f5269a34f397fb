//! The whole: machines, wires, clients and time.

mod faults;
mod harm;
mod machines;
mod members;
mod queue;
mod recovery;
mod rot;
mod steps;

use std::collections::BTreeSet;

use base::{Duration, Instant, LogIndex, NodeId, Prng, Term};
use node::Node;

use crate::bug::Bug;
use crate::checkers::Checkers;
use crate::clients::Clients;
use crate::counts::{Counts, Kind};
use crate::machine::Machine;
use crate::network::Network;
use crate::plan::{Plan, node};
use crate::trace::Trace;
use queue::{Event, Queue};

/// The date when a run begins.
const WALL_MS: u64 = 1_700_000_000_000;

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Simulated time.
    pub simulated: Duration,
    /// How much of it the cluster took to recover.
    pub recovery: Duration,
    /// Steps.
    pub steps: u64,
    /// The last entry that was committed.
    pub entries: u64,
    /// A fingerprint of every event.
    pub digest: u64,
    /// How often what happened.
    pub counts: Counts,
    /// How the members have changed.
    pub changes: Changes,
}

/// How the members of a cluster have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Machines that came, and whose nodes asked to be let in.
    pub joins: u64,
    /// Machines that went, because their nodes were removed.
    pub removals: u64,
    /// Changes of several voters at once that a leader took.
    pub joint: u64,
}

/// The world of one run.
#[derive(Debug)]
pub struct World {
    now: Instant,
    prng: Prng,
    plan: Plan,
    /// Machine I is at position I - 1.
    machines: Vec<Machine>,
    /// Nodes that were removed, and whose machines are gone.
    gone: BTreeSet<NodeId>,
    network: Network,
    clients: Clients,
    checkers: Checkers,
    queue: Queue,
    /// What came to nodes while they stood still, in order.
    held: Vec<(NodeId, Event)>,
    trace: Trace,
    /// Room for the terms of the log that is being looked at.
    terms: Vec<(LogIndex, Term)>,
    steps: u64,
    /// How many steps there were at this instant.
    steps_now: u64,
    counts: Counts,
    recovery: Duration,
    is_troubled: bool,
    are_clients_busy: bool,
    /// A request that is not a client's, and its answer.
    awaited: Option<(NodeId, node::RequestId)>,
    found: Option<kv::Reply>,
    changes: Changes,
    /// Until then somebody may still try to have a member removed.
    orders_end: Instant,
    /// A bug in every node.
    bug: Option<Bug>,
    /// Whose console is read, and what came over it.
    heard: Option<(NodeId, Vec<u8>)>,
}

impl World {
    /// The world of a plan; every machine is switched on. `seed` decides what the plan leaves open.
    pub fn new(plan: Plan, bug: Option<Bug>, seed: u64, trace: Trace) -> World {
        let mut prng = Prng::new(seed);
        let machine = |number| Machine::new(node(number), &plan, bug, prng.next_u64());
        let machines: Vec<Machine> = (1..=plan.nodes).map(machine).collect();
        let mut world = World {
            now: Instant::ORIGIN,
            network: Network::new(plan.weather.clone(), prng.next_u64()),
            clients: Clients::new(plan.clients, prng.next_u64()),
            checkers: Checkers::default(),
            machines,
            gone: BTreeSet::new(),
            queue: Queue::default(),
            held: Vec::new(),
            trace,
            terms: Vec::new(),
            steps: 0,
            steps_now: 0,
            counts: Counts::default(),
            recovery: Duration::ZERO,
            is_troubled: true,
            are_clients_busy: true,
            awaited: None,
            found: None,
            changes: Changes::default(),
            orders_end: Instant::ORIGIN,
            bug,
            heard: None,
            prng,
            plan,
        };
        world.ids().for_each(|id| world.start(id));
        world
    }

    /// The world of a seed.
    pub fn of_seed(seed: u64, plan: Plan, bug: Option<Bug>, trace: Trace) -> World {
        World::new(plan, bug, !seed, trace)
    }

    /// Runs the plan to its end.
    ///
    /// # Panics
    /// If anything does not hold: with what, and the seed says how to see it again.
    pub fn run(&mut self) -> Summary {
        self.make_trouble();
        self.recover();
        self.summary()
    }

    /// The first phase.
    fn make_trouble(&mut self) {
        self.start_clients();
        // The first may come while the nodes still make their disks their own.
        let first = self.prng.duration_between(Duration::ZERO, self.plan.pause);
        self.queue.push(self.now + first, Event::Trouble);
        self.run_until(self.now + self.plan.trouble);
    }

    /// Lets everything happen that happens before `end`.
    pub fn run_until(&mut self, end: Instant) {
        while self.step_until(end) {}
        self.now = end;
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many steps there were.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What happened so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// How many terms have had a leader.
    pub fn terms_with_leaders(&self) -> usize {
        self.checkers.leaders().len()
    }

    /// All nodes whose machines are there.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        let gone = self.gone.clone();
        (1..=self.plan.nodes).map(node).filter(move |id| !gone.contains(id))
    }

    /// The nodes that lead, as far as they know.
    pub fn leaders(&self) -> impl Iterator<Item = NodeId> {
        self.machines.iter().filter(|machine| machine.is_leader()).map(|machine| machine.id)
    }

    fn machine(&self, id: NodeId) -> &Machine {
        &self.machines[usize::from(id.get()) - 1]
    }

    fn machine_mut(&mut self, id: NodeId) -> &mut Machine {
        &mut self.machines[usize::from(id.get()) - 1]
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.machine_mut(id).node.as_mut()
    }

    fn summary(&mut self) -> Summary {
        let mut counts = self.counts;
        counts += self.network.counts();
        counts += self.clients.counts();
        self.machines.iter_mut().for_each(|machine| counts += machine.take_counts());
        let leaders: Vec<&NodeId> = self.checkers.leaders().values().collect();
        let changes = leaders.windows(2).filter(|pair| pair[0] != pair[1]).count();
        counts.add(Kind::Elections, leaders.len() as u64);
        counts.add(Kind::LeaderChanges, changes as u64);
        // Every node has applied the whole log: any of them knows.
        let kv = self.machines.iter().find_map(|machine| machine.node.as_ref()?.kv());
        counts.add(Kind::WritesRepeated, kv.map_or(0, |kv| kv.machine().counters().repeated));
        Summary {
            simulated: self.now.since(Instant::ORIGIN),
            recovery: self.recovery,
            steps: self.steps,
            entries: self.checkers.committed().0,
            digest: self.trace.digest(),
            counts,
            changes: self.changes,
        }
    }
}
