//! What clients of the service see when leaders change, messages are lost and disks are full.

mod harness;

use base::{Duration, Instant, LogIndex, Term, limits};
use bytes::Bytes;
use harness::{Cluster, command, id, text};
use kv::Reply;
use kv::command::Ledger;
use kv::service::{ClientId, Config, KvService, Output, Proposal, Refusal, SubmitError};

fn led(count: u16) -> Cluster {
    let mut cluster = Cluster::new(count, 7);
    cluster.elect(Some(1));
    for number in 1..=count {
        cluster.open(number, 1);
    }
    cluster
}

#[test]
fn every_node_takes_every_command() {
    let mut cluster = led(3);
    for number in 1..=3 {
        assert_eq!(cluster.ask(number, 1, &format!("SET k v{number}")), Reply::Ok);
        for reader in 1..=3 {
            assert_eq!(text(&cluster.ask(reader, 1, "GET k")), format!("v{number}"));
        }
    }
    assert_eq!(cluster.node(2).service.status().counters.relayed, 0);
    assert_eq!(cluster.node(1).service.status().counters.relayed, 2);
}

#[test]
fn replies_leave_in_the_order_of_the_commands() {
    let mut cluster = led(3);
    for line in ["SET k 1", "PING", "INCR k", "ECHO a"] {
        assert!(cluster.submit(2, 1, line));
    }
    assert_eq!(cluster.reply(2, 1), None, "PING waits for SET");
    // A read waits for the writes before it, and nothing is taken behind it.
    assert!(cluster.submit(2, 1, "GET k"));
    assert!(!cluster.submit(2, 1, "PING"));
    cluster.run(10);
    let replies: Vec<String> =
        std::iter::from_fn(|| cluster.reply(2, 1)).map(|reply| text(&reply)).collect();
    assert_eq!(replies, ["Ok", "Simple(\"PONG\")", "Integer(2)", "a", "2"]);
}

/// The entry does not come to the node any more, and the leader takes no notice of another try.
#[test]
fn a_write_that_a_snapshot_knows_is_answered_from_it() {
    let mut cluster = led(3);
    cluster.run(1);
    assert!(cluster.submit(2, 1, "APPEND k abc"));
    // Node 2 hears nothing of the log until it gets the snapshot.
    let applied = std::mem::replace(&mut cluster.node(2).applied, usize::MAX);
    cluster.run(10);
    cluster.node(2).applied = applied;
    assert_eq!(cluster.node(1).applied, 2, "the others have executed it");
    assert_eq!(cluster.reply(2, 1), None);
    cluster.catch_up(2);
    assert_eq!(cluster.reply(2, 1), Some(Reply::Integer(3)));
    assert!(!cluster.node(2).service.has_writes());
}

#[test]
fn many_writes_of_one_client_are_under_way_together() {
    let mut cluster = led(3);
    let mut taken = 0;
    while cluster.submit(3, 1, &format!("APPEND k {}", taken % 10)) {
        taken += 1;
    }
    assert_eq!(taken, limits::KV_PIPELINE_MAX);
    cluster.run(5);
    let replies: Vec<Reply> = std::iter::from_fn(|| cluster.reply(3, 1)).collect();
    let expected: Vec<Reply> = (1..=taken).map(Reply::count).collect();
    assert_eq!(replies, expected);
}

#[test]
fn reads_of_many_clients_share_a_round() {
    let mut cluster = led(1);
    for client in 2..=100 {
        cluster.open(1, client);
    }
    // All within one burst of input: nothing is drained between them.
    let now = cluster.now;
    for client in 2..=100 {
        let service = &mut cluster.node(1).service;
        assert_eq!(service.submit(ClientId(client), command("GET k"), now), Ok(()));
    }
    cluster.run(5);
    assert!((2..=100).all(|client| cluster.reply(1, client) == Some(Reply::Nil)));
    assert_eq!(cluster.node(1).service.status().counters.read_rounds, 1);
}

