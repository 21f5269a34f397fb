//! Every write takes effect once, in its client's order, and every read sees what was acknowledged
//! before it: whatever is lost, late, doubled or refused on the way, through changes of leaders and
//! restarts.
//!
//! Each client owns a key and appends numbered tokens to it, several at a time, with reads between;
//! so the value of the key is the history of its client.

mod harness;

use std::collections::VecDeque;

use base::{Prng, limits};
use harness::{Cluster, Faults, text};
use kv::Reply;

/// What becomes of messages between services, beside being lost or late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    /// The promise that the service is given: each arrives once at most.
    AtMostOnce,
    /// The promise is broken. "Not executed" may then be wrong; all else still holds.
    Doubling,
}

/// A client, what it waits for, and what it knows.
struct Writer {
    node: u16,
    client: u64,
    key: String,
    next: usize,
    waiting: VecDeque<Step>,
    fates: Vec<Fate>,
    /// Its node has restarted: nobody will answer.
    is_gone: bool,
    transport: Transport,
    /// A client elsewhere that reads the same key, and what was acknowledged before each of its
    /// reads.
    reader: (u16, u64),
    reading: VecDeque<Vec<usize>>,
}

enum Step {
    Append(usize),
    /// A read, and the tokens that were acknowledged when it was sent.
    Get(Vec<usize>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Acknowledged,
    NotExecuted,
    Unknown,
}

impl Writer {
    fn new(node: u16, client: u64, transport: Transport) -> Writer {
        Writer {
            node,
            client,
            key: format!("key-{client}"),
            next: 0,
            waiting: VecDeque::new(),
            fates: Vec::new(),
            is_gone: false,
            transport,
            reader: (node % 3 + 1, client + 100),
            reading: VecDeque::new(),
        }
    }

    fn acknowledged(&self) -> Vec<usize> {
        (0..self.next).filter(|&token| self.fates[token] == Fate::Acknowledged).collect()
    }

    /// The reader elsewhere. (If its node has restarted, nobody answers it any more.)
    fn read_elsewhere(&mut self, cluster: &mut Cluster, prng: &mut Prng) {
        let (node, client) = self.reader;
        while let Some(reply) = cluster.reply(node, client) {
            let known = self.reading.pop_front().expect("there is one reply for each command");
            self.hear(&Step::Get(known), &reply);
        }
        if self.reading.len() < 3
            && prng.chance(1, 6)
            && cluster.submit(node, client, &format!("GET {}", self.key))
        {
            self.reading.push_back(self.acknowledged());
        }
    }

    fn act(&mut self, cluster: &mut Cluster, prng: &mut Prng) {
        while let Some(reply) = cluster.reply(self.node, self.client) {
            let step = self.waiting.pop_front().expect("there is one reply for each command");
            self.hear(&step, &reply);
        }
        if self.is_gone || self.waiting.len() >= 6 || !prng.chance(1, 3) {
            return;
        }
        if prng.chance(1, 4) {
            let known = self.acknowledged();
            if cluster.submit(self.node, self.client, &format!("GET {}", self.key)) {
                self.waiting.push_back(Step::Get(known));
            }
        } else {
            let line = format!("APPEND {} {},", self.key, self.next);
            if cluster.submit(self.node, self.client, &line) {
                self.waiting.push_back(Step::Append(self.next));
                self.fates.push(Fate::Unknown);
                self.next += 1;
            }
        }
    }

    fn hear(&mut self, step: &Step, reply: &Reply) {
        match (step, reply) {
            (Step::Append(token), Reply::Integer(_)) => self.fates[*token] = Fate::Acknowledged,
            (Step::Append(token), Reply::Error(_)) => {
                let reply = text(reply);
                assert!(reply.starts_with("CLUSTERDOWN no "), "{reply}");
                if reply.ends_with("was not executed") && self.transport == Transport::AtMostOnce {
                    self.fates[*token] = Fate::NotExecuted;
                }
            }
            (Step::Get(known), Reply::Bulk(_) | Reply::Nil) => {
                let seen = if *reply == Reply::Nil { vec![] } else { tokens(&text(reply)) };
                let missing = known.iter().find(|token| !seen.contains(token));
                assert_eq!(missing, None, "a read of {} sees what was acknowledged", self.key);
            }
            (Step::Get(_), Reply::Error(_)) => {}
            (step, reply) => {
                let token = if let Step::Append(token) = step { Some(token) } else { None };
                panic!("{reply:?} is no answer to {token:?}");
            }
        }
    }

