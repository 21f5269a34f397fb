//! One client: its commands in the order in which they came, and how far each is.
//!
//! Replies leave in order, and commands take effect in order. Writes of one client may be under way
//! together, because the machine keeps their order; reads too, because they are answered in order
//! from one state. A write waits for the client's reads, and a read for its writes; so one command
//! at most waits to start, and no further ones are taken meanwhile.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use base::{Instant, limits};
use bytes::Bytes;

use crate::command::Read;
use crate::resp::Reply;

/// What a command waits for, or its reply.
#[derive(Debug)]
pub enum State {
    /// To start: a write, encoded.
    WriteToStart(Bytes),
    /// To start: a read.
    ReadToStart(Read),
    /// To be executed; `writes` knows how far it is.
    Writing,
    /// To be confirmed.
    Reading(Read),
    /// To be executed from the local state, once it is first in line and there is room for its
    /// reply.
    Confirmed(Read),
    /// To be answered by another service; whether it may have had an effect, if it is not.
    Elsewhere { is_write: bool },
    /// To be sent.
    Answered(Reply),
}

/// A command that is first in line, and can be answered.
#[derive(Debug)]
pub enum Answerable {
    /// With this reply.
    Reply(Reply),
    /// From the local state.
    Read(Read),
}

/// One command.
#[derive(Debug)]
pub struct Slot {
    /// When the client is told that there is no answer.
    pub deadline: Instant,
    /// How far it is.
    pub state: State,
}

/// How a client is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// By a connection from this address, which reports what it could not send yet.
    Connection(SocketAddr),
    /// From within this node, which takes every reply at once.
    Internal,
}

/// Whether a client goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It may send commands.
    Open,
    /// Its last command has come; its connection is to be closed after the last reply.
    Finishing,
    /// Its last reply has been handed out.
    Finished,
}

/// A client and its commands.
#[derive(Debug)]
pub struct Client {
    /// How it is attached.
    pub origin: Origin,
    /// What it calls itself; empty at first.
    pub name: Bytes,
    /// When it came.
    pub opened_at: Instant,
    /// When its last command came.
    pub active_at: Instant,
    /// Whether it goes on.
    pub phase: Phase,
    /// Its unanswered commands, in order.
    pub slots: VecDeque<Slot>,
    /// The number of the first of them. A command keeps its number.
    pub first_slot: u64,
    /// Invariant: the sum of the weights of all states in `slots`.
    pub weight: Weight,
    /// Bytes that its connection has buffered for input.
    pub input_bytes: usize,
    /// Bytes of replies that were handed out, and that its connection has not sent yet.
    pub output_bytes: usize,
    /// Whether it stands in the list of clients to be served.
    pub is_listed: bool,
    /// Whether it stands in the list of clients whose next write waits for room.
    pub is_starved: bool,
}

impl Client {
    /// A client that comes at `now`.
    pub fn new(origin: Origin, now: Instant) -> Client {
        Client {
            origin,
            name: Bytes::new(),
            opened_at: now,
            active_at: now,
            phase: Phase::Open,
            slots: VecDeque::new(),
            first_slot: 0,
            weight: Weight::default(),
            input_bytes: 0,
            output_bytes: 0,
            is_listed: false,
            is_starved: false,
        }
    }

    /// Whether the next command may come.
    pub fn wants_input(&self) -> bool {
        self.phase == Phase::Open
            && !self.is_blocked()
            && self.slots.len() < limits::KV_PIPELINE_MAX
            && self.weight.held_bytes < limits::KV_OUTPUT_PAUSE_BYTES
            && self.wants_output()
    }

    /// Whether the next reply may go.
    pub fn wants_output(&self) -> bool {
        match self.origin {
            Origin::Connection(_) => self.output_bytes < limits::KV_OUTPUT_PAUSE_BYTES,
            Origin::Internal => true,
        }
    }

    /// Whether the last command waits to start.
    pub fn is_blocked(&self) -> bool {
        self.slots.back().is_some_and(|slot| slot.state.is_blocked())
    }

    /// What is buffered on behalf of the client.
    pub fn buffered_bytes(&self) -> usize {
        self.weight.held_bytes + self.input_bytes + self.output_bytes
    }

