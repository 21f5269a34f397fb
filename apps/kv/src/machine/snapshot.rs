//! The whole machine as bytes: what a node keeps in the place of the log's beginning, and gives to
//! nodes that are too far behind for the log.
//!
//! ```text
//! record   length:4  kind:1  content…              the length counts kind and content
//! head     1  version:1  applied:8  clock_ms:8     once, first
//! session  2  origin:2  epoch:8  low_water:8  count:4  { sequence:8  reply }…
//! item     3  deadline_ms:8 (2^64 - 1: none)  key_length:4  key  value
//! end      4  sessions:8  items:8  digest:8        once, last
//! reply    0 (not remembered)   1 OK   2 nil   3 integer:8   4 length:4 data   5 length:4 error
//! ```
//!
//! Items come in the order of their places, sessions in the order of their origins: machines with
//! the same digest have the same snapshot. A snapshot is taken in parts while the machine goes on;
//! the sessions are small and written down at once, the items are [frozen](super::frozen).

use alloc::vec::Vec;

use base::codec::Writer;
use base::{LogIndex, limits};
use bytes::Bytes;

use super::KvMachine;
use crate::resp::Reply;

pub(super) const VERSION: u8 = 1;
pub(super) const HEAD: u8 = 1;
pub(super) const SESSION: u8 = 2;
pub(super) const ITEM: u8 = 3;
pub(super) const END: u8 = 4;
/// The deadline of an item that has none.
pub(super) const NEVER: u64 = u64::MAX;

/// The next part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotPart {
    /// More bytes.
    Bytes(Bytes),
    /// Everything was given out.
    End,
    /// Nothing is under way: none was begun, or too much has changed since to remember it all.
    Lost,
}

/// A snapshot under way.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Written down and not given out.
    bytes: Vec<u8>,
    sessions: u64,
    items: u64,
    /// The machine's fingerprint when it began.
    digest: u64,
    is_complete: bool,
}

impl KvMachine {
    /// Begins a snapshot of the state as it is now, after the entry whose position is answered.
    /// Another one that is under way is given up.
    pub fn begin_snapshot(&mut self) -> LogIndex {
        let mut snapshot = Snapshot {
            bytes: Vec::new(),
            sessions: self.sessions.len() as u64,
            items: 0,
            digest: self.digest(),
            is_complete: false,
        };
        record(&mut snapshot.bytes, HEAD, |writer| {
            writer.u8(VERSION).log_index(self.applied).u64(self.clock_ms);
        });
        for (origin, session) in &self.sessions {
            record(&mut snapshot.bytes, SESSION, |writer| {
                writer.node_id(*origin);
                session.encode(writer);
            });
        }
        self.keyspace.freeze();
        self.snapshot = Some(snapshot);
        self.applied
    }

    /// The next bytes of the snapshot, `bytes_max` at the most.
    pub fn snapshot_part(&mut self, bytes_max: usize) -> SnapshotPart {
        let Some(snapshot) = &mut self.snapshot else { return SnapshotPart::Lost };
        if self.keyspace.frozen_bytes() > limits::KV_SNAPSHOT_KEPT_MAX_BYTES {
            self.abandon_snapshot();
            return SnapshotPart::Lost;
        }
        while snapshot.bytes.len() < bytes_max && !snapshot.is_complete {
            let Some((place, item)) = self.keyspace.walk_frozen() else {
                let (sessions, items, digest) =
                    (snapshot.sessions, snapshot.items, snapshot.digest);
                record(&mut snapshot.bytes, END, |writer| {
                    writer.u64(sessions).u64(items).u64(digest);
                });
                snapshot.is_complete = true;
                break;
            };
            snapshot.items += 1;
            record(&mut snapshot.bytes, ITEM, |writer| {
                writer.u64(item.deadline_ms.unwrap_or(NEVER)).u32(place.1.len() as u32);
                writer.bytes(&place.1).bytes(&item.value);
            });
        }
        if snapshot.bytes.is_empty() {
            self.abandon_snapshot();
            return SnapshotPart::End;
        }
        let rest = snapshot.bytes.split_off(bytes_max.min(snapshot.bytes.len()));
        SnapshotPart::Bytes(core::mem::replace(&mut snapshot.bytes, rest).into())
    }

    /// Gives up a snapshot that is under way.
    pub fn abandon_snapshot(&mut self) {
        self.snapshot = None;
        self.keyspace.thaw();
    }
}

/// Appends a record: its length, its kind, and what `content` writes.
fn record(bytes: &mut Vec<u8>, kind: u8, content: impl FnOnce(&mut Writer<'_>)) {
    let start = bytes.len();
    let mut writer = Writer::new(bytes);
    writer.u32(0).u8(kind);
    content(&mut writer);
    let length = (bytes.len() - start - 4) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Writes what a session remembers of an executed write.
pub(super) fn encode_reply(reply: Option<&Reply>, writer: &mut Writer<'_>) {
    match reply {
        // No write answers with the last two.
        None | Some(Reply::Simple(_) | Reply::Array(_)) => writer.u8(0),
        Some(Reply::Ok) => writer.u8(1),
        Some(Reply::Nil) => writer.u8(2),
        Some(Reply::Integer(number)) => writer.u8(3).u64(number.cast_unsigned()),
        Some(Reply::Bulk(data)) => writer.u8(4).u32(data.len() as u32).bytes(data),
        Some(Reply::Error(text)) => writer.u8(5).u32(text.len() as u32).bytes(text),
    };
}
