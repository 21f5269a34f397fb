//! The table of commands: names, numbers of words, and what `COMMAND` tells clients about them.

/// Which command a word names. The order is that of the names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// `APPEND`.
    Append,
    /// `AUTH`.
    Auth,
    /// `CLIENT`.
    Client,
    /// `COMMAND`.
    Command,
    /// `CONFIG`.
    Config,
    /// `DBSIZE`.
    DbSize,
    /// `DECR`.
    Decr,
    /// `DECRBY`.
    DecrBy,
    /// `DEL`.
    Del,
    /// `ECHO`.
    Echo,
    /// `EXISTS`.
    Exists,
    /// `EXPIRE`.
    Expire,
    /// `FLUSHALL`.
    FlushAll,
    /// `FLUSHDB`.
    FlushDb,
    /// `GET`.
    Get,
    /// `GETDEL`.
    GetDel,
    /// `HELLO`.
    Hello,
    /// `INCR`.
    Incr,
    /// `INCRBY`.
    IncrBy,
    /// `INFO`.
    Info,
    /// `KEYS`.
    Keys,
    /// `LEDGER.APPEND`.
    LedgerAppend,
    /// `LEDGER.GET`.
    LedgerGet,
    /// `LEDGER.PROOF`.
    LedgerProof,
    /// `MGET`.
    MGet,
    /// `MSET`.
    MSet,
    /// `PERSIST`.
    Persist,
    /// `PEXPIRE`.
    PExpire,
    /// `PING`.
    Ping,
    /// `PTTL`.
    PTtl,
    /// `QUIT`.
    Quit,
    /// `RESET`.
    Reset,
    /// `SCAN`.
    Scan,
    /// `SELECT`.
    Select,
    /// `SET`.
    Set,
    /// `STRLEN`.
    StrLen,
    /// `TTL`.
    Ttl,
    /// `TYPE`.
    Type,
}

/// Where the keys are among a command's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// Nowhere.
    None,
    /// The first argument.
    First,
    /// Every argument.
    All,
    /// Every second argument, beginning with the first.
    Pairs,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// The command.
    pub(super) id: Name,
    /// Its name, in lower case.
    pub name: &'static str,
    /// How many words it has, its name included; negative: at least so many.
    pub arity: i64,
    /// What Redis calls its flags.
    pub flags: &'static [&'static str],
    /// Where its keys are.
    pub keys: Keys,
    /// The group of the manual it stands in.
    pub group: &'static str,
    /// The version of Redis it came with.
    pub since: &'static str,
    /// What it does.
    pub summary: &'static str,
}

impl Spec {
    /// Whether a command of so many words, its name included, has as many as it should.
    pub fn accepts(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= -self.arity } else { words == self.arity }
    }
}

