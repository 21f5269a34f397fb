//! What a client of one node sees, byte for byte: `transcripts/*.txt`.
//!
//! A block of a transcript is what the client sends, a line `----`, and what it gets. Each line is
//! sent as an inline command; but `> bytes` is sent as it is (with `\r`, `\n`, `\xHH`), and `wait
//! MS` lets time pass. Of what comes, line ends are shown as line ends, an empty line as `<empty>`
//! (for an empty line separates two blocks), and `<closed>` when the connection is closed.
//!
//! Run with `UPDATE=1` to write down what happens, and read the difference.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base::{Duration, Instant, LogIndex, NodeId, Term};
use kv::service::{ClientId, Config, KvService, Output};
use kv::{Connection, Reply};

/// A node that is a cluster of its own, and one client's connection to it.
struct Session {
    service: KvService,
    connection: Connection,
    now: Instant,
    log_length: u64,
}

impl Session {
    fn new() -> Session {
        let now = Instant::ORIGIN;
        let id = NodeId::new(1).unwrap();
        let mut service = KvService::new(Config { id, epoch: 3 }, 1_700_000_000_000, now);
        service.handle_leader(Some(id), Term(4), now);
        let address = "10.0.2.2:40000".parse().unwrap();
        let connection = Connection::open(ClientId(7), address, &mut service, now);
        Session { service, connection, now, log_length: 0 }
    }

    /// Does all that the service asks for. Every proposal is committed at once.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.service.poll_output() {
                match output {
                    Output::Propose { payload, proposal: _ } => {
                        self.log_length += 1;
                        let index = LogIndex(self.log_length);
                        self.service.handle_applied(index, &payload, self.now);
                    }
                    Output::ReadIndex { context } => {
                        let index = LogIndex(self.log_length);
                        self.service.handle_read_ready(context, index, self.now);
                    }
                    Output::Reply { client: _, reply } => self.connection.deliver(&reply),
                    Output::Close { client: _ } => self.connection.handle_close(),
                    Output::Ledger { question, .. } => {
                        let reply = Reply::error("ERR there is no ledger here");
                        self.service.handle_ledger_reply(question, reply, self.now);
                    }
                    Output::Forward { .. } | Output::Abort { .. } => {
                        panic!("a cluster of one with one client has no use for this")
                    }
                }
                self.service.check_invariants();
            }
            if self.service.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            self.service.handle_timeout(self.now);
        }
    }

    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.connection.wants_input(&self.service) {
            let taken = self.connection.receive(bytes, &mut self.service, self.now);
            bytes = &bytes[taken..];
            self.drain();
        }
    }

    fn wait(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            self.drain();
        }
    }

    fn received(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !self.connection.transmit().is_empty() {
            // In small portions, as a slow link takes them.
            let count = self.connection.transmit().len().min(7);
            bytes.extend_from_slice(&self.connection.transmit()[..count]);
            self.connection.sent(count, &mut self.service, self.now);
            self.drain();
        }
        bytes
    }
}

/// The bytes that `\r`, `\n`, `\\` and `\xHH` in `text` stand for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return bytes,
            [b'\\', b'x', high, low, behind @ ..] => {
                let digits = [*high, *low];
                let digits = str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                behind
            }
            [b'\\', escaped, behind @ ..] => {
                bytes.push(match escaped {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'\\' => b'\\',
                    other => panic!("there is no escape {other}"),
                });
                behind
            }
            [byte, behind @ ..] => {
                bytes.push(*byte);
                behind
            }
        };
    }
}

fn show(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        for &byte in line {
            match byte {
                b' '..=b'~' => shown.push(char::from(byte)),
                _ => write!(shown, "\\x{byte:02x}").unwrap(),
            }
        }
        shown.push_str(if line.is_empty() { "<empty>\n" } else { "\n" });
    }
    shown
}

fn replay(transcript: &str) -> String {
    let mut session = Session::new();
    let mut replayed = String::new();
    for block in transcript.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let commands: Vec<&str> =
            block.trim_matches('\n').lines().take_while(|line| *line != "----").collect();
        for line in &commands {
            if let Some(bytes) = line.strip_prefix("> ") {
                session.send(&unescape(bytes));
            } else if let Some(millis) = line.strip_prefix("wait ") {
                session.wait(millis.parse().unwrap());
            } else if !line.starts_with('#') {
                session.send(format!("{line}\r\n").as_bytes());
            }
            writeln!(replayed, "{line}").unwrap();
        }
        if commands.iter().all(|line| line.starts_with('#')) {
            replayed.push('\n');
            continue;
        }
        replayed.push_str("----\n");
        replayed.push_str(&show(&session.received()));
        if session.connection.is_finished() {
            replayed.push_str("<closed>\n");
            session = Session::new();
        }
        replayed.push('\n');
    }
    format!("{}\n", replayed.trim_end())
}

#[test]
fn transcripts_are_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 5, "the transcripts are there");
    for path in paths {
        let expected = fs::read_to_string(&path).unwrap();
        let replayed = replay(&expected);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &replayed).unwrap();
        } else {
            assert_eq!(replayed, expected, "{} (UPDATE=1 writes what happens)", path.display());
        }
    }
}