#[test]
fn a_write_survives_the_change_of_its_leader() {
    let mut cluster = led(3);
    for seed in 0..20u64 {
        assert!(cluster.submit(3, 1, "INCR n"));
        // The leader has appended it, or not yet; what it appended survives, or not.
        cluster.drain();
        cluster.elect(None);
        cluster.run(seed);
        cluster.elect(Some(u16::try_from(seed % 2).unwrap() + 1));
        let mut reply = None;
        while reply.is_none() {
            cluster.run(1);
            reply = cluster.reply(3, 1);
        }
        assert_eq!(reply, Some(Reply::count(usize::try_from(seed).unwrap() + 1)));
    }
}

#[test]
fn without_a_leader_a_client_hears_so_in_time() {
    let mut cluster = Cluster::new(3, 7);
    cluster.open(1, 1);
    cluster.open(1, 2);
    assert!(cluster.submit(1, 1, "SET k v"));
    assert!(cluster.submit(1, 2, "GET k"));
    cluster.run(limits::KV_ANSWER_WITHIN_MS - 1);
    assert_eq!((cluster.reply(1, 1), cluster.reply(1, 2)), (None, None));
    cluster.run(1);
    let (write, read) = (cluster.reply(1, 1).unwrap(), cluster.reply(1, 2).unwrap());
    assert!(text(&write).ends_with("the command was not executed"), "{}", text(&write));
    assert_eq!(text(&read), "CLUSTERDOWN no majority answered in time: nothing was read");
    cluster.elect(Some(1));
    cluster.run(10);
    assert_eq!(cluster.ask(1, 1, "EXISTS k"), Reply::Integer(0), "what was given up stays so");
}

#[test]
fn a_write_that_may_be_in_a_log_has_an_unknown_outcome() {
    let mut cluster = led(3);
    cluster.faults.commit_lag = 100;
    for number in [1, 2] {
        assert!(cluster.submit(number, 1, &format!("SET k{number} v")));
    }
    assert!(cluster.submit(1, 1, "GET k"), "the read waits for the write");
    cluster.run(limits::KV_ANSWER_WITHIN_MS);
    for number in [1, 2] {
        let reply = text(&cluster.reply(number, 1).unwrap());
        assert!(reply.ends_with("may or may not have been executed"), "{reply}");
    }
    assert!(text(&cluster.reply(1, 1).unwrap()).ends_with("nothing was read"));
    // Here both were in the log after all.
    cluster.faults.commit_lag = 0;
    cluster.run(10);
    assert_eq!(cluster.ask(3, 1, "EXISTS k1 k2"), Reply::Integer(2));
}

#[test]
fn an_isolated_node_answers_in_time_and_takes_up_again() {
    let mut cluster = led(3);
    cluster.ask(3, 1, "SET k old");
    cluster.connect(3, false);
    let reply = cluster.ask(3, 1, "GET k");
    assert!(text(&reply).starts_with("CLUSTERDOWN "), "no stale answer: {reply:?}");
    cluster.ask(2, 1, "SET k new");
    cluster.connect(3, true);
    assert_eq!(text(&cluster.ask(3, 1, "GET k")), "new");
}

#[test]
fn a_full_log_refuses_writes_on_every_node_and_reads_go_on() {
    let mut cluster = led(3);
    cluster.ask(1, 1, "SET k v");
    cluster.log_full = true;
    for number in 1..=3 {
        let reply = text(&cluster.ask(number, 1, "SET k other"));
        assert!(reply.starts_with("MISCONF the log on disk is full"), "{reply}");
        assert_eq!(text(&cluster.ask(number, 1, "GET k")), "v");
    }
    cluster.log_full = false;
    assert_eq!(cluster.ask(3, 1, "SET k other"), Reply::Ok);
}

#[test]
fn a_busy_leader_is_asked_again() {
    let mut cluster = led(3);
    cluster.faults.proposal_refused = 80;
    for number in 1..=3 {
        for count in 0..10 {
            assert_eq!(
                cluster.ask(number, 1, &format!("APPEND k{number} x")),
                Reply::count(count + 1)
            );
        }
    }
}

