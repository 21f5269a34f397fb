//! Replies, and how they are written.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::parser::{ProtocolError, Refusal};
use base::limits;

/// The answer to one command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// A short text that is not data.
    Simple(&'static str),
    /// An error: its code in capitals, a space and a sentence.
    Error(Bytes),
    /// A whole number.
    Integer(i64),
    /// Data.
    Bulk(Bytes),
    /// Nothing there.
    Nil,
    /// Several replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// An error with a fixed text.
    pub const fn error(text: &'static str) -> Reply {
        Reply::Error(Bytes::from_static(text.as_bytes()))
    }

    /// Data with a fixed text.
    pub const fn text(text: &'static str) -> Reply {
        Reply::Bulk(Bytes::from_static(text.as_bytes()))
    }

    /// A count, as an integer.
    pub fn count(count: usize) -> Reply {
        Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// What the reply occupies in memory, about.
    pub fn size_bytes(&self) -> usize {
        match self {
            Reply::Ok | Reply::Simple(_) | Reply::Integer(_) | Reply::Nil => size_of::<Reply>(),
            Reply::Error(bytes) | Reply::Bulk(bytes) => size_of::<Reply>() + bytes.len(),
            Reply::Array(replies) => {
                size_of::<Reply>() + replies.iter().map(Reply::size_bytes).sum::<usize>()
            }
        }
    }

    /// How many bytes the reply has on the wire.
    pub fn wire_bytes(&self) -> usize {
        match self {
            Reply::Ok | Reply::Nil => 5,
            Reply::Simple(text) => 3 + text.len(),
            Reply::Error(text) => 3 + text.len(),
            Reply::Integer(number) => 3 + usize::from(*number < 0) + digits(number.unsigned_abs()),
            Reply::Bulk(bytes) => 5 + digits(bytes.len() as u64) + bytes.len(),
            Reply::Array(replies) => {
                let header = 3 + digits(replies.len() as u64);
                header + replies.iter().map(Reply::wire_bytes).sum::<usize>()
            }
        }
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl From<String> for Reply {
    /// Data.
    fn from(text: String) -> Reply {
        Reply::Bulk(Bytes::from(text.into_bytes()))
    }
}

impl From<ProtocolError> for Reply {
    fn from(error: ProtocolError) -> Reply {
        let mut text = Vec::from(b"ERR Protocol error: ");
        match error {
            ProtocolError::MultibulkLength => text.extend_from_slice(b"invalid multibulk length"),
            ProtocolError::BulkLength => text.extend_from_slice(b"invalid bulk length"),
            ProtocolError::ExpectedDollar(byte) => {
                text.extend_from_slice(b"expected '$', got '");
                text.extend_from_slice(&[byte, b'\'']);
            }
            ProtocolError::InlineTooBig => text.extend_from_slice(b"too big inline request"),
            ProtocolError::UnbalancedQuotes => {
                text.extend_from_slice(b"unbalanced quotes in request");
            }
        }
        Reply::Error(Bytes::from(text))
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        let text = match refusal {
            Refusal::TooManyWords => {
                format!("ERR a command may have at most {} words", limits::COMMAND_WORDS_MAX)
            }
            Refusal::WordTooLong => format!(
                "ERR a key may have at most {} bytes, a value {}",
                limits::KEY_MAX_BYTES,
                limits::VALUE_MAX_BYTES
            ),
            Refusal::CommandTooLong => {
                format!("ERR a command may have at most {} bytes", limits::KV_COMMAND_MAX_BYTES)
            }
        };
        Reply::Error(Bytes::from(text.into_bytes()))
    }
}
