//! Tests of the state machine: what a command does, and what a replay must not.

use super::*;
use crate::Command;
use crate::command::{Read, Write};
use proptest::prelude::*;

/// A machine with the words of a client, applied as they come.
pub(super) struct Bench {
    pub(super) machine: KvMachine,
    pub(super) sequence: u64,
}

pub(super) fn origin() -> NodeId {
    NodeId::new(1).unwrap()
}

fn command(line: &str) -> Command {
    let words: Vec<Bytes> =
        line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Command::parse(&words).unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

pub(super) fn write(line: &str) -> Write {
    match command(line) {
        Command::Write(write) => write,
        other => panic!("{line} is {other:?}"),
    }
}

/// The payload of a write of `origin()` in epoch 1.
pub(super) fn payload(
    sequence: u64,
    after: u64,
    low_water: u64,
    time_ms: u64,
    write: &Write,
) -> Bytes {
    let id = RequestId { origin: origin(), epoch: 1, sequence };
    payload_of(id, after, low_water, time_ms, write)
}

fn payload_of(id: RequestId, after: u64, low_water: u64, time_ms: u64, write: &Write) -> Bytes {
    let (mut encoded, mut request) = (Vec::new(), Vec::new());
    write.encode(&mut encoded);
    Request::encode(id, after, low_water, &encoded, &mut request);
    Entry::request(time_ms, &request)
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench { machine: KvMachine::new(), sequence: 0 }
    }

    fn apply(&mut self, payload: &Bytes) -> Outcome {
        let index = self.machine.applied().next();
        let outcome = self.machine.apply(index, payload).outcome;
        if self.machine.len() < 100 {
            self.machine.check_invariants();
        }
        outcome
    }

    /// The reply to a command at `time_ms`.
    pub(super) fn at(&mut self, time_ms: u64, line: &str) -> Reply {
        match command(line) {
            Command::Write(write) => self.write_at(time_ms, &write),
            Command::Read(read) => self.machine.read(&read, time_ms),
            Command::Local(local) => panic!("{local:?} is not for the machine"),
            Command::Ledger(command) => panic!("{command:?} is not for the machine"),
        }
    }

    pub(super) fn write_at(&mut self, time_ms: u64, write: &Write) -> Reply {
        self.sequence += 1;
        let payload = payload(self.sequence, 0, self.sequence, time_ms, write);
        match self.apply(&payload) {
            Outcome::Executed(reply) => reply,
            other => panic!("{write:?} was {other:?}"),
        }
    }

    fn check(&mut self, time_ms: u64, line: &str, expected: Reply) {
        assert_eq!(self.at(time_ms, line), expected, "{line} at {time_ms}");
    }
}

fn bulk(text: &'static str) -> Reply {
    Reply::text(text)
}

#[test]
fn set_and_its_options() {
    let mut bench = Bench::new();
    bench.check(1, "SET k a XX", Reply::Nil);
    bench.check(1, "SET k a NX GET", Reply::Nil);
    bench.check(1, "GET k", bulk("a"));
    bench.check(1, "SET k b NX", Reply::Nil);
    bench.check(1, "SET k b NX GET", bulk("a"));
    bench.check(1, "GET k", bulk("a"));
    bench.check(1, "SET k b XX GET PX 100", bulk("a"));
    bench.check(2, "PTTL k", Reply::Integer(99));
    bench.check(2, "SET k c KEEPTTL", Reply::Ok);
    bench.check(2, "PTTL k", Reply::Integer(99));
    bench.check(2, "SET k d", Reply::Ok);
    bench.check(2, "PTTL k", Reply::Integer(-1));
    bench.check(2, "GETDEL k", bulk("d"));
    bench.check(2, "GETDEL k", Reply::Nil);
}

#[test]
fn numbers() {
    let mut bench = Bench::new();
    bench.check(1, "INCR n", Reply::Integer(1));
    bench.check(1, "DECRBY n 11", Reply::Integer(-10));
    bench.check(1, "SET n 9223372036854775807 PX 50", Reply::Ok);
    bench.check(1, "INCR n", Reply::error("ERR increment or decrement would overflow"));
    bench.check(1, "DECR n", Reply::Integer(i64::MAX - 1));
    bench.check(1, "PTTL n", Reply::Integer(50));
    for text in ["01", "+1", "a", "1.0", "99999999999999999999"] {
        bench.check(1, &format!("SET n {text}"), Reply::Ok);
        bench.check(1, "INCR n", NOT_INTEGER);
        bench.check(1, "GET n", Reply::Bulk(Bytes::copy_from_slice(text.as_bytes())));
    }
}

