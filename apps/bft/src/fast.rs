//! When one phase is enough, and how long that is waited for (SBFT, DSN 2019, section V: the fast path).
//!
//! If F replicas take a proposal nothing else can be decided for its number, in this view or a later one
//! (`quorum` says why, and `order` how later views find it): the certificate of their prepares proves a
//! decision. Commits are for when fewer answer. So a primary that can count on F - 1 others asks them all,
//! and with a quorum's votes in hand waits for the rest as long as they come one soon after the other. If
//! they do not, it goes on with the quorum that it has, and those who were silent are asked last: a replica
//! that is dead or slow costs that once, and a liar once in each span of doubt. Before there is a quorum
//! there is nothing to go on with: what is not answered is sent again (`resending`).

use alloc::vec::Vec;

use base::{Instant, limits};

use crate::log::Entry;
use crate::numbers::{PhaseState, Sequence};
use crate::state::BftNode;
use crate::votes::Votes;

impl BftNode {
    /// Whether so many can be counted on that they may decide at once, if this replica asks them.
    pub(crate) fn can_be_fast(&self) -> bool {
        let others = self.audience.trusted(self.others(), self.now).count();
        others + 1 >= self.config.quorums.fast_quorum()
    }

    /// When the next number is to go on with a quorum.
    pub(crate) fn fast_deadline(&self) -> Option<Instant> {
        self.fast_until().map(|(_, until)| until).min()
    }

    /// Until when a fast quorum is waited for, for each number for which it is.
    fn fast_until(&self) -> impl Iterator<Item = (Sequence, Instant)> {
        let (view, patience) = (self.view, self.config.fast_patience);
        let until = move |entry: &Entry| {
            let began = entry.quorum_at?;
            let heard = entry.heard_at.map_or(began, |at| at.max(began));
            Some((heard + patience).min(began + patience.times(limits::BFT_FAST_PATIENCE_MOST)))
        };
        let is_open = move |entry: &Entry| {
            entry.is_fast && entry.committed.is_none() && entry.accepted_in(view).is_some()
        };
        let open = self.log.open().filter(move |(_, entry)| self.leads() && is_open(entry));
        open.filter_map(move |(sequence, entry)| Some((sequence, until(entry)?)))
    }

    /// Goes on with quorums where a fast one is late.
    pub(crate) fn give_up_fast(&mut self) {
        let now = self.now;
        let late = self.fast_until().filter(|(_, until)| *until <= now);
        let late: Vec<Sequence> = late.map(|(sequence, _)| sequence).collect();
        late.into_iter().for_each(|sequence| self.go_on_with_quorum(sequence));
    }

    fn go_on_with_quorum(&mut self, sequence: Sequence) {
        let now = self.now;
        let Some(entry) = self.log.entry(sequence) else { return };
        entry.is_fast = false;
        let voters = entry.prepares.as_ref().map(Votes::voters).unwrap_or_default();
        let silent = entry.asked.without(voters);
        silent.iter().for_each(|slot| self.audience.note_silent(slot, now));
        self.try_certify(PhaseState::Prepare, sequence);
    }
}