const fn row(
    id: Name,
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: Keys,
    (group, since, summary): (&'static str, &'static str, &'static str),
) -> Spec {
    Spec { id, name, arity, flags, keys, group, since, summary }
}

const READ: &[&str] = &["readonly", "fast"];
const READ_SLOW: &[&str] = &["readonly"];
const WRITE: &[&str] = &["write", "fast"];
const WRITE_SLOW: &[&str] = &["write"];
const GROW: &[&str] = &["write", "denyoom", "fast"];
const GROW_SLOW: &[&str] = &["write", "denyoom"];
const LOCAL: &[&str] = &["noscript", "loading", "stale", "fast"];

/// Every command, in the order of their names.
#[rustfmt::skip]
pub const TABLE: &[Spec] = &[
    row(Name::Append, "append", 3, GROW, Keys::First,
        ("string", "2.0.0", "Append a value to a key")),
    row(Name::Auth, "auth", -2, LOCAL, Keys::None,
        ("connection", "1.0.0", "Authenticate to the server")),
    row(Name::Client, "client", -2, LOCAL, Keys::None,
        ("connection", "2.4.0", "Look at and name connections")),
    row(Name::Command, "command", -1, LOCAL, Keys::None,
        ("server", "2.8.13", "Get details about commands")),
    row(Name::Config, "config", -2, LOCAL, Keys::None,
        ("server", "2.0.0", "Get settings")),
    row(Name::DbSize, "dbsize", 1, READ, Keys::None,
        ("server", "1.0.0", "Return the number of keys in the selected database")),
    row(Name::Decr, "decr", 2, GROW, Keys::First,
        ("string", "1.0.0", "Decrement the integer value of a key by one")),
    row(Name::DecrBy, "decrby", 3, GROW, Keys::First,
        ("string", "1.0.0", "Decrement the integer value of a key by the given number")),
    row(Name::Del, "del", -2, WRITE_SLOW, Keys::All,
        ("generic", "1.0.0", "Delete a key")),
    row(Name::Echo, "echo", 2, LOCAL, Keys::None,
        ("connection", "1.0.0", "Echo the given string")),
    row(Name::Exists, "exists", -2, READ, Keys::All,
        ("generic", "1.0.0", "Determine if a key exists")),
    row(Name::Expire, "expire", -3, WRITE, Keys::First,
        ("generic", "1.0.0", "Set a key's time to live in seconds")),
    row(Name::FlushAll, "flushall", -1, WRITE_SLOW, Keys::None,
        ("server", "1.0.0", "Remove all keys from all databases")),
    row(Name::FlushDb, "flushdb", -1, WRITE_SLOW, Keys::None,
        ("server", "1.0.0", "Remove all keys from the current database")),
    row(Name::Get, "get", 2, READ, Keys::First,
        ("string", "1.0.0", "Get the value of a key")),
    row(Name::GetDel, "getdel", 2, WRITE, Keys::First,
        ("string", "6.2.0", "Get the value of a key and delete the key")),
    row(Name::Hello, "hello", -1, LOCAL, Keys::None,
        ("connection", "6.0.0", "Handshake with Redis")),
    row(Name::Incr, "incr", 2, GROW, Keys::First,
        ("string", "1.0.0", "Increment the integer value of a key by one")),
    row(Name::IncrBy, "incrby", 3, GROW, Keys::First,
        ("string", "1.0.0", "Increment the integer value of a key by the given amount")),
    row(Name::Info, "info", -1, LOCAL, Keys::None,
        ("server", "1.0.0", "Get information and statistics about the server")),
    row(Name::Keys, "keys", 2, READ_SLOW, Keys::None,
        ("generic", "1.0.0", "Find all keys matching the given pattern")),
    row(Name::LedgerAppend, "ledger.append", -2, WRITE_SLOW, Keys::None,
        ("ledger", "7.0.0", "Append an entry to the ledger, for ever")),
    row(Name::LedgerGet, "ledger.get", 2, READ_SLOW, Keys::None,
        ("ledger", "7.0.0", "Get the entry at a position of the ledger")),
    row(Name::LedgerProof, "ledger.proof", 2, READ_SLOW, Keys::None,
        ("ledger", "7.0.0", "Get an entry of the ledger with its certificate, as JSON")),
    row(Name::MGet, "mget", -2, READ, Keys::All,
        ("string", "1.0.0", "Get the values of all the given keys")),
    row(Name::MSet, "mset", -3, GROW_SLOW, Keys::Pairs,
        ("string", "1.0.1", "Set multiple keys to multiple values")),
    row(Name::Persist, "persist", 2, WRITE, Keys::First,
        ("generic", "2.2.0", "Remove the expiration from a key")),
    row(Name::PExpire, "pexpire", -3, WRITE, Keys::First,
        ("generic", "2.6.0", "Set a key's time to live in milliseconds")),
    row(Name::Ping, "ping", -1, LOCAL, Keys::None,
        ("connection", "1.0.0", "Ping the server")),
    row(Name::PTtl, "pttl", 2, READ, Keys::First,
        ("generic", "2.6.0", "Get the time to live for a key in milliseconds")),
    row(Name::Quit, "quit", -1, LOCAL, Keys::None,
        ("connection", "1.0.0", "Close the connection")),
    row(Name::Reset, "reset", 1, LOCAL, Keys::None,
        ("connection", "6.2.0", "Reset the connection")),
    row(Name::Scan, "scan", -2, READ_SLOW, Keys::None,
        ("generic", "2.8.0", "Incrementally iterate the keys space")),
    row(Name::Select, "select", 2, LOCAL, Keys::None,
        ("connection", "1.0.0", "Change the selected database for the current connection")),
    row(Name::Set, "set", -3, GROW_SLOW, Keys::First,
        ("string", "1.0.0", "Set the string value of a key")),
    row(Name::StrLen, "strlen", 2, READ, Keys::First,
        ("string", "2.2.0", "Get the length of the value stored in a key")),
    row(Name::Ttl, "ttl", 2, READ, Keys::First,
        ("generic", "1.0.0", "Get the time to live for a key in seconds")),
    row(Name::Type, "type", 2, READ, Keys::First,
        ("generic", "1.0.0", "Determine the type stored at key")),
];

/// The command of this name, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let order = |spec: &Spec| {
        let lower = name.iter().map(u8::to_ascii_lowercase);
        spec.name.bytes().cmp(lower)
    };
    TABLE.binary_search_by(order).ok().map(|at| &TABLE[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_found_in_any_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        assert!(TABLE.iter().all(|spec| find(spec.name.to_uppercase().as_bytes()) == Some(spec)));
        assert_eq!(find(b"gett"), None);
        assert_eq!(find(b""), None);
    }

    #[test]
    fn arity_counts_the_name() {
        let get = find(b"get").unwrap();
        assert!(!get.accepts(1) && get.accepts(2) && !get.accepts(3));
        let del = find(b"del").unwrap();
        assert!(!del.accepts(1) && del.accepts(2) && del.accepts(1_000));
    }
}
