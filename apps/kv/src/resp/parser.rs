//! The request parser: bytes in any portions, commands out.
//!
//! It buffers no more than one command, and of that no more than the limits allow: a command that
//! is too long is read to its end without being kept, and refused. What breaks the framing itself
//! ends the connection, with the error text that Redis gives.

use alloc::vec::Vec;
use core::mem;

use base::limits;
use bytes::Bytes;

use super::inline;
use super::number::parse_i64;

/// Redis' own bound on one bulk string (`proto-max-bulk-len`). A longer one ends the connection.
const BULK_LENGTH_MAX: i64 = 512 * 1024 * 1024;

/// How many bulk strings one request may announce before the announcement itself is nonsense.
const WORDS_ANNOUNCED_MAX: i64 = 1024 * 1024;

/// A header is a type byte, at most twenty characters of number, CR and LF.
const HEADER_MAX_BYTES: usize = 24;

/// How much room a word gets ahead of its bytes: an announced length alone reserves no memory.
const RESERVE_BYTES: usize = 4096;

/// What came out of the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A whole command, at least one word.
    Words(Vec<Bytes>),
    /// A well-formed command that is over a limit. Its bytes were dropped; the next command may
    /// follow.
    Refused(Refusal),
    /// The framing is broken: answer, and close the connection.
    Failed(ProtocolError),
}

/// Which limit a command is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// More than [`limits::COMMAND_WORDS_MAX`] words.
    TooManyWords,
    /// A word longer than [`limits::VALUE_MAX_BYTES`].
    WordTooLong,
    /// All words together longer than [`limits::KV_COMMAND_MAX_BYTES`].
    CommandTooLong,
}

/// How the framing is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// The number of words is no number, or absurd.
    MultibulkLength,
    /// The length of a word is no number, negative or above 512 MiB.
    BulkLength,
    /// A word begins with this byte instead of `$`.
    ExpectedDollar(u8),
    /// An inline command without a line end within [`limits::KV_INLINE_MAX_BYTES`].
    InlineTooBig,
    /// An inline command with a quote that is not closed.
    UnbalancedQuotes,
}

/// How many bytes a call took, and what they completed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fed {
    /// How many bytes of the input were taken. All of them, unless something was completed.
    pub consumed: usize,
    /// What was completed, if anything.
    pub parsed: Option<Parsed>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Between two commands: the next byte tells their kind.
    Idle,
    /// In the line of an inline command.
    Inline,
    /// In a `*count` line.
    Count,
    /// In a `$length` line.
    Length,
    /// In a word, with so many bytes to come, its two closing bytes included.
    Word { remaining: usize },
    /// After a [`Parsed::Failed`]: everything is ignored.
    Failed,
}

/// An incremental parser of requests.
///
/// Invariant: how the bytes are cut into portions does not change what comes out.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The line so far, in the three line states.
    line: Vec<u8>,
    /// How many words of the command are still to come.
    words_left: usize,
    /// The bytes of the words so far, end to end.
    body: Vec<u8>,
    /// Where each word ends in `body`.
    ends: Vec<usize>,
    /// Why the command will be refused at its end. Then nothing of it is kept any more.
    refusal: Option<Refusal>,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

impl Parser {
    /// A parser at the start of a connection.
    pub fn new() -> Parser {
        Parser {
            state: State::Idle,
            line: Vec::new(),
            words_left: 0,
            body: Vec::new(),
            ends: Vec::new(),
            refusal: None,
        }
    }

