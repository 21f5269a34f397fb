//! Connections that send fast, read slowly, or hold a lot.

use std::collections::BTreeMap;

use base::{Instant, LogIndex, NodeId, Prng, Term, limits};
use bytes::Bytes;
use kv::Connection;
use kv::service::{ClientId, Config, KvService, Output};

/// A node that is a cluster of its own, and its connections.
struct Server {
    service: KvService,
    connections: BTreeMap<ClientId, Connection>,
    aborted: Vec<ClientId>,
    log_length: u64,
    /// Whether proposals are committed.
    commits: bool,
    proposals: Vec<Bytes>,
}

const NOW: Instant = Instant::ORIGIN;

impl Server {
    fn new() -> Server {
        let id = NodeId::new(1).unwrap();
        let mut service = KvService::new(Config { id, epoch: 1 }, 0, NOW);
        service.handle_leader(Some(id), Term(1), NOW);
        Server {
            service,
            connections: BTreeMap::new(),
            aborted: Vec::new(),
            log_length: 0,
            commits: true,
            proposals: Vec::new(),
        }
    }

    fn open(&mut self, client: u64) {
        let address = "10.0.2.2:40000".parse().unwrap();
        let client = ClientId(client);
        let connection = Connection::open(client, address, &mut self.service, NOW);
        self.connections.insert(client, connection);
    }

    fn drain(&mut self) {
        loop {
            while let Some(output) = self.service.poll_output() {
                self.handle(output);
                self.service.check_invariants();
            }
            if self.service.poll_timeout().is_none_or(|at| at > NOW) {
                return;
            }
            self.service.handle_timeout(NOW);
        }
    }

    fn handle(&mut self, output: Output) {
        match output {
            Output::Propose { payload, proposal: _ } => {
                self.proposals.push(payload);
                self.commit();
            }
            Output::ReadIndex { context } => {
                self.service.handle_read_ready(context, LogIndex(self.log_length), NOW);
            }
            Output::Reply { client, reply } => {
                self.connections.get_mut(&client).unwrap().deliver(&reply);
            }
            Output::Close { client } => self.connections.get_mut(&client).unwrap().handle_close(),
            Output::Abort { client } => {
                self.connections.remove(&client);
                self.aborted.push(client);
            }
            Output::Forward { .. } | Output::Ledger { .. } => {
                panic!("a cluster of one forwards nothing")
            }
        }
    }

    fn commit(&mut self) {
        if self.commits {
            for payload in std::mem::take(&mut self.proposals) {
                self.log_length += 1;
                self.service.handle_applied(LogIndex(self.log_length), &payload, NOW);
            }
        }
    }

    /// Offers bytes once. Answers how many were taken.
    fn offer(&mut self, client: u64, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(&ClientId(client)) else {
            return 0;
        };
        let taken = connection.receive(bytes, &mut self.service, NOW);
        self.drain();
        taken
    }

    /// Offers bytes as long as any are taken. Answers how many were.
    fn send(&mut self, client: u64, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.offer(client, &bytes[taken..]) {
                0 => break,
                count => taken += count,
            }
        }
        taken
    }

    /// Takes what there is to be read, up to `count_max` bytes.
    fn read(&mut self, client: u64, count_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count_max {
            let connection = self.connections.get_mut(&ClientId(client)).unwrap();
            let offered = connection.transmit();
            let count = offered.len().min(count_max - bytes.len());
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&offered[..count]);
            connection.sent(count, &mut self.service, NOW);
            self.drain();
        }
        bytes
    }
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[test]
fn who_does_not_read_is_not_read_from() {
    let mut server = Server::new();
    server.open(1);
    let value = vec![b'v'; limits::VALUE_MAX_BYTES];
    let set = request(&[b"SET", b"k", &value]);
    assert_eq!(server.send(1, &set), set.len());
    let gets = request(&[b"GET", b"k"]).repeat(1_000);
    let mut taken = server.send(1, &gets);
    assert!(taken < gets.len(), "the client is held back");
    let held = server.service.status().client_bytes;
    assert!(held <= limits::KV_OUTPUT_PAUSE_BYTES + 2 * limits::VALUE_MAX_BYTES, "{held} bytes");
    // It begins to read: everything comes, in order and complete.
    let mut received = 0;
    while taken < gets.len() || received < 5 + 1_000 * (value.len() + 12) {
        let bytes = server.read(1, 3_000_000);
        assert!(!bytes.is_empty() || taken < gets.len(), "{received} bytes came, then no more");
        received += bytes.len();
        taken += server.send(1, &gets[taken..]);
    }
    assert_eq!(received, 5 + 1_000 * (value.len() + 12));
    assert!(server.service.status().client_bytes < 64, "nothing but a line's buffer is kept");
}

