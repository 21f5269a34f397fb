//! A long, calm life: three whole nodes that execute millions of commands on simulated wires and disks, to
//! see that nothing grows for ever. No checkers look: they remember, and here only the nodes may.

use std::collections::{BTreeMap, BTreeSet};

use base::{Duration, Instant, NodeId, Prng};
use bytes::Bytes;
use net::addresses::node_of_mac;
use node::{Node, Output, Port, RequestId};

use crate::disk::DiskTemper;
use crate::machine::Machine;
use crate::network::{Network, Weather};
use crate::plan::{Plan, Profile, Tuning, node};

const NODES: u16 = 3;
/// Commands under way at once, over all nodes.
const IN_FLIGHT: usize = 192;
/// How many keys are written, again and again.
const KEYS: u64 = 10_000;
/// How long a value is, in bytes: ten million of them make five gibibytes.
const VALUE_BYTES: usize = 512;
const WALL_MS: u64 = 1_700_000_000_000;

/// Something that happens later.
#[derive(Debug)]
enum Event {
    Frame { to: NodeId, bytes: Vec<u8> },
    Disk { id: NodeId, operation: u64 },
    Wake { id: NodeId, at: Instant },
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// What keys, values and sessions occupy, in bytes.
    pub machine_bytes: usize,
    /// Entries that are kept in memory, in bytes.
    pub cached_bytes: usize,
    /// Entries on the disk.
    pub log_entries: u64,
    /// Snapshots taken.
    pub snapshots: u64,
}

/// The soak.
#[derive(Debug)]
pub struct Soak {
    now: Instant,
    prng: Prng,
    machines: Vec<Machine>,
    network: Network,
    queue: BTreeMap<(Instant, u64), Event>,
    events: u64,
    waiting: BTreeSet<(NodeId, RequestId)>,
    executed: u64,
    refused: u64,
}

impl Soak {
    /// Three nodes that are switched on.
    pub fn new(seed: u64) -> Soak {
        let mut prng = Prng::new(seed);
        let plan = Plan {
            nodes: NODES,
            temper: DiskTemper::calm(),
            tuning: Tuning {
                append_entries_max: 512,
                append_in_flight_max: 16,
                entry_cache_max_bytes: 1 << 20,
                snapshot_entries: 100_000,
                lease_reads: false,
                suspects_silence: true,
                clock_error_min_ppm: 0,
                clock_error_max_ppm: 0,
            },
            ..Plan::with_profile(seed, Some(Profile::Calm))
        };
        let machine = |number| Machine::new(node(number), &plan, None, prng.next_u64());
        let mut soak = Soak {
            now: Instant::ORIGIN,
            machines: (1..=NODES).map(machine).collect(),
            network: Network::new(Weather::calm(), seed),
            queue: BTreeMap::new(),
            events: 0,
            waiting: BTreeSet::new(),
            executed: 0,
            refused: 0,
            prng: Prng::new(!seed),
        };
        for position in 0..soak.machines.len() {
            let seed = soak.prng.next_u64();
            soak.machines[position].start(seed, WALL_MS, soak.now);
            soak.drain(position);
        }
        soak
    }

    /// How many commands were executed.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// How many were answered with an error: there was no leader yet, for example.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How much time has passed for the nodes.
    pub fn simulated(&self) -> Duration {
        self.now.since(Instant::ORIGIN)
    }

    /// What the node that holds most holds.
    pub fn held(&self) -> Held {
        let held = |node: &Node| Held {
            machine_bytes: node.kv().map_or(0, |kv| kv.machine().memory_bytes()),
            cached_bytes: node.raft().map_or(0, |raft| raft.status(self.now).cached_bytes),
            log_entries: node.store().status().slots_used,
            snapshots: node.snapshots().taken,
        };
        let all = self.machines.iter().filter_map(|machine| machine.node.as_ref()).map(held);
        all.fold(Held::default(), |most, held| Held {
            machine_bytes: most.machine_bytes.max(held.machine_bytes),
            cached_bytes: most.cached_bytes.max(held.cached_bytes),
            log_entries: most.log_entries.max(held.log_entries),
            snapshots: most.snapshots.max(held.snapshots),
        })
    }

