//! The durable log: records and a hard state that survive a crash, or an honest word that they did not.
//!
//! [`Store`] is a value like every service: it emits [`block::BlockRequest`]s and takes their completions. It
//! knows nothing of consensus: a record has an index, a term, a kind and bytes.
//!
//! # On the disk
//!
//! ```text
//! sector 0        superblock          sector 1        its copy
//! sectors 2, 3    hard state, even    sectors 4, 5    hard state, odd      (each written twice)
//! sectors 8 …     headers             64 bytes each, 8 to a sector; the header of index i at place i - 1
//! behind them     bodies              [header copy | payload | padding to 8] …, a fresh sector per batch
//! ```
//!
//! A header says where its body is, how long, with which checksum; the checksum of the header before it; and
//! its batch: a number that grows, and the first and last index. Headers lie apart from bodies so that a log
//! is understood without reading it; each body carries a copy of its header, so that a sector of headers that
//! was torn while a new one was added to it can be told from the bodies.
//!
//! # Writing
//!
//! What waits when the disk is free becomes one batch: bodies, headers, hard state, then one flush, and only
//! then [`Output::Persisted`]. The hard state's sector also says which batch was durable before. No sector
//! that holds bodies is ever written again.
//!
//! # Recovery
//!
//! Let the *marker* be what the newest hard state says: batch m was durable, the log ended at index e, and
//! the last header has this checksum and its copy lies there. Every header names the checksum of the one
//! before and the place of its copy, so the marker vouches for the whole log.
//!
//! 1. The headers up to e are read and checked against the chain. Where one is unreadable or not of the chain
//!    (torn while its neighbour was written, or overwritten by a batch that was never finished), its copy is
//!    found from its successor. If that fails too, it is **damage**.
//! 2. Batch m + 1, if it was written, begins behind the last body. If it is whole (headers, chain, payloads),
//!    it counts, and takes the marker's place. There can be two such batches, not three.
//! 3. If it is not whole it was **torn**: nobody was ever told that it was durable, and all of it is dropped.
//!    But if a later batch was begun, this one was durable once, and it is damage.
//!
//! Damage is reported with its place and never taken for absence: a node that forgets what it promised harms
//! the others. Payloads of older batches are verified whenever they are read. When nothing has been written
//! for a while the marker is brought up to date, so that rot in the last batch is not taken for a torn write.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
mod hard_state;
mod header;
mod layout;
mod reading;
mod recovery;
mod scan;
mod store;
mod superblock;
mod transfer;

pub use hard_state::HardState;
pub use layout::{Config, ConfigError};
pub use store::{
    Damage, Failure, Output, PersistError, ReadError, Record, Recovered, Status, Store, Where,
};
