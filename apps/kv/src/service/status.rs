//! What the service tells about itself, as plain data.

use base::{LogIndex, NodeId, Term};

use super::KvService;
use crate::machine;

/// How often the service did what, since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Clients that came.
    pub clients_opened: u64,
    /// Clients cut off because all together held too much memory.
    pub evicted: u64,
    /// Commands taken.
    pub commands: u64,
    /// Requests that were no command.
    pub refused: u64,
    /// Reads executed.
    pub reads: u64,
    /// Rounds of confirmation begun for reads.
    pub read_rounds: u64,
    /// Commands answered with CLUSTERDOWN.
    pub timed_out: u64,
    /// Writes of other nodes proposed.
    pub relayed: u64,
    /// Writes of other nodes returned to them.
    pub sent_back: u64,
    /// Messages that were none.
    pub malformed_messages: u64,
    /// Entries of the clock proposed.
    pub ticks: u64,
}

/// The state of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// How often it has started.
    pub epoch: u64,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// In which term.
    pub term: Term,
    /// The position of the last entry applied.
    pub applied: LogIndex,
    /// The machine's clock, in milliseconds since 1970.
    pub clock_ms: u64,
    /// How many keys there are.
    pub keys: usize,
    /// How many of them have a deadline.
    pub deadlines: usize,
    /// What the data and its bookkeeping occupy.
    pub memory_bytes: usize,
    /// A fingerprint of the data: equal on all nodes at the same position.
    pub digest: u64,
    /// Clients that are there.
    pub clients: usize,
    /// What is buffered for them.
    pub client_bytes: usize,
    /// Writes under way.
    pub writes: usize,
    /// Bytes of writes under way.
    pub write_bytes: usize,
    /// Every write of this node with a lower sequence is settled.
    pub low_water: u64,
    /// Reads that wait.
    pub reads: usize,
    /// What the machine did.
    pub machine: machine::Counters,
    /// What the service did.
    pub counters: Counters,
}

impl KvService {
    /// The state of the service.
    pub fn status(&self) -> Status {
        Status {
            id: self.config.id,
            epoch: self.config.epoch,
            leader: self.leader,
            term: self.term,
            applied: self.machine.applied(),
            clock_ms: self.machine.clock_ms(),
            keys: self.machine.len(),
            deadlines: self.machine.deadlines(),
            memory_bytes: self.machine.memory_bytes(),
            digest: self.machine.digest(),
            clients: self.clients.len(),
            client_bytes: self.buffered_bytes,
            writes: self.writes.len(),
            write_bytes: self.writes.bytes(),
            low_water: self.writes.low_water(),
            reads: self.reads.len(),
            machine: self.machine.counters(),
            counters: self.counters,
        }
    }
}