#[test]
fn a_key_expires_without_anybody_writing() {
    let mut cluster = led(3);
    assert_eq!(cluster.ask(2, 1, "SET k v PX 500"), Reply::Ok);
    cluster.run(450);
    assert_eq!(text(&cluster.ask(3, 1, "GET k")), "v");
    cluster.run(100);
    assert_eq!(cluster.ask(3, 1, "GET k"), Reply::Nil);
    assert_eq!(cluster.node(1).service.status().counters.ticks, 1);
    // Nothing is left to do: an idle cluster is idle.
    assert_eq!(cluster.node(1).service.poll_timeout(), None);
    // Another leader, whose clock may be a minute ahead or behind, goes on from the log's time.
    assert_eq!(cluster.ask(2, 1, "SET k v PX 70000"), Reply::Ok);
    cluster.elect(Some(3));
    let Reply::Integer(ttl_ms) = cluster.ask(3, 1, "PTTL k") else { panic!("the key is there") };
    assert!((0..=70_000).contains(&ttl_ms), "{ttl_ms}");
    cluster.run(70_100);
    assert_eq!(cluster.ask(1, 1, "DBSIZE"), Reply::Integer(0));
}

#[test]
fn many_keys_expire_with_few_entries() {
    let mut cluster = led(1);
    for number in 0..1_000 {
        cluster.ask(1, 1, &format!("SET k{number} v PX {}", 5_000 + number));
    }
    let before = cluster.log.len();
    cluster.run(8_000);
    assert_eq!(cluster.ask(1, 1, "DBSIZE"), Reply::Integer(0));
    let ticks = cluster.log.len() - before;
    assert!(ticks <= 2 + 3_000 / 20, "{ticks} ticks");
}

#[test]
fn a_crowd_of_keys_that_expire_at_once_is_gone_soon() {
    let mut cluster = led(1);
    let count = 8 * limits::KV_EXPIRED_PER_ENTRY_MAX;
    for chunk in 0..count / 256 {
        let pairs = |number: usize| format!(" k{} v", chunk * 256 + number);
        let pairs: String = (0..256).map(pairs).collect();
        cluster.ask(1, 1, &format!("MSET{pairs}"));
    }
    let clock_ms = cluster.node(1).service.status().clock_ms + 2 * count as u64;
    for number in 0..count {
        let now_ms = cluster.node(1).service.status().clock_ms;
        cluster.ask(1, 1, &format!("PEXPIRE k{number} {}", clock_ms - now_ms));
    }
    cluster.run(2 * count as u64);
    assert_eq!(cluster.ask(1, 1, "EXISTS k0 k1 k2 k2047"), Reply::Integer(0));
    cluster.run(20 * 10);
    assert_eq!(cluster.ask(1, 1, "DBSIZE"), Reply::Integer(0));
}

#[test]
fn the_writes_of_a_node_at_their_limit() {
    let mut cluster = led(2);
    let clients = limits::KV_WRITES_IN_FLIGHT_MAX as u64 / 10 + 10;
    for client in 10..10 + clients {
        cluster.open(2, client);
    }
    cluster.faults.commit_lag = 100;
    let mut taken = 0;
    for client in 10..10 + clients {
        for _ in 0..10 {
            taken += usize::from(cluster.submit(2, client, "INCR n"));
        }
    }
    let status = cluster.node(2).service.status();
    assert_eq!(status.writes, limits::KV_WRITES_IN_FLIGHT_MAX);
    assert!(taken > status.writes && taken < 10 * usize::try_from(clients).unwrap());
    assert!(!cluster.submit(2, 9 + clients, "PING"), "a client with a waiting command has to wait");
    cluster.faults.commit_lag = 0;
    cluster.run(20);
    let status = cluster.node(2).service.status();
    assert_eq!((status.writes, status.keys), (0, 1));
    let total = cluster.ask(1, 1, "GET n");
    assert_eq!(text(&total), taken.to_string(), "everything that was taken was executed");
}

