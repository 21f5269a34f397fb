//! How a write stands in the log, and in the messages by which it is forwarded.
//!
//! A tag, then the parts in the order of their declaration. Everything is checked again when it is
//! read: a log or a peer may be damaged, and what breaks a limit here would break it on every node.

use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use bytes::Bytes;

use super::{ExpireCondition, Expiry, Set, SetAnswer, SetCondition, Write};

const SET: u8 = 1;
const GET_DEL: u8 = 2;
const DEL: u8 = 3;
const ADD: u8 = 4;
const APPEND: u8 = 5;
const M_SET: u8 = 6;
const EXPIRE: u8 = 7;
const PERSIST: u8 = 8;
const FLUSH: u8 = 9;

impl Write {
    /// Appends the write to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        match self {
            Write::Set(set) => {
                writer.u8(SET).length_prefixed(&set.key).length_prefixed(&set.value);
                writer.u8(condition_code(set.condition));
                encode_expiry(set.expiry, &mut writer);
                writer.bool(set.answer == SetAnswer::Previous);
            }
            Write::GetDel(key) => {
                writer.u8(GET_DEL).length_prefixed(key);
            }
            Write::Del(keys) => {
                encode_count(keys.len(), writer.u8(DEL));
                keys.iter().for_each(|key| {
                    writer.length_prefixed(key);
                });
            }
            Write::Add { key, delta } => {
                writer.u8(ADD).length_prefixed(key).u64(delta.cast_unsigned());
            }
            Write::Append { key, tail } => {
                writer.u8(APPEND).length_prefixed(key).length_prefixed(tail);
            }
            Write::MSet(pairs) => {
                encode_count(pairs.len(), writer.u8(M_SET));
                pairs.iter().for_each(|(key, value)| {
                    writer.length_prefixed(key).length_prefixed(value);
                });
            }
            Write::Expire { key, ttl_ms, condition } => {
                writer.u8(EXPIRE).length_prefixed(key).u64(ttl_ms.cast_unsigned());
                writer.u8(expire_code(*condition));
            }
            Write::Persist(key) => {
                writer.u8(PERSIST).length_prefixed(key);
            }
            Write::Flush => {
                writer.u8(FLUSH);
            }
        }
    }

    /// Reads all of `bytes` as one write, whose parts share the memory of `bytes`.
    ///
    /// # Errors
    /// If the bytes are no write, or one over a limit.
    pub fn decode(bytes: &Bytes) -> Result<Write, DecodeError> {
        let mut reader = Reader::new(bytes);
        let write = match reader.u8()? {
            SET => Write::Set(Set {
                key: key(&mut reader, bytes)?,
                value: value(&mut reader, bytes)?,
                condition: condition(reader.u8()?)?,
                expiry: expiry(&mut reader)?,
                answer: if reader.bool()? { SetAnswer::Previous } else { SetAnswer::Done },
            }),
            GET_DEL => Write::GetDel(key(&mut reader, bytes)?),
            DEL => Write::Del(several(&mut reader, bytes, key)?),
            ADD => Write::Add { key: key(&mut reader, bytes)?, delta: reader.u64()?.cast_signed() },
            APPEND => {
                Write::Append { key: key(&mut reader, bytes)?, tail: value(&mut reader, bytes)? }
            }
            M_SET => Write::MSet(several(&mut reader, bytes, pair)?),
            EXPIRE => Write::Expire {
                key: key(&mut reader, bytes)?,
                ttl_ms: reader.u64()?.cast_signed(),
                condition: expire_condition(reader.u8()?)?,
            },
            PERSIST => Write::Persist(key(&mut reader, bytes)?),
            FLUSH => Write::Flush,
            _ => return Err(DecodeError),
        };
        reader.finish()?;
        Ok(write)
    }
}

fn key(reader: &mut Reader<'_>, source: &Bytes) -> Result<Bytes, DecodeError> {
    Ok(source.slice_ref(reader.length_prefixed(limits::KEY_MAX_BYTES)?))
}

fn value(reader: &mut Reader<'_>, source: &Bytes) -> Result<Bytes, DecodeError> {
    Ok(source.slice_ref(reader.length_prefixed(limits::VALUE_MAX_BYTES)?))
}

fn pair(reader: &mut Reader<'_>, source: &Bytes) -> Result<(Bytes, Bytes), DecodeError> {
    Ok((key(reader, source)?, value(reader, source)?))
}

fn encode_count(count: usize, writer: &mut Writer<'_>) {
    writer.u16(u16::try_from(count).expect("a command has at most COMMAND_WORDS_MAX words"));
}

fn several<T>(
    reader: &mut Reader<'_>,
    source: &Bytes,
    one: fn(&mut Reader<'_>, &Bytes) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count == 0 || count > limits::COMMAND_WORDS_MAX {
        return Err(DecodeError);
    }
    (0..count).map(|_| one(reader, source)).collect()
}

fn condition_code(condition: SetCondition) -> u8 {
    match condition {
        SetCondition::Always => 0,
        SetCondition::Absent => 1,
        SetCondition::Present => 2,
    }
}

fn condition(code: u8) -> Result<SetCondition, DecodeError> {
    match code {
        0 => Ok(SetCondition::Always),
        1 => Ok(SetCondition::Absent),
        2 => Ok(SetCondition::Present),
        3.. => Err(DecodeError),
    }
}

fn encode_expiry(expiry: Expiry, writer: &mut Writer<'_>) {
    match expiry {
        Expiry::Never => writer.u8(0),
        Expiry::Keep => writer.u8(1),
        Expiry::After(ttl_ms) => writer.u8(2).u64(ttl_ms),
    };
}

fn expiry(reader: &mut Reader<'_>) -> Result<Expiry, DecodeError> {
    match reader.u8()? {
        0 => Ok(Expiry::Never),
        1 => Ok(Expiry::Keep),
        2 => Ok(Expiry::After(reader.u64()?)),
        3.. => Err(DecodeError),
    }
}

fn expire_code(condition: ExpireCondition) -> u8 {
    match condition {
        ExpireCondition::Always => 0,
        ExpireCondition::NoDeadline => 1,
        ExpireCondition::Deadline => 2,
        ExpireCondition::Later => 3,
        ExpireCondition::Earlier => 4,
        ExpireCondition::DeadlineLater => 5,
        ExpireCondition::DeadlineEarlier => 6,
    }
}

fn expire_condition(code: u8) -> Result<ExpireCondition, DecodeError> {
    match code {
        0 => Ok(ExpireCondition::Always),
        1 => Ok(ExpireCondition::NoDeadline),
        2 => Ok(ExpireCondition::Deadline),
        3 => Ok(ExpireCondition::Later),
        4 => Ok(ExpireCondition::Earlier),
        5 => Ok(ExpireCondition::DeadlineLater),
        6 => Ok(ExpireCondition::DeadlineEarlier),
        7.. => Err(DecodeError),
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
