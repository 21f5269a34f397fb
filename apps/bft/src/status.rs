//! What an operator sees of a replica.

use base::NodeId;

use crate::log::MessageLog;
use crate::numbers::{PhaseState, Sequence, ViewNumber};
use crate::state::BftNode;

/// What has happened since the replica started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Messages that came in.
    pub received: u64,
    /// Messages of nodes that are not in the group.
    pub strangers: u64,
    /// Messages that say what no honest replica says.
    pub malformed: u64,
    /// Messages of peers that are not listened to for a while.
    pub muted: u64,
    /// Messages of another view.
    pub other_view: u64,
    /// Signatures that were verified.
    pub verified: u64,
    /// Those of them that were bad.
    pub bad_signatures: u64,
    /// Statements that were signed.
    pub signed: u64,
    /// Batches that were given out to be executed.
    pub executed: u64,
    /// Those of them that a fast quorum has decided.
    pub decided_fast: u64,
    /// Requests in them.
    pub requests: u64,
    /// Views that were left.
    pub views_left: u64,
    /// Views that were entered.
    pub views_entered: u64,
    /// States that were fetched from others.
    pub states_installed: u64,
}

/// What a replica is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The view that it is in, or moves to.
    pub view: ViewNumber,
    /// Whether that view has begun.
    pub is_active: bool,
    /// The primary of that view.
    pub primary: NodeId,
    /// The low watermark: the stable checkpoint.
    pub low: Sequence,
    /// The high watermark.
    pub high: Sequence,
    /// The last number that was given out to be executed.
    pub executed: Sequence,
    /// The last number that the caller has executed.
    pub applied: Sequence,
    /// Requests that wait.
    pub waiting: usize,
    /// How far the next number has come in this view.
    pub phase: Option<PhaseState>,
    /// It does not know what it signed, and signs nothing.
    pub is_abstaining: bool,
    /// It is fetching decisions, or a state.
    pub is_behind: bool,
    /// What has happened.
    pub counters: Counters,
}

impl BftNode {
    /// How the replica is.
    pub fn status(&self) -> Status {
        Status {
            view: self.view,
            is_active: self.is_active(),
            primary: self.member(self.primary()),
            low: self.log.low(),
            high: self.log.high(),
            executed: self.executed,
            applied: self.applied,
            waiting: self.requests.len(),
            phase: self.log.phase(self.executed.next(), self.view),
            is_abstaining: self.abstention.is_some(),
            is_behind: self.is_behind(),
            counters: self.counters,
        }
    }

    /// What is known of the numbers between the watermarks, and of some before.
    pub fn log(&self) -> &MessageLog {
        &self.log
    }
}