#[test]
fn the_bytes_of_writes_under_way_at_their_limit() {
    let mut cluster = led(1);
    cluster.faults.commit_lag = 100;
    let value = "v".repeat(limits::VALUE_MAX_BYTES);
    for client in 10..20 {
        cluster.open(1, client);
        assert!(cluster.submit(1, client, &format!("SET k {value}")));
    }
    let status = cluster.node(1).service.status();
    assert_eq!(status.writes, limits::KV_WRITES_IN_FLIGHT_MAX_BYTES / limits::VALUE_MAX_BYTES - 1);
    cluster.faults.commit_lag = 0;
    cluster.run(20);
    assert!((10..20).all(|client| cluster.reply(1, client) == Some(Reply::Ok)));
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let mut cluster = led(3);
    cluster.open(2, 5);
    for line in ["SET k v", "SET k w", "GET k"] {
        assert!(cluster.submit(2, 5, line));
    }
    let now = cluster.now;
    cluster.node(2).service.close(ClientId(5), now);
    let refused = cluster.node(2).service.submit(ClientId(5), command("PING"), now);
    assert_eq!(refused, Err(SubmitError::UnknownClient));
    cluster.run(20);
    assert_eq!(cluster.reply(2, 5), None);
    assert_eq!(text(&cluster.ask(2, 1, "GET k")), "w", "its writes were under way");
    let status = cluster.node(2).service.status();
    assert_eq!((status.writes, status.reads, status.clients, status.client_bytes), (0, 0, 1, 0));
}

#[test]
fn quit_answers_what_came_before_and_closes() {
    let mut cluster = led(1);
    for line in ["SET k v", "QUIT"] {
        assert!(cluster.submit(1, 1, line));
    }
    assert!(!cluster.submit(1, 1, "SET k w"));
    assert!(cluster.node(1).closed.is_empty());
    cluster.run(2);
    assert_eq!(cluster.reply(1, 1), Some(Reply::Ok));
    assert_eq!(cluster.reply(1, 1), Some(Reply::Ok));
    assert_eq!(cluster.node(1).closed, [ClientId(1)]);
}

#[test]
fn hostile_messages_of_peers_are_counted_and_do_no_harm() {
    let mut cluster = led(2);
    let mut service = KvService::new(Config { id: id(2), epoch: 1 }, 0, Instant::ORIGIN);
    service.handle_leader(Some(id(1)), Term(1), Instant::ORIGIN);
    service.open_internal(ClientId(1), Instant::ORIGIN);
    service.submit(ClientId(1), command("SET k v"), Instant::ORIGIN).unwrap();
    let Some(Output::Forward { to, bytes }) = service.poll_output() else {
        panic!("the write is forwarded");
    };
    assert_eq!(to, id(1));
    let now = cluster.now;
    let leader = &mut cluster.node(1).service;
    // Not from the node that it names as its origin.
    leader.handle_forward(id(3), &Bytes::from(bytes.clone()), now);
    for length in 0..bytes.len() {
        leader.handle_forward(id(2), &Bytes::from(bytes[..length].to_vec()), now);
    }
    assert_eq!(leader.status().counters.malformed_messages, 1 + bytes.len() as u64);
    assert_eq!(leader.poll_output(), None);
    // The return of something that nobody waits for.
    service.handle_propose_failed(
        Proposal::Request(kv::machine::RequestId { origin: id(2), epoch: 1, sequence: 99 }),
        Refusal::Busy,
        Instant::ORIGIN,
    );
    service.check_invariants();
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut cluster = led(3);
        cluster.faults.message_lost = 20;
        let replies: Vec<Reply> =
            (0..50).map(|step| cluster.ask(step % 3 + 1, 1, &format!("APPEND k {step}"))).collect();
        (replies, cluster.log.clone())
    };
    assert_eq!(run(), run());
}

