//! Clients: each asks one thing after the other, of any node, and remembers what it was answered.

use std::collections::BTreeMap;

use base::{Instant, NodeId, Prng};
use bytes::Bytes;
use kv::Reply;
use node::RequestId;

use crate::linearizability::{self, Call, Operation, Outcome};

/// How many keys the clients share: few, so that they meet.
const KEYS: u64 = 4;

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    node: NodeId,
    request: RequestId,
    key: u64,
    call: usize,
}

/// All clients, and everything that they ever asked.
#[derive(Debug)]
pub struct Clients {
    prng: Prng,
    pending: Vec<Option<Pending>>,
    histories: BTreeMap<u64, Vec<Call>>,
    next_value: i64,
    counts: ClientCounts,
}

/// What the clients were answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientCounts {
    /// Calls that were answered.
    pub answered: u64,
    /// Calls that were certainly not executed.
    pub refused: u64,
    /// Calls of which nobody knows.
    pub unknown: u64,
}

impl Clients {
    /// So many clients.
    pub fn new(clients: usize, seed: u64) -> Clients {
        Clients {
            prng: Prng::new(seed),
            pending: vec![None; clients],
            histories: BTreeMap::new(),
            next_value: 0,
            counts: ClientCounts::default(),
        }
    }

    /// The clients that wait for nothing.
    pub fn idle(&self) -> Vec<usize> {
        (0..self.pending.len()).filter(|client| self.pending[*client].is_none()).collect()
    }

    /// What a client asks next: the words of a command, the operation, and its key.
    pub fn next_command(&mut self) -> (Vec<Bytes>, Operation, u64) {
        let key = self.prng.below(KEYS);
        self.next_value += 1;
        let value = self.next_value * 1_000;
        let name = format!("key{key}");
        let word = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let words = |words: &[&str]| words.iter().map(|text| word(text)).collect::<Vec<_>>();
        let number = value.to_string();
        let (words, operation) = match self.prng.below(10) {
            0..4 => (words(&["GET", &name]), Operation::Get),
            4..6 => (words(&["SET", &name, &number]), Operation::Set(value)),
            6 => (words(&["SET", &name, &number, "NX"]), Operation::SetIfAbsent(value)),
            7..9 => (words(&["INCR", &name]), Operation::Increment),
            _ => (words(&["DEL", &name]), Operation::Delete),
        };
        (words, operation, key)
    }

    /// A client has asked a node.
    pub fn note_call(
        &mut self,
        client: usize,
        node: NodeId,
        request: RequestId,
        operation: Operation,
        key: u64,
        now: Instant,
    ) {
        let history = self.histories.entry(key).or_default();
        history.push(Call { operation, called: now, answered: None });
        self.pending[client] = Some(Pending { node, request, key, call: history.len() - 1 });
    }

    /// A node has answered a request; answers whose it was, if a client's.
    pub fn note_answer(
        &mut self,
        node: NodeId,
        request: RequestId,
        reply: &Reply,
        now: Instant,
    ) -> Option<usize> {
        let is_it = |pending: &Option<Pending>| {
            pending.is_some_and(|pending| pending.node == node && pending.request == request)
        };
        let client = self.pending.iter().position(is_it)?;
        let Pending { key, call, .. } = self.pending[client].take()?;
        let history = self.histories.entry(key).or_default();
        match outcome_of(history[call].operation, reply) {
            Some(outcome) => {
                history[call].answered = Some((now, outcome));
                self.counts.answered += 1;
            }
            None => self.counts.unknown += 1,
        }
        Some(client)
    }

    /// A node is gone: nobody will hear of what it was asked. Answers who had asked.
    pub fn note_crash(&mut self, node: NodeId) -> Vec<usize> {
        let mut lost = Vec::new();
        for (client, pending) in self.pending.iter_mut().enumerate() {
            if pending.take_if(|pending| pending.node == node).is_some() {
                self.counts.unknown += 1;
                lost.push(client);
            }
        }
        lost
    }

    /// Whether everything that the clients saw can have happened.
    ///
    /// # Panics
    /// If it cannot.
    pub fn check(&self) {
        for (key, history) in &self.histories {
            if let Err(found) = linearizability::check(history) {
                let explained = found.explained.len();
                let next = history.iter().enumerate().filter(|(i, _)| !found.explained.contains(i));
                let next: Vec<_> = next.take(8).collect();
                panic!(
                    "linearizability: key{key}: {explained} of {} calls explained; not: {next:#?}",
                    history.len()
                );
            }
        }
    }

    /// What was counted.
    pub fn counts(&self) -> ClientCounts {
        self.counts
    }
}

/// What a reply says about the register, or nothing if it is an error.
fn outcome_of(operation: Operation, reply: &Reply) -> Option<Outcome> {
    let number = |bytes: &Bytes| std::str::from_utf8(bytes).ok()?.parse().ok();
    match (operation, reply) {
        (Operation::Get, Reply::Nil) => Some(Outcome::Value(None)),
        (Operation::Get, Reply::Bulk(bytes)) => {
            number(bytes).map(|value| Outcome::Value(Some(value)))
        }
        (Operation::Set(_), Reply::Ok) => Some(Outcome::Done),
        (Operation::SetIfAbsent(_), Reply::Ok) => Some(Outcome::Stored(true)),
        (Operation::SetIfAbsent(_), Reply::Nil) => Some(Outcome::Stored(false)),
        (Operation::Increment, Reply::Integer(number)) => Some(Outcome::Number(*number)),
        (Operation::Delete, Reply::Integer(count)) => Some(Outcome::Deleted(*count == 1)),
        (_, Reply::Error(text)) if text.starts_with(b"CLUSTERDOWN") => None,
        (operation, reply) => panic!("{operation:?} was answered {reply:?}"),
    }
}
