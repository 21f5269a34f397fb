//! The request parser of clients.

use base::limits;
use kv::resp::{Parsed, Parser};

use crate::input::Input;

/// A body that doubled as it grew, a line, and the ends of words.
const BUFFERED_MAX_BYTES: usize = 2 * (limits::KV_COMMAND_MAX_BYTES + limits::KV_INLINE_MAX_BYTES)
    + 8 * limits::COMMAND_WORDS_MAX;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let portion = usize::from(input.u8()).max(1);
    let bytes = input.rest();
    let whole = parse(bytes, bytes.len().max(1));
    assert_eq!(whole, parse(bytes, portion), "portions of {portion} change nothing");
    for parsed in whole {
        if let Parsed::Words(words) = parsed {
            assert!((1..=limits::COMMAND_WORDS_MAX).contains(&words.len()));
            let total: usize = words.iter().map(|word| word.len()).sum();
            assert!(total <= limits::KV_COMMAND_MAX_BYTES);
            let mut again = format!("*{}\r\n", words.len()).into_bytes();
            for word in &words {
                again.extend(format!("${}\r\n", word.len()).bytes());
                again.extend_from_slice(word);
                again.extend(b"\r\n");
            }
            assert_eq!(parse(&again, again.len()), [Parsed::Words(words)], "in its usual form");
        }
    }
}

/// Everything that comes out. After a broken frame nothing does.
fn parse(bytes: &[u8], portion: usize) -> Vec<Parsed> {
    let mut parser = Parser::new();
    let mut found = Vec::new();
    for mut portion in bytes.chunks(portion) {
        while !portion.is_empty() {
            let fed = parser.feed(portion);
            assert!(fed.consumed <= portion.len());
            assert!(fed.parsed.is_some() || fed.consumed == portion.len(), "all or something");
            assert!(parser.buffered_bytes() <= BUFFERED_MAX_BYTES);
            portion = &portion[fed.consumed..];
            found.extend(fed.parsed);
        }
    }
    let failures = found.iter().filter(|parsed| matches!(parsed, Parsed::Failed(_))).count();
    assert!(failures == 0 || failures == 1 && matches!(found.last(), Some(Parsed::Failed(_))));
    found
}
