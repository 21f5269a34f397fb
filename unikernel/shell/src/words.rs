//! A line taken apart into words: blanks separate, quotes hold together.

use alloc::vec::Vec;

/// Why a line has no words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordsError {
    /// A quote is not closed.
    OpenQuote,
    /// A closing quote is followed by something other than a blank.
    AfterQuote,
    /// An escape that is not known, within double quotes.
    Escape,
}

impl core::fmt::Display for WordsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            WordsError::OpenQuote => "a quote is not closed",
            WordsError::AfterQuote => "a closing quote must be followed by a blank",
            WordsError::Escape => r#"within "…" the escapes are \n \r \t \\ \" and \xHH"#,
        })
    }
}

impl core::error::Error for WordsError {}

/// The words of a line. Within `"…"` a backslash escapes `\n \r \t \\ \" \xHH`; within `'…'` only `\'`.
///
/// # Errors
/// If quotes or escapes are wrong.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, WordsError> {
    let mut bytes = line.bytes().peekable();
    let mut words = Vec::new();
    loop {
        while bytes.next_if_eq(&b' ').is_some() {}
        let Some(first) = bytes.peek().copied() else { return Ok(words) };
        let mut word = Vec::new();
        if first == b'"' || first == b'\'' {
            bytes.next();
            quoted(&mut bytes, first, &mut word)?;
            if bytes.peek().is_some_and(|next| *next != b' ') {
                return Err(WordsError::AfterQuote);
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| *byte != b' ') {
                word.push(byte);
            }
        }
        words.push(word);
    }
}

fn quoted(
    bytes: &mut impl Iterator<Item = u8>,
    quote: u8,
    word: &mut Vec<u8>,
) -> Result<(), WordsError> {
    loop {
        let byte = bytes.next().ok_or(WordsError::OpenQuote)?;
        match byte {
            b'\\' => {
                let escaped = bytes.next().ok_or(WordsError::OpenQuote)?;
                match (quote, escaped) {
                    (b'"', b'x') => word.push(hexadecimal(bytes)?),
                    (b'"', _) => word.push(escape(escaped).ok_or(WordsError::Escape)?),
                    (_, b'\'') => word.push(b'\''),
                    (_, _) => word.extend([b'\\', escaped]),
                }
            }
            _ if byte == quote => return Ok(()),
            _ => word.push(byte),
        }
    }
}

fn escape(character: u8) -> Option<u8> {
    match character {
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'\\' | b'"' => Some(character),
        _ => None,
    }
}

fn hexadecimal(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, WordsError> {
    let mut digit = || {
        let digit = char::from(bytes.next().ok_or(WordsError::OpenQuote)?).to_digit(16);
        digit.ok_or(WordsError::Escape)
    };
    let value = digit()? * 16 + digit()?;
    Ok(u8::try_from(value).expect("two hexadecimal digits are a byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quotes() {
        for (line, words) in [
            ("", &[] as &[&[u8]]),
            ("  kv   set a ", &[b"kv", b"set", b"a"]),
            (r#"set "a b" 'c d'"#, &[b"set", b"a b", b"c d"]),
            (r#""\x00\xfF\n\"" '\'\n'"#, &[b"\x00\xff\n\"", b"'\\n"]),
            (r#""""#, &[b""]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split(r#""abc"#), Err(WordsError::OpenQuote));
        assert_eq!(split(r#""abc"d"#), Err(WordsError::AfterQuote));
        assert_eq!(split(r#""\q""#), Err(WordsError::Escape));
        assert_eq!(split(r#""\xg0""#), Err(WordsError::Escape));
        assert_eq!(split(r#""\x"#), Err(WordsError::OpenQuote));
    }
}
