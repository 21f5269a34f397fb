//! Keys, from the bytes that a VT100 sends for them (ECMA-48, and what xterm made of it).

/// A key that means something to the editor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// A printable ASCII character.
    Print(u8),
    /// Return, line feed, or both.
    Enter,
    /// Tab.
    Tab,
    /// Backspace, `^H`.
    Backspace,
    /// Delete.
    Delete,
    /// Left, `^B`.
    Left,
    /// Right, `^F`.
    Right,
    /// Up, `^P`.
    Up,
    /// Down, `^N`.
    Down,
    /// Home, `^A`.
    Home,
    /// End, `^E`.
    End,
    /// Control and left, `ESC b`.
    WordLeft,
    /// Control and right, `ESC f`.
    WordRight,
    /// `^C`: away with the line.
    Cancel,
    /// `^D`: the end of input.
    EndOfInput,
    /// `^K`: away with what is right of the cursor.
    KillRight,
    /// `^U`: away with what is left of the cursor.
    KillLeft,
    /// `^W`: away with the word left of the cursor.
    KillWord,
    /// `^L`: draw everything again.
    Redraw,
    /// A character that cannot be typed here: control characters without a meaning, and all beyond ASCII.
    Refused,
}

/// How many bytes of an escape sequence are looked at; a longer one is cut there.
const SEQUENCE_MAX: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After a carriage return: a line feed belongs to it.
    Return,
    /// After ESC.
    Escape,
    /// After ESC O.
    Single,
    /// After ESC [: the number before the first semicolon, whether control was held, and how many bytes there
    /// were.
    Sequence { number: u16, modifier: u16, is_second: bool, length: usize },
}

/// Makes keys of bytes. Sequences that it does not know are swallowed whole.
#[derive(Clone, Debug, Default)]
pub struct KeyDecoder {
    state: State,
}

impl KeyDecoder {
    /// Takes a byte; answers the key that it completes, if any.
    pub fn take(&mut self, byte: u8) -> Option<Key> {
        match self.state {
            State::Ground => self.ground(byte),
            State::Return => {
                self.state = State::Ground;
                if byte == b'\n' { None } else { self.ground(byte) }
            }
            State::Escape => self.escape(byte),
            State::Single => {
                self.state = State::Ground;
                cursor_key(byte, false)
            }
            State::Sequence { number, modifier, is_second, length } => {
                self.sequence(byte, number, modifier, is_second, length)
            }
        }
    }

    fn ground(&mut self, byte: u8) -> Option<Key> {
        Some(match byte {
            b' '..=b'~' => Key::Print(byte),
            b'\r' => {
                self.state = State::Return;
                Key::Enter
            }
            b'\n' => Key::Enter,
            b'\t' => Key::Tab,
            0x08 | 0x7f => Key::Backspace,
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x03 => Key::Cancel,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x0b => Key::KillRight,
            0x0c => Key::Redraw,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::KillLeft,
            0x17 => Key::KillWord,
            0x1b => {
                self.state = State::Escape;
                return None;
            }
            // Line noise and key-ups; a bell for each would be worse than silence.
            0x00 => return None,
            // Of a character beyond ASCII only the first byte rings.
            0x80..=0xbf => return None,
            _ => Key::Refused,
        })
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        self.state = State::Ground;
        match byte {
            b'[' => {
                self.state =
                    State::Sequence { number: 0, modifier: 0, is_second: false, length: 0 };
                None
            }
            b'O' => {
                self.state = State::Single;
                None
            }
            b'b' => Some(Key::WordLeft),
            b'f' => Some(Key::WordRight),
            // ESC twice, or ESC and then a key in earnest.
            b'\r' | b'\n' | 0x03 | 0x1b => self.ground(byte),
            _ => None,
        }
    }

    fn sequence(
        &mut self,
        byte: u8,
        number: u16,
        modifier: u16,
        is_second: bool,
        length: usize,
    ) -> Option<Key> {
        let length = length + 1;
        let append = |value: u16| value.saturating_mul(10).saturating_add(u16::from(byte - b'0'));
        match byte {
            b'0'..=b'9' if length < SEQUENCE_MAX => {
                let (number, modifier) =
                    if is_second { (number, append(modifier)) } else { (append(number), modifier) };
                self.state = State::Sequence { number, modifier, is_second, length };
                None
            }
            // Other parameters and intermediate bytes.
            b' '..=b'?' if length < SEQUENCE_MAX => {
                let is_second = is_second || byte == b';';
                self.state = State::Sequence { number, modifier, is_second, length };
                None
            }
            b'~' => {
                self.state = State::Ground;
                editing_key(number)
            }
            _ => {
                self.state = State::Ground;
                cursor_key(byte, modifier == 5)
            }
        }
    }
}

/// `ESC [ number ~`.
fn editing_key(number: u16) -> Option<Key> {
    match number {
        1 | 7 => Some(Key::Home),
        4 | 8 => Some(Key::End),
        3 => Some(Key::Delete),
        // Among the rest are the marks around pasted text.
        _ => None,
    }
}

/// `ESC [ letter` and `ESC O letter`.
fn cursor_key(letter: u8, is_control: bool) -> Option<Key> {
    match letter {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(if is_control { Key::WordRight } else { Key::Right }),
        b'D' => Some(if is_control { Key::WordLeft } else { Key::Left }),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = KeyDecoder::default();
        bytes.iter().filter_map(|byte| decoder.take(*byte)).collect()
    }

    #[test]
    fn a_line_ends_once() {
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\r"), [Key::Enter, Key::Enter]);
        assert_eq!(keys(b"\n\n"), [Key::Enter, Key::Enter]);
        assert_eq!(keys(b"\ra"), [Key::Enter, Key::Print(b'a')]);
    }

    #[test]
    fn keys_of_terminals() {
        assert_eq!(keys(b"\x1b[A\x1bOB"), [Key::Up, Key::Down]);
        assert_eq!(keys(b"\x1b[1;5C\x1b[1;5D"), [Key::WordRight, Key::WordLeft]);
        assert_eq!(keys(b"\x1b[3~\x1b[1~\x1b[8~"), [Key::Delete, Key::Home, Key::End]);
        assert_eq!(keys(b"\x1bb\x1bf"), [Key::WordLeft, Key::WordRight]);
    }

    #[test]
    fn what_is_unknown_is_swallowed_whole() {
        assert_eq!(keys(b"\x1b[200~a\x1b[201~"), [Key::Print(b'a')]);
        assert_eq!(keys(b"\x1b[38;5;1ma"), [Key::Print(b'a')]);
        assert_eq!(keys("é".as_bytes()), [Key::Refused]);
        assert_eq!(keys(b"\x00\x1b[15~"), []);
        // Without an end a sequence does not swallow for ever.
        assert!(keys(&[b"\x1b[".as_slice(), &[b'1'; 64], b"z"].concat()).len() > 40);
    }
}
