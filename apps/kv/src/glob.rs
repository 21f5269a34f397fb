//! Patterns as `KEYS` and `SCAN … MATCH` take them: `*`, `?`, `[a-c]`, `[^x]` and `\` before a
//! literal.
//!
//! The matcher remembers one star only, so its cost is bounded by the product of the two lengths;
//! and it counts its steps, because a product of two hostile lengths times ten thousand keys is too
//! much.

/// The steps given to a [`Matcher`] are used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

/// Matches texts against patterns until its steps are used up.
#[derive(Debug)]
pub struct Matcher {
    steps_left: u64,
}

impl Matcher {
    /// A matcher that may compare `steps` times.
    pub fn new(steps: u64) -> Matcher {
        Matcher { steps_left: steps }
    }

    /// Whether all of `text` matches `pattern`.
    pub fn matches(&mut self, pattern: &[u8], text: &[u8]) -> Result<bool, Exhausted> {
        let (mut p, mut t) = (0, 0);
        // Where to resume when the match after the last star fails: behind the star, one byte on.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            self.steps_left = self.steps_left.checked_sub(1).ok_or(Exhausted)?;
            if pattern.get(p) == Some(&b'*') {
                p += 1;
                retry = Some((p, t));
                if p == pattern.len() {
                    return Ok(true);
                }
                continue;
            }
            let Some(&byte) = text.get(t) else {
                return Ok(pattern[p..].iter().all(|&rest| rest == b'*'));
            };
            let step = pattern.get(p..).filter(|rest| !rest.is_empty()).map(|rest| one(rest, byte));
            match (step, retry) {
                (Some((true, length)), _) => {
                    p += length;
                    t += 1;
                }
                (Some((false, _)) | None, Some((after_star, from))) => {
                    retry = Some((after_star, from + 1));
                    (p, t) = (after_star, from + 1);
                }
                (Some((false, _)) | None, None) => return Ok(false),
            }
        }
    }
}

/// Whether the first element of a pattern, not a star, accepts `byte`; and the element's length.
fn one(pattern: &[u8], byte: u8) -> (bool, usize) {
    match *pattern {
        [b'?', ..] => (true, 1),
        [b'\\', literal, ..] => (literal == byte, 2),
        [b'[', ref rest @ ..] => {
            let (accepts, length) = class(rest, byte);
            (accepts, length + 1)
        }
        [literal, ..] => (literal == byte, 1),
        [] => (false, 0),
    }
}

/// Whether a class, given from behind its `[`, accepts `byte`; and how long it is up to and with
/// its `]`. A class without `]` ends with the pattern, as in Redis.
fn class(rest: &[u8], byte: u8) -> (bool, usize) {
    let inverted = rest.first() == Some(&b'^');
    let mut at = usize::from(inverted);
    let mut found = false;
    loop {
        match rest[at..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= literal == byte;
                at += 2;
            }
            [low, b'-', high, ..] => {
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= literal == byte;
                at += 1;
            }
        }
    }
    (found != inverted, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        let verdict = Matcher::new(10_000).matches(pattern.as_bytes(), text.as_bytes());
        assert_eq!(verdict, Ok(expected), "{pattern} against {text}");
    }

    #[test]
    fn patterns_mean_what_redis_says() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[\\]]", "]", true),
            ("[abc", "c", true),
            ("[", "x", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("**a**", "bab", true),
            ("user:*:name", "user:7:name", true),
            ("\\", "\\", true),
        ] {
            check(pattern, text, expected);
        }
    }

    #[test]
    fn a_hostile_pattern_stops_at_its_steps() {
        let pattern = format!("*{}b", "a".repeat(40));
        let text = "a".repeat(1_000);
        let mut matcher = Matcher::new(100_000);
        let first = matcher.matches(pattern.as_bytes(), text.as_bytes());
        assert_eq!(first, Ok(false));
        let outcome = (0..200)
            .try_for_each(|_| matcher.matches(pattern.as_bytes(), text.as_bytes()).map(drop));
        assert_eq!(outcome, Err(Exhausted));
    }
}