    /// The history that is in the data at the end fits what the client was told.
    fn check(&self, value: &Reply) {
        let history = if *value == Reply::Nil { vec![] } else { tokens(&text(value)) };
        for (token, fate) in self.fates.iter().enumerate() {
            let times = history.iter().filter(|&&seen| seen == token).count();
            match fate {
                Fate::Acknowledged => {
                    assert_eq!(times, 1, "{}: {token} was acknowledged", self.key)
                }
                Fate::NotExecuted => assert_eq!(times, 0, "{}: {token} was refused", self.key),
                Fate::Unknown => {
                    assert!(times <= 1, "{}: {token} is there {times} times", self.key)
                }
            }
        }
        let certain = |token: &&usize| self.fates[**token] == Fate::Acknowledged;
        let order: Vec<&usize> = history.iter().filter(certain).collect();
        assert!(order.is_sorted(), "{}: out of order: {order:?}", self.key);
    }
}

fn tokens(value: &str) -> Vec<usize> {
    value.split(',').filter(|token| !token.is_empty()).map(|token| token.parse().unwrap()).collect()
}

fn faults(prng: &mut Prng, transport: Transport) -> Faults {
    Faults {
        message_lost: prng.below(30),
        message_doubled: match transport {
            Transport::AtMostOnce => 0,
            Transport::Doubling => prng.below(30),
        },
        message_delay_max_ms: prng.below(40),
        proposal_refused: prng.below(30),
        read_failed: prng.below(40),
        apply_lag: prng.below(90),
        commit_lag: prng.below(90),
    }
}

/// One run. Answers what went wrong on purpose: entries, messages and reads lost, repeated writes,
/// and snapshots in the place of entries.
fn run(seed: u64, transport: Transport) -> [u64; 5] {
    let mut prng = Prng::new(seed);
    let mut cluster = Cluster::new(3, seed ^ 0x5eed);
    cluster.faults = faults(&mut prng, transport);
    cluster.elect(Some(1));
    let mut writers: Vec<Writer> = Vec::new();
    for client in 1..=9 {
        let node = u16::try_from(client % 3).unwrap() + 1;
        cluster.open(node, client);
        let writer = Writer::new(node, client, transport);
        cluster.open(writer.reader.0, writer.reader.1);
        writers.push(writer);
    }
    for _ in 0..700 {
        for writer in &mut writers {
            writer.act(&mut cluster, &mut prng);
            writer.read_elsewhere(&mut cluster, &mut prng);
        }
        cluster.run(prng.between(1, 8));
        disturb(&mut cluster, &mut writers, &mut prng, transport);
    }
    // Peace: everything under way comes to its end.
    cluster.faults = Faults::default();
    for number in 1..=3 {
        cluster.connect(number, true);
    }
    cluster.elect(Some(2));
    cluster.run(limits::KV_ANSWER_WITHIN_MS + 100);
    for writer in &mut writers {
        while let Some(reply) = cluster.reply(writer.node, writer.client) {
            let step = writer.waiting.pop_front().expect("there is one reply for each command");
            writer.hear(&step, &reply);
        }
        assert!(writer.is_gone || writer.waiting.is_empty(), "every command is answered");
    }
    cluster.open(2, 1_000);
    for writer in &writers {
        let value = cluster.ask(2, 1_000, &format!("GET {}", writer.key));
        writer.check(&value);
    }
    let repeated = cluster.node(2).service.status().machine.repeated;
    let Cluster { entries_lost, messages_lost, reads_failed, snapshots, .. } = cluster;
    [entries_lost, messages_lost, reads_failed, repeated, snapshots]
}

fn disturb(cluster: &mut Cluster, writers: &mut [Writer], prng: &mut Prng, transport: Transport) {
    let number = u16::try_from(prng.between(1, 3)).unwrap();
    if prng.chance(1, 40) {
        cluster.elect(Some(number));
    }
    if prng.chance(1, 80) {
        cluster.elect(None);
    }
    if prng.chance(1, 60) {
        cluster.connect(number, false);
    }
    if prng.chance(1, 15) {
        cluster.connect(number, true);
    }
    if prng.chance(1, 350) {
        cluster.restart(number);
        for writer in writers.iter_mut().filter(|writer| writer.node == number) {
            writer.is_gone = true;
        }
    }
    if prng.chance(1, 12) {
        cluster.catch_up(number);
    }
    if prng.chance(1, 50) {
        cluster.faults = faults(prng, transport);
    }
    // Nothing is committed until every client has given up; then what was appended may be,
    // after all.
    if prng.chance(1, 500) {
        cluster.faults.commit_lag = 100;
        cluster.run(limits::KV_ANSWER_WITHIN_MS + 10);
        cluster.faults.commit_lag = 0;
    }
}

/// Runs many seeds, and checks that enough went wrong for the runs to prove something.
fn run_seeds(transport: Transport) {
    let mut totals = [0; 5];
    for seed in 0..60 {
        let counts = std::panic::catch_unwind(|| run(seed, transport))
            .unwrap_or_else(|_| panic!("seed {seed} fails"));
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
        }
    }
    let [entries, messages, reads, repeated, snapshots] = totals;
    assert!(entries > 100, "only {entries} entries were lost");
    assert!(messages > 1_000, "only {messages} messages were lost");
    assert!(reads > 100, "only {reads} reads failed");
    assert!(repeated > 100, "only {repeated} writes were repeated");
    assert!(snapshots > 100, "only {snapshots} snapshots took the place of a log");
}

#[test]
fn with_messages_lost_and_late() {
    run_seeds(Transport::AtMostOnce);
}

#[test]
fn with_messages_doubled_too() {
    run_seeds(Transport::Doubling);
}