const NOT_INTEGER: Reply = Reply::error("ERR value is not an integer or out of range");

#[test]
fn several_keys_at_once() {
    let mut bench = Bench::new();
    bench.check(1, "MSET a 1 b 2 a 3", Reply::Ok);
    bench.check(1, "MGET a x b", Reply::Array(vec![bulk("3"), Reply::Nil, bulk("2")]));
    bench.check(1, "EXISTS a a x b", Reply::Integer(3));
    bench.check(1, "DBSIZE", Reply::Integer(2));
    bench.check(1, "DEL a x a b", Reply::Integer(2));
    bench.check(1, "APPEND s ab", Reply::Integer(2));
    bench.check(1, "APPEND s c", Reply::Integer(3));
    bench.check(1, "STRLEN s", Reply::Integer(3));
    bench.check(1, "TYPE s", Reply::Simple("string"));
    bench.check(1, "FLUSHALL", Reply::Ok);
    bench.check(1, "TYPE s", Reply::Simple("none"));
    assert_eq!((bench.machine.len(), bench.machine.deadlines()), (0, 0));
}

#[test]
fn a_key_is_there_until_the_log_reaches_its_deadline() {
    let mut bench = Bench::new();
    bench.check(1_000, "SET k v PX 100", Reply::Ok);
    // The reader's own clock decides nothing but the figure.
    assert_eq!(bench.machine.read(&Read::Get(Bytes::from("k")), 9_999), bulk("v"));
    assert_eq!(bench.machine.read(&Read::PTtl(Bytes::from("k")), 9_999), Reply::Integer(0));
    assert_eq!(bench.machine.next_deadline_ms(), Some(1_100));
    assert_eq!(bench.apply(&Entry::tick(1_099)), Outcome::Ticked);
    bench.check(1_099, "GET k", bulk("v"));
    assert_eq!(bench.apply(&Entry::tick(1_100)), Outcome::Ticked);
    bench.check(1_100, "GET k", Reply::Nil);
    assert_eq!((bench.machine.next_deadline_ms(), bench.machine.counters().expired), (None, 1));
    // A leader whose clock is behind moves nothing back.
    bench.check(5, "SET k v PX 100", Reply::Ok);
    assert_eq!(bench.machine.next_deadline_ms(), Some(1_200));
}

#[test]
fn expire_and_its_conditions() {
    let mut bench = Bench::new();
    bench.check(0, "EXPIRE k 1", Reply::Integer(0));
    bench.check(0, "SET k v", Reply::Ok);
    for (line, reply, ttl_ms) in [
        ("PEXPIRE k 100 XX", 0, -1),
        ("PEXPIRE k 100 GT", 0, -1),
        ("PEXPIRE k 100 XX LT", 0, -1),
        ("PEXPIRE k 100 LT", 1, 100),
        ("PEXPIRE k 200 NX", 0, 100),
        ("PEXPIRE k 100 GT", 0, 100),
        ("PEXPIRE k 200 XX GT", 1, 200),
        ("PEXPIRE k 300 LT", 0, 200),
        ("PEXPIRE k 50 XX LT", 1, 50),
        ("PERSIST k", 1, -1),
        ("PERSIST k", 0, -1),
        ("PEXPIRE k 100 NX", 1, 100),
        ("EXPIRE k 1499 XX", 1, 1_499_000),
        ("EXPIRE k -1", 1, -2),
    ] {
        bench.check(0, line, Reply::Integer(reply));
        bench.check(0, "PTTL k", Reply::Integer(ttl_ms));
    }
    assert_eq!(bench.machine.deadlines(), 0);
    bench.check(0, "SET k v PX 1499", Reply::Ok);
    bench.check(0, "TTL k", Reply::Integer(1));
    bench.check(0, "TTL x", Reply::Integer(-2));
}

