//! Services of several nodes around a log that stands in for consensus: it keeps its promises, and
//! no others. What a leader proposes may be committed late or, when the leader changes, never;
//! messages between the services may be lost, late, out of order or doubled; a question about reads
//! may fail.
#![allow(dead_code, reason = "each test binary uses a part of the harness")]

use std::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant, LogIndex, NodeId, Prng, Term};
use bytes::Bytes;
use kv::command::Ledger;
use kv::machine::{Restore, SnapshotPart};
use kv::service::{ClientId, Config, KvService, Output, Proposal, Question, Refusal};
use kv::{Command, Reply};

/// What may go wrong, in percent, per event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub message_lost: u64,
    pub message_doubled: u64,
    pub message_delay_max_ms: u64,
    pub proposal_refused: u64,
    pub read_failed: u64,
    /// Per millisecond and node, that it does not apply anything.
    pub apply_lag: u64,
    /// Per millisecond, that nothing is committed.
    pub commit_lag: u64,
}

pub struct Node {
    pub service: KvService,
    pub epoch: u64,
    /// How many entries were applied.
    pub applied: usize,
    /// Whether it hears of leaders and entries.
    pub connected: bool,
    /// The replies that came out, by client.
    pub replies: BTreeMap<ClientId, VecDeque<Reply>>,
    /// What was passed on to the ledger, which is not there.
    pub asked: Vec<(Question, Ledger)>,
    pub closed: Vec<ClientId>,
    pub aborted: Vec<ClientId>,
}

struct Message {
    at: Instant,
    from: NodeId,
    to: NodeId,
    bytes: Bytes,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub now: Instant,
    pub faults: Faults,
    pub log_full: bool,
    pub prng: Prng,
    /// The committed entries; `None` is a leader's no-op.
    pub log: Vec<Option<Bytes>>,
    /// What the leader has appended beyond.
    tail: VecDeque<Option<Bytes>>,
    leader: Option<NodeId>,
    term: Term,
    messages: Vec<Message>,
    /// Answers to questions about reads: when, to whom, the context and the position, if any.
    answers: Vec<(Instant, NodeId, u64, Option<LogIndex>)>,
    /// The fingerprint of the state after each entry, by the first node that applied it.
    digests: BTreeMap<u64, u64>,
    pub reads_failed: u64,
    pub messages_lost: u64,
    pub entries_lost: u64,
    pub snapshots: u64,
}

