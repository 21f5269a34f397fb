//! The replicated state machine: the same entries in the same order give the same state on every
//! node.
//!
//! **Time.** Every entry carries the leader's clock. The machine's clock is the greatest it has
//! seen; a key is visible while its deadline is later than that. So expiry is decided by the log:
//! no node ever looks at a clock of its own to tell whether a key is there.
//!
//! **Exactly once.** Every write names its origin, the origin's epoch (how often that node has
//! started) and its sequence number there. [`Session`](session::Session) executes each once, in the
//! order that its origin asks for, whatever the log repeats or reorders.
//!
//! **Snapshots.** The whole state can be written down ([`KvMachine::begin_snapshot`]) while entries
//! go on being applied, and read back ([`Restore`]).

mod entry;
mod frozen;
mod keyspace;
mod read;
mod restore;
mod session;
mod snapshot;
mod write;

use alloc::collections::BTreeMap;

use base::{LogIndex, NodeId, limits};
use bytes::Bytes;

use crate::Mutant;
use crate::hash::siphash;
use crate::resp::Reply;
pub use entry::{Entry, Request, RequestId};
use keyspace::Keyspace;
pub use restore::{Restore, RestoreError};
use session::{Session, Verdict};
use snapshot::Snapshot;
pub use snapshot::SnapshotPart;
pub(crate) use write::OUT_OF_MEMORY;

/// What became of one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Whose request it was; `None` for an entry of the clock, or one that could not be read.
    pub request: Option<RequestId>,
    /// What the machine did.
    pub outcome: Outcome,
}

/// What the machine did with an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It executed the write, with this reply.
    Executed(Reply),
    /// The write was executed before, with this reply.
    Repeated(Reply),
    /// The write was executed before, and its reply is not remembered; or its origin gave it up.
    Forgotten,
    /// A write that comes before this one is not executed yet; so neither was this one.
    OutOfOrder,
    /// It advanced the clock.
    Ticked,
    /// The entry is not in any format known here. Every node skips it.
    Malformed,
}

/// How often the machine did what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Writes executed.
    pub executed: u64,
    /// Writes that came again.
    pub repeated: u64,
    /// Writes that came too early.
    pub out_of_order: u64,
    /// Entries that could not be read.
    pub malformed: u64,
    /// Keys removed because their time was over.
    pub expired: u64,
    /// Writes refused for want of memory.
    pub out_of_memory: u64,
}

/// The data of the service and the sessions of its writers.
#[derive(Clone, Debug, Default)]
pub struct KvMachine {
    /// The greatest time of an entry so far, in milliseconds since 1970.
    clock_ms: u64,
    /// The position of the last entry applied.
    applied: LogIndex,
    keyspace: Keyspace,
    sessions: BTreeMap<NodeId, Session>,
    counters: Counters,
    /// A snapshot that is being taken.
    snapshot: Option<Snapshot>,
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

impl KvMachine {
    /// An empty machine, before the first entry.
    pub fn new() -> KvMachine {
        KvMachine::default()
    }

    /// Puts a bug in, on purpose.
    #[cfg(feature = "mutants")]
    pub(crate) fn put_in(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn has_bug(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    pub(crate) const fn has_bug(&self, _mutant: Mutant) -> bool {
        false
    }

    /// Applies the entry at `index`. No input makes it panic, and every node does the same with it.
    ///
    /// # Panics
    /// If `index` does not come after the last one: entries are applied once, in order.
    pub fn apply(&mut self, index: LogIndex, payload: &Bytes) -> Applied {
        self.skip(index);
        let Ok(entry) = Entry::decode(payload) else {
            self.counters.malformed += 1;
            return Applied { request: None, outcome: Outcome::Malformed };
        };
        self.clock_ms = self.clock_ms.max(entry.time_ms());
        let expired = self.keyspace.expire(self.clock_ms, limits::KV_EXPIRED_PER_ENTRY_MAX);
        self.counters.expired += expired;
        match entry {
            Entry::Tick { time_ms: _ } => Applied { request: None, outcome: Outcome::Ticked },
            Entry::Request { time_ms: _, request } => {
                Applied { request: Some(request.id), outcome: self.apply_request(&request) }
            }
        }
    }

    /// Notes that the entry at `index` is none of ours: a leader's no-op, for example.
    ///
    /// # Panics
    /// If `index` does not come after the last one.
    pub fn skip(&mut self, index: LogIndex) {
        assert!(index > self.applied, "entry {index} is applied after {}", self.applied);
        self.applied = index;
    }

    fn apply_request(&mut self, request: &Request) -> Outcome {
        let executes_repeats = self.has_bug(Mutant::ExecutesRepeats);
        let session = self.sessions.entry(request.id.origin).or_default();
        match session.judge(request) {
            Verdict::Execute => {}
            Verdict::Repeat(_) | Verdict::Forgotten if executes_repeats => {
                return Outcome::Executed(self.execute(&request.write));
            }
            Verdict::Repeat(reply) => {
                self.counters.repeated += 1;
                return Outcome::Repeated(reply);
            }
            Verdict::Forgotten => {
                self.counters.repeated += 1;
                return Outcome::Forgotten;
            }
            Verdict::OutOfOrder => {
                self.counters.out_of_order += 1;
                return Outcome::OutOfOrder;
            }
        }
        let reply = self.execute(&request.write);
        self.counters.executed += 1;
        if reply == OUT_OF_MEMORY {
            self.counters.out_of_memory += 1;
        }
        let session = self.sessions.entry(request.id.origin).or_default();
        session.record(request.id.sequence, &reply);
        Outcome::Executed(reply)
    }

    /// Whether the origin need not send this request again: it is executed, or given up.
    pub fn is_settled(&self, request: RequestId) -> bool {
        self.sessions.get(&request.origin).is_some_and(|session| session.is_settled(request))
    }

    /// What became of a request that was executed; `None` if it was not, or is settled otherwise.
    pub fn outcome_of(&self, request: RequestId) -> Option<Outcome> {
        let executed = self.sessions.get(&request.origin)?.executed(request)?;
        Some(executed.map_or(Outcome::Forgotten, |reply| Outcome::Repeated(reply.clone())))
    }

    /// The position of the last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The machine's clock, in milliseconds since 1970.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// When the first key expires, or should have been removed; in milliseconds since 1970.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.keyspace.next_deadline_ms()
    }

    /// How many keys there are. Expired keys count until an entry removes them.
    pub fn len(&self) -> usize {
        self.keyspace.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys have a deadline.
    pub fn deadlines(&self) -> usize {
        self.keyspace.deadlines()
    }

    /// What keys, values, sessions and their bookkeeping occupy.
    pub fn memory_bytes(&self) -> usize {
        let sessions: usize = self.sessions.values().map(Session::memory_bytes).sum();
        self.keyspace.memory_bytes() + sessions
    }

    /// How often the machine did what.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The same machine, which has counted this.
    pub(crate) fn with_counters(self, counters: Counters) -> KvMachine {
        KvMachine { counters, ..self }
    }

    /// A fingerprint of the whole state: equal on all nodes that have applied the same entries.
    pub fn digest(&self) -> u64 {
        let start = siphash(self.clock_ms, self.keyspace.digest(), b"machine");
        self.sessions.iter().fold(start, |digest, (origin, session)| {
            siphash(digest, session.digest(), &origin.get().to_le_bytes())
        })
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.keyspace.check_invariants();
        self.sessions.values().for_each(Session::check_invariants);
        assert!(
            self.keyspace.memory_bytes() <= limits::KV_MEMORY_MAX_BYTES,
            "keys and values stay within their memory"
        );
    }
}

#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;
