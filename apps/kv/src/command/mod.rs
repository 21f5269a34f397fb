//! What can be asked of the service: a closed set of commands, in four classes.
//!
//! A [`Write`] goes through the log and is executed by every node. A [`Read`] is answered from one
//! node's state, once that state is known to be recent enough. A [`Local`] command concerns the
//! connection or the node and touches no data. A [`Ledger`] command is passed on to another service.

mod codec;
mod error;
mod local;
mod options;
mod parse;
mod table;

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

pub use error::CommandError;
pub(crate) use error::NOT_INTEGER;
pub use table::{Keys, Spec, TABLE, find};

/// One command, its words understood and within their limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Changes data.
    Write(Write),
    /// Looks at data.
    Read(Read),
    /// Concerns the connection or the node.
    Local(Local),
    /// Is for the ledger, another service of the node.
    Ledger(Ledger),
}

/// A command for the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ledger {
    /// `LEDGER.APPEND`, of this entry.
    Append(Bytes),
    /// `LEDGER.APPEND`, of an entry that the client has signed itself.
    AppendSigned(Box<SignedEntry>),
    /// `LEDGER.GET`, of the entry at this position.
    Get(u64),
    /// `LEDGER.PROOF`, of the same.
    Proof(u64),
}

/// An entry, and who has signed it: the ledger says what was signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedEntry {
    /// The entry.
    pub entry: Bytes,
    /// The client's key.
    pub client: [u8; 32],
    /// The client's number for the entry: 1 or more.
    pub sequence: u64,
    /// The client's signature.
    pub signature: [u8; 64],
}

/// A command that changes data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// `SET`.
    Set(Set),
    /// `GETDEL`.
    GetDel(Bytes),
    /// `DEL`, of at least one key.
    Del(Vec<Bytes>),
    /// `INCR`, `INCRBY`, `DECR` and `DECRBY`.
    Add {
        /// Which number.
        key: Bytes,
        /// What is added to it.
        delta: i64,
    },
    /// `APPEND`.
    Append {
        /// To which value.
        key: Bytes,
        /// What is put behind it.
        tail: Bytes,
    },
    /// `MSET`, of at least one pair.
    MSet(Vec<(Bytes, Bytes)>),
    /// `EXPIRE` and `PEXPIRE`.
    Expire {
        /// Which key.
        key: Bytes,
        /// How long it stays, in milliseconds. Not positive: it goes at once.
        ttl_ms: i64,
        /// When this applies.
        condition: ExpireCondition,
    },
    /// `PERSIST`.
    Persist(Bytes),
    /// `FLUSHALL` and `FLUSHDB`.
    Flush,
}

/// The parts of `SET`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Set {
    /// Which key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// When the value is set at all.
    pub condition: SetCondition,
    /// How long the value stays.
    pub expiry: Expiry,
    /// What is answered.
    pub answer: SetAnswer,
}

/// When `SET` sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetCondition {
    /// In any case.
    Always,
    /// If there is no such key (`NX`).
    Absent,
    /// If there is such a key (`XX`).
    Present,
}

/// How long a value that is set stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// For ever.
    Never,
    /// As long as the key had to live before (`KEEPTTL`).
    Keep,
    /// So many milliseconds, at least one (`EX`, `PX`).
    After(u64),
}

/// What `SET` answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetAnswer {
    /// OK, or nil if the condition did not hold.
    Done,
    /// The value before (`GET`).
    Previous,
}

/// When `EXPIRE` applies, to a key that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpireCondition {
    /// In any case.
    Always,
    /// If the key has no deadline (`NX`).
    NoDeadline,
    /// If the key has a deadline (`XX`).
    Deadline,
    /// If the deadline becomes later (`GT`); having none is the latest.
    Later,
    /// If the deadline becomes earlier (`LT`).
    Earlier,
    /// `XX` and `GT` at once.
    DeadlineLater,
    /// `XX` and `LT` at once.
    DeadlineEarlier,
}

/// A command that looks at data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// `GET`.
    Get(Bytes),
    /// `EXISTS`: how many of these, each as often as it is named.
    Exists(Vec<Bytes>),
    /// `STRLEN`.
    StrLen(Bytes),
    /// `MGET`.
    MGet(Vec<Bytes>),
    /// `TTL`, in seconds.
    Ttl(Bytes),
    /// `PTTL`, in milliseconds.
    PTtl(Bytes),
    /// `TYPE`.
    Type(Bytes),
    /// `KEYS`.
    Keys(Bytes),
    /// `SCAN`.
    Scan(Scan),
    /// `DBSIZE`.
    DbSize,
}

/// The parts of `SCAN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// Where to go on.
    pub cursor: u64,
    /// Which keys to name; `None` for all.
    pub pattern: Option<Bytes>,
    /// How many keys to look at, at least one.
    pub count: usize,
    /// Whether `TYPE` asks for strings, or for something that is not stored here.
    pub strings: bool,
}

/// A command that concerns the connection or the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Local {
    /// `PING`.
    Ping(Option<Bytes>),
    /// `ECHO`.
    Echo(Bytes),
    /// `SELECT 0`; another database is refused when the command is read.
    Select,
    /// `HELLO` in protocol 2, and the name the connection gets by it.
    Hello(Option<Bytes>),
    /// `QUIT`.
    Quit,
    /// `RESET`.
    Reset,
    /// `COMMAND`: every command.
    Commands,
    /// `COMMAND COUNT`.
    CommandCount,
    /// `COMMAND LIST`.
    CommandList,
    /// `COMMAND INFO` of these; of all if there are none.
    CommandInfo(Vec<Bytes>),
    /// `COMMAND DOCS` of these; of all if there are none.
    CommandDocs(Vec<Bytes>),
    /// `CONFIG GET`, of the settings that match one of the patterns.
    ConfigGet(Vec<Bytes>),
    /// `INFO`, of these sections; of all if there are none.
    Info(Vec<Bytes>),
    /// `CLIENT ID`.
    ClientId,
    /// `CLIENT INFO`.
    ClientInfo,
    /// `CLIENT LIST`.
    ClientList,
    /// `CLIENT GETNAME`.
    ClientGetName,
    /// `CLIENT SETNAME`.
    ClientSetName(Bytes),
    /// `CLIENT SETINFO`, `NO-EVICT`, `NO-TOUCH` and `AUTH` of the user without password: accepted,
    /// no effect.
    ClientAccepted,
}
