//! Snapshots: the state at some index, in place of all records up to it.
//!
//! There are two areas, used in turn, so that the newest whole snapshot is there while the next one is
//! written.
//!
//! ```text
//! sectors 0 … 7   head                sectors 8 … 15  its copy
//! sectors 16 …    data                in blocks of 64 KiB; the last one is shorter, and padded to a sector
//!
//! head:
//!  0 magic "COTSNAP\0"   8 version (u32)   12 blocks (u32)   16 sequence   24 index   32 term
//! 40 length of the data (u64)   48 length of the configuration (u32)   52 the configuration
//! .. the CRC-32C of each block (u32 each)   .. checksum of everything above (u32)   .. zero
//! ```
//!
//! The data is written first, and flushed; then the head, and flushed: **the head is the installation**. Of
//! the two areas the one whose head is whole and has the higher sequence counts. When a new snapshot is
//! begun, the head of the area that it goes to is wiped out and flushed first: no head speaks of data that is
//! not there any more.
//!
//! Blocks are what is written, verified and read at once. The log comes first: one block at the most is on
//! its way to or from the disk, and no more than four are written between two flushes, so that a flush of the
//! log never has to carry a whole snapshot.

mod head;
mod reading;
mod writing;

use base::{LogIndex, Term};
use bytes::Bytes;

use crate::layout::Layout;
use crate::transfer::Transfer;

pub(crate) use head::Head;
pub(crate) use reading::SnapshotReader;
pub(crate) use writing::SnapshotWriter;

/// What is written, verified and read at once. Reads that do not cross a multiple of it cost least.
pub const SNAPSHOT_BLOCK_BYTES: usize = 64 * 1024;

/// What a snapshot is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMeta {
    /// The last record that it stands for.
    pub index: LogIndex,
    /// The term of that record.
    pub term: Term,
    /// What the caller wants to know of it without reading it: at most a kibibyte.
    pub configuration: Bytes,
}

/// A snapshot that is on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredSnapshot {
    /// What it is of.
    pub meta: SnapshotMeta,
    /// The length of its data.
    pub total_bytes: u64,
}

/// A snapshot that counts, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// Which of the two areas.
    pub(crate) place: usize,
    pub(crate) head: Head,
}

/// The snapshot that counts and the one before it, from the fronts of both areas.
pub(crate) fn newest(layout: Layout, fronts: &[Transfer; 2]) -> [Option<Installed>; 2] {
    let installed = |(place, front): (usize, &Transfer)| {
        let head = Head::first_whole(front.bytes())?;
        (head.total_bytes <= writing::data_max_bytes(layout)).then_some(Installed { place, head })
    };
    let [one, two] = [(0, &fronts[0]), (1, &fronts[1])].map(installed);
    let sequence = |installed: &Option<Installed>| installed.as_ref().map(|i| i.head.sequence);
    if sequence(&one) > sequence(&two) { [one, two] } else { [two, one] }
}

impl Installed {
    pub(crate) fn stored(&self) -> StoredSnapshot {
        StoredSnapshot { meta: self.head.meta.clone(), total_bytes: self.head.total_bytes }
    }
}
