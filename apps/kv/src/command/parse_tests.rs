//! Tests of the words of commands.

use super::*;
use crate::command::{ExpireCondition, Expiry, SetAnswer, SetCondition};
use crate::resp::Reply;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Command, CommandError> {
    let words: Vec<Bytes> =
        line.split_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    Command::parse(&words)
}

#[track_caller]
fn refused(line: &str, text: &str) {
    match parse(line).map_err(|error| error.reply()) {
        Err(Reply::Error(reply)) => assert_eq!(String::from_utf8_lossy(&reply), text),
        other => panic!("{line} is {other:?}"),
    }
}

/// Every text here was compared with a Redis 7.0.15.
#[test]
fn errors_are_those_of_redis() {
    for (line, text) in [
        ("foo bar baz", "ERR unknown command 'foo', with args beginning with: 'bar' 'baz' "),
        ("foo", "ERR unknown command 'foo', with args beginning with: "),
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("GET a b", "ERR wrong number of arguments for 'get' command"),
        ("mset a", "ERR wrong number of arguments for 'mset' command"),
        ("mset a b c", "ERR wrong number of arguments for 'mset' command"),
        ("ping a b", "ERR wrong number of arguments for 'ping' command"),
        ("client setname", "ERR wrong number of arguments for 'client|setname' command"),
        ("command count foo", "ERR wrong number of arguments for 'command|count' command"),
        ("config get", "ERR wrong number of arguments for 'config|get' command"),
        ("client foo", "ERR unknown subcommand 'foo'. Try CLIENT HELP."),
        ("select 1", "ERR DB index is out of range"),
        ("select abc", "ERR value is not an integer or out of range"),
        ("set a b ex 0", "ERR invalid expire time in 'set' command"),
        ("set a b px 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("set a b ex 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("set a b ex abc", "ERR value is not an integer or out of range"),
        ("set a b ex abc foo", "ERR syntax error"),
        ("set a b ex", "ERR syntax error"),
        ("set a b nx xx", "ERR syntax error"),
        ("set a b keepttl ex 10", "ERR syntax error"),
        ("set a b ex 10 px 10", "ERR syntax error"),
        ("expire a 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("expire a 1 foo", "ERR Unsupported option foo"),
        ("expire a 1 nx gt", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("expire a 1 gt lt", "ERR GT and LT options at the same time are not compatible"),
        ("incrby a 1.5", "ERR value is not an integer or out of range"),
        ("decrby a -9223372036854775808", "ERR decrement would overflow"),
        ("scan abc", "ERR invalid cursor"),
        ("scan 18446744073709551616", "ERR invalid cursor"),
        ("scan 0 count 0", "ERR syntax error"),
        ("scan 0 count x", "ERR value is not an integer or out of range"),
        ("scan 0 match", "ERR syntax error"),
        ("flushall foo", "ERR syntax error"),
        ("flushall async sync", "ERR syntax error"),
        ("hello 3", "NOPROTO unsupported protocol version"),
        ("hello x", "ERR Protocol version is not an integer or out of range"),
        ("hello 2 foo", "ERR Syntax error in HELLO option 'foo'"),
        ("hello 2 auth a b", "WRONGPASS invalid username-password pair or user is disabled."),
        ("client no-evict maybe", "ERR syntax error"),
    ] {
        refused(line, text);
    }
}

#[test]
fn options_in_any_order_and_case() {
    let Ok(Command::Write(Write::Set(set))) = parse("sEt k v gEt Px 5 nX") else {
        panic!("the line is a SET");
    };
    assert_eq!(set.condition, SetCondition::Absent);
    assert_eq!((set.expiry, set.answer), (Expiry::After(5), SetAnswer::Previous));
    let Ok(Command::Write(Write::Expire { ttl_ms, condition, .. })) = parse("expire k 7 lt xx")
    else {
        panic!("the line is an EXPIRE");
    };
    assert_eq!((ttl_ms, condition), (7000, ExpireCondition::DeadlineEarlier));
    let Ok(Command::Read(Read::Scan(scan))) = parse("scan 9 count 5000 type hash match a*") else {
        panic!("the line is a SCAN");
    };
    assert_eq!((scan.cursor, scan.count, scan.strings), (9, limits::KV_SCAN_COUNT_MAX, false));
}

#[test]
fn an_error_repeats_a_bounded_part_of_a_hostile_command() {
    let words = [Bytes::from(vec![b'x'; 100_000]), Bytes::from(vec![b'y'; 100_000])];
    let reply = Command::parse(&words).unwrap_err().reply();
    assert!(reply.size_bytes() < 400);
}

#[test]
fn keys_and_values_at_and_above_their_limits() {
    let set = |key: usize, value: usize| {
        let words = [
            Bytes::from_static(b"SET"),
            Bytes::from(vec![b'k'; key]),
            Bytes::from(vec![b'v'; value]),
        ];
        Command::parse(&words)
    };
    assert!(set(limits::KEY_MAX_BYTES, limits::VALUE_MAX_BYTES).is_ok());
    assert_eq!(set(limits::KEY_MAX_BYTES + 1, 1), Err(CommandError::KeyTooLong));
    assert_eq!(set(1, limits::VALUE_MAX_BYTES + 1), Err(CommandError::ValueTooLong));
    assert_eq!(set(1, 8 * limits::VALUE_MAX_BYTES), Err(CommandError::CommandTooLong));
}

proptest! {
    #[test]
    fn any_words_are_read_without_panic(
        name in prop_oneof![
            proptest::sample::select(super::table::TABLE)
                .prop_map(|spec| spec.name.as_bytes().to_vec()),
            proptest::collection::vec(any::<u8>(), 0..10),
        ],
        args in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..10),
                "(ex|px|nx|xx|get|match|count|type|auth|setname|list|-?[0-9]{1,20})"
                    .prop_map(String::into_bytes),
            ],
            0..7,
        ),
    ) {
        let words: Vec<Bytes> =
            std::iter::once(name).chain(args).map(Bytes::from).collect();
        if let Err(error) = Command::parse(&words) {
            prop_assert!(matches!(error.reply(), Reply::Error(_)));
        }
    }
}
