//! Why a member refuses what its caller asks of it. A refusal means that nothing has changed.

use core::fmt;

use base::NodeId;

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
