//! Rust sources without what is not code: comments, and what strings and characters contain.

/// What the scanner is in the middle of.
#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment {
        depth: usize,
    },
    Text,
    /// A raw string, and how many `#` end it.
    RawText {
        hashes: usize,
    },
}

/// The code of each line of a source. Comments are left out; strings are empty.
pub(super) fn code_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut state = State::Code;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if next == '\n' {
            lines.push(String::new());
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            rest = &rest[1..];
            continue;
        }
        let (taken, code) = step(&mut state, rest, next);
        lines.last_mut().expect("there is a line from the start").push_str(code);
        rest = &rest[taken..];
    }
    lines
}

/// Takes something from the front of `rest`: how many bytes, and what of them is code.
fn step<'a>(state: &mut State, rest: &'a str, next: char) -> (usize, &'a str) {
    let one = next.len_utf8();
    match *state {
        State::Code => step_code(state, rest, one),
        State::BlockComment { depth } if rest.starts_with("*/") => {
            *state =
                if depth == 1 { State::Code } else { State::BlockComment { depth: depth - 1 } };
            (2, "")
        }
        State::BlockComment { depth } if rest.starts_with("/*") => {
            *state = State::BlockComment { depth: depth + 1 };
            (2, "")
        }
        // A line that ends in a backslash goes on, and is counted as a line.
        State::Text if next == '\\' && !rest[1..].starts_with('\n') => {
            (1 + rest[1..].chars().next().map_or(0, char::len_utf8), "")
        }
        State::Text if next == '"' => {
            *state = State::Code;
            (1, "\"")
        }
        State::RawText { hashes } if next == '"' && hashes_after(&rest[1..]) >= hashes => {
            *state = State::Code;
            (1 + hashes, "\"")
        }
        State::LineComment | State::BlockComment { .. } | State::Text | State::RawText { .. } => {
            (one, "")
        }
    }
}

fn step_code<'a>(state: &mut State, rest: &'a str, one: usize) -> (usize, &'a str) {
    if rest.starts_with("//") {
        *state = State::LineComment;
        return (2, "");
    }
    if rest.starts_with("/*") {
        *state = State::BlockComment { depth: 1 };
        return (2, "");
    }
    if rest.starts_with('"') {
        *state = State::Text;
        return (1, &rest[..1]);
    }
    if let Some(after) = rest.strip_prefix('r') {
        let hashes = hashes_after(after);
        if after[hashes..].starts_with('"') {
            *state = State::RawText { hashes };
            return (2 + hashes, "\"");
        }
    }
    if let Some(length) = character_length(rest) {
        return (length, "' '");
    }
    (one, &rest[..one])
}

fn hashes_after(text: &str) -> usize {
    text.len() - text.trim_start_matches('#').len()
}

/// How long the character at the front is; `None` if there is none, as in a lifetime.
fn character_length(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let first = inside.chars().next()?;
    let skipped = if first == '\\' { 2 } else { first.len_utf8() };
    let end = inside.get(skipped..)?.find('\'')?;
    (first == '\\' || end == 0).then_some(1 + skipped + end + 1)
}

/// Where the tests in a source begin, as a line from 1 on; past its end if there are none.
pub(super) fn tests_start(text: &str) -> usize {
    let lines = || text.lines().zip(1..);
    let start = lines().find(|(line, _)| *line == "#[cfg(test)]").map(|(_, number)| number);
    start.unwrap_or(text.lines().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(code_lines(text), expected);
    }

    #[test]
    fn comments_are_no_code() {
        check("a // b\nc", &["a ", "c"]);
        check("a /* b\n /* c */ d */ e", &["a ", " e"]);
    }

    #[test]
    fn strings_are_empty() {
        check("a(\"b \\\" // c\") d", &["a(\"\") d"]);
        check("a(\"b\\\n c\") d", &["a(\"", "\") d"]);
        check("a(r#\"b \" c\"#) d", &["a(\"\") d"]);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        check("('\"', 'x', '\\'', '\\u{1b}') // a", &["(' ', ' ', ' ', ' ') "]);
        check("fn a<'b>(c: &'b str) // d", &["fn a<'b>(c: &'b str) "]);
    }

    #[test]
    fn tests_begin_at_their_attribute() {
        assert_eq!(tests_start("a\n#[cfg(test)]\nmod tests {}\n"), 2);
        assert_eq!(tests_start("a\nb\n"), 3);
    }
}
