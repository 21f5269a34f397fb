//! What has happened, in lines that an operator reads: the last of them are kept for the `log` command.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use core::fmt;

use base::Instant;

/// How many lines are kept.
const LINES_MAX: usize = 256;
/// How long a line may be; the rest is cut off, so that a peer's bytes cannot fill the memory.
const LINE_MAX_BYTES: usize = 240;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// A state change that an operator would want to see, such as an election.
    Info,
    /// Something is degraded, but nothing is lost.
    Warn,
    /// Work was lost or refused.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        })
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When, on this node's clock.
    pub at: Instant,
    /// How much it matters.
    pub level: Level,
    /// The service that says it.
    pub service: &'static str,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, level) = (self.at.to_string(), self.level.to_string());
        write!(f, "[{at:>9}] {level:5} {}: {}", self.service, self.text)
    }
}

/// The last lines, and those that the console has not printed yet.
#[derive(Debug, Default)]
pub struct Journal {
    lines: VecDeque<Line>,
    /// How many of the last lines the console has not seen. Invariant: at most `lines.len()`.
    unprinted: usize,
}

impl Journal {
    /// Notes what happened.
    pub fn note(
        &mut self,
        at: Instant,
        level: Level,
        service: &'static str,
        what: fmt::Arguments<'_>,
    ) {
        let mut text = Bounded(String::new());
        // `Bounded` refuses what does not fit, which is no failure: the line is cut off there.
        let _ = fmt::write(&mut text, what);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.unprinted = self.unprinted.min(self.lines.len());
        }
        self.lines.push_back(Line { at, level, service, text: text.0 });
        self.unprinted += 1;
    }

    /// The kept lines, the oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// The next line that the console has not printed.
    pub fn next_unprinted(&mut self) -> Option<&Line> {
        let position = self.lines.len() - self.unprinted;
        let line = self.lines.get(position)?;
        self.unprinted -= 1;
        Some(line)
    }
}

struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_MAX_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|&cut| text.is_char_boundary(cut)).unwrap_or(0);
        self.0.push_str(&text[..cut]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_printed_once_and_the_last_are_kept() {
        let mut journal = Journal::default();
        for number in 0..LINES_MAX + 10 {
            journal.note(Instant::ORIGIN, Level::Info, "raft", format_args!("line {number}"));
        }
        assert_eq!(journal.lines().count(), LINES_MAX);
        assert_eq!(journal.lines().next().map(|line| line.text.as_str()), Some("line 10"));
        let mut printed = 0;
        while journal.next_unprinted().is_some() {
            printed += 1;
        }
        assert_eq!(printed, LINES_MAX);
        journal.note(Instant::from_millis(12_034), Level::Warn, "net", format_args!("last"));
        let line = journal.next_unprinted().map(ToString::to_string);
        assert_eq!(line.as_deref(), Some("[   12.034] warn  net: last"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let mut journal = Journal::default();
        journal.note(Instant::ORIGIN, Level::Error, "kv", format_args!("{}", "é".repeat(1_000)));
        let line = journal.next_unprinted().unwrap();
        assert_eq!(line.text.len(), LINE_MAX_BYTES);
    }
}