#[test]
fn commands_behind_a_waiting_write_are_bounded_too() {
    let mut server = Server::new();
    server.open(1);
    server.commits = false;
    server.send(1, b"SET k v\r\n");
    let echo = request(&[b"ECHO", &vec![b'e'; limits::VALUE_MAX_BYTES]]);
    let echoes = echo.repeat(20);
    let taken = server.send(1, &echoes);
    assert!(taken < 2 * echo.len() + 8_192, "{taken} bytes were taken");
    server.commits = true;
    server.commit();
    server.drain();
    assert!(server.read(1, 1 << 30).starts_with(b"+OK\r\n$1048576\r\neee"));
}

#[test]
fn any_cut_of_the_stream_gives_the_same_replies() {
    let mut stream = Vec::new();
    for step in 0..200 {
        stream.extend(request(&[b"APPEND", b"k", format!("{step},").as_bytes()]));
        stream.extend(b"GET k\r\nnonsense \"a b\"\r\n");
        stream.extend(request(&[b"SET", &vec![b'k'; limits::KEY_MAX_BYTES + step % 2], b"v"]));
        stream.extend(b"INCR n\r\nINCR n\r\nPING\r\n");
    }
    stream.extend(b"*1\r\n$x\r\nPING\r\n");
    let replies = |seed: u64| {
        let mut prng = Prng::new(seed);
        let mut server = Server::new();
        server.open(1);
        let (mut received, mut sent) = (Vec::new(), 0);
        loop {
            let length = usize::try_from(prng.between(1, 3_000)).unwrap().min(stream.len() - sent);
            sent += server.offer(1, &stream[sent..sent + length]);
            let bytes = server.read(1, usize::try_from(prng.between(1, 2_000)).unwrap());
            received.extend(bytes);
            if server.connections[&ClientId(1)].is_finished() {
                return received;
            }
        }
    };
    let expected = replies(0);
    assert!(expected.ends_with(b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"));
    for seed in 1..20 {
        assert_eq!(replies(seed), expected);
    }
}

#[test]
fn all_connections_together_hold_a_bounded_amount() {
    let mut server = Server::new();
    // Each sends most of a long value, and never the rest.
    let set = request(&[b"SET", b"k", &vec![b'v'; limits::VALUE_MAX_BYTES]]);
    for client in 0..limits::CONNECTIONS_MAX as u64 {
        server.open(client);
        let part = set.len() - 1 - usize::try_from(client).unwrap();
        server.send(client, &set[..part]);
        assert!(server.service.status().client_bytes <= limits::KV_CLIENT_BUFFERS_MAX_BYTES);
    }
    let kept = limits::KV_CLIENT_BUFFERS_MAX_BYTES / limits::VALUE_MAX_BYTES;
    assert!(server.connections.len() <= kept && server.connections.len() + 2 >= kept);
    let status = server.service.status();
    assert_eq!(status.counters.evicted, server.aborted.len() as u64);
    assert_eq!(status.clients, server.connections.len());
    // Somebody who asks for little is served.
    server.open(1_000);
    server.send(1_000, b"PING\r\n");
    assert_eq!(server.read(1_000, 100), b"+PONG\r\n");
}

#[test]
fn the_end_of_input_comes_after_the_last_reply() {
    let mut server = Server::new();
    server.open(1);
    server.commits = false;
    server.send(1, b"SET k v\r\nSTRLEN k\r\n");
    let connection = server.connections.get_mut(&ClientId(1)).unwrap();
    connection.receive_end(&mut server.service, NOW);
    server.drain();
    assert!(!server.connections[&ClientId(1)].is_finished());
    server.commits = true;
    server.commit();
    server.drain();
    assert_eq!(server.read(1, 100), b"+OK\r\n:1\r\n");
    assert!(server.connections[&ClientId(1)].is_finished());
    let connection = server.connections.remove(&ClientId(1)).unwrap();
    connection.close(&mut server.service, NOW);
    assert_eq!(server.service.status().clients, 0);
}

#[test]
fn a_burst_of_costly_reads_is_spread_over_several_calls() {
    let mut server = Server::new();
    server.open(1);
    for number in 0..100 {
        server.send(1, format!("SET key-{number} v\r\n").as_bytes());
    }
    server.read(1, 1 << 20);
    server.send(1, &b"KEYS nothing\r\n".repeat(50));
    assert_eq!(server.read(1, 1 << 20), b"*0\r\n".repeat(50));
}

#[test]
fn garbage_never_harms_anybody_else() {
    let mut prng = Prng::new(3);
    let mut server = Server::new();
    server.open(0);
    for client in 1..300 {
        server.open(client);
        let mut bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n".repeat(4);
        for _ in 0..prng.between(1, 6) {
            let at = usize::try_from(prng.below(bytes.len() as u64)).unwrap();
            bytes[at] = prng.next_u64().to_le_bytes()[0];
        }
        server.send(client, &bytes);
        server.send(0, b"PING\r\n");
        assert_eq!(server.read(0, 100), b"+PONG\r\n");
        server.connections.remove(&ClientId(client)).unwrap().close(&mut server.service, NOW);
    }
    assert_eq!(server.service.status().clients, 1);
}