#[test]
fn one_entry_removes_a_bounded_number_of_keys_but_none_is_seen_again() {
    let count = 3 * limits::KV_EXPIRED_PER_ENTRY_MAX;
    let mut bench = Bench::new();
    for number in 0..count {
        bench.check(0, &format!("SET k{number} v PX 10"), Reply::Ok);
    }
    bench.apply(&Entry::tick(10));
    assert_eq!(bench.machine.len(), count - limits::KV_EXPIRED_PER_ENTRY_MAX);
    bench.check(10, "KEYS *", Reply::Array(vec![]));
    let last = format!("k{}", count - 1);
    bench.check(10, &format!("EXISTS k0 {last}"), Reply::Integer(0));
    bench.check(10, &format!("APPEND {last} x"), Reply::Integer(1));
    bench.check(10, &format!("PERSIST {last}"), Reply::Integer(0));
    bench.apply(&Entry::tick(10));
    bench.apply(&Entry::tick(10));
    assert_eq!(bench.machine.len(), 1);
}

/// Nodes of another version compare theirs with it, and a cursor of `SCAN` outlives an upgrade.
#[test]
fn the_fingerprint_of_a_state_is_the_same_for_ever() {
    let mut bench = Bench::new();
    bench.check(7, "SET key value", Reply::Ok);
    bench.check(8, "SET another value-of-17-bytes PX 50", Reply::Ok);
    assert_eq!(bench.machine.keyspace.digest(), 0x9fec_1dce_b922_5186);
    assert_eq!(bench.machine.digest(), 0x1db7_763b_cec8_92d3);
}

#[test]
fn memory_at_and_above_its_limit() {
    let mut bench = Bench::new();
    let value = "v".repeat(limits::VALUE_MAX_BYTES);
    let mut number = 0;
    while bench.at(0, &format!("SET k{number} {value}")) == Reply::Ok {
        number += 1;
    }
    assert_eq!(number, limits::KV_MEMORY_MAX_BYTES / limits::VALUE_MAX_BYTES - 1);
    let digest = bench.machine.keyspace.digest();
    for line in
        [format!("MSET x 1 y {value}"), format!("APPEND x {value}"), format!("SET x {value} GET")]
    {
        bench.check(0, &line, OUT_OF_MEMORY);
    }
    assert_eq!(bench.machine.keyspace.digest(), digest, "a refused write changes nothing");
    assert!(bench.machine.lacks_room_for(&write(&format!("SET x {value}"))));
    // What does not grow is allowed, and what frees makes room.
    bench.check(0, &format!("SET k0 {value}"), Reply::Ok);
    bench.check(0, "SET k0 small", Reply::Ok);
    bench.check(0, "DEL k1", Reply::Integer(1));
    bench.check(0, &format!("SET x {value}"), Reply::Ok);
    assert_eq!(bench.machine.counters().out_of_memory, 4);
    let too_long = Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    bench.check(0, "APPEND x v", too_long);
}

#[test]
fn a_write_is_executed_once_whatever_the_log_repeats() {
    let mut bench = Bench::new();
    let first = payload(1, 0, 1, 0, &write("INCR n"));
    assert_eq!(bench.apply(&first), Outcome::Executed(Reply::Integer(1)));
    assert_eq!(bench.apply(&first), Outcome::Repeated(Reply::Integer(1)));
    let third = payload(3, 0, 3, 0, &write("INCR n"));
    assert_eq!(bench.apply(&third), Outcome::Executed(Reply::Integer(2)));
    // Below the low water: executed or given up, and in either case over.
    assert_eq!(bench.apply(&first), Outcome::Forgotten);
    assert_eq!(bench.apply(&payload(2, 0, 2, 0, &write("INCR n"))), Outcome::Forgotten);
    bench.check(0, "GET n", bulk("2"));
}

#[test]
fn an_earlier_start_of_the_origin_is_over() {
    let mut bench = Bench::new();
    let id = |epoch, sequence| RequestId { origin: origin(), epoch, sequence };
    let incr = write("INCR n");
    bench.apply(&payload_of(id(1, 1), 0, 1, 0, &incr));
    let outcome = bench.apply(&payload_of(id(2, 1), 0, 1, 0, &incr));
    assert_eq!(outcome, Outcome::Executed(Reply::Integer(2)));
    assert_eq!(bench.apply(&payload_of(id(1, 2), 0, 1, 0, &incr)), Outcome::Forgotten);
    assert!(bench.machine.is_settled(id(1, 99)) && !bench.machine.is_settled(id(2, 2)));
    assert!(!bench.machine.is_settled(id(3, 1)));
}

