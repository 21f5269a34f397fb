//! A machine from the bytes of a snapshot, which may come in parts of any length.
//!
//! The bytes come from a disk or another node: nothing is believed that does not fit, and what does
//! not add up in the end is not used.

use alloc::vec::Vec;
use core::fmt;

use base::codec::{DecodeError, Reader};
use base::{NodeId, limits};
use bytes::Bytes;

use super::KvMachine;
use super::session::Session;
use super::snapshot::{END, HEAD, ITEM, NEVER, SESSION, VERSION};
use crate::resp::Reply;

/// The longest record: an item, or a session with all that it may remember.
const RECORD_MAX_BYTES: usize = limits::VALUE_MAX_BYTES + limits::KEY_MAX_BYTES + 64;
const _: () = assert!(
    RECORD_MAX_BYTES
        >= limits::KV_SESSION_REPLIES_MAX_BYTES + 16 * limits::KV_WRITES_IN_FLIGHT_MAX + 64
);

/// Why bytes are no snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreError {
    /// They are not what the format says.
    Malformed,
    /// They are of another version of the format.
    Version(u8),
    /// They hold more than a machine may.
    TooLarge,
    /// They end too early, or what they hold is not what they say.
    Incomplete,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreError::Malformed => f.write_str("the snapshot is malformed"),
            RestoreError::Version(version) => {
                write!(f, "the snapshot has format {version}, this image reads {VERSION}")
            }
            RestoreError::TooLarge => f.write_str("the snapshot holds more than there is room for"),
            RestoreError::Incomplete => f.write_str("the snapshot is not whole"),
        }
    }
}

impl core::error::Error for RestoreError {}

impl From<DecodeError> for RestoreError {
    fn from(_: DecodeError) -> RestoreError {
        RestoreError::Malformed
    }
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Head,
    Contents,
    Nothing,
}

/// A machine under construction.
#[derive(Debug)]
pub struct Restore {
    machine: KvMachine,
    expected: Expected,
    items: u64,
    /// The beginning of a record whose end has not come.
    pending: Vec<u8>,
}

impl Default for Restore {
    fn default() -> Restore {
        let (machine, pending) = (KvMachine::new(), Vec::new());
        Restore { machine, expected: Expected::Head, items: 0, pending }
    }
}

impl Restore {
    /// Takes in the next bytes.
    ///
    /// # Errors
    /// If no snapshot goes on like this; then there is no use in going on.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut pending = core::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = &pending[..];
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            if length == 0 || length > RECORD_MAX_BYTES {
                return Err(RestoreError::Malformed);
            }
            let Some((record, behind)) = behind.split_at_checked(length) else { break };
            self.take_record(record)?;
            rest = behind;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// The machine, if everything is there.
    ///
    /// # Errors
    /// If something is missing.
    pub fn finish(self) -> Result<KvMachine, RestoreError> {
        let is_whole = self.expected == Expected::Nothing && self.pending.is_empty();
        if is_whole { Ok(self.machine) } else { Err(RestoreError::Incomplete) }
    }

    fn take_record(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        let mut reader = Reader::new(record);
        match (self.expected, reader.u8()?) {
            (Expected::Head, HEAD) => self.take_head(reader),
            (Expected::Contents, SESSION) => self.take_session(reader),
            (Expected::Contents, ITEM) => self.take_item(reader),
            (Expected::Contents, END) => self.take_end(reader),
            _ => Err(RestoreError::Malformed),
        }
    }

    fn take_head(&mut self, mut reader: Reader<'_>) -> Result<(), RestoreError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        self.machine.applied = reader.log_index()?;
        self.machine.clock_ms = reader.u64()?;
        self.expected = Expected::Contents;
        Ok(reader.finish()?)
    }

    fn take_session(&mut self, mut reader: Reader<'_>) -> Result<(), RestoreError> {
        let origin = reader.node_id()?;
        let last = self.machine.sessions.last_key_value().map(|(last, _)| *last);
        let is_next = last.is_none_or(|last: NodeId| last < origin);
        let session = Session::decode(&mut reader)?;
        reader.finish()?;
        if !is_next || self.items > 0 {
            return Err(RestoreError::Malformed);
        }
        self.machine.sessions.insert(origin, session);
        Ok(())
    }

    fn take_item(&mut self, mut reader: Reader<'_>) -> Result<(), RestoreError> {
        let deadline_ms = Some(reader.u64()?).filter(|deadline_ms| *deadline_ms != NEVER);
        let key = reader.length_prefixed(limits::KEY_MAX_BYTES)?;
        let value = reader.rest();
        let keyspace = &mut self.machine.keyspace;
        if value.len() > limits::VALUE_MAX_BYTES || !keyspace.is_behind_all(key) {
            return Err(RestoreError::Malformed);
        }
        keyspace.put(key, value, deadline_ms);
        self.items += 1;
        if keyspace.memory_bytes() > limits::KV_MEMORY_MAX_BYTES {
            return Err(RestoreError::TooLarge);
        }
        Ok(())
    }

    fn take_end(&mut self, mut reader: Reader<'_>) -> Result<(), RestoreError> {
        let (sessions, items, digest) = (reader.u64()?, reader.u64()?, reader.u64()?);
        reader.finish()?;
        self.expected = Expected::Nothing;
        let is_whole = sessions == self.machine.sessions.len() as u64
            && items == self.items
            && digest == self.machine.digest();
        if is_whole { Ok(()) } else { Err(RestoreError::Incomplete) }
    }
}

/// Reads what a session remembers of an executed write.
pub(super) fn decode_reply(reader: &mut Reader<'_>) -> Result<Option<Reply>, DecodeError> {
    let reply = match reader.u8()? {
        0 => return Ok(None),
        1 => Reply::Ok,
        2 => Reply::Nil,
        3 => Reply::Integer(reader.u64()?.cast_signed()),
        4 => Reply::Bulk(text(reader)?),
        5 => Reply::Error(text(reader)?),
        _ => return Err(DecodeError),
    };
    Ok(Some(reply))
}

fn text(reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    reader.length_prefixed(limits::KV_SESSION_REPLIES_MAX_BYTES).map(Bytes::copy_from_slice)
}
