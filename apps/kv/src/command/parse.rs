//! From words to commands.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use super::table::{self, Name};
use super::{Command, CommandError, Ledger, Local, Read, SignedEntry, Write, local, options};
use crate::resp::parse_i64;

impl Command {
    /// The command that `words` are.
    ///
    /// # Errors
    /// What Redis 7.0 would answer; or a limit that the words are over.
    pub fn parse(words: &[Bytes]) -> Result<Command, CommandError> {
        let Some((name, args)) = words.split_first() else {
            return Err(CommandError::Syntax);
        };
        let Some(spec) = table::find(name) else {
            return Err(CommandError::Unknown { name: name.clone(), arguments: args.to_vec() });
        };
        if !spec.accepts(words.len()) {
            return Err(CommandError::Arity(spec.name));
        }
        let total: usize = words.iter().map(Bytes::len).sum();
        if total > limits::KV_COMMAND_MAX_BYTES || words.len() > limits::COMMAND_WORDS_MAX {
            return Err(CommandError::CommandTooLong);
        }
        build(spec.id, args)
    }
}

/// The command itself. The table vouches for the number of words, so that the first ones may be
/// indexed.
fn build(name: Name, args: &[Bytes]) -> Result<Command, CommandError> {
    Ok(match name {
        Name::Append => Write::Append { key: key(&args[0])?, tail: value(&args[1])? }.into(),
        Name::Auth => local::auth(args)?.into(),
        Name::Client => local::client(&args[0], &args[1..])?.into(),
        Name::Command => local::command(args)?.into(),
        Name::Config => local::config(&args[0], &args[1..])?.into(),
        Name::DbSize => Read::DbSize.into(),
        Name::Decr => Write::Add { key: key(&args[0])?, delta: -1 }.into(),
        Name::DecrBy => {
            let delta = integer(&args[1])?.checked_neg().ok_or(CommandError::DecrementOverflow)?;
            Write::Add { key: key(&args[0])?, delta }.into()
        }
        Name::Del => Write::Del(keys(args)?).into(),
        Name::Echo => Local::Echo(args[0].clone()).into(),
        Name::Exists => Read::Exists(keys(args)?).into(),
        Name::Expire => options::expire(args, "expire", 1000)?.into(),
        Name::FlushAll | Name::FlushDb => options::flush(args)?.into(),
        Name::Get => Read::Get(key(&args[0])?).into(),
        Name::GetDel => Write::GetDel(key(&args[0])?).into(),
        Name::Hello => local::hello(args)?.into(),
        Name::Incr => Write::Add { key: key(&args[0])?, delta: 1 }.into(),
        Name::IncrBy => Write::Add { key: key(&args[0])?, delta: integer(&args[1])? }.into(),
        Name::Info => Local::Info(args.to_vec()).into(),
        Name::Keys => Read::Keys(key(&args[0])?).into(),
        Name::LedgerAppend => Command::Ledger(append(args)?),
        Name::LedgerGet => Command::Ledger(Ledger::Get(position(&args[0])?)),
        Name::LedgerProof => Command::Ledger(Ledger::Proof(position(&args[0])?)),
        Name::MGet => Read::MGet(keys(args)?).into(),
        Name::MSet => Write::MSet(pairs(args)?).into(),
        Name::Persist => Write::Persist(key(&args[0])?).into(),
        Name::PExpire => options::expire(args, "pexpire", 1)?.into(),
        Name::Ping => local::ping(args)?.into(),
        Name::PTtl => Read::PTtl(key(&args[0])?).into(),
        Name::Quit => Local::Quit.into(),
        Name::Reset => Local::Reset.into(),
        Name::Scan => options::scan(args)?.into(),
        Name::Select => local::select(&args[0])?.into(),
        Name::Set => options::set(args)?.into(),
        Name::StrLen => Read::StrLen(key(&args[0])?).into(),
        Name::Ttl => Read::Ttl(key(&args[0])?).into(),
        Name::Type => Read::Type(key(&args[0])?).into(),
    })
}

/// A key, or a pattern of keys, which is never usefully longer.
pub(super) fn key(word: &Bytes) -> Result<Bytes, CommandError> {
    if word.len() > limits::KEY_MAX_BYTES {
        return Err(CommandError::KeyTooLong);
    }
    Ok(word.clone())
}

pub(super) fn value(word: &Bytes) -> Result<Bytes, CommandError> {
    if word.len() > limits::VALUE_MAX_BYTES {
        return Err(CommandError::ValueTooLong);
    }
    Ok(word.clone())
}

pub(super) fn integer(word: &Bytes) -> Result<i64, CommandError> {
    parse_i64(word).ok_or(CommandError::NotInteger)
}

/// An entry for the ledger, alone or with the client's key, its number and its signature.
fn append(args: &[Bytes]) -> Result<Ledger, CommandError> {
    match args {
        [entry] => Ok(Ledger::Append(value(entry)?)),
        [entry, client, sequence, signature] => {
            let sequence = parse_i64(sequence).and_then(|number| u64::try_from(number).ok());
            let signed = SignedEntry {
                entry: value(entry)?,
                client: from_hex(client).ok_or(CommandError::SignedEntry)?,
                sequence: sequence.filter(|at| *at > 0).ok_or(CommandError::SignedEntry)?,
                signature: from_hex(signature).ok_or(CommandError::SignedEntry)?,
            };
            Ok(Ledger::AppendSigned(Box::new(signed)))
        }
        _ => Err(CommandError::Arity("ledger.append")),
    }
}

/// Bytes of two hexadecimal digits each.
fn from_hex<const N: usize>(word: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = word.as_chunks::<2>() else { return None };
    let mut bytes = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(bytes)
}

/// A position of the ledger; those below 1 hold nothing.
fn position(word: &Bytes) -> Result<u64, CommandError> {
    Ok(integer(word)?.max(0).cast_unsigned())
}

fn keys(words: &[Bytes]) -> Result<Vec<Bytes>, CommandError> {
    words.iter().map(key).collect()
}

fn pairs(words: &[Bytes]) -> Result<Vec<(Bytes, Bytes)>, CommandError> {
    let (pairs, []) = words.as_chunks::<2>() else {
        return Err(CommandError::Arity("mset"));
    };
    pairs.iter().map(|[name, text]| Ok((key(name)?, value(text)?))).collect()
}

impl From<Write> for Command {
    fn from(write: Write) -> Command {
        Command::Write(write)
    }
}

impl From<Read> for Command {
    fn from(read: Read) -> Command {
        Command::Read(read)
    }
}

impl From<Local> for Command {
    fn from(local: Local) -> Command {
        Command::Local(local)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