pub fn id(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn command(line: &str) -> Command {
    let words: Vec<Bytes> =
        line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Command::parse(&words).unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

impl Cluster {
    /// Nodes 1 to `count`, none of which leads.
    pub fn new(count: u16, seed: u64) -> Cluster {
        let now = Instant::from_millis(1);
        let mut cluster = Cluster {
            nodes: Vec::new(),
            now,
            faults: Faults::default(),
            log_full: false,
            prng: Prng::new(seed),
            log: Vec::new(),
            tail: VecDeque::new(),
            leader: None,
            term: Term(0),
            messages: Vec::new(),
            answers: Vec::new(),
            digests: BTreeMap::new(),
            reads_failed: 0,
            messages_lost: 0,
            entries_lost: 0,
            snapshots: 0,
        };
        cluster.nodes = (1..=count).map(|number| cluster.boot(id(number), 1)).collect();
        cluster
    }

    fn boot(&mut self, id: NodeId, epoch: u64) -> Node {
        // Clocks of nodes differ by up to a minute.
        let wall_ms = 1_700_000_000_000 + self.prng.below(60_000);
        Node {
            service: KvService::new(Config { id, epoch }, wall_ms, self.now),
            epoch,
            applied: 0,
            connected: true,
            replies: BTreeMap::new(),
            asked: Vec::new(),
            closed: Vec::new(),
            aborted: Vec::new(),
        }
    }

    pub fn node(&mut self, number: u16) -> &mut Node {
        &mut self.nodes[usize::from(number) - 1]
    }

    /// The node starts again: everything it had in memory is gone, the log is read from the start.
    pub fn restart(&mut self, number: u16) {
        let epoch = self.node(number).epoch + 1;
        *self.node(number) = self.boot(id(number), epoch);
        if self.leader == Some(id(number)) {
            self.elect(None);
        }
        let (leader, term, now) = (self.leader, self.term, self.now);
        self.node(number).service.handle_leader(leader, term, now);
    }

    /// The node gets a snapshot of the one that is furthest ahead, in the place of the entries up to there.
    pub fn catch_up(&mut self, number: u16) {
        let donor = (0..self.nodes.len()).max_by_key(|at| self.nodes[*at].applied).unwrap_or(0);
        let (applied, now) = (self.nodes[donor].applied, self.now);
        if !self.node(number).connected || self.node(number).applied >= applied {
            return;
        }
        self.nodes[donor].service.begin_snapshot();
        let mut restore = Restore::default();
        while let SnapshotPart::Bytes(part) = self.nodes[donor].service.snapshot_part(100) {
            restore.take(&part).expect("a snapshot is well-formed");
        }
        let node = self.node(number);
        node.applied = applied;
        node.service.handle_restored(restore.finish().expect("a snapshot is whole"), now);
        self.snapshots += 1;
        self.drain();
    }

    /// Another term. A part of what the old leader appended survives, from the front.
    pub fn elect(&mut self, leader: Option<u16>) {
        let kept = usize::try_from(self.prng.below(self.tail.len() as u64 + 1)).unwrap();
        self.entries_lost += (self.tail.len() - kept) as u64;
        self.log.extend(self.tail.drain(..).take(kept));
        self.leader = leader.map(id);
        self.term = self.term.next();
        if self.leader.is_some() {
            self.log.push(None);
        }
        for node in &mut self.nodes {
            if node.connected {
                node.service.handle_leader(self.leader, self.term, self.now);
            }
        }
        self.drain();
    }

    /// Cuts a node off from leader, log and messages, or attaches it again.
    pub fn connect(&mut self, number: u16, connected: bool) {
        let (leader, term, now) = (self.leader, self.term, self.now);
        let node = self.node(number);
        node.connected = connected;
        node.service.handle_leader(leader.filter(|_| connected), term, now);
        self.drain();
    }

    pub fn open(&mut self, number: u16, client: u64) {
        let now = self.now;
        self.node(number).service.open_internal(ClientId(client), now);
    }

    /// Sends a command, if the client may send one.
    pub fn submit(&mut self, number: u16, client: u64, line: &str) -> bool {
        let now = self.now;
        let taken = self.node(number).service.submit(ClientId(client), command(line), now);
        self.drain();
        taken.is_ok()
    }

    pub fn reply(&mut self, number: u16, client: u64) -> Option<Reply> {
        self.node(number).replies.get_mut(&ClientId(client))?.pop_front()
    }

    /// Sends a command and lets time pass until its reply.
    pub fn ask(&mut self, number: u16, client: u64, line: &str) -> Reply {
        assert!(self.submit(number, client, line), "the client may send {line}");
        for _ in 0..4_000 {
            if let Some(reply) = self.reply(number, client) {
                return reply;
            }
            self.run(1);
        }
        panic!("no answer to {line}");
    }

    /// Lets so many milliseconds pass.
    pub fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += Duration::from_millis(1);
            self.deliver();
            if !self.prng.chance(self.faults.commit_lag, 100) {
                self.log.extend(self.tail.drain(..));
            }
            for at in 0..self.nodes.len() {
                self.step(at);
            }
            self.drain();
        }
    }

    fn step(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.connected && !self.prng.chance(self.faults.apply_lag, 100) {
            while node.applied < self.log.len() {
                node.applied += 1;
                let index = LogIndex(node.applied as u64);
                match &self.log[node.applied - 1] {
                    Some(payload) => node.service.handle_applied(index, payload, self.now),
                    None => node.service.handle_skipped(index, self.now),
                }
                let digest = node.service.status().digest;
                let first = *self.digests.entry(index.0).or_insert(digest);
                assert_eq!(first, digest, "all nodes agree on the state at {index}");
            }
        }
        // A service asks to be called again when it has more work than one call does.
        for _ in 0..1_000 {
            if self.nodes[at].service.poll_timeout().is_none_or(|due| due > self.now) {
                return;
            }
            self.nodes[at].service.handle_timeout(self.now);
            self.drain();
        }
        panic!("a service is always due: {:?}", self.nodes[at].service.status());
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.messages).into_iter().partition(|message| message.at <= now);
        self.messages = later;
        let due: Vec<Message> = due;
        for message in due {
            let node = self.node(message.to.get());
            if node.connected {
                node.service.handle_forward(message.from, &message.bytes, now);
                self.drain();
            }
        }
        let (due, later) =
            std::mem::take(&mut self.answers).into_iter().partition(|(at, ..)| *at <= now);
        self.answers = later;
        let due: Vec<(Instant, NodeId, u64, Option<LogIndex>)> = due;
        for (_, to, context, index) in due {
            let service = &mut self.node(to.get()).service;
            match index {
                Some(index) => service.handle_read_ready(context, index, now),
                None => service.handle_read_failed(context, now),
            }
            self.drain();
        }
    }

    /// Takes everything out of every service.
    pub fn drain(&mut self) {
        for at in 0..self.nodes.len() {
            while let Some(output) = self.nodes[at].service.poll_output() {
                self.handle(at, output);
            }
            self.nodes[at].service.check_invariants();
        }
    }

    fn handle(&mut self, at: usize, output: Output) {
        let from = id(u16::try_from(at + 1).unwrap());
        match output {
            Output::Propose { payload, proposal } => self.propose(at, payload, proposal),
            Output::Forward { to, bytes } => self.send(from, to, Bytes::from(bytes)),
            Output::ReadIndex { context } => self.answer(from, context),
            Output::Reply { client, reply } => {
                self.nodes[at].replies.entry(client).or_default().push_back(reply);
            }
            Output::Ledger { question, command } => self.nodes[at].asked.push((question, command)),
            Output::Close { client } => self.nodes[at].closed.push(client),
            Output::Abort { client } => self.nodes[at].aborted.push(client),
        }
    }

    fn propose(&mut self, at: usize, payload: Bytes, proposal: Proposal) {
        let leads =
            self.leader == Some(id(u16::try_from(at + 1).unwrap())) && self.nodes[at].connected;
        let refusal = if !leads {
            Some(Refusal::NotLeader)
        } else if self.log_full {
            Some(Refusal::LogFull)
        } else if self.prng.chance(self.faults.proposal_refused, 100) {
            Some(Refusal::Busy)
        } else {
            None
        };
        match refusal {
            Some(refusal) => {
                self.nodes[at].service.handle_propose_failed(proposal, refusal, self.now);
            }
            None => self.tail.push_back(Some(payload)),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, bytes: Bytes) {
        let copies = if self.prng.chance(self.faults.message_lost, 100) {
            self.messages_lost += 1;
            0
        } else {
            1 + u64::from(self.prng.chance(self.faults.message_doubled, 100))
        };
        for _ in 0..copies {
            let delay =
                Duration::from_millis(self.prng.below(self.faults.message_delay_max_ms + 1));
            let at = self.now + delay;
            if self.node(from.get()).connected {
                self.messages.push(Message { at, from, to, bytes: bytes.clone() });
            }
        }
    }

    /// A question about reads is answered with what is committed now; the answer may come late.
    fn answer(&mut self, from: NodeId, context: u64) {
        let delay =
            Duration::from_millis(1 + self.prng.below(self.faults.message_delay_max_ms + 1));
        let reachable = self.leader.is_some() && self.node(from.get()).connected;
        let index = LogIndex(self.log.len() as u64);
        let fails = !reachable || self.prng.chance(self.faults.read_failed, 100);
        self.reads_failed += u64::from(fails);
        self.answers.push((self.now + delay, from, context, (!fails).then_some(index)));
    }
}

pub fn text(reply: &Reply) -> String {
    match reply {
        Reply::Error(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    }
}
