//! The lines that were typed.

use alloc::collections::VecDeque;
use alloc::string::String;

/// How many lines are remembered.
pub const HISTORY_LINES_MAX: usize = 64;

/// The last lines, and where in them the person is.
#[derive(Clone, Debug, Default)]
pub struct History {
    lines: VecDeque<String>,
    /// How far back the person has gone; 0 is the line being typed.
    back: usize,
    /// The line being typed, while the person looks at older ones.
    draft: String,
}

impl History {
    /// Remembers a line, unless it is blank or the same as the one before.
    pub fn remember(&mut self, line: &str) {
        self.back = 0;
        self.draft.clear();
        let is_new = self.lines.back().is_none_or(|last| last != line);
        if line.trim().is_empty() || !is_new {
            return;
        }
        if self.lines.len() == HISTORY_LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.into());
    }

    /// One line back from `current`, if there is one.
    pub fn older(&mut self, current: &str) -> Option<&str> {
        let place = self.lines.len().checked_sub(self.back + 1)?;
        if self.back == 0 {
            self.draft = current.into();
        }
        self.back += 1;
        self.lines.get(place).map(String::as_str)
    }

    /// One line forth, if there is one: at last the one that was being typed.
    pub fn newer(&mut self) -> Option<&str> {
        self.back = self.back.checked_sub(1)?;
        if self.back == 0 {
            return Some(&self.draft);
        }
        self.lines.get(self.lines.len() - self.back).map(String::as_str)
    }

    /// Back to the line being typed.
    pub fn leave(&mut self) {
        self.back = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forth() {
        let mut history = History::default();
        for line in ["one", "two", "two", "  "] {
            history.remember(line);
        }
        assert_eq!(history.older("dra"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("dra"));
        assert_eq!(history.newer(), None);
    }

    #[test]
    fn at_and_above_the_limit() {
        let mut history = History::default();
        for number in 0..HISTORY_LINES_MAX + 3 {
            history.remember(&format!("line {number}"));
        }
        let mut oldest = String::new();
        while let Some(line) = history.older("") {
            oldest = line.into();
        }
        assert_eq!(oldest, "line 3");
    }
}
