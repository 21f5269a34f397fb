//! Inline commands: one line of words, as a person types them over telnet.

use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use super::parser::{Parsed, ProtocolError, Refusal};

/// Splits a line, without its line end, into words. Words may be quoted as in Redis: within `"` the
/// escapes `\n \r \t \b \a \xHH` and `\` before anything else, within `'` only `\'`. A closing
/// quote must be followed by a space or the end. As there, a NUL byte ends the line.
pub fn split(line: &[u8]) -> Parsed {
    let mut words = Vec::new();
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let Some((word, behind)) = word(rest) else {
            return Parsed::Failed(ProtocolError::UnbalancedQuotes);
        };
        if words.len() == limits::COMMAND_WORDS_MAX {
            return Parsed::Refused(Refusal::TooManyWords);
        }
        words.push(Bytes::from(word));
        rest = behind.trim_ascii_start();
    }
    Parsed::Words(words)
}

/// The first word of `text`, and what is behind it; `None` if a quote is not closed.
fn word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        rest = match *rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [b'"', ref inside @ ..] => double_quoted(inside, &mut word)?,
            [b'\'', ref inside @ ..] => single_quoted(inside, &mut word)?,
            [byte, ref behind @ ..] => {
                word.push(byte);
                behind
            }
        };
    }
}

/// Appends what stands before the closing `"`; answers what is behind it.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [b'"', ref behind @ ..] => return at_word_end(behind),
            [b'\\', b'x', high, low, ref behind @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(high) << 4 | hex(low), behind)
            }
            [b'\\', escaped, ref behind @ ..] => (unescape(escaped), behind),
            [byte, ref behind @ ..] => (byte, behind),
            [] => return None,
        };
        word.push(byte);
        rest = behind;
    }
}

/// Appends what stands before the closing `'`; answers what is behind it.
fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, behind) = match *rest {
            [b'\'', ref behind @ ..] => return at_word_end(behind),
            [b'\\', b'\'', ref behind @ ..] => (b'\'', behind),
            [byte, ref behind @ ..] => (byte, behind),
            [] => return None,
        };
        word.push(byte);
        rest = behind;
    }
}

fn at_word_end(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == 0x0b).then_some(rest)
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        other => unreachable!("the caller checked that {other} is a hexadecimal digit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        match split(line.as_bytes()) {
            Parsed::Words(words) => {
                Some(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
            }
            Parsed::Refused(_) | Parsed::Failed(_) => None,
        }
    }

    #[test]
    fn quotes_and_escapes() {
        assert_eq!(words("  "), Some(vec![]));
        assert_eq!(words("set a  b "), Some(vec!["set".into(), "a".into(), "b".into()]));
        assert_eq!(words(r#""a b" 'c d'"#), Some(vec!["a b".into(), "c d".into()]));
        assert_eq!(words(r#""\x41\n\t\q\"""#), Some(vec!["A\n\tq\"".into()]));
        assert_eq!(words(r"'it\'s \n'"), Some(vec!["it's \\n".into()]));
        assert_eq!(words(r#"a"b""#), Some(vec!["ab".into()]));
        assert_eq!(words(r#""""#), Some(vec!["".into()]));
        assert_eq!(words("a \0 b"), Some(vec!["a".into()]));
        assert_eq!(words("\0\x01"), Some(vec![]));
    }

    #[test]
    fn unbalanced_quotes() {
        for line in [r#""a"#, "'a", r#""a"b"#, "'a'b", r#"""""#, r#""a\"#] {
            assert_eq!(split(line.as_bytes()), Parsed::Failed(ProtocolError::UnbalancedQuotes));
        }
    }

    #[test]
    fn words_are_counted() {
        let line = "a ".repeat(limits::COMMAND_WORDS_MAX);
        assert_eq!(words(&line).map(|words| words.len()), Some(limits::COMMAND_WORDS_MAX));
        assert_eq!(split((line + "a").as_bytes()), Parsed::Refused(Refusal::TooManyWords));
    }
}
