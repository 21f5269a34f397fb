//! What the machine remembers of one origin, so that each of its writes is executed once and in
//! order.
//!
//! Why a write is never executed twice. A session knows every sequence that was executed and is not
//! below `low_water`; both kinds are refused. Below `low_water` lie only sequences that the origin
//! called settled: executed (the origin saw its own machine execute them, so they stand earlier in
//! the log than any entry that the origin sends afterwards) or given up (their clients were told
//! that the outcome is not known, or that nothing happened because nothing was ever sent). A
//! given-up write may still be executed by an entry sent earlier, until the first entry with the
//! higher `low_water`; after that, never. Since `low_water` only rises, an old entry that turns up
//! late cannot lower it.
//!
//! Why writes of one client keep their order. Each names the one before it (`after`), and is
//! refused until that one is settled. The origin sends it again.

use alloc::collections::BTreeMap;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;

use super::entry::{Request, RequestId};
use super::restore::decode_reply;
use super::snapshot::encode_reply;
use crate::hash::siphash;
use crate::resp::Reply;

/// What one remembered sequence costs, beside the bytes of a long reply.
const RECORD_BYTES: usize = 96;

/// What the machine should do with a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Execute it, and record the reply.
    Execute,
    /// Nothing: it was executed, with this reply.
    Repeat(Reply),
    /// Nothing: it was executed or given up.
    Forgotten,
    /// Nothing: the one before it is not settled.
    OutOfOrder,
}

/// One origin's writes of its latest epoch.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Writes of earlier epochs are settled: their clients are gone.
    epoch: u64,
    /// Writes with lower sequences are settled.
    low_water: u64,
    /// What was executed, not below `low_water`. `None`: the reply was too long to keep.
    /// Invariant: fewer than [`limits::KV_WRITES_IN_FLIGHT_MAX`] apart, so at most so many.
    executed: BTreeMap<u64, Option<Reply>>,
    /// Invariant: the sum of the sizes of the replies, at most
    /// [`limits::KV_SESSION_REPLIES_MAX_BYTES`].
    reply_bytes: usize,
}

impl Session {
    /// What to do with `request`. Takes note of its epoch and low water, whatever the verdict.
    pub fn judge(&mut self, request: &Request) -> Verdict {
        if request.id.epoch > self.epoch {
            *self = Session { epoch: request.id.epoch, ..Session::default() };
        }
        if request.id.epoch < self.epoch {
            return Verdict::Forgotten;
        }
        self.raise_low_water(request.low_water);
        if let Some(recorded) = self.executed.get(&request.id.sequence) {
            return recorded.clone().map_or(Verdict::Forgotten, Verdict::Repeat);
        }
        if request.id.sequence < self.low_water {
            return Verdict::Forgotten;
        }
        let before = RequestId { sequence: request.after, ..request.id };
        if request.after > 0 && !self.is_settled(before) {
            return Verdict::OutOfOrder;
        }
        Verdict::Execute
    }

    /// Remembers that a sequence was executed, and its reply if there is room for it.
    pub fn record(&mut self, sequence: u64, reply: &Reply) {
        let size = reply.size_bytes();
        let fits = self.reply_bytes + size <= limits::KV_SESSION_REPLIES_MAX_BYTES;
        if fits {
            self.reply_bytes += size;
        }
        self.executed.insert(sequence, fits.then(|| reply.clone()));
    }

    /// Whether a request need not be executed any more.
    pub fn is_settled(&self, request: RequestId) -> bool {
        request.epoch < self.epoch
            || (request.epoch == self.epoch
                && (request.sequence < self.low_water
                    || self.executed.contains_key(&request.sequence)))
    }

    /// Whether a request was executed, and its reply if that is remembered.
    pub fn executed(&self, request: RequestId) -> Option<Option<&Reply>> {
        let is_ours = request.epoch == self.epoch;
        self.executed.get(&request.sequence).filter(|_| is_ours).map(Option::as_ref)
    }

    /// Writes everything down, for a snapshot.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.u64(self.epoch).u64(self.low_water).u32(self.executed.len() as u32);
        for (sequence, reply) in &self.executed {
            writer.u64(*sequence);
            encode_reply(reply.as_ref(), writer);
        }
    }

    /// Reads a session that was written down.
    ///
    /// # Errors
    /// If it breaks an invariant.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Session, DecodeError> {
        let (epoch, low_water, count) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let mut session = Session { epoch, low_water, ..Session::default() };
        let mut from = low_water;
        let end = low_water.saturating_add(limits::KV_WRITES_IN_FLIGHT_MAX as u64);
        for _ in 0..count {
            let (sequence, reply) = (reader.u64()?, decode_reply(reader)?);
            if !(from..end).contains(&sequence) {
                return Err(DecodeError);
            }
            from = sequence + 1;
            session.reply_bytes += reply.as_ref().map_or(0, Reply::size_bytes);
            session.executed.insert(sequence, reply);
        }
        let has_room = session.reply_bytes <= limits::KV_SESSION_REPLIES_MAX_BYTES;
        has_room.then_some(session).ok_or(DecodeError)
    }

    /// What the session occupies.
    pub fn memory_bytes(&self) -> usize {
        RECORD_BYTES * (1 + self.executed.len()) + self.reply_bytes
    }

    /// A fingerprint. Replies follow from what was executed, so they need not be in it.
    pub fn digest(&self) -> u64 {
        self.executed
            .keys()
            .fold(siphash(self.epoch, self.low_water, b"session"), |digest, &key| {
                siphash(digest, key, b"executed")
            })
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let first = self.executed.keys().next().copied().unwrap_or(self.low_water);
        let last = self.executed.keys().next_back().copied().unwrap_or(self.low_water);
        assert!(first >= self.low_water, "what is settled is not remembered");
        assert!(last < self.low_water + limits::KV_WRITES_IN_FLIGHT_MAX as u64, "the window holds");
        let bytes: usize = self.executed.values().flatten().map(Reply::size_bytes).sum();
        assert_eq!(self.reply_bytes, bytes, "the size is the sum of all sizes");
        assert!(bytes <= limits::KV_SESSION_REPLIES_MAX_BYTES, "replies have their limit");
    }

    fn raise_low_water(&mut self, low_water: u64) {
        if low_water <= self.low_water {
            return;
        }
        self.low_water = low_water;
        let kept = self.executed.split_off(&low_water);
        let dropped = core::mem::replace(&mut self.executed, kept);
        let bytes: usize = dropped.values().flatten().map(Reply::size_bytes).sum();
        self.reply_bytes -= bytes;
    }
}
