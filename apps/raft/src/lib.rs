//! Raft: a group of nodes agrees on one sequence of commands, as long as a majority of them can talk
//! (D. Ongaro, "Consensus: bridging theory and practice", 2014; section numbers below are those of the
//! extended paper, "In search of an understandable consensus algorithm").
//!
//! [`RaftNode`] is one member as a value. Messages, deadlines, completions and proposals go in; [`Output`]s
//! come out, and each of them may be carried out at once: the node itself keeps back what must wait until
//! something is on its disk. In reading order, one question each:
//!
//! | module | question |
//! |---|---|
//! | `config`, `message`, `codec`, `errors` | what do members agree on, and one and its caller? |
//! | `configuration`, `quorum` | who belongs to the group, and how many of them must agree? |
//! | `log` | which entries are there, of which terms, and which are in memory? |
//! | `persist` | what is on the disk, and which messages wait for it? |
//! | `start` | what does a member find when it starts? |
//! | `node` | what came in, and whose business is it? |
//! | `timing` | when does a member stand for election? |
//! | `election` | who leads? (PreVote and CheckQuorum are always on) |
//! | `canvass` | whom does a candidate ask first? |
//! | `suspicion`, `heartbeats` | what if the leader is known to be gone, or silent for longer than usual? |
//! | `transfer` | how does a leader hand over? |
//! | `followers`, `progress`, `replication` | what does each follower have, and what is it sent next? |
//! | `following` | what does a follower take? |
//! | `membership`, `change` | which configuration holds, and how does a leader change it? |
//! | `sending`, `install` | how does a snapshot get to a follower, and into its place? |
//! | `commit` | what is decided, and what may be applied? |
//! | `damage`, `repair` | what if an entry on the disk is damaged? |
//! | `void` | when may a damaged entry be let go of? |
//! | `recall` | what if the snapshot is, that the member begins with? |
//! | `reads`, `questions`, `lease` | may a read be answered now? (ReadIndex, thesis section 6.4) |
//! | `status` | what does an operator see? |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod canvass;
mod change;
mod codec;
mod commit;
mod config;
mod configuration;
mod damage;
mod election;
mod errors;
mod followers;
mod following;
mod heartbeats;
mod install;
mod lease;
mod log;
mod membership;
mod message;
mod node;
mod output;
mod persist;
mod progress;
mod questions;
mod quorum;
mod reads;
mod recall;
mod repair;
mod replication;
mod sending;
mod start;
mod status;
mod suspicion;
mod timing;
mod transfer;
mod void;

pub use codec::Encoder;
pub use config::{Config, ConfigError, Mutant};
pub use configuration::{Change, Configuration};
pub use errors::{ChangeError, ProposeError, ReadError, TransferError};
pub use log::TermRuns;
pub use message::{
    HardState, LogEntry, Message, Payload, PayloadError, RepairAnswer, SnapshotMeta,
};
pub use node::RaftNode;
pub use output::{Event, FetchId, FetchRequest, Output, Persist, StepDown, Ticket};
pub use progress::ProgressState;
pub use start::Restored;
pub use status::{
    CommitIndex, Counters, DamageStatus, ElectionOutcome, ElectionRecord, LastAppliedIndex,
    PeerStatus, RaftState, Status,
};
