//! What can go wrong: why something is refused, and why a store gives up.

use alloc::string::String;
use core::fmt;

use base::{LogIndex, Term};
use block::BlockError;

/// What to do about a disk that nothing on it makes up for.
const REPLACE: &str = "remove it from the cluster, and add another (scripts/cluster remove, add)";

/// What of a record is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// Its header, and the copy of it.
    Header,
    /// Its payload.
    Body,
    /// The snapshot that stands for it, and for all before it.
    Snapshot,
}

/// Something on the disk that was acknowledged and cannot be read any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which record.
    pub index: LogIndex,
    /// Its term, if its header has survived: then it is known which record it is.
    pub term: Option<Term>,
    /// What of it.
    pub what: Where,
    /// The sector, as far as it is known.
    pub sector: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Where::Header => "header of",
            Where::Body => "body of",
            Where::Snapshot => "snapshot up to",
        };
        write!(f, "the {what} entry {} is damaged (sector {})", self.index, self.sector)
    }
}

/// Why the store has given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The disk is empty, and may not be formatted: one that has something on it is expected.
    Empty,
    /// The disk is neither empty nor one of ours.
    NotOurs,
    /// The disk belongs to another node, or another cluster: what it says it is.
    WrongOwner(String),
    /// The disk was formatted by another version of the store, which wrote this number.
    OtherVersion(u32),
    /// The disk has another size than when it was formatted.
    Resized,
    /// Both places of the hard state are unreadable: the node does not know what it has promised.
    HardStateLost,
    /// A record that may have been acknowledged is damaged.
    Damaged(Damage),
    /// The disk reported an error. What of the last writes is durable is not known.
    Io(BlockError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Empty => f.write_str(
                "the disk is empty, and coterie.format=yes is not given: a node that has forgotten what \
                 it promised must come back under a new number; remove this one and add another",
            ),
            Failure::NotOurs => {
                f.write_str("the disk holds something else; give the node an empty one")
            }
            Failure::WrongOwner(owner) => write!(f, "the disk belongs to {owner}"),
            Failure::OtherVersion(version) => {
                write!(
                    f,
                    "the disk has format {version}, which this version does not read; give the node an \
                     empty one"
                )
            }
            Failure::Resized => {
                f.write_str("the size of the disk has changed since it was formatted")
            }
            Failure::HardStateLost => write!(
                f,
                "the hard state is damaged, with its copy: this node cannot know whom it voted for; \
                 {REPLACE}"
            ),
            Failure::Damaged(damage) => write!(
                f,
                "{damage}, with its copy; this node may have acknowledged it and must not forget it; \
                 {REPLACE}"
            ),
            Failure::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Why something cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PersistError {
    /// There is no room on the disk.
    Full,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why the log cannot be compacted to somewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompactError {
    /// There is no durable snapshot of all that is before it.
    BeyondSnapshot,
    /// A record before it is not durable yet, or is about to be replaced.
    NotSettled,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why the log cannot be emptied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetError {
    /// The durable snapshot is not of that record.
    NoSuchSnapshot,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why a snapshot cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SnapshotError {
    /// It is not of a later record than the one that counts.
    NotNewer,
    /// Another one is being written.
    UnderWay,
    /// None is being written, or it is finished already.
    NotBegun,
    /// It does not fit: its data, or its configuration.
    TooLarge,
    /// As much as may wait waits already: come back after the next [`crate::Output::SnapshotStored`].
    Busy,
    /// It is about to count.
    TooLate,
    /// The log does not reach back to the snapshot before.
    NothingBefore,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why a record cannot be written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RepairError {
    /// There is no such durable record, or not any more.
    Absent,
    /// Too many wait.
    Busy,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why something cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// There is no such durable record, or not any more; or no such byte of a snapshot.
    Absent,
    /// Too many questions wait.
    Busy,
    /// The store is not ready, or has given up.
    NotReady,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SnapshotError::NotNewer => "there is one that is as new",
            SnapshotError::UnderWay => "another one is being written",
            SnapshotError::NotBegun => "none is being written",
            SnapshotError::TooLarge => "it does not fit the disk",
            SnapshotError::Busy => "too much of it waits to be written",
            SnapshotError::TooLate => "it is about to count",
            SnapshotError::NothingBefore => "the log does not reach back to the one before",
            SnapshotError::NotReady => "the disk is not ready",
        })
    }
}

impl core::error::Error for SnapshotError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadError::Absent => "it is not there",
            ReadError::Busy => "too many questions wait",
            ReadError::NotReady => "the disk is not ready",
        })
    }
}

impl core::error::Error for ReadError {}