#[test]
fn a_write_waits_for_the_one_before_it() {
    let mut bench = Bench::new();
    let (set, append) = (write("SET k a"), write("APPEND k b"));
    assert_eq!(bench.apply(&payload(2, 1, 1, 0, &append)), Outcome::OutOfOrder);
    assert_eq!(bench.apply(&payload(1, 0, 1, 0, &set)), Outcome::Executed(Reply::Ok));
    assert_eq!(bench.apply(&payload(2, 1, 1, 0, &append)), Outcome::Executed(Reply::Integer(2)));
    // The one before was given up, and the low water says so.
    assert_eq!(bench.apply(&payload(4, 3, 4, 0, &append)), Outcome::Executed(Reply::Integer(3)));
    bench.check(0, "GET k", bulk("abb"));
}

#[test]
fn a_session_remembers_long_replies_only_within_its_limit() {
    let mut bench = Bench::new();
    let length = limits::KV_SESSION_REPLIES_MAX_BYTES / 2;
    let value = "v".repeat(length);
    let set = write(&format!("SET k {value} GET"));
    for sequence in 1..=5 {
        bench.apply(&payload(sequence, 0, 1, 0, &set));
    }
    let reply = Reply::Bulk(Bytes::from(value));
    assert_eq!(bench.apply(&payload(2, 0, 1, 0, &set)), Outcome::Repeated(reply));
    assert_eq!(bench.apply(&payload(4, 0, 1, 0, &set)), Outcome::Forgotten);
    assert_eq!(bench.machine.counters().executed, 5);
    let occupied = bench.machine.memory_bytes();
    bench.apply(&payload(6, 0, 6, 0, &write("DEL k")));
    assert!(bench.machine.memory_bytes() + 2 * length < occupied);
}

#[test]
fn a_window_as_wide_as_allowed_and_wider() {
    let window = limits::KV_WRITES_IN_FLIGHT_MAX as u64;
    let mut bench = Bench::new();
    let incr = write("INCR n");
    assert_eq!(bench.apply(&payload(window, 0, 1, 0, &incr)), Outcome::Executed(Reply::Integer(1)));
    assert_eq!(bench.apply(&payload(window + 1, 0, 1, 0, &incr)), Outcome::Malformed);
    assert_eq!(bench.apply(&payload(u64::MAX, 0, 1, 0, &incr)), Outcome::Malformed);
    assert_eq!(bench.apply(&payload(1, 1, 1, 0, &incr)), Outcome::Malformed);
    assert_eq!(bench.apply(&payload(1, 0, 2, 0, &incr)), Outcome::Malformed);
    assert_eq!(bench.apply(&Bytes::new()), Outcome::Malformed);
    for sequence in 1..window {
        bench.apply(&payload(sequence, 0, 1, 0, &incr));
    }
    bench.check(0, "GET n", bulk("1024"));
}

/// All keys of a scan by cursors, with whatever happens between two calls.
fn scan(bench: &mut Bench, count: usize, mut between: impl FnMut(&mut Bench)) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut cursor = String::from("0");
    loop {
        let reply = bench.at(0, &format!("SCAN {cursor} COUNT {count} MATCH k*"));
        let Reply::Array(parts) = reply else { panic!("SCAN answers an array") };
        let [Reply::Bulk(next), Reply::Array(keys)] = &parts[..] else {
            panic!("SCAN answers a cursor and keys")
        };
        found.extend(keys.iter().map(|key| match key {
            Reply::Bulk(key) => key.clone(),
            other => panic!("{other:?} is no key"),
        }));
        if &next[..] == b"0" {
            return found;
        }
        cursor = String::from_utf8(next.to_vec()).unwrap();
        between(bench);
    }
}

#[test]
fn a_scan_names_every_key_that_stays_once() {
    let mut bench = Bench::new();
    for number in 0..500 {
        bench.at(0, &format!("SET k{number} v"));
        bench.at(0, &format!("SET other{number} v"));
    }
    let mut number = 0;
    let mut found = scan(&mut bench, 7, |bench| {
        bench.at(0, &format!("DEL other{number}"));
        bench.at(0, &format!("SET new{number} v"));
        number += 1;
    });
    assert!(number > 100, "the scan took many calls");
    found.sort_unstable();
    let mut expected: Vec<Bytes> =
        (0..500).map(|number| Bytes::from(format!("k{number}"))).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    bench.check(
        0,
        "SCAN 0 TYPE hash COUNT 5000",
        Reply::Array(vec![bulk("0"), Reply::Array(vec![])]),
    );
}

