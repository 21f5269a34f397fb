//! Why a member refuses what its caller asks of it. A refusal means that nothing has changed.

use core::fmt;

use base::{NodeId, limits};

/// Why a proposal is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// This member does not lead; perhaps it knows who does.
    NotLeader {
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// The command is longer than an entry may be.
    TooLarge,
    /// Too much is proposed and not committed yet: try again later.
    Busy,
    /// The disk has no room for commands.
    LogFull,
    /// Leadership is being handed over: try again soon, with the next leader.
    Transferring {
        /// Who is to lead.
        to: NodeId,
    },
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProposeError::NotLeader { leader: Some(leader) } => write!(f, "node {leader} leads"),
            ProposeError::NotLeader { leader: None } => f.write_str("nobody is known to lead"),
            ProposeError::TooLarge => f.write_str("the command is too long"),
            ProposeError::Busy => f.write_str("too many commands wait for a majority"),
            ProposeError::LogFull => f.write_str("the log on disk is full"),
            ProposeError::Transferring { to } => write!(f, "leadership is passing to node {to}"),
        }
    }
}

impl core::error::Error for ProposeError {}

/// Why a read is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// Nobody is known to lead.
    NoLeader,
    /// Too many reads wait.
    Busy,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReadError::NoLeader => "nobody is known to lead",
            ReadError::Busy => "too many reads wait for a majority",
        })
    }
}

impl core::error::Error for ReadError {}

/// Why the members are not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeError {
    /// This member does not lead; perhaps it knows who does.
    NotLeader {
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// Leadership is being handed over.
    Transferring {
        /// To whom.
        to: NodeId,
    },
    /// The leader has committed nothing in its term yet: try again soon.
    TooEarly,
    /// Another change is not finished: try again soon.
    InProgress,
    /// There is nothing to change.
    Nothing,
    /// The node is no member, or not of the kind that this concerns.
    Unknown(NodeId),
    /// The node is a member already.
    AlreadyMember(NodeId),
    /// The node was removed from the group; numbers are not used twice.
    UsedBefore(NodeId),
    /// The learner lacks too much of the log.
    NotCaughtUp(NodeId),
    /// Nobody would vote any more.
    LastVoter,
    /// There would be more members than a group may have.
    TooMany,
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::NotLeader { leader: Some(leader) } => write!(f, "node {leader} leads"),
            ChangeError::NotLeader { leader: None } => f.write_str("nobody is known to lead"),
            ChangeError::Transferring { to } => write!(f, "leadership is passing to node {to}"),
            ChangeError::TooEarly => {
                f.write_str("the leader has committed nothing in its term yet")
            }
            ChangeError::InProgress => f.write_str("another change is not finished"),
            ChangeError::Nothing => f.write_str("there is nothing to change"),
            ChangeError::Unknown(id) => write!(f, "node {id} is no such member"),
            ChangeError::AlreadyMember(id) => write!(f, "node {id} is a member already"),
            ChangeError::UsedBefore(id) => write!(f, "node {id} was removed: use another number"),
            ChangeError::NotCaughtUp(id) => write!(f, "node {id} lacks too much of the log"),
            ChangeError::LastVoter => f.write_str("nobody would vote any more"),
            ChangeError::TooMany => {
                write!(f, "there would be more than {} members", limits::CLUSTER_NODES_MAX)
            }
        }
    }
}

impl core::error::Error for ChangeError {}

/// Why leadership is not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferError {
    /// This member does not lead; perhaps it knows who does.
    NotLeader {
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// It is being handed over already.
    InProgress {
        /// To whom.
        to: NodeId,
    },
    /// The node that was named leads already: it is this one.
    AlreadyLeads,
    /// The node that was named cannot lead: it is no voter.
    NotAVoter(NodeId),
    /// No other voter has been heard of lately.
    NobodyElse,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransferError::NotLeader { leader: Some(leader) } => write!(f, "node {leader} leads"),
            TransferError::NotLeader { leader: None } => f.write_str("nobody is known to lead"),
            TransferError::InProgress { to } => {
                write!(f, "leadership is passing to node {to} already")
            }
            TransferError::AlreadyLeads => f.write_str("this node leads already"),
            TransferError::NotAVoter(id) => write!(f, "node {id} is not a voter"),
            TransferError::NobodyElse => f.write_str("no other voter is in reach"),
        }
    }
}

impl core::error::Error for TransferError {}
