//! The line being typed.

use alloc::string::String;
use alloc::vec::Vec;

use crate::history::History;
use crate::keys::Key;

/// How long a line may be, in characters.
pub const LINE_MAX: usize = 1024;

/// What a key did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// The line or the cursor may have changed.
    Changed,
    /// Nothing could be done: a bell.
    Refused,
    /// The line is complete, and a new one begins.
    Entered(String),
    /// The line is thrown away.
    Cancelled,
    /// There is no more input, and no line.
    Ended,
    /// The screen is to be drawn anew.
    Redraw,
    /// The word at the cursor is to be completed.
    Complete,
}

/// A line of printable ASCII and a cursor in it.
#[derive(Clone, Debug, Default)]
pub struct Editor {
    line: Vec<u8>,
    /// Invariant: at most the length of the line.
    cursor: usize,
    history: History,
}

impl Editor {
    /// The line as it is.
    pub fn line(&self) -> &str {
        core::str::from_utf8(&self.line).expect("only ASCII is taken")
    }

    /// How many characters are left of the cursor.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Takes a key.
    pub fn take(&mut self, key: Key) -> Edit {
        match key {
            Key::Print(character) => self.insert(&[character]),
            Key::Enter => Edit::Entered(self.enter()),
            Key::Tab => Edit::Complete,
            Key::Cancel => {
                self.replace("");
                self.history.leave();
                Edit::Cancelled
            }
            Key::EndOfInput if self.line.is_empty() => Edit::Ended,
            Key::EndOfInput | Key::Delete => self.delete(self.cursor, self.cursor + 1),
            Key::Backspace => self.delete(self.cursor.wrapping_sub(1), self.cursor),
            Key::Left => self.move_to(self.cursor.wrapping_sub(1)),
            Key::Right => self.move_to(self.cursor + 1),
            Key::Home => self.move_to(0),
            Key::End => self.move_to(self.line.len()),
            Key::WordLeft => self.move_to(self.word_left()),
            Key::WordRight => self.move_to(self.word_right()),
            Key::KillRight => self.delete(self.cursor, self.line.len()),
            Key::KillLeft => self.delete(0, self.cursor),
            Key::KillWord => self.delete(self.word_left(), self.cursor),
            Key::Up => {
                let current = String::from(self.line());
                let older = self.history.older(&current).map(String::from);
                self.recall(older)
            }
            Key::Down => {
                let newer = self.history.newer().map(String::from);
                self.recall(newer)
            }
            Key::Redraw => Edit::Redraw,
            Key::Refused => Edit::Refused,
        }
    }

    /// Inserts printable ASCII at the cursor; refuses what would not fit.
    pub fn insert(&mut self, text: &[u8]) -> Edit {
        let is_plain = text.iter().all(|byte| (b' '..=b'~').contains(byte));
        if !is_plain || self.line.len() + text.len() > LINE_MAX {
            return Edit::Refused;
        }
        self.line.splice(self.cursor..self.cursor, text.iter().copied());
        self.cursor += text.len();
        Edit::Changed
    }

    fn enter(&mut self) -> String {
        let line = String::from(self.line());
        self.history.remember(&line);
        self.replace("");
        line
    }

    fn recall(&mut self, line: Option<String>) -> Edit {
        let Some(line) = line else { return Edit::Refused };
        self.replace(&line);
        Edit::Changed
    }

    fn replace(&mut self, line: &str) {
        self.line = line.as_bytes().to_vec();
        self.cursor = self.line.len();
    }

    fn delete(&mut self, from: usize, to: usize) -> Edit {
        if from >= to || to > self.line.len() {
            return Edit::Refused;
        }
        self.line.drain(from..to);
        self.cursor = from;
        Edit::Changed
    }

    fn move_to(&mut self, cursor: usize) -> Edit {
        if cursor > self.line.len() {
            return Edit::Refused;
        }
        self.cursor = cursor;
        Edit::Changed
    }

    /// Where the word that ends left of the cursor begins.
    fn word_left(&self) -> usize {
        let left = &self.line[..self.cursor];
        let end = left.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        left[..end].iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1)
    }

    /// Where the word that begins right of the cursor ends.
    fn word_right(&self) -> usize {
        let right = &self.line[self.cursor..];
        let start = right.iter().position(|byte| *byte != b' ').unwrap_or(right.len());
        let length = right[start..].iter().position(|byte| *byte == b' ');
        self.cursor + start + length.unwrap_or(right.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyDecoder;

    /// The line after the keys, with a bar where the cursor is.
    fn typed(editor: &mut Editor, bytes: &[u8]) -> String {
        let mut decoder = KeyDecoder::default();
        for byte in bytes {
            if let Some(key) = decoder.take(*byte) {
                editor.take(key);
            }
        }
        let mut line = String::from(editor.line());
        line.insert(editor.cursor(), '|');
        line
    }

    #[test]
    fn keys_edit_the_line() {
        for (keys, line) in [
            (b"abc".as_slice(), "abc|"),
            (b"abc\x1b[D\x1b[DX", "aX|bc"),
            (b"abc\x7f\x7f", "a|"),
            (b"one two\x01\x1b[3~", "|ne two"),
            (b"one two three\x17\x17", "one |"),
            (b"one two\x1bb\x0b", "one |"),
            (b"one two\x1bb\x15", "|two"),
            (b"one two\x01\x1bf!", "one!| two"),
            (b"abc\x03", "|"),
            (b"abc\x01\x04\x04\x04\x04", "|"),
        ] {
            assert_eq!(typed(&mut Editor::default(), keys), line, "{keys:?}");
        }
    }

    #[test]
    fn history_keeps_the_line_being_typed() {
        let mut editor = Editor::default();
        assert_eq!(typed(&mut editor, b"first\rsecond\rthi\x10\x10"), "first|");
        assert_eq!(typed(&mut editor, b"\x0e\x0e"), "thi|");
        assert_eq!(editor.take(Key::Down), Edit::Refused);
    }

    #[test]
    fn a_line_has_a_largest_length() {
        let mut editor = Editor::default();
        for _ in 0..LINE_MAX {
            assert_eq!(editor.take(Key::Print(b'x')), Edit::Changed);
        }
        assert_eq!(editor.take(Key::Print(b'x')), Edit::Refused);
        assert_eq!(editor.insert(&[b'y'; 10_000]), Edit::Refused);
        assert_eq!(editor.line().len(), LINE_MAX);
    }
}
