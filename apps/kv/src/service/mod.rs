//! The coordinator: gets each command of this node's clients executed, and answers it.
//!
//! **Writes.** A write gets a sequence and goes to the leader: to our own consensus if we lead,
//! else in a message. It is sent again, under the same sequence, when the leader changes or does
//! not answer. The client is answered when this node's own machine has executed it.
//! `machine::session` argues why that happens once.
//!
//! **Reads.** A read is answered from this node's machine, after consensus has told how far that
//! must be; see `reads`.
//!
//! **Without a quorum** a client is told so within [`limits::KV_ANSWER_WITHIN_MS`]; for a write
//! also, whether it was surely not executed (no try ever came to a leader, or each came back) or
//! may have been.
//!
//! Replies leave in the order of the commands, whatever the order in which they become known.

mod client;
mod clock;
mod commands;
mod flow;
mod info;
mod local;
mod message;
mod reads;
mod relay;
mod replicate;
mod snapshots;
mod status;
mod writes;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use base::{Duration, Instant, LogIndex, NodeId, Term, limits};
use bytes::Bytes;

use crate::KvMachine;
use crate::command::Ledger;
use crate::machine::RequestId;
use crate::resp::Reply;
use client::{Client, Origin, Phase};
use clock::Clock;
pub use info::{InfoFacts, Role};
pub use message::Refusal;
use reads::Reads;
use relay::Relay;
pub use status::{Counters, Status};
use writes::Writes;

/// A client's number. The caller gives each number once, for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientId(pub u64);

/// What makes this node's service itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// How often this node has started, this time included: larger at every start, for ever.
    pub epoch: u64,
}

/// What the caller is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Append this to the log. If that fails, say so by [`KvService::handle_propose_failed`].
    Propose {
        /// The payload of the entry.
        payload: Bytes,
        /// What it is.
        proposal: Proposal,
    },
    /// Bring this to the service of another node, which takes it by [`KvService::handle_forward`].
    /// At most once: a message that is lost does no harm, one that arrives twice makes "not
    /// executed" less certain.
    Forward {
        /// To whom.
        to: NodeId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Find out how far the log was committed at this moment, and tell by
    /// [`KvService::handle_read_ready`] or [`KvService::handle_read_failed`].
    ReadIndex {
        /// Names this question.
        context: u64,
    },
    /// Have the node's ledger answer this, and bring the answer by
    /// [`KvService::handle_ledger_reply`].
    Ledger {
        /// Names the question.
        question: Question,
        /// What is asked.
        command: Ledger,
    },
    /// The next reply for a client.
    Reply {
        /// Whose.
        client: ClientId,
        /// The reply.
        reply: Reply,
    },
    /// No reply follows: close the connection when everything is sent.
    Close {
        /// Whose.
        client: ClientId,
    },
    /// Close the connection at once: the client is forgotten already, since it held too much
    /// memory.
    Abort {
        /// Whose.
        client: ClientId,
    },
}

/// A command that was passed on, by its client and its number there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Question {
    client: ClientId,
    number: u64,
}

impl Question {
    /// The command with this number of a client's.
    pub fn new(client: ClientId, number: u64) -> Question {
        Question { client, number }
    }
}

/// What an entry is that is to be proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proposal {
    /// Some node's write.
    Request(RequestId),
    /// The clock going on.
    Tick,
}

/// Why a command was not taken. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmitError {
    /// There is no such client (any more).
    UnknownClient,
    /// The client has to wait: see [`KvService::wants_input`].
    NotNow,
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubmitError::UnknownClient => f.write_str("there is no such client"),
            SubmitError::NotNow => f.write_str("the client has too many unanswered commands"),
        }
    }
}

impl core::error::Error for SubmitError {}

const RETRY_AFTER: Duration = Duration::from_millis(limits::KV_RETRY_AFTER_MS);
const REFUSED_RETRY_AFTER: Duration = Duration::from_millis(limits::KV_REFUSED_RETRY_AFTER_MS);

/// The key-value service of one node.
#[derive(Debug)]
pub struct KvService {
    config: Config,
    machine: KvMachine,
    clock: Clock,
    /// The latest instant that came in.
    now: Instant,
    started_at: Instant,
    leader: Option<NodeId>,
    term: Term,
    clients: BTreeMap<ClientId, Client>,
    /// Clients that may have something to be sent or started. Invariant: each once, its `is_listed`
    /// says so.
    listed: VecDeque<ClientId>,
    /// Clients whose next write waits for room. Invariant: each once, its `is_starved` says so; but
    /// a client may be gone, or not wait any more.
    starved: VecDeque<ClientId>,
    /// When commands that are not writes under way are answered at the latest.
    deadlines: BTreeSet<(Instant, ClientId, u64)>,
    writes: Writes,
    reads: Reads,
    relay: Relay,
    outputs: VecDeque<Output>,
    facts: InfoFacts,
    counters: Counters,
    /// Invariant: the sum of what is buffered for each client.
    buffered_bytes: usize,
}

impl KvService {
    /// A service before the first entry of the log. `wall_ms` is the time at `now`, in milliseconds
    /// since 1970.
    pub fn new(config: Config, wall_ms: u64, now: Instant) -> KvService {
        KvService {
            config,
            machine: KvMachine::new(),
            clock: Clock::new(wall_ms, now),
            now,
            started_at: now,
            leader: None,
            term: Term(0),
            clients: BTreeMap::new(),
            listed: VecDeque::new(),
            starved: VecDeque::new(),
            deadlines: BTreeSet::new(),
            writes: Writes::new(),
            reads: Reads::new(config.epoch),
            relay: Relay::default(),
            outputs: VecDeque::new(),
            facts: InfoFacts::default(),
            counters: Counters::default(),
            buffered_bytes: 0,
        }
    }

