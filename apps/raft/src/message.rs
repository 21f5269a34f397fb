//! What members say to each other, and what they keep.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use base::{LogIndex, NodeId, Term, limits};
use bytes::Bytes;

use crate::configuration::Configuration;

/// What an entry carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Nothing: a new leader's first entry, by which it commits what it inherited (section 8).
    Noop,
    /// A command for the state machine.
    Command(Bytes),
    /// Who belongs to the group from this entry on.
    Configuration(Box<Configuration>),
}

/// The kind of a payload is not known, or its content is not of that kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadError;

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry is of no known kind, or not what its kind says")
    }
}

impl core::error::Error for PayloadError {}

impl Payload {
    /// The kind of a configuration: whoever reads a log back has to know where they are.
    pub const CONFIGURATION: u8 = 2;

    /// The number that stands for the kind on the wire and on the disk.
    pub fn kind(&self) -> u8 {
        match self {
            Payload::Noop => 0,
            Payload::Command(_) => 1,
            Payload::Configuration(_) => Payload::CONFIGURATION,
        }
    }

    /// The content as bytes, perhaps none.
    pub fn bytes(&self) -> Bytes {
        match self {
            Payload::Noop => Bytes::new(),
            Payload::Command(command) => command.clone(),
            Payload::Configuration(configuration) => {
                let mut bytes = Vec::with_capacity(configuration.encoded_length());
                configuration.encode(&mut bytes);
                bytes.into()
            }
        }
    }

    /// The payload of this kind.
    ///
    /// # Errors
    /// If there is no such kind, a no-op with content, or a configuration that is none.
    pub fn from_parts(kind: u8, bytes: Bytes) -> Result<Payload, PayloadError> {
        match kind {
            0 if bytes.is_empty() => Ok(Payload::Noop),
            1 => Ok(Payload::Command(bytes)),
            2 => Configuration::decode(&bytes)
                .map(|configuration| Payload::Configuration(Box::new(configuration)))
                .map_err(|_| PayloadError),
            _ => Err(PayloadError),
        }
    }

    /// How long it is, in bytes.
    pub fn length(&self) -> usize {
        match self {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
            Payload::Configuration(configuration) => configuration.encoded_length(),
        }
    }
}

/// One entry of the replicated log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Its position, counted from 1.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
    /// What it carries.
    pub payload: Payload,
}

impl LogEntry {
    /// What it costs in memory, in bytes: this counts against limits, so that many small entries are bounded
    /// like few large ones.
    pub fn weight(&self) -> usize {
        self.payload.length() + limits::ENTRY_OVERHEAD_BYTES
    }
}

/// What a member must never forget (figure 2, "persistent state on all servers", the log aside).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HardState {
    /// The latest term it has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
}

/// What a snapshot is of: the state after applying everything up to `index`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotMeta {
    /// The last entry that is in it.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// The configuration that holds there.
    pub configuration: Configuration,
}

/// What a member says that was asked for copies of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepairAnswer {
    /// Here they are, as many as fit: at least one. Consecutive.
    Copies(Arc<Vec<LogEntry>>),
    /// The first is not in the sender's log: another one is in its place, or none. No leader of an earlier
    /// term will bring it there any more.
    Absent {
        /// The sender's term.
        in_term: Term,
    },
    /// The first is damaged on the sender's disk, too.
    Damaged,
    /// The sender's log begins behind the first: a snapshot stands for it.
    Compacted,
}

