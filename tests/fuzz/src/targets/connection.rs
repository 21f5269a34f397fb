//! A client of a node that leads alone: the bytes that it sends, in portions, and time.

use std::net::SocketAddr;

use base::{Duration, Instant, LogIndex, NodeId, Term};
use bytes::Bytes;
use kv::{Connection, Reply};
use kv::resp::{Parsed, Parser};
use kv::service::{ClientId, Config, KvService, Output};

use crate::input::Input;

const CLIENT: ClientId = ClientId(1);
/// How often a deadline may come before everything is answered.
const DEADLINES_MAX: usize = 10_000;

struct World {
    service: KvService,
    connection: Option<Connection>,
    now: Instant,
    index: LogIndex,
    /// Entries that were proposed and not applied.
    proposed: Vec<Bytes>,
    questions: Vec<u64>,
    sent: Vec<u8>,
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let portion = usize::from(input.u8()).max(1);
    let is_late = input.u8() & 1 != 0;
    let bytes = input.rest();
    let mut world = World::new();
    for portion in bytes.chunks(portion) {
        world.feed(portion, is_late);
    }
    world.finish();
    let is_complete = world.connection.is_some();
    let answers = count_answers(&world.sent, is_complete);
    assert!(answers <= count_commands(bytes), "no answer without a command");
}

impl World {
    fn new() -> World {
        let now = Instant::from_millis(1);
        let id = NodeId::new(1).expect("1 is a number of a node");
        let mut service = KvService::new(Config { id, epoch: 1 }, 1_700_000_000_000, now);
        service.handle_leader(Some(id), Term(1), now);
        let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let connection = Some(Connection::open(CLIENT, address, &mut service, now));
        World {
            service,
            connection,
            now,
            index: LogIndex(0),
            proposed: Vec::new(),
            questions: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Offers bytes until they are taken, or nobody wants any more.
    fn feed(&mut self, mut bytes: &[u8], is_late: bool) {
        for _ in 0..DEADLINES_MAX {
            let Some(connection) = &mut self.connection else { return };
            let taken = connection.receive(bytes, &mut self.service, self.now);
            bytes = &bytes[taken..];
            self.drain();
            if bytes.is_empty() && is_late {
                return;
            }
            self.settle();
            if bytes.is_empty() {
                return;
            }
            if taken == 0 && !self.is_open() {
                return;
            }
        }
        panic!("a client is never heard");
    }

    fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.wants_input(&self.service))
    }

    /// The client sends no more, and waits for its answers.
    fn finish(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.receive_end(&mut self.service, self.now);
        }
        for _ in 0..DEADLINES_MAX {
            self.drain();
            self.settle();
            if self.connection.as_ref().is_none_or(Connection::is_finished) {
                return;
            }
            self.now += Duration::from_millis(10);
            self.service.handle_timeout(self.now);
        }
        panic!("a client is never answered");
    }

    /// The log and the majority answer, and work that was left is done.
    fn settle(&mut self) {
        for _ in 0..DEADLINES_MAX {
            for payload in std::mem::take(&mut self.proposed) {
                self.index = self.index.next();
                self.service.handle_applied(self.index, &payload, self.now);
            }
            for context in std::mem::take(&mut self.questions) {
                self.service.handle_read_ready(context, self.index, self.now);
            }
            if self.service.poll_timeout().is_some_and(|at| at <= self.now) {
                self.service.handle_timeout(self.now);
            }
            self.drain();
            if self.proposed.is_empty() && self.questions.is_empty() {
                return;
            }
        }
        panic!("the service never rests");
    }

    fn drain(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                Output::Propose { payload, .. } => self.proposed.push(payload),
                Output::Forward { .. } => panic!("there is nobody else"),
                Output::ReadIndex { context } => self.questions.push(context),
                Output::Ledger { question, .. } => {
                    self.service.handle_ledger_reply(question, Reply::Nil, self.now);
                }
                Output::Reply { reply, .. } => {
                    if let Some(connection) = &mut self.connection {
                        connection.deliver(&reply);
                    }
                }
                Output::Close { .. } => {
                    if let Some(connection) = &mut self.connection {
                        connection.handle_close();
                    }
                }
                Output::Abort { .. } => self.connection = None,
            }
            self.send();
        }
        self.service.check_invariants();
    }

    fn send(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while !connection.transmit().is_empty() {
            self.sent.extend_from_slice(connection.transmit());
            let count = connection.transmit().len();
            connection.sent(count, &mut self.service, self.now);
        }
    }
}

fn count_commands(mut bytes: &[u8]) -> usize {
    let mut parser = Parser::new();
    let mut count = 0;
    while !bytes.is_empty() {
        let fed = parser.feed(bytes);
        bytes = &bytes[fed.consumed..];
        count += usize::from(fed.parsed.is_some());
        if matches!(fed.parsed, Some(Parsed::Failed(_))) {
            break;
        }
    }
    count
}

/// Reads replies as a client does.
///
/// # Panics
/// If they are not well-formed (RESP2).
fn count_answers(mut bytes: &[u8], is_complete: bool) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        match reply(bytes) {
            Some(rest) => bytes = rest,
            None => {
                assert!(!is_complete, "half an answer");
                break;
            }
        }
        count += 1;
    }
    count
}

/// What follows the first reply; `None` if it is not all there.
fn reply(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (&bytes[1..end], &bytes[end + 2..]);
    let number = || {
        let text = std::str::from_utf8(line).expect("numbers are ASCII");
        text.parse::<i64>().expect("a number")
    };
    match bytes[0] {
        b'+' | b'-' => {
            assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
            Some(rest)
        }
        b':' => {
            number();
            Some(rest)
        }
        b'$' if number() == -1 => Some(rest),
        b'$' => {
            let length = usize::try_from(number()).expect("a length");
            let content = rest.get(..length + 2)?;
            assert!(content.ends_with(b"\r\n"));
            Some(&rest[length + 2..])
        }
        b'*' if number() == -1 => Some(rest),
        b'*' => {
            let count = usize::try_from(number()).expect("a count");
            (0..count).try_fold(rest, |rest, _| reply(rest))
        }
        other => panic!("an answer begins with {other}"),
    }
}
