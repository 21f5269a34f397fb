//! Tests of the request parser.

use super::*;
use proptest::prelude::*;

/// Everything that comes out of `bytes`, fed in portions of at most `portion`.
fn parse(bytes: &[u8], portion: usize) -> Vec<Parsed> {
    let mut parser = Parser::new();
    let mut out = Vec::new();
    for chunk in bytes.chunks(portion.max(1)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let fed = parser.feed(rest);
            assert!(fed.consumed > 0, "every call takes something");
            rest = &rest[fed.consumed..];
            out.extend(fed.parsed);
        }
    }
    out
}

fn words(words: &[&[u8]]) -> Parsed {
    Parsed::Words(words.iter().map(|word| Bytes::copy_from_slice(word)).collect())
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[test]
fn commands_follow_each_other() {
    let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n\r\n*0\r\n*-1\r\nPING\r\n*1\r\n$0\r\n\r\n";
    let expected = [words(&[b"GET", b"a"]), words(&[b"PING"]), words(&[b""])];
    for portion in 1..bytes.len() {
        assert_eq!(parse(bytes, portion), expected);
    }
}

#[test]
fn broken_framing_ends_the_connection_with_the_error_of_redis() {
    for (bytes, error) in [
        (&b"*abc\r\n"[..], ProtocolError::MultibulkLength),
        (b"*1048577\r\n", ProtocolError::MultibulkLength),
        (b"*99999999999999999999999999", ProtocolError::MultibulkLength),
        (b"*1\r\n$-1\r\n", ProtocolError::BulkLength),
        (b"*1\r\n$abc\r\n", ProtocolError::BulkLength),
        (b"*1\r\n$536870913\r\n", ProtocolError::BulkLength),
        (b"*1\r\nabc\r\n", ProtocolError::ExpectedDollar(b'a')),
        (b"SET \"a\r\n", ProtocolError::UnbalancedQuotes),
    ] {
        let mut input = bytes.to_vec();
        input.extend(b"PING\r\n");
        assert_eq!(parse(&input, 1), [Parsed::Failed(error)]);
        assert_eq!(parse(&input, 64), [Parsed::Failed(error)]);
    }
}

#[test]
fn inline_lines_at_and_above_the_limit() {
    let line = vec![b'a'; limits::KV_INLINE_MAX_BYTES];
    let mut at = line.clone();
    at.push(b'\n');
    assert_eq!(parse(&at, 1000), [words(&[&line])]);
    let mut above = line;
    above.extend(b"a\nPING\n");
    assert_eq!(parse(&above, 1000), [Parsed::Failed(ProtocolError::InlineTooBig)]);
}

#[test]
fn words_at_above_and_far_above_the_limit() {
    let value = |length| vec![b'v'; length];
    let at = parse(&encode(&[value(limits::VALUE_MAX_BYTES)]), 1460);
    assert_eq!(at, [words(&[&value(limits::VALUE_MAX_BYTES)])]);
    for length in [limits::VALUE_MAX_BYTES + 1, 8 * limits::VALUE_MAX_BYTES] {
        let mut bytes = encode(&[b"SET".to_vec(), value(length), value(1)]);
        bytes.extend(b"PING\r\n");
        let expected = [Parsed::Refused(Refusal::WordTooLong), words(&[b"PING"])];
        assert_eq!(parse(&bytes, 1460), expected);
    }
}

#[test]
fn the_number_of_words_at_above_and_far_above_the_limit() {
    let command = |count| encode(&vec![b"w".to_vec(); count]);
    let at = parse(&command(limits::COMMAND_WORDS_MAX), 4096);
    assert!(matches!(&at[..], [Parsed::Words(words)] if words.len() == limits::COMMAND_WORDS_MAX));
    for count in [limits::COMMAND_WORDS_MAX + 1, 20 * limits::COMMAND_WORDS_MAX] {
        let mut bytes = command(count);
        bytes.extend(b"PING\r\n");
        let expected = [Parsed::Refused(Refusal::TooManyWords), words(&[b"PING"])];
        assert_eq!(parse(&bytes, 4096), expected);
    }
}

#[test]
fn a_command_above_its_total_limit_is_dropped_as_it_comes() {
    let half = limits::KV_COMMAND_MAX_BYTES / 2;
    let fits = encode(&[vec![b'a'; half], vec![b'b'; half]]);
    assert!(matches!(&parse(&fits, 1460)[..], [Parsed::Words(_)]));
    let mut parser = Parser::new();
    let bytes = encode(&[vec![b'a'; half], vec![b'b'; half], vec![b'c'; half]]);
    let mut out = Vec::new();
    for chunk in bytes.chunks(1460) {
        out.extend(parser.feed(chunk).parsed);
        assert!(parser.buffered_bytes() <= limits::KV_COMMAND_MAX_BYTES + 4096);
    }
    assert_eq!(out, [Parsed::Refused(Refusal::CommandTooLong)]);
    assert!(parser.buffered_bytes() <= 64, "what was refused is not kept");
}

#[test]
fn an_announced_length_reserves_nothing() {
    let mut parser = Parser::new();
    assert_eq!(parser.feed(b"*1024\r\n$1048576\r\nabc").parsed, None);
    assert!(parser.buffered_bytes() <= 8192);
}

/// Bytes that look enough like requests to reach every state.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        4 => proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 1..5)
            .prop_map(|words| encode(&words)),
        2 => "[a-z \"'\\\\]{0,20}\r\n".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..16),
        1 => "[*$][-0-9]{0,4}\r\n".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(fragment, 0..8).prop_map(|fragments| fragments.concat())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_commands(bytes in requests(), portion in 1usize..40) {
        prop_assert_eq!(parse(&bytes, portion), parse(&bytes, bytes.len()));
    }

    #[test]
    fn what_a_client_encodes_is_what_comes_out(
        command in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..20),
        portion in 1usize..40,
    ) {
        let slices: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let expected = words(&slices);
        prop_assert_eq!(parse(&encode(&command), portion), [expected]);
    }
}