/// A message between members. The sender is known from the envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Would you vote for me in `term`, if I stood? (thesis, section 9.6)
    PreVote {
        /// The term that the sender would stand in: its own plus one.
        term: Term,
        /// The end of its log.
        last_index: LogIndex,
        /// The term of that entry.
        last_term: Term,
    },
    /// The answer.
    PreVoteReply {
        /// The term asked about if it is yes, else the sender's own.
        term: Term,
        /// Whether it would.
        granted: bool,
    },
    /// Vote for me in `term` (section 5.2).
    Vote {
        /// The term that the sender stands in.
        term: Term,
        /// The end of its log.
        last_index: LogIndex,
        /// The term of that entry.
        last_term: Term,
        /// The leader has asked the sender to stand: its promise to stay does not count.
        on_transfer: bool,
    },
    /// The answer.
    VoteReply {
        /// The sender's term.
        term: Term,
        /// Whether the sender has voted for the receiver in it.
        granted: bool,
    },
    /// Entries of the leader's log (section 5.3).
    Append {
        /// The leader's term.
        term: Term,
        /// The entry before the first of `entries`.
        prev_index: LogIndex,
        /// Its term.
        prev_term: Term,
        /// How far the leader has committed.
        commit: LogIndex,
        /// Consecutive entries; perhaps none. Messages to several followers share them.
        entries: Arc<Vec<LogEntry>>,
    },
    /// The follower's log is on its disk, and equal to the leader's, up to `match_index`.
    AppendAccepted {
        /// The follower's term.
        term: Term,
        /// See above.
        match_index: LogIndex,
    },
    /// The follower does not have the entry before the first that it was sent.
    AppendRejected {
        /// The follower's term.
        term: Term,
        /// That entry.
        prev_index: LogIndex,
        /// The last entry of the follower's that may be in the leader's log.
        hint_index: LogIndex,
        /// Its term.
        hint_term: Term,
    },
    /// The leader lives.
    Heartbeat {
        /// Its term.
        term: Term,
        /// How far it has committed of what the follower is known to have.
        commit: LogIndex,
        /// A number that grows; the reply carries it back.
        round: u64,
    },
    /// The answer.
    HeartbeatReply {
        /// The follower's term.
        term: Term,
        /// The number of the heartbeat.
        round: u64,
        /// The follower elects nobody else for one shortest election timeout: a lease may rest on that.
        is_bound: bool,
    },
    /// The leader has committed more of what the follower is known to have. Needs no answer.
    Commit {
        /// The leader's term.
        term: Term,
        /// How far.
        commit: LogIndex,
    },
    /// The receiver has all of the leader's log, and shall stand for election now (thesis, section 3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// A part of a snapshot (section 7), for a follower that needs entries that are gone.
    Snapshot {
        /// The leader's term.
        term: Term,
        /// What the snapshot is of.
        meta: Box<SnapshotMeta>,
        /// How long all of it is.
        total_bytes: u64,
        /// Where this part begins.
        offset: u64,
        /// The part; never empty.
        bytes: Bytes,
    },
    /// How far the follower has stored a snapshot. All of it: it is installed, or no longer needed.
    SnapshotAccepted {
        /// The follower's term.
        term: Term,
        /// Where the snapshot ends.
        index: LogIndex,
        /// The term of that entry.
        snapshot_term: Term,
        /// Everything before is stored.
        next_offset: u64,
    },
    /// From which index on may I answer a read?
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// Its name for the question; never used twice.
        context: u64,
    },
    /// The answer, or `None` if the sender cannot say.
    ReadIndexReply {
        /// The sender's term.
        term: Term,
        /// The follower's name for the question.
        context: u64,
        /// The index.
        index: Option<LogIndex>,
    },
    /// Entries of my log are damaged on my disk: who has intact copies? Anybody may ask and anybody may
    /// answer, in whatever term they are: index and term say which entry it is (log matching), and the answer
    /// changes nobody's state.
    Repair {
        /// The term of the first of these entries.
        term: Term,
        /// The first of them.
        from: LogIndex,
        /// The last of them.
        to: LogIndex,
    },
    /// The answer.
    Repaired {
        /// The term of the first entry that was asked for.
        term: Term,
        /// The first entry that was asked for.
        from: LogIndex,
        /// What the sender has.
        answer: RepairAnswer,
    },
    /// My snapshot, of this entry, is damaged, and my state lost: who has one of it, or of a later one?
    /// Anybody may ask and answer, as for [`Message::Repair`].
    Recall {
        /// The term of the entry.
        term: Term,
        /// The last entry that the lost snapshot stands for: it is committed.
        index: LogIndex,
        /// The sender has everything before.
        offset: u64,
    },
    /// A part of the sender's snapshot.
    Recalled {
        /// What it is of.
        meta: Box<SnapshotMeta>,
        /// How long all of it is.
        total_bytes: u64,
        /// Where this part begins.
        offset: u64,
        /// The part; never empty.
        bytes: Bytes,
    },
}

impl Message {
    /// The term that the message speaks of.
    pub fn term(&self) -> Term {
        match self {
            Message::PreVote { term, .. }
            | Message::PreVoteReply { term, .. }
            | Message::Vote { term, .. }
            | Message::VoteReply { term, .. }
            | Message::Append { term, .. }
            | Message::AppendAccepted { term, .. }
            | Message::AppendRejected { term, .. }
            | Message::Heartbeat { term, .. }
            | Message::HeartbeatReply { term, .. }
            | Message::Commit { term, .. }
            | Message::TimeoutNow { term }
            | Message::Snapshot { term, .. }
            | Message::SnapshotAccepted { term, .. }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. }
            | Message::Repair { term, .. }
            | Message::Repaired { term, .. }
            | Message::Recall { term, .. } => *term,
            Message::Recalled { meta, .. } => meta.term,
        }
    }

    /// Whether it must not wait behind bulk: everything but entries, snapshots, and what is said about
    /// them.
    pub fn is_urgent(&self) -> bool {
        match self {
            Message::Append { .. }
            | Message::AppendAccepted { .. }
            | Message::Snapshot { .. }
            | Message::SnapshotAccepted { .. }
            | Message::Repair { .. }
            | Message::Repaired { .. }
            | Message::Recall { .. }
            | Message::Recalled { .. } => false,
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::Vote { .. }
            | Message::VoteReply { .. }
            | Message::AppendRejected { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::Commit { .. }
            | Message::TimeoutNow { .. }
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. } => true,
        }
    }
}

// Entries and messages are moved many times: what is rare and large in them is boxed.
const _: () = assert!(size_of::<LogEntry>() <= 64);
const _: () = assert!(size_of::<Message>() <= 96);
