//! What a member wants done.

use alloc::vec::Vec;
use core::fmt;

use base::{LogIndex, NodeId, Term};

use crate::message::{HardState, LogEntry, Message};

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
                };
                write!(f, "stepped down in term {term}: {reason}")
            }
            Event::MembershipChanged { index, voters, learners, is_joint } => {
                let also = if *is_joint { ", and those before" } else { "" };
                write!(f, "entry {index}: {voters} voters{also}, {learners} learners")
            }
            Event::Transferring { term, to } => {
                write!(f, "leadership of term {term} is passing to node {to}")
            }
            Event::TransferFailed { term, to } => {
                write!(f, "node {to} did not take over in term {term}")
            }
            Event::LeaderLost { term } => write!(f, "the leader of term {term} is silent"),
        }
    }
}
