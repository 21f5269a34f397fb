//! When may a member let go of an entry that is damaged on its disk?
//!
//! Members with damaged entries that were never committed could wait for each other for ever: each refuses
//! its vote to whoever lacks what it may have acknowledged, and none is fit to lead. So they decide together
//! which of these entries are **void**: proven not to be committed by anybody who counts what this member has
//! said. (What a *nack* is to viewstamped replication; in "Protocol-aware recovery" the leader decides.)
//!
//! Let e be the first damaged entry of this member, found in term t: it has acknowledged e in no term after
//! t, and never will while e is damaged. A peer **denies** e if its log has another entry in its place, or
//! none, and says in which term that was so, when that term is on its disk. e is void when a quorum has
//! denied it, each in a term after t:
//!
//! 1. Suppose that a leader of a term u <= t commits e, or has committed it, and this member's word counts
//!    for that. It needs a quorum that has e in term u. Two quorums meet: one of these denies e in a later
//!    term.
//! 2. Either it acknowledged e in term u before, and lost it since. A log is only cut where a later leader's
//!    differs, which that of a committed entry does not (leader completeness), or here, by this very rule.
//! 3. Or it is to acknowledge e in term u yet; but it is in a later term, and does not.
//!
//! The quorum is one of the configuration that holds before e. The leader may go by the next one, if that is
//! e or behind it; no more than one further, for each waits until the one before it is committed, and e with
//! it. Quorums of neighbours meet, too.
//!
//! This member's own word is never needed, and so a copy that may be on some disk which is out of reach is no
//! obstacle: should it come back, and be led to commitment in a later term, nobody counts for that what this
//! member said until t. If no quorum denies e, it may be committed, and is not forgotten.
//!
//! The peers are in later terms if somebody stands. So a member that has asked all in vain stands in spite of
//! its damage. If it is elected it asks again, and steps down with the answers: it cuts its log as no leader
//! does, and no candidate, for votes were given to the log as it was.

use alloc::collections::BTreeSet;

use base::limits::REPAIR_ROUND_MS;
use base::{Duration, LogIndex, NodeId};

use crate::config::Mutant;
use crate::node::{RaftNode, Role};
use crate::output::{Event, StepDown};

impl RaftNode {
    /// Cuts the log at the first damaged entry, if it is void. While a leader is heard it is for the leader
    /// to say what is there.
    pub(crate) fn cut_void(&mut self) {
        let Some((index, deniers)) = self.damage.deniers() else { return };
        let is_led = matches!(self.role, Role::Follower { leader: Some(_) });
        if is_led || index <= self.commit || !self.is_denied(index, deniers) {
            return;
        }
        self.counters.entries_void += self.log.last_index().0 + 1 - index.0;
        self.note(Event::Void { index });
        match &self.role {
            Role::Leader(_) => self.resign(StepDown::Damaged, self.now),
            Role::Candidate(..) | Role::PreCandidate(_) | Role::Follower { .. } => {
                self.step_down(StepDown::Damaged, self.now);
            }
        }
        self.cut(index);
    }

    /// Whether a quorum of the configuration before this entry are among these.
    fn is_denied(&self, index: LogIndex, deniers: &BTreeSet<NodeId>) -> bool {
        if self.config.has_bug(Mutant::LetsGoOnOneDenial) {
            return self.damage.is_denied_at_all(index);
        }
        let before = index.previous().and_then(|before| self.membership.exactly_at(before));
        before.is_some_and(|before| before.quorum().has(|id| deniers.contains(&id)))
    }

    /// Whether this member stands though it is damaged: all were asked in vain, and answers in a later term
    /// may decide what becomes of the entry.
    pub(crate) fn may_stand_to_decide(&self) -> bool {
        let is_open = self.damage.first().is_some_and(|index| index > self.commit);
        is_open && self.damage.is_undecided() && self.now >= self.decide_after
    }

    /// It led, and nothing was decided: others have their turn.
    pub(crate) fn note_undecided(&mut self) {
        self.decide_after = self.now + Duration::from_millis(2 * REPAIR_ROUND_MS);
    }
}