#[test]
fn keys_is_refused_above_its_limit_and_for_a_hostile_pattern() {
    let mut bench = Bench::new();
    for number in 0..limits::KV_KEYS_LISTED_MAX {
        bench.at(0, &format!("SET {}{number} v", "a".repeat(200)));
    }
    let Reply::Array(keys) = bench.at(0, "KEYS *") else { panic!("KEYS answers an array") };
    assert_eq!(keys.len(), limits::KV_KEYS_LISTED_MAX);
    let pattern = format!("*{}b", "a".repeat(100));
    let costly = Reply::error("ERR the pattern is too much work for so many keys: use SCAN");
    bench.check(0, &format!("KEYS {pattern}"), costly);
    let reply = bench.at(0, &format!("SCAN 0 COUNT 1000 MATCH {pattern}"));
    assert!(matches!(reply, Reply::Array(_)), "SCAN goes on");
    bench.at(0, "SET one-more v");
    assert!(matches!(bench.at(0, "KEYS *"), Reply::Error(_)));
}

#[test]
fn the_reply_to_mget_at_and_above_its_limit() {
    let mut bench = Bench::new();
    bench.at(0, &format!("SET k {}", "v".repeat(limits::VALUE_MAX_BYTES)));
    let fits = limits::KV_REPLY_MAX_BYTES / limits::VALUE_MAX_BYTES;
    let mget = |times: usize| format!("MGET{}", " k".repeat(times));
    assert!(matches!(bench.at(0, &mget(fits)), Reply::Array(_)));
    assert!(matches!(bench.at(0, &mget(fits + 1)), Reply::Error(_)));
    assert!(matches!(bench.at(0, &mget(1_023)), Reply::Error(_)));
}

fn line() -> impl Strategy<Value = String> {
    let key = "[abc]";
    prop_oneof![
        (key, "[0-9]{1,3}").prop_map(|(key, value)| format!("SET {key} {value}")),
        (key, 1u32..50).prop_map(|(key, ttl)| format!("SET {key} 5 PX {ttl} GET")),
        (key, -9i64..9).prop_map(|(key, delta)| format!("INCRBY {key} {delta}")),
        key.prop_map(|key| format!("APPEND {key} 7")),
        (key, key).prop_map(|(a, b)| format!("MSET {a} 1 {b} 2")),
        (key, -5i64..50).prop_map(|(key, ttl)| format!("PEXPIRE {key} {ttl}")),
        key.prop_map(|key| format!("PERSIST {key}")),
        key.prop_map(|key| format!("GETDEL {key}")),
        (key, key).prop_map(|(a, b)| format!("DEL {a} {b}")),
        Just(String::from("FLUSHALL")),
    ]
}

proptest! {
    /// Two machines that apply the same entries, malformed ones too, are the same after each.
    #[test]
    fn the_same_entries_give_the_same_state(
        steps in proptest::collection::vec((line(), 1u64..30, 0u64..200, any::<bool>()), 1..80),
    ) {
        let (mut a, mut b) = (Bench::new(), Bench::new());
        for (line, sequence, time_ms, damage) in steps {
            let mut payload = payload(sequence, 0, 1, time_ms, &write(&line)).to_vec();
            if damage {
                let at = usize::try_from(time_ms).unwrap() % payload.len();
                payload[at] ^= 0x55;
            }
            let payload = Bytes::from(payload);
            prop_assert_eq!(a.apply(&payload), b.apply(&payload));
            prop_assert_eq!(a.machine.digest(), b.machine.digest());
        }
    }

    /// The fingerprint tells apart what differs, and not how it came about.
    #[test]
    fn the_fingerprint_follows_the_data(lines in proptest::collection::vec(line(), 1..40)) {
        let mut bench = Bench::new();
        for line in &lines {
            bench.at(1, line);
        }
        let mut copy = Bench::new();
        let items: Vec<(Bytes, Bytes, Option<u64>)> = bench.machine.keyspace.scan(0, 0)
            .map(|(_, key)| {
                let item = bench.machine.keyspace.get(key, 0).unwrap();
                (key.clone(), item.value.clone(), item.deadline_ms)
            })
            .collect();
        for (key, value, deadline_ms) in items.iter().rev() {
            copy.machine.keyspace.put(key, value, *deadline_ms);
        }
        prop_assert_eq!(copy.machine.keyspace.digest(), bench.machine.keyspace.digest());
        copy.machine.keyspace.put(b"another", b"", None);
        prop_assert_ne!(copy.machine.keyspace.digest(), bench.machine.keyspace.digest());
    }
}
