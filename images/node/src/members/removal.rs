//! A removal that was asked for at this node, until it has happened or it is given up.

use core::fmt;

use base::{Duration, Instant, NodeId, limits};

use super::message::{Delay, Reason, Verdict};

const ASK_EVERY: Duration = Duration::from_millis(limits::MEMBERS_ASK_EVERY_MS);
const PATIENCE: Duration = Duration::from_millis(limits::MEMBERS_ANSWER_WITHIN_MS);

/// Why a member is not removed, or not known to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemovalError {
    /// Somebody else removes a member, by way of this node.
    Busy,
    /// This node is no member: it has no say.
    NotAMember,
    /// The leader refuses.
    Refused(Reason),
    /// It could not happen in time.
    NotYet(Delay),
    /// The leader has not answered in time.
    NoAnswer,
    /// It is in the log of a leader, but not known to be committed.
    Uncommitted,
}

impl fmt::Display for RemovalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemovalError::Busy => {
                f.write_str("another removal is asked for at this node: wait for its end")
            }
            RemovalError::NotAMember => {
                f.write_str("this node is no member of the cluster: ask one that is")
            }
            RemovalError::Refused(reason) => write!(f, "{reason}"),
            RemovalError::NotYet(delay) => write!(f, "{delay}: try again"),
            RemovalError::NoAnswer => {
                f.write_str("the leader does not answer; the member may still be removed")
            }
            RemovalError::Uncommitted => {
                f.write_str("no majority has agreed yet; the member may still be removed")
            }
        }
    }
}

impl core::error::Error for RemovalError {}

/// A removal under way.
#[derive(Debug)]
pub(super) struct Removal {
    node: NodeId,
    number: u64,
    ask_at: Instant,
    give_up: Instant,
    /// What is said if nothing more is heard.
    last: RemovalError,
}

impl Removal {
    pub(super) fn new(node: NodeId, number: u64, now: Instant) -> Removal {
        let (ask_at, give_up) = (now, now + PATIENCE);
        Removal { node, number, ask_at, give_up, last: RemovalError::NoAnswer }
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    pub(super) fn note_asked(&mut self, now: Instant) {
        self.ask_at = now + ASK_EVERY;
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Instant {
        self.ask_at.min(self.give_up)
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        now >= self.give_up
    }

    /// Why it has not happened in time.
    pub(super) fn late(&self) -> RemovalError {
        self.last
    }

    /// The leader has answered: that goes on, or has come to an end.
    pub(super) fn take_verdict(
        mut self,
        verdict: Verdict,
    ) -> Result<Removal, (NodeId, RemovalError)> {
        self.last = match verdict {
            Verdict::Accepted => RemovalError::Uncommitted,
            Verdict::NotYet(delay) => RemovalError::NotYet(delay),
            Verdict::Refused(reason) => return Err((self.node, RemovalError::Refused(reason))),
        };
        Ok(self)
    }
}
