//! Why words are no command, in the words of Redis 7.0, because clients look at them.

use alloc::format;
use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use crate::resp::Reply;

/// How much of a client's own words an error repeats.
const ECHO_MAX_BYTES: usize = 128;

/// Why words are no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// There is no such command.
    Unknown {
        /// The word.
        name: Bytes,
        /// The words behind it.
        arguments: Vec<Bytes>,
    },
    /// The command has no such sub-command.
    UnknownSubcommand {
        /// The command, in lower case.
        command: &'static str,
        /// The word.
        name: Bytes,
    },
    /// Too few or too many words for this command (`client|setname` for a sub-command).
    Arity(&'static str),
    /// Options that the command does not know, or that exclude each other.
    Syntax,
    /// A word should be a whole number.
    NotInteger,
    /// The number of `DECRBY` has no opposite.
    DecrementOverflow,
    /// A time to live that is zero, negative or absurdly long, in this command.
    ExpireTime(&'static str),
    /// `EXPIRE` does not know this option.
    UnsupportedOption(Bytes),
    /// `NX` beside another option of `EXPIRE`.
    ExpireNxXxGtLt,
    /// `GT` beside `LT`.
    ExpireGtLt,
    /// The cursor of `SCAN` is no number.
    Cursor,
    /// There is only database 0.
    DbIndex,
    /// The version of `HELLO` is no number.
    ProtocolNumber,
    /// The version of `HELLO` is not 2.
    ProtocolVersion,
    /// `HELLO` does not know this option, or it lacks words.
    HelloOption(Bytes),
    /// A user that does not exist.
    WrongPassword,
    /// A password, where none is set.
    NoPasswordSet,
    /// A connection's name with a space or a control character.
    ClientName,
    /// `CONFIG` with anything but `GET`.
    ConfigReadOnly,
    /// What comes behind an entry is no key, number and signature.
    SignedEntry,
    /// A key longer than [`limits::KEY_MAX_BYTES`].
    KeyTooLong,
    /// A value longer than [`limits::VALUE_MAX_BYTES`].
    ValueTooLong,
    /// All words together longer than [`limits::KV_COMMAND_MAX_BYTES`].
    CommandTooLong,
}

impl CommandError {
    /// The error as a reply.
    pub fn reply(&self) -> Reply {
        match self {
            CommandError::Unknown { name, arguments } => unknown(name, arguments),
            CommandError::UnknownSubcommand { command, name } => {
                let tail = format!("'. Try {} HELP.", command.to_ascii_uppercase());
                echo("ERR unknown subcommand '", name, &tail)
            }
            CommandError::UnsupportedOption(option) => echo("ERR Unsupported option ", option, ""),
            CommandError::HelloOption(option) => {
                echo("ERR Syntax error in HELLO option '", option, "'")
            }
            CommandError::Arity(command) => {
                echo("ERR wrong number of arguments for '", command.as_bytes(), "' command")
            }
            CommandError::ExpireTime(command) => {
                echo("ERR invalid expire time in '", command.as_bytes(), "' command")
            }
            CommandError::Syntax => Reply::error("ERR syntax error"),
            CommandError::NotInteger => NOT_INTEGER,
            CommandError::DecrementOverflow => Reply::error("ERR decrement would overflow"),
            CommandError::ExpireNxXxGtLt => {
                Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible")
            }
            CommandError::ExpireGtLt => {
                Reply::error("ERR GT and LT options at the same time are not compatible")
            }
            CommandError::Cursor => Reply::error("ERR invalid cursor"),
            CommandError::SignedEntry => Reply::error(
                "ERR behind a signed entry come the client's key (64 hexadecimal digits), a sequence \
                 (1 or more), and the signature (128 hexadecimal digits)",
            ),
            CommandError::DbIndex => Reply::error("ERR DB index is out of range"),
            CommandError::ProtocolNumber => {
                Reply::error("ERR Protocol version is not an integer or out of range")
            }
            CommandError::ProtocolVersion => Reply::error("NOPROTO unsupported protocol version"),
            CommandError::WrongPassword => {
                Reply::error("WRONGPASS invalid username-password pair or user is disabled.")
            }
            CommandError::NoPasswordSet => Reply::error(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ),
            CommandError::ClientName => Reply::error(
                "ERR Client names cannot contain spaces, newlines or special characters.",
            ),
            CommandError::ConfigReadOnly => Reply::error(
                "ERR settings come with the image and its command line: CONFIG can only GET",
            ),
            CommandError::KeyTooLong => too_long("key", limits::KEY_MAX_BYTES),
            CommandError::ValueTooLong => too_long("value", limits::VALUE_MAX_BYTES),
            CommandError::CommandTooLong => too_long("command", limits::KV_COMMAND_MAX_BYTES),
        }
    }
}

/// The one error that a command (`INCR "abc"`) and its execution share.
pub(crate) const NOT_INTEGER: Reply = Reply::error("ERR value is not an integer or out of range");

fn too_long(what: &str, length_max: usize) -> Reply {
    Reply::Error(Bytes::from(format!("ERR a {what} may have at most {length_max} bytes")))
}

/// A text around a client's own words, cut to a length that does no harm.
fn echo(before: &str, words: &[u8], behind: &str) -> Reply {
    let words = &words[..words.len().min(ECHO_MAX_BYTES)];
    Reply::Error(Bytes::from([before.as_bytes(), words, behind.as_bytes()].concat()))
}

fn unknown(name: &[u8], arguments: &[Bytes]) -> Reply {
    let mut listed = Vec::new();
    for argument in arguments {
        let Some(room) = ECHO_MAX_BYTES.checked_sub(listed.len()).filter(|&room| room > 0) else {
            break;
        };
        listed.push(b'\'');
        listed.extend_from_slice(&argument[..argument.len().min(room)]);
        listed.extend_from_slice(b"' ");
    }
    let name = &name[..name.len().min(ECHO_MAX_BYTES)];
    let parts: [&[u8]; 4] =
        [b"ERR unknown command '", name, b"', with args beginning with: ", &listed];
    Reply::Error(Bytes::from(parts.concat()))
}