    /// How much memory the command in progress holds.
    pub fn buffered_bytes(&self) -> usize {
        self.line.capacity() + self.body.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    /// Takes bytes from the front of `input`, up to the end of one command.
    pub fn feed(&mut self, input: &[u8]) -> Fed {
        let mut consumed = 0;
        while consumed < input.len() {
            let (taken, parsed) = self.step(&input[consumed..]);
            consumed += taken;
            if parsed.is_some() {
                return Fed { consumed, parsed };
            }
        }
        Fed { consumed, parsed: None }
    }

    /// Takes some bytes, at least one unless the state alone changes; `input` is not empty.
    fn step(&mut self, input: &[u8]) -> (usize, Option<Parsed>) {
        match self.state {
            State::Idle => {
                self.state = if input[0] == b'*' { State::Count } else { State::Inline };
                (0, None)
            }
            State::Inline => self.step_inline(input),
            State::Count => self.step_header(input, Parser::finish_count),
            State::Length if self.line.is_empty() && input[0] != b'$' => {
                (1, Some(self.fail(ProtocolError::ExpectedDollar(input[0]))))
            }
            State::Length => self.step_header(input, Parser::finish_length),
            State::Word { remaining } => self.step_word(input, remaining),
            State::Failed => (input.len(), None),
        }
    }

    fn step_inline(&mut self, input: &[u8]) -> (usize, Option<Parsed>) {
        let line_end = input.iter().position(|&byte| byte == b'\n');
        let piece = &input[..line_end.unwrap_or(input.len())];
        let room = limits::KV_INLINE_MAX_BYTES - self.line.len();
        if piece.len() > room {
            return (room + 1, Some(self.fail(ProtocolError::InlineTooBig)));
        }
        self.line.extend_from_slice(piece);
        if line_end.is_none() {
            return (piece.len(), None);
        }
        let line = mem::take(&mut self.line);
        self.state = State::Idle;
        let parsed = match inline::split(line.strip_suffix(b"\r").unwrap_or(&line)) {
            Parsed::Words(words) if words.is_empty() => None,
            Parsed::Failed(error) => Some(self.fail(error)),
            parsed @ (Parsed::Words(_) | Parsed::Refused(_)) => Some(parsed),
        };
        (piece.len() + 1, parsed)
    }

    /// Collects a header up to CR and one byte more, which Redis does not look at either.
    fn step_header(
        &mut self,
        input: &[u8],
        finish: fn(&mut Parser, Option<i64>) -> Option<Parsed>,
    ) -> (usize, Option<Parsed>) {
        let byte = input[0];
        if self.line.last() == Some(&b'\r') || self.line.len() == HEADER_MAX_BYTES {
            let number = self.line[1..].strip_suffix(b"\r").and_then(parse_i64);
            self.line.clear();
            return (1, finish(self, number));
        }
        self.line.push(byte);
        (1, None)
    }

    fn finish_count(&mut self, count: Option<i64>) -> Option<Parsed> {
        let Some(count) = count.filter(|&count| count <= WORDS_ANNOUNCED_MAX) else {
            return Some(self.fail(ProtocolError::MultibulkLength));
        };
        // An empty or null array is no command, and gets no answer.
        self.words_left = usize::try_from(count).unwrap_or(0);
        self.state = if self.words_left == 0 { State::Idle } else { State::Length };
        if self.words_left > limits::COMMAND_WORDS_MAX {
            self.refuse(Refusal::TooManyWords);
        } else {
            self.ends.reserve_exact(self.words_left.min(16));
        }
        None
    }

    fn finish_length(&mut self, length: Option<i64>) -> Option<Parsed> {
        let length = length.filter(|length| (0..=BULK_LENGTH_MAX).contains(length));
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
            return Some(self.fail(ProtocolError::BulkLength));
        };
        if length > limits::VALUE_MAX_BYTES {
            self.refuse(Refusal::WordTooLong);
        } else if self.body.len() + length > limits::KV_COMMAND_MAX_BYTES {
            self.refuse(Refusal::CommandTooLong);
        }
        self.state = State::Word { remaining: length + 2 };
        None
    }

    fn step_word(&mut self, input: &[u8], remaining: usize) -> (usize, Option<Parsed>) {
        let taken = remaining.min(input.len());
        let left = remaining - taken;
        if self.refusal.is_none() {
            // The two closing bytes are dropped unread, as Redis does.
            let kept = taken.min(remaining.saturating_sub(2));
            self.reserve(kept, remaining.saturating_sub(2));
            self.body.extend_from_slice(&input[..kept]);
        }
        self.state = State::Word { remaining: left };
        if left > 0 {
            return (taken, None);
        }
        if self.refusal.is_none() {
            self.ends.push(self.body.len());
        }
        self.words_left -= 1;
        if self.words_left > 0 {
            self.state = State::Length;
            return (taken, None);
        }
        self.state = State::Idle;
        (taken, Some(self.finish_command()))
    }

    /// Makes room for the next `kept` of the `coming` bytes of a word: at most doubling, never
    /// beyond its end.
    fn reserve(&mut self, kept: usize, coming: usize) {
        if self.body.capacity() - self.body.len() < kept {
            let ahead = self.body.len().max(RESERVE_BYTES).max(kept);
            self.body.reserve_exact(coming.min(ahead));
        }
    }

    fn finish_command(&mut self) -> Parsed {
        if let Some(refusal) = self.refusal.take() {
            return Parsed::Refused(refusal);
        }
        let body = Bytes::from(mem::take(&mut self.body));
        let mut start = 0;
        let words = mem::take(&mut self.ends).into_iter().map(|end| {
            let word = body.slice(start..end);
            start = end;
            word
        });
        Parsed::Words(words.collect())
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
        self.body = Vec::new();
        self.ends = Vec::new();
    }

    fn fail(&mut self, error: ProtocolError) -> Parsed {
        *self = Parser { state: State::Failed, ..Parser::new() };
        Parsed::Failed(error)
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