    /// The same service with a bug put in on purpose.
    #[cfg(feature = "mutants")]
    pub fn with(mut self, mutant: Option<crate::Mutant>) -> KvService {
        self.machine.put_in(mutant);
        self
    }

    /// A connection is made from `address`.
    ///
    /// # Panics
    /// If the number is in use.
    pub fn open(&mut self, client: ClientId, address: SocketAddr, now: Instant) {
        self.admit(client, Origin::Connection(address), now);
    }

    /// A part of this node (its shell, for example) wants to be a client.
    ///
    /// # Panics
    /// If the number is in use.
    pub fn open_internal(&mut self, client: ClientId, now: Instant) {
        self.admit(client, Origin::Internal, now);
    }

    fn admit(&mut self, client: ClientId, origin: Origin, now: Instant) {
        self.counters.clients_opened += 1;
        let before = self.clients.insert(client, Client::new(origin, now));
        assert!(before.is_none(), "a client's number is given once");
    }

    /// A client is gone. Its writes under way go on; nobody will hear of them.
    pub fn close(&mut self, client: ClientId, now: Instant) {
        self.forget(client);
        self.settle_down(now);
    }

    fn forget(&mut self, client: ClientId) {
        let Some(gone) = self.clients.remove(&client) else {
            return;
        };
        self.buffered_bytes -= gone.buffered_bytes();
        for (slot, number) in gone.slots.iter().zip(gone.first_slot..) {
            self.deadlines.remove(&(slot.deadline, client, number));
            self.reads.cancel((client, number));
        }
    }

    /// A client sends no more: its connection is closed after the last reply.
    pub fn finish(&mut self, client: ClientId, now: Instant) {
        if let Some(finishing) = self.clients.get_mut(&client)
            && finishing.phase == Phase::Open
        {
            finishing.phase = Phase::Finishing;
            self.list(client);
        }
        self.settle_down(now);
    }

    /// Whether [`submit`](Self::submit) would take the client's next command now.
    pub fn wants_input(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(Client::wants_input)
    }

    /// A client's connection holds so many bytes of a command that is not complete.
    pub fn handle_input_buffered(&mut self, client: ClientId, bytes: usize) {
        if let Some(known) = self.clients.get_mut(&client) {
            self.buffered_bytes = self.buffered_bytes - known.input_bytes + bytes;
            known.input_bytes = bytes;
        }
        self.evict();
    }

    /// A client's connection has sent so many bytes of its replies: there is room for further ones.
    ///
    /// # Panics
    /// If the client was not given so many.
    pub fn handle_sent(&mut self, client: ClientId, bytes: usize, now: Instant) {
        if let Some(known) = self.clients.get_mut(&client) {
            assert!(bytes <= known.output_bytes, "nobody sends more than there is");
            known.output_bytes -= bytes;
            self.buffered_bytes -= bytes;
            self.list(client);
        }
        self.settle_down(now);
    }

    /// The node's facts for `INFO`; to be brought up to date now and then.
    pub fn handle_facts(&mut self, facts: InfoFacts) {
        self.facts = facts;
    }

    /// A deadline that [`poll_timeout`](Self::poll_timeout) named has come. Harmless at any other
    /// time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.reads.handle_timeout(now);
        self.settle_down(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let work_left = (!self.listed.is_empty()).then_some(self.now);
        let reads = self.leader.and_then(|_| self.reads.poll_timeout());
        let deadline = self.deadlines.first().map(|(at, _, _)| *at);
        let timers = [work_left, reads, deadline, self.writes.poll_timeout(), self.tick_at()];
        Instant::earliest(timers)
    }

    /// The next thing to do; to be drained after every call.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.outputs.is_empty() && self.leader.is_some() {
            // Begun as late as this, a round takes in all reads of one burst of input.
            let context = self.reads.begin(self.now)?;
            self.counters.read_rounds += 1;
            return Some(Output::ReadIndex { context });
        }
        self.outputs.pop_front()
    }

    /// Whether writes of this node's clients are under way.
    pub fn has_writes(&self) -> bool {
        self.writes.len() > 0
    }

    /// The data.
    pub fn machine(&self) -> &KvMachine {
        &self.machine
    }

    /// The position of the last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.machine.applied()
    }

    fn is_leader(&self) -> bool {
        self.leader == Some(self.config.id)
    }

    fn tick_at(&self) -> Option<Instant> {
        let deadline_ms = self.machine.next_deadline_ms().filter(|_| self.is_leader())?;
        let pause = Duration::from_millis(limits::KV_TICK_EVERY_MS);
        // A deadline that the log has passed is one of many: further entries remove the rest.
        let has_passed = deadline_ms <= self.machine.clock_ms();
        let patience = if has_passed { pause } else { RETRY_AFTER };
        Some(self.clock.tick_at(deadline_ms, pause, patience))
    }

    /// Does everything that can be done now, within a bound. The end of every call.
    fn settle_down(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.expire_commands();
        self.answer_reads();
        // Once for the writes that are due, and once for those that start now.
        self.send_writes();
        self.serve_clients();
        self.send_writes();
        self.propose_tick();
        self.evict();
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        self.machine.check_invariants();
        self.writes.check_invariants();
        self.reads.check_invariants();
        self.clients.values().for_each(Client::check_invariants);
        let buffered: usize = self.clients.values().map(Client::buffered_bytes).sum();
        assert_eq!(self.buffered_bytes, buffered, "what is buffered is the sum over all clients");
        let listed = self.clients.values().filter(|client| client.is_listed).count();
        assert!(listed <= self.listed.len(), "who says that it is listed is");
    }
}
