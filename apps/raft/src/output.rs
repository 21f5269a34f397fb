//! What a member wants done.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use base::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::message::{HardState, LogEntry, Message, SnapshotMeta};

/// The name of a write to the disk. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// The name of a question for old entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FetchId(pub u64);

/// Something to be written to the disk, all or nothing, after everything with an earlier ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Persist {
    /// To be named in [`crate::RaftNode::handle_persisted`].
    pub ticket: Ticket,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// New entries, consecutive. What the disk has from the first of them on is replaced.
    pub entries: Vec<LogEntry>,
}

/// Entries that are no longer in memory are wanted from the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchRequest {
    /// To be named in [`crate::RaftNode::handle_fetched`].
    pub id: FetchId,
    /// The first entry.
    pub from: LogIndex,
    /// The last entry that is of use.
    pub to: LogIndex,
    /// About how many payload bytes; one entry at the least.
    pub max_bytes: usize,
}

/// Something for the caller to do. Each may be carried out at once, in any order but that of the disk's
/// tickets and of the entries to apply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a message. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Write to the disk.
    Persist(Persist),
    /// Apply committed entries, which follow those before without a gap; then call
    /// [`crate::RaftNode::handle_applied`]. The next ones come after that.
    Apply(Vec<LogEntry>),
    /// Read from the disk.
    Fetch(FetchRequest),
    /// Read a part of the latest snapshot from the disk, and answer with
    /// [`crate::RaftNode::handle_snapshot_part`].
    FetchSnapshot {
        /// To be named then.
        id: FetchId,
        /// Whom it is for; all parts of one follower's should be of one snapshot, as long as that is there.
        peer: NodeId,
        /// Where the part begins.
        offset: u64,
        /// How long it may be.
        max_bytes: usize,
    },
    /// Store a part of a snapshot that comes in, behind those before; a part at offset 0 begins anew. Then
    /// call [`crate::RaftNode::handle_snapshot_stored`], and after the last part, when the whole is verified,
    /// and installed after all earlier writes and in place of the log up to its end,
    /// [`crate::RaftNode::handle_snapshot_installed`] or [`crate::RaftNode::handle_snapshot_refused`].
    StoreSnapshot {
        /// What the snapshot is of.
        meta: Box<SnapshotMeta>,
        /// How long all of it is.
        total_bytes: u64,
        /// Where the part begins.
        offset: u64,
        /// The part.
        bytes: Bytes,
    },
    /// Write this entry again, in place of the damaged one of this index and term, after all earlier writes;
    /// then call [`crate::RaftNode::handle_repaired`] when it is durable, or
    /// [`crate::RaftNode::handle_repair_failed`] if it is not what was there.
    Repair(LogEntry),
    /// Replace the state with that of the installed snapshot. What was given to apply before, and is not
    /// applied, is in it.
    RestoreState {
        /// What the snapshot is of.
        meta: Box<SnapshotMeta>,
    },
    /// A read may be answered from the state after applying `index`.
    ReadReady {
        /// The caller's name for the read.
        context: u64,
        /// What must have been applied.
        index: LogIndex,
    },
    /// A read cannot be answered now: ask again, under a new name.
    ReadFailed {
        /// The caller's name for the read.
        context: u64,
    },
    /// Something happened that an operator would want to know.
    Event(Event),
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// This member stands for election.
    Standing {
        /// In this term.
        term: Term,
    },
    /// A leader is known for this term: perhaps this member itself.
    Leader {
        /// The term.
        term: Term,
        /// Who.
        leader: NodeId,
    },
    /// This member no longer leads, or stands.
    SteppedDown {
        /// The term that it is in now.
        term: Term,
        /// Why.
        reason: StepDown,
    },
    /// Another configuration has come into the log, and holds.
    MembershipChanged {
        /// Where.
        index: LogIndex,
        /// How many vote.
        voters: usize,
        /// How many learn.
        learners: usize,
        /// The old voters must agree too.
        is_joint: bool,
    },
    /// The log begins anew behind a snapshot.
    SnapshotInstalled {
        /// Where that ends.
        index: LogIndex,
    },
    /// A snapshot came in damaged.
    SnapshotRefused {
        /// Where it ends.
        index: LogIndex,
    },
    /// This leader hands over.
    Transferring {
        /// The term that it leads.
        term: Term,
        /// To whom.
        to: NodeId,
    },
    /// The node that was to lead has not stood in time: this one goes on.
    TransferFailed {
        /// The term that it leads.
        term: Term,
        /// Who was to lead.
        to: NodeId,
    },
    /// An entry is damaged on this member's disk.
    Damaged {
        /// Which.
        index: LogIndex,
    },
    /// It has been written again, from an intact copy.
    Repaired {
        /// Which.
        index: LogIndex,
    },
    /// All other members were asked, and none has an intact copy: nothing goes on behind it.
    Nowhere {
        /// Which.
        index: LogIndex,
    },
    /// An entry is damaged on this member's disk and proven not to be committed: the log is cut there.
    Void {
        /// Which.
        index: LogIndex,
    },
    /// The state that was lost with a snapshot has come from another member.
    StateRecalled {
        /// Where the lost snapshot ended.
        index: LogIndex,
    },
    /// The leader is lost: its heartbeats have stopped.
    LeaderLost {
        /// The term that it led.
        term: Term,
    },
}

