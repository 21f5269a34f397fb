//! What a primary says again, to whom.

use alloc::vec::Vec;

use base::{Duration, Instant, limits};

use crate::log::{Accepted, Entry};
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence};
use crate::persist::Recipient;
use crate::state::BftNode;
use crate::votes::Votes;

impl BftNode {
    /// Sends what the backups have not answered again, as the primary, and to those that were not asked. Its
    /// own votes are among what it lacks when it has started anew.
    pub(crate) fn resend_proposals(&mut self) {
        let view = self.view;
        let (now, patience) = (self.now, self.config.resend_every);
        let is_steady = self.is_steady();
        let is_open = |entry: &Entry| {
            entry.has_voted_in(view)
                && is_overdue(entry, now, patience, is_steady)
                && entry.committed.is_none()
        };
        // Not the first numbers of the window, but the first of those that are open.
        let open = self.log.open().filter(|(_, entry)| is_open(entry));
        let open = open.take(limits::BFT_IN_FLIGHT_MAX as usize * 2);
        let open: Vec<_> = open.map(|(sequence, _)| sequence).collect();
        for sequence in open {
            self.resend_proposal(sequence);
        }
    }

    /// Whether the view has brought something. In one that has not yet, whoever does not answer may not know
    /// of it.
    pub(crate) fn is_steady(&self) -> bool {
        self.fruitless_views == 0
    }

    fn resend_proposal(&mut self, sequence: Sequence) {
        let (view, own) = (self.view, self.slot);
        let Some(entry) = self.log.get(sequence) else { return };
        let Some(&Accepted { digest, signature, .. }) = entry.accepted_in(view) else { return };
        let Some(batch) = entry.batch(digest).cloned() else { return };
        let lacks = |votes: &Option<Votes>| -> Vec<usize> {
            let has = |slot: &usize| votes.as_ref().is_some_and(|votes| votes.has(*slot));
            self.others().chain([own]).filter(|slot| !has(slot)).collect()
        };
        let (prepares, commits) = (lacks(&entry.prepares), lacks(&entry.commits));
        let prepared = entry.prepared_in(view).cloned();
        let (asked, waited_for) = match &prepared {
            Some(proof) => (proof.signers, &commits),
            None => (entry.asked, &prepares),
        };
        let silent: Vec<usize> =
            waited_for.iter().copied().filter(|slot| asked.contains(*slot)).collect();
        self.widen(sequence, silent);
        for slot in prepares {
            let message = if slot == own {
                let phase = PhaseState::Prepare;
                Message::Vote(Vote { phase, view, sequence, digest, signature })
            } else {
                Message::PrePrepare { view, sequence, batch: batch.clone(), signature }
            };
            self.send_when_durable(Recipient::One(slot), message);
        }
        let Some(prepared) = prepared else { return };
        for slot in commits {
            if slot == own {
                self.vote_commit(sequence);
            } else {
                let message = Message::Certificate(prepared.clone());
                self.send_when_durable(Recipient::One(slot), message);
            }
        }
    }

    /// Those who were asked first and are silent are doubted, unless they may not know of the view; and all
    /// are asked.
    fn widen(&mut self, sequence: Sequence, silent: Vec<usize>) {
        let (all, now) = (self.all_others(), self.now);
        let is_steady = self.is_steady();
        for slot in silent.into_iter().filter(|slot| is_steady && *slot != self.slot) {
            self.audience.note_silent(slot, now);
        }
        if let Some(entry) = self.log.entry(sequence) {
            entry.asked = all;
            entry.asked_at = Some(now);
        }
    }
}

/// Whether those who were asked are silent. While they answer one after the other, the rest of them is at
/// work, perhaps on the same processors, and what is asked of more replicas would delay all. But that is not
/// waited for without end: liars may let their answers drip.
fn is_overdue(entry: &Entry, now: Instant, patience: Duration, is_steady: bool) -> bool {
    let Some(asked) = entry.asked_at else { return true };
    let heard = entry.heard_at.filter(|_| is_steady).map_or(asked, |heard| heard.max(asked));
    now.since(heard).times(2) >= patience || now.since(asked).times(2) >= patience.times(3)
}