    /// The number that the next command gets.
    pub fn next_slot(&self) -> u64 {
        self.first_slot + self.slots.len() as u64
    }

    /// The command of this number, if it is not answered and gone.
    pub fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let at = usize::try_from(number.checked_sub(self.first_slot)?).ok()?;
        self.slots.get_mut(at)
    }

    /// Appends a command. Answers its number.
    pub fn push(&mut self, slot: Slot) -> u64 {
        let number = self.next_slot();
        self.weight = self.weight.plus(slot.state.weight());
        self.slots.push_back(slot);
        number
    }

    /// Moves a command into another state, if it is still there. Answers the state before.
    pub fn advance(&mut self, number: u64, state: State) -> Option<State> {
        let weight = state.weight();
        let before = core::mem::replace(&mut self.slot(number)?.state, state);
        self.weight = self.weight.plus(weight).minus(before.weight());
        Some(before)
    }

    /// Removes the first command, if it can be answered now.
    pub fn pop_if_answerable(&mut self) -> Option<Answerable> {
        let slot = self.slots.pop_front_if(|slot| match slot.state {
            State::Confirmed(_) | State::Answered(_) => true,
            State::WriteToStart(_)
            | State::ReadToStart(_)
            | State::Writing
            | State::Reading(_)
            | State::Elsewhere { .. } => false,
        })?;
        self.first_slot += 1;
        self.weight = self.weight.minus(slot.state.weight());
        match slot.state {
            State::Answered(reply) => Some(Answerable::Reply(reply)),
            State::Confirmed(read) => Some(Answerable::Read(read)),
            State::WriteToStart(_)
            | State::ReadToStart(_)
            | State::Writing
            | State::Reading(_)
            | State::Elsewhere { .. } => unreachable!("these are not answerable"),
        }
    }

    /// A reply of so many bytes goes to the connection.
    pub fn expect_output(&mut self, bytes: usize) {
        match self.origin {
            Origin::Connection(_) => self.output_bytes += bytes,
            Origin::Internal => {}
        }
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let states = self.slots.iter().map(|slot| slot.state.weight());
        let weight = states.fold(Weight::default(), Weight::plus);
        assert_eq!(self.weight, weight, "the weight is the sum of all weights");
        assert!(
            weight.writes == 0 || weight.reads == 0,
            "reads and writes are not under way together"
        );
        assert!(
            self.slots.len() <= limits::KV_PIPELINE_MAX,
            "a client has few unanswered commands"
        );
        let started = self.slots.len().saturating_sub(1);
        assert!(
            self.slots.iter().take(started).all(|slot| !slot.state.is_blocked()),
            "only the last command may wait to start"
        );
    }
}

/// What a command in some state counts for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Weight {
    /// Writes that started.
    pub writes: usize,
    /// Reads that started.
    pub reads: usize,
    /// Bytes of commands and replies.
    pub held_bytes: usize,
}

impl Weight {
    fn plus(self, other: Weight) -> Weight {
        Weight {
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            held_bytes: self.held_bytes + other.held_bytes,
        }
    }

    fn minus(self, other: Weight) -> Weight {
        Weight {
            writes: self.writes - other.writes,
            reads: self.reads - other.reads,
            held_bytes: self.held_bytes - other.held_bytes,
        }
    }
}

impl State {
    fn is_blocked(&self) -> bool {
        match self {
            State::WriteToStart(_) | State::ReadToStart(_) => true,
            State::Writing
            | State::Reading(_)
            | State::Confirmed(_)
            | State::Elsewhere { .. }
            | State::Answered(_) => false,
        }
    }

    fn weight(&self) -> Weight {
        let none = Weight::default();
        match self {
            State::WriteToStart(encoded) => Weight { held_bytes: encoded.len(), ..none },
            State::ReadToStart(_) | State::Elsewhere { .. } => none,
            State::Writing => Weight { writes: 1, ..none },
            State::Reading(_) | State::Confirmed(_) => Weight { reads: 1, ..none },
            State::Answered(reply) => Weight { held_bytes: reply.size_bytes(), ..none },
        }
    }
}