#[test]
fn internal_replies_do_not_count_as_buffered() {
    let mut service = KvService::new(Config { id: id(1), epoch: 1 }, 0, Instant::ORIGIN);
    service.open_internal(ClientId(1), Instant::ORIGIN);
    let echo = format!("ECHO {}", "x".repeat(limits::VALUE_MAX_BYTES));
    for step in 0..40 {
        let now = Instant::ORIGIN + Duration::from_millis(step);
        service.submit(ClientId(1), command(&echo), now).unwrap();
        assert!(matches!(service.poll_output(), Some(Output::Reply { .. })));
        assert_eq!(service.poll_output(), None);
    }
    assert_eq!(service.status().client_bytes, 0);
    assert_eq!(service.applied(), LogIndex(0));
}

/// What the ledger answers leaves in the order of the commands; what comes too late is nobody's.
#[test]
fn commands_for_the_ledger_are_passed_on() {
    let mut cluster = led(1);
    for line in ["LEDGER.APPEND entry", "LEDGER.GET 7", "PING", "SET k v"] {
        assert!(cluster.submit(1, 1, line));
    }
    cluster.run(10);
    let asked = std::mem::take(&mut cluster.node(1).asked);
    let entry = Bytes::from_static(b"entry");
    let commands: Vec<_> = asked.iter().map(|(_, command)| command.clone()).collect();
    assert_eq!(commands, [Ledger::Append(entry), Ledger::Get(7)]);
    let now = cluster.now;
    cluster.node(1).service.handle_ledger_reply(asked[1].0, Reply::Nil, now);
    cluster.drain();
    assert_eq!(cluster.reply(1, 1), None, "the answer to the first comes first");
    cluster.node(1).service.handle_ledger_reply(asked[0].0, Reply::Integer(6), now);
    cluster.drain();
    let replies: Vec<_> = std::iter::from_fn(|| cluster.reply(1, 1)).collect();
    assert_eq!(replies, [Reply::Integer(6), Reply::Nil, Reply::Simple("PONG"), Reply::Ok]);
    // Without an answer the client is told so, and whether it may be too late to try again.
    assert!(cluster.submit(1, 1, "LEDGER.APPEND more") && cluster.submit(1, 1, "LEDGER.PROOF 1"));
    cluster.run(limits::KV_ANSWER_WITHIN_MS + 10);
    assert!(text(&cluster.reply(1, 1).unwrap()).contains("may or may not"));
    assert!(text(&cluster.reply(1, 1).unwrap()).contains("nothing was read"));
    let late = cluster.node(1).asked[0].0;
    let now = cluster.now;
    cluster.node(1).service.handle_ledger_reply(late, Reply::Ok, now);
    cluster.drain();
    assert_eq!(cluster.reply(1, 1), None);
    let signed = |key: usize, sequence: &str, signature: usize| {
        format!("LEDGER.APPEND a {} {sequence} {}", "7F".repeat(key), "c0".repeat(signature))
    };
    let words = |line: &str| line.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
    let words: Vec<Bytes> = words(&signed(32, "5", 64));
    let (entry, client, signature) = (Bytes::from_static(b"a"), [0x7f; 32], [0xc0; 64]);
    let expected = kv::command::SignedEntry { entry, client, sequence: 5, signature };
    let expected = kv::Command::Ledger(Ledger::AppendSigned(Box::new(expected)));
    assert_eq!(kv::Command::parse(&words), Ok(expected));
    let bad =
        [(31, "5", 64), (33, "5", 64), (32, "0", 64), (32, "-1", 64), (32, "x", 64), (32, "5", 63)];
    let bad = bad.map(|(key, sequence, signature)| signed(key, sequence, signature));
    let others = ["LEDGER.GET x", "LEDGER.PROOF", "LEDGER.APPEND a b", "LEDGER.APPEND a b c d e"];
    for line in bad.iter().map(String::as_str).chain(others) {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
        assert!(kv::Command::parse(&words).is_err(), "{line}");
    }
}
