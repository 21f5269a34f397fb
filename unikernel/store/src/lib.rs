//! The durable log: records, snapshots and a hard state that survive a crash, or an honest word that they did
//! not.
//!
//! [`Store`] is a value like every service: it emits [`block::BlockRequest`]s and takes their completions. It
//! knows nothing of consensus: a record has an index, a term, a kind and bytes.
//!
//! # On the disk
//!
//! ```text
//! sector 0        superblock          sector 24       its copy
//! sectors 8, 32   hard state, even    sectors 16, 40  hard state, odd      (each written twice)
//! sectors 56 …    headers             64 bytes each, 8 to a sector, a ring: the header of index i is at
//!                                     place (i - 1) mod places
//! behind them     two snapshot areas  of equal size: an eighth of the disk each, or what the longest one
//! takes behind them     bodies              [header copy | payload | padding to 8] …, every batch from a
//! fresh sector, a ring: what runs over the end goes on at the start
//! ```
//!
//! A header says where its body is, how long, with which checksum; the checksum of the header before it; and
//! its batch: a number that grows, and the first and last index. Headers lie apart from bodies so that a log
//! is understood without reading it; each body carries a copy of its header, so that a sector of headers that
//! was torn while a new one was added to it can be told from the bodies.
//!
//! Both rings go on at their start wherever their end comes, in the middle of a batch or of a record: there
//! is no gap to be counted, a batch is never trimmed, what is free is one number, and recovery looks for the
//! next batch in one place. The only code that knows of the seam is the one that cuts transfers into
//! requests. Positions on the disk are places on the ring, so that they never outgrow their fields.
//!
//! # Writing
//!
//! What waits when the disk is free becomes one batch: bodies, headers, hard state, then one flush, and only
//! then [`Output::Persisted`]. The hard state's sector also says which batch was durable before, where the
//! log ended, and with which record it begins. No sector that holds bodies or headers that are kept is ever
//! written again, but for the last sector of headers.
//!
//! # Compaction
//!
//! [`Store::compact`] moves the beginning of the log, no further than a durable snapshot allows. The hard
//! state then names the *front*, the checksum that the first header must follow from. The room is free only
//! when that is durable: until then a crash finds everything that the hard state before speaks of.
//! A store without snapshots ([`Config::has_snapshots`]) leaves it to its caller what may be given up.
//! [`Store::reset_log`] empties the log in one such write; the front is then computed from the index and the
//! term at which it ends. Compaction and cuts wait for a reader that is under way, and the next reader waits
//! for them.
//!
//! # Snapshots
//!
//! A snapshot is written part by part beside the log, to the area that does not hold the newest one, and
//! counts from the moment when its head is durable (the module `snapshot` draws it). The log does not wait
//! for more than the block that is on its way.
//!
//! One that another node has made may be of a log that this node does not have. Then it is installed in two
//! steps: it becomes durable, and [`Store::reset_log`] empties the log behind it. A crash in between is made
//! up for by recovery. That the log holds a record of the same index and term is what tells the two kinds
//! apart.
//!
//! # Recovery
//!
//! Let the *marker* be what the newest hard state says: batch m was durable, the log reached from index f to
//! index e, the last header has this checksum and its copy lies there, and the bodies ended there. Every
//! header names the checksum of the one before and the place of its copy, so the marker vouches for the whole
//! log.
//!
//! 1. The headers from f to e are read and checked against the chain. Where one is unreadable or not of the
//!    chain (torn while its neighbour was written, or overwritten by a batch that was never finished), its
//!    copy is found from its successor. If that fails too, it is **damage**, unless the newest snapshot
//!    stands for it: then the log begins behind that. Behind e, no more headers are looked at than two
//!    batches can have written.
//! 2. Batch m + 1, if it was written, begins where the bodies ended. Numbers only grow, so that what an
//!    earlier lap left there is not taken for it. If it is whole (headers, chain, payloads), it counts, and
//!    takes the marker's place. There can be two such batches, not three.
//! 3. If it is not whole it was **torn**: nobody was ever told that it was durable, and all of it is dropped.
//!    But if a later batch was begun, this one was durable once, and it is damage.
//!
//! 4. The newest whole snapshot is held against the log. If the log does not reach back to it, what lies
//!    between is gone, and it is damage: the newest snapshot cannot be read. If it can be, and the log holds
//!    its record, the log stays; else the snapshot is one that was not installed yet, and the log is emptied
//!    behind it.
//!
//! Damage is reported with its place and never taken for absence: a node that forgets what it promised harms
//! the others. Payloads of older batches, and blocks of snapshots, are verified whenever they are read, and
//! by [`Store::scrub`] before. When nothing has been written for a while the marker is brought up to date, so
//! that rot in the last batch is not taken for a torn write.
//!
//! A disk may err once and give another sector than the one that is meant. So everything is read once more
//! before it is decided that something is lost or damaged, or that nothing more follows.
//!
//! # Repair
//!
//! [`Output::Damaged`] names a record whose header has survived: whoever has it can bring it to
//! [`Store::repair`], which writes it in its place if it has that header's checksum. [`Store::fall_back`]
//! goes on from the snapshot before a damaged one; where there is none, [`Store::doubt_snapshot`] lets one of
//! the same record take its place. A header that does not hold what its successor names is read from its
//! copy, and its sector is written again (`finding`); one that is lost with its copy ends the store.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod anatomy;
mod batch;
mod bodies;
mod error;
mod finding;
mod hard_state;
mod header;
mod layout;
mod output;
mod reading;
mod recovery;
mod scan;
mod snapshot;
mod store;
mod superblock;
mod transfer;
mod usage;
mod writing;

pub use error::{
    CompactError, Damage, Failure, PersistError, ReadError, RepairError, ResetError, SnapshotError,
    Where,
};
pub use hard_state::HardState;
pub use layout::{Config, ConfigError};
pub use output::{Output, Record, Recovered, Status};
pub use snapshot::{SNAPSHOT_BLOCK_BYTES, SnapshotMeta, StoredSnapshot};
pub use store::Store;
