//! The entries of the log, byte by byte.
//!
//! ```text
//! tick     1  time_ms:8
//! request  2  time_ms:8  origin:2  epoch:8  sequence:8  after:8  low_water:8  write…
//! ```

use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{NodeId, limits};
use bytes::Bytes;

use crate::command::Write;

const TICK: u8 = 1;
const REQUEST: u8 = 2;

/// The bytes of a request before its write.
const REQUEST_HEADER_BYTES: usize = 2 + 8 + 8 + 8 + 8;

/// The name of one write, among all writes of all nodes for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId {
    /// The node whose client asked.
    pub origin: NodeId,
    /// How often that node had started.
    pub epoch: u64,
    /// Counted from 1 since that start.
    pub sequence: u64,
}

/// A write and its place among the writes of its origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// The sequence of a write that must be executed before this one; 0 for none.
    /// Invariant: less than `id.sequence`.
    pub after: u64,
    /// Every write of this origin and epoch with a lower sequence is executed or given up.
    /// Invariant: at most `id.sequence`, and by less than [`limits::KV_WRITES_IN_FLIGHT_MAX`] below
    /// it.
    pub low_water: u64,
    /// What to do.
    pub write: Write,
}

/// One entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The clock goes on although nobody writes, because a key expires.
    Tick {
        /// The leader's time, in milliseconds since 1970.
        time_ms: u64,
    },
    /// Somebody writes.
    Request {
        /// The leader's time, in milliseconds since 1970.
        time_ms: u64,
        /// The write.
        request: Request,
    },
}

impl Request {
    /// Appends the request, whose write is already encoded, to `bytes`.
    pub fn encode(id: RequestId, after: u64, low_water: u64, write: &[u8], bytes: &mut Vec<u8>) {
        bytes.reserve_exact(REQUEST_HEADER_BYTES + write.len());
        let mut writer = Writer::new(bytes);
        writer.node_id(id.origin).u64(id.epoch).u64(id.sequence);
        writer.u64(after).u64(low_water).bytes(write);
    }

    /// Reads all of `bytes` as a request, whose write shares the memory of `bytes`.
    ///
    /// # Errors
    /// If the bytes are no request, or one that breaks an invariant.
    pub fn decode(bytes: &Bytes) -> Result<Request, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (origin, epoch, sequence) = (reader.node_id()?, reader.u64()?, reader.u64()?);
        let (after, low_water) = (reader.u64()?, reader.u64()?);
        let span = sequence.checked_sub(low_water).ok_or(DecodeError)?;
        if after >= sequence || span >= limits::KV_WRITES_IN_FLIGHT_MAX as u64 {
            return Err(DecodeError);
        }
        let write = Write::decode(&bytes.slice_ref(reader.rest()))?;
        Ok(Request { id: RequestId { origin, epoch, sequence }, after, low_water, write })
    }
}

impl Entry {
    /// The payload of a tick.
    pub fn tick(time_ms: u64) -> Bytes {
        let mut bytes = Vec::with_capacity(9);
        Writer::new(&mut bytes).u8(TICK).u64(time_ms);
        Bytes::from(bytes)
    }

    /// The payload of a request that is already encoded.
    pub fn request(time_ms: u64, request: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(9 + request.len());
        Writer::new(&mut bytes).u8(REQUEST).u64(time_ms).bytes(request);
        Bytes::from(bytes)
    }

    /// Reads all of a payload.
    ///
    /// # Errors
    /// If it is no entry.
    pub fn decode(payload: &Bytes) -> Result<Entry, DecodeError> {
        let mut reader = Reader::new(payload);
        let (kind, time_ms) = (reader.u8()?, reader.u64()?);
        match kind {
            TICK => {
                reader.finish()?;
                Ok(Entry::Tick { time_ms })
            }
            REQUEST => {
                let request = Request::decode(&payload.slice_ref(reader.rest()))?;
                Ok(Entry::Request { time_ms, request })
            }
            _ => Err(DecodeError),
        }
    }

    /// The leader's time, in milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        match *self {
            Entry::Tick { time_ms } | Entry::Request { time_ms, request: _ } => time_ms,
        }
    }
}
