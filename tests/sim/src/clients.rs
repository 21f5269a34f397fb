//! Clients: each asks one thing after the other, of any node, and remembers what it was answered.

use std::collections::BTreeMap;

use base::{Instant, NodeId, Prng};
use bytes::Bytes;
use kv::Reply;
use node::RequestId;

use crate::counts::{Counts, Kind};
use crate::linearizability::{self, Call, Operation, Outcome};

/// How many keys the clients share: few, so that they meet.
const KEYS: u64 = 4;

/// Something that a client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    /// Of which key.
    pub key: u64,
    /// What.
    pub operation: Operation,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    node: NodeId,
    request: RequestId,
    question: Question,
    call: usize,
}

/// One client.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    pending: Option<Pending>,
    /// What it asked last and was not told the outcome of: it asks again.
    unanswered: Option<Question>,
}

/// All clients, and everything that they ever asked.
#[derive(Debug)]
pub struct Clients {
    prng: Prng,
    clients: Vec<Client>,
    histories: BTreeMap<u64, Vec<Call>>,
    next_value: i64,
    counts: Counts,
}

impl Question {
    /// The words of the command.
    pub fn words(self) -> Vec<Bytes> {
        let name = format!("key{}", self.key);
        let words = match self.operation {
            Operation::Get => vec!["GET".into(), name],
            Operation::Set(value) => vec!["SET".into(), name, value.to_string()],
            Operation::SetIfAbsent(value) => {
                vec!["SET".into(), name, value.to_string(), "NX".into()]
            }
            Operation::Increment => vec!["INCR".into(), name],
            Operation::Delete => vec!["DEL".into(), name],
        };
        words.into_iter().map(|word: String| word.into_bytes().into()).collect()
    }
}

impl Clients {
    /// So many clients.
    pub fn new(clients: usize, seed: u64) -> Clients {
        Clients {
            prng: Prng::new(seed),
            clients: vec![Client::default(); clients],
            histories: BTreeMap::new(),
            next_value: 0,
            counts: Counts::default(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether a client waits for nothing.
    pub fn is_idle(&self, client: usize) -> bool {
        self.clients[client].pending.is_none()
    }

    /// Whether no client waits for anything.
    pub fn are_all_idle(&self) -> bool {
        (0..self.clients.len()).all(|client| self.is_idle(client))
    }

    /// What a client asks next: often the same again, if it was not told the outcome.
    pub fn next_question(&mut self, client: usize) -> Question {
        if let Some(question) = self.clients[client].unanswered.take()
            && self.prng.chance(1, 2)
        {
            self.counts.note(Kind::Retries);
            return question;
        }
        self.next_value += 1;
        let value = self.next_value * 1_000;
        let key = self.prng.below(KEYS);
        let operation = match self.prng.below(10) {
            0..4 => Operation::Get,
            4..6 => Operation::Set(value),
            6 => Operation::SetIfAbsent(value),
            7..9 => Operation::Increment,
            _ => Operation::Delete,
        };
        Question { key, operation }
    }

    /// A client has asked a node.
    pub fn note_call(
        &mut self,
        client: usize,
        node: NodeId,
        request: RequestId,
        question: Question,
        now: Instant,
    ) {
        let history = self.histories.entry(question.key).or_default();
        history.push(Call { operation: question.operation, called: now, answered: None });
        let pending = Pending { node, request, question, call: history.len() - 1 };
        self.clients[client].pending = Some(pending);
    }

    /// A node has answered a request; answers whose it was, if a client's.
    pub fn note_answer(
        &mut self,
        node: NodeId,
        request: RequestId,
        reply: &Reply,
        now: Instant,
    ) -> Option<usize> {
        let is_it = |client: &Client| {
            client.pending.is_some_and(|pending| (pending.node, pending.request) == (node, request))
        };
        let client = self.clients.iter().position(is_it)?;
        let Pending { question, call, .. } = self.clients[client].pending.take()?;
        match outcome_of(question.operation, reply) {
            Some(outcome) => {
                let history = self.histories.entry(question.key).or_default();
                history[call].answered = Some((now, outcome));
                let is_read = question.operation == Operation::Get;
                self.counts.note(if is_read { Kind::Reads } else { Kind::Writes });
            }
            None => self.note_unknown(client, question),
        }
        Some(client)
    }

    fn note_unknown(&mut self, client: usize, question: Question) {
        self.counts.note(Kind::Unknown);
        self.clients[client].unanswered = Some(question);
    }

    /// A node is gone: nobody will hear of what it was asked. Answers who had asked.
    pub fn note_crash(&mut self, node: NodeId) -> Vec<usize> {
        let mut lost = Vec::new();
        for client in 0..self.clients.len() {
            let asked = &mut self.clients[client].pending;
            if let Some(pending) = asked.take_if(|pending| pending.node == node) {
                self.note_unknown(client, pending.question);
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
    pub fn counts(&self) -> Counts {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::node;

    fn ask(clients: &mut Clients, client: usize, operation: Operation, at: u64) -> RequestId {
        let request = RequestId(at);
        let question = Question { key: 0, operation };
        clients.note_call(client, node(1), request, question, Instant::from_millis(at));
        request
    }

    #[test]
    fn a_stale_read_is_told() {
        let mut clients = Clients::new(1, 1);
        let write = ask(&mut clients, 0, Operation::Set(5), 1);
        clients.note_answer(node(1), write, &Reply::Ok, Instant::from_millis(2));
        let read = ask(&mut clients, 0, Operation::Get, 3);
        clients.note_answer(node(1), read, &Reply::Nil, Instant::from_millis(4));
        let found = std::panic::catch_unwind(|| clients.check());
        let text = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(text.starts_with("linearizability: key0: 1 of 2 calls explained"), "{text}");
    }

    #[test]
    fn what_a_crash_leaves_unanswered_is_asked_again() {
        let mut clients = Clients::new(2, 1);
        ask(&mut clients, 0, Operation::Increment, 1);
        assert_eq!(clients.note_crash(node(2)), Vec::<usize>::new());
        assert_eq!(clients.note_crash(node(1)), [0]);
        assert!(clients.are_all_idle());
        clients.check();
        let again = (0..8).filter(|_| {
            clients.clients[0].unanswered = Some(Question { key: 0, operation: Operation::Get });
            clients.next_question(0);
            clients.counts.get(Kind::Retries) > 0
        });
        assert!(again.count() > 0);
    }
}