    /// Goes on until so many commands are executed.
    ///
    /// # Panics
    /// If nothing happens any more, or an invariant of a node does not hold.
    pub fn run_until(&mut self, executed: u64) {
        while self.executed < executed {
            self.ask();
            self.step();
        }
        self.machines.iter().filter_map(|machine| machine.node.as_ref()).for_each(|node| {
            node.check_invariants();
        });
    }

    /// Keeps so many commands under way. A node that knows no leader would refuse them.
    fn ask(&mut self) {
        for _ in self.waiting.len()..IN_FLIGHT {
            let position = self.prng.below(self.machines.len() as u64) as usize;
            let now = self.now;
            let key = format!("key:{}", self.prng.below(KEYS));
            let value = vec![b'a' + (self.executed % 26) as u8; VALUE_BYTES];
            let words = vec![Bytes::from_static(b"SET"), key.into(), value.into()];
            let machine = &mut self.machines[position];
            let Some(node) = &mut machine.node else { continue };
            if node.raft().is_none_or(|raft| raft.leader().is_none()) {
                continue;
            }
            let request = node.execute(words, now);
            self.waiting.insert((machine.id, request));
            self.drain(position);
        }
    }

    fn step(&mut self) {
        let ((at, _), event) = self.queue.pop_first().expect("something is always due");
        self.now = self.now.max(at);
        let now = self.now;
        let (Event::Frame { to: id, .. } | Event::Disk { id, .. } | Event::Wake { id, .. }) =
            &event;
        let position = usize::from(id.get() - 1);
        let machine = &mut self.machines[position];
        let Some(node) = &mut machine.node else { return };
        match event {
            Event::Frame { bytes, .. } => {
                let Some(mut frame) = machine.packets.allocate_frame() else { return };
                frame.append_copy(&bytes);
                node.handle_frame(Port::Cluster, frame, now);
            }
            Event::Disk { operation, .. } => {
                if let Some(completion) = machine.disk.complete(operation) {
                    node.handle_completion(completion, now);
                }
            }
            // An earlier one has taken its place.
            Event::Wake { at, .. } if machine.wake != Some(at) => return,
            Event::Wake { .. } => {
                machine.wake = None;
                node.handle_timeout(now);
            }
        }
        self.drain(position);
    }

    fn drain(&mut self, position: usize) {
        let now = self.now;
        let id = self.machines[position].id;
        while let Some(output) =
            self.machines[position].node.as_mut().and_then(|node| node.poll_output(now))
        {
            match output {
                Output::Transmit(_, frame) => self.transmit(id, &frame),
                Output::Disk(request) => {
                    let (operation, delay) = self.machines[position].disk.submit(request);
                    self.push(now + delay, Event::Disk { id, operation });
                }
                Output::Console(_) => {}
                Output::Answer(request, reply) => {
                    self.waiting.remove(&(id, request));
                    match reply {
                        kv::Reply::Ok => self.executed += 1,
                        _ => self.refused += 1,
                    }
                }
                Output::Stop(stop) => panic!("node {id} stops: {stop:?}"),
            }
        }
        let machine = &mut self.machines[position];
        let wanted = machine.node.as_ref().and_then(|node| node.poll_timeout(now));
        if let Some(at) = wanted.map(|at| at.max(now))
            && machine.wake.is_none_or(|known| at < known)
        {
            machine.wake = Some(at);
            self.push(at, Event::Wake { id, at });
        }
    }

    fn transmit(&mut self, from: NodeId, bytes: &[u8]) {
        let mac = bytes.first_chunk::<6>().copied().unwrap_or_default();
        let Some(to) = node_of_mac(mac) else { return };
        let (queue, events) = (&mut self.queue, &mut self.events);
        self.network.send((from, to), bytes, self.now, |at, bytes| {
            *events += 1;
            queue.insert((at, *events), Event::Frame { to, bytes });
        });
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_soak_takes_snapshots_and_stays_within_its_limits() {
        let mut soak = Soak::new(1);
        soak.run_until(10_000);
        let first = soak.held();
        soak.run_until(60_000);
        let second = soak.held();
        assert!(second.snapshots > 0, "{second:?}");
        assert!(second.cached_bytes <= 2 << 20, "{second:?}");
        // All keys were written by then.
        assert!(second.machine_bytes < first.machine_bytes * 2, "{first:?} {second:?}");
        assert!(soak.refused() < 1_000, "{}", soak.refused());
    }
}