/// Why a member steps down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepDown {
    /// Somebody is in a later term.
    LaterTerm,
    /// Somebody else leads in this term.
    OtherLeader,
    /// It did not hear from a majority for too long.
    NoQuorum,
    /// It was not elected in time.
    NotElected,
    /// Its disk has not finished a write for too long.
    DiskStalled,
    /// It is no voter any more.
    Removed,
    /// An entry is damaged on its disk, and nobody has given it an intact copy.
    Damaged,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Standing { term } => write!(f, "standing for election in term {term}"),
            Event::Leader { term, leader } => write!(f, "node {leader} leads in term {term}"),
            Event::SteppedDown { term, reason } => {
                let reason = match reason {
                    StepDown::LaterTerm => "somebody is in a later term",
                    StepDown::OtherLeader => "somebody else leads",
                    StepDown::NoQuorum => "no majority was heard of",
                    StepDown::NotElected => "not elected in time",
                    StepDown::DiskStalled => "the disk does not answer",
                    StepDown::Removed => "no longer a voter",
                    StepDown::Damaged => "an entry is damaged here, and nobody gave an intact copy",
                };
                write!(f, "stepped down in term {term}: {reason}")
            }
            Event::MembershipChanged { index, voters, learners, is_joint } => {
                let also = if *is_joint { ", and those before" } else { "" };
                write!(f, "entry {index}: {voters} voters{also}, {learners} learners")
            }
            Event::SnapshotInstalled { index } => {
                write!(f, "a snapshot up to entry {index} is installed")
            }
            Event::SnapshotRefused { index } => {
                write!(f, "a snapshot up to entry {index} came in damaged")
            }
            Event::Transferring { term, to } => {
                write!(f, "leadership of term {term} is passing to node {to}")
            }
            Event::TransferFailed { term, to } => {
                write!(f, "node {to} did not take over in term {term}")
            }
            Event::Damaged { index } => write!(f, "entry {index} is damaged on this node's disk"),
            Event::Repaired { index } => write!(f, "entry {index} is repaired"),
            Event::Nowhere { index } => {
                write!(
                    f,
                    "entry {index} is damaged here, and no other node has an intact copy of it"
                )
            }
            Event::Void { index } => {
                write!(
                    f,
                    "entry {index} is damaged, and a majority never had it: it was not committed"
                )
            }
            Event::StateRecalled { index } => {
                write!(
                    f,
                    "the state that was lost with the snapshot of entry {index} is there again"
                )
            }
            Event::LeaderLost { term } => write!(f, "the leader of term {term} is silent"),
        }
    }
}
