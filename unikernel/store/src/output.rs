//! What goes in and comes out: records, outputs, and what a store says of itself.

use alloc::vec::Vec;

use base::{LogIndex, Term};
use block::BlockRequest;
use bytes::Bytes;

use crate::error::{Damage, Failure};
use crate::hard_state::HardState;
use crate::snapshot::{SnapshotMeta, StoredSnapshot};

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its position, counted from 1.
    pub index: LogIndex,
    /// The term that it was made in.
    pub term: Term,
    /// What it is: the caller's number.
    pub kind: u8,
    /// What it holds.
    pub payload: Bytes,
}

/// What was found on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// How often the node has started with this disk, this time included. Durable.
    pub epoch: u64,
    /// The hard state.
    pub hard_state: HardState,
    /// The snapshot that counts.
    pub snapshot: Option<StoredSnapshot>,
    /// The first record that is kept; one behind the end if there is none.
    pub first_index: LogIndex,
    /// The term of the record before it, 0 if there never was one.
    pub front_term: Term,
    /// The end of the log.
    pub last_index: LogIndex,
    /// The terms of all records that are kept: for each run its first index.
    pub terms: Vec<(LogIndex, Term)>,
    /// The records of the kinds in [`Config::wanted_kinds`]: the last ones, if there are more than the limit.
    pub wanted: Vec<LogIndex>,
    /// How many records of a torn batch were dropped: nobody was told that they were durable.
    pub torn: u64,
    /// How many headers were taken from their copies.
    pub repaired: usize,
    /// The disk was empty, and has been formatted.
    pub is_fresh: bool,
}

/// What the store wants done, or has done.
#[derive(Debug)]
pub enum Output {
    /// Hand this to the disk.
    Request(BlockRequest),
    /// The disk is read: the store is ready.
    Recovered(Recovered),
    /// Everything up to this ticket is durable.
    Persisted(u64),
    /// Records that were asked for: consecutive. None if the first is not there any more, or is damaged.
    Read(u64, Vec<Record>),
    /// A record that was durable is not what was written. Reads end before it, until it is repaired.
    Damaged(Damage),
    /// A record that was given to [`crate::Store::repair`] is durable, in its place.
    Repaired(LogIndex),
    /// A record that was given to [`crate::Store::repair`] is not the one that was written there; nothing has
    /// changed.
    NotRepaired(LogIndex),
    /// The records before this one were verified, as [`crate::Store::scrub`] asked.
    Scrubbed(LogIndex),
    /// So many bytes of the snapshot that is written are taken care of: there is room for more.
    SnapshotStored {
        /// Which snapshot.
        meta: SnapshotMeta,
        /// How many bytes from its start. They are not durable before the snapshot is.
        offset: u64,
    },
    /// This snapshot is durable, and counts from now on.
    SnapshotDurable(SnapshotMeta),
    /// Bytes of the snapshot that counts.
    SnapshotRead {
        /// The question.
        id: u64,
        /// Which snapshot: a newer one may have come to count since the last answer.
        meta: SnapshotMeta,
        /// Where they are from.
        offset: u64,
        /// The length of the whole snapshot.
        total_bytes: u64,
        /// The bytes, verified. None at the end of the snapshot, and only there.
        bytes: Bytes,
    },
    /// A block of the snapshot that counts is not what was written.
    SnapshotDamaged {
        /// The question.
        id: u64,
        /// Which snapshot.
        meta: SnapshotMeta,
        /// Where the block begins.
        offset: u64,
    },
    /// The store has given up; nothing more comes from it.
    Failed(Failure),
}

/// How the store is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The first record that is kept.
    pub first_index: LogIndex,
    /// The last record that is durable.
    pub durable_last: LogIndex,
    /// How many records there is a place for.
    pub slots: u64,
    /// How many are kept, or wait to be written.
    pub slots_used: u64,
    /// Bytes of bodies in use, padding and what was cut off included.
    pub body_bytes_used: u64,
    /// Bytes of bodies that there is room for.
    pub body_bytes: u64,
    /// The last record that the snapshot stands for, 0 if there is none.
    pub snapshot_index: LogIndex,
    /// The length of the snapshot.
    pub snapshot_bytes: u64,
    /// How long a snapshot may be on this disk.
    pub snapshot_max_bytes: u64,
    /// Batches written since the start.
    pub batches: u64,
    /// Records written since the start.
    pub records: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// How often the node has started with this disk.
    pub epoch: u64,
    /// Times that a record was found damaged since the start.
    pub damaged: u64,
    /// Records written again since the start.
    pub repaired: u64,
    /// Records verified in passing since the start.
    pub scrubbed: u64,
}
