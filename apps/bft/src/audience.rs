//! Who is told first, and who later.
//!
//! What a decision waits for is signatures that are verified, and on one machine all replicas verify on the
//! same processors. So the primary asks all that it can count on if they may decide at once (`fast`), and if
//! not no more than a quorum needs: each number begins with the next ones in turn, so that all take part.
//! Certificates of prepares go to those who signed them: their own signature and the primary's are known to
//! them already. When all is decided, the proof goes to whoever waits for an answer, and a moment later to
//! all others, with the batch to those who have not seen it: the proof of a decision needs no other.
//!
//! That is a matter of speed only. Who has not answered when it is time to send again has *everybody* asked,
//! and is asked last from then on: until it has been heard again, and some time has passed. So one that is
//! dead costs one delay, and one that lies costs one in each such span.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Instant, limits};

use crate::certificate::QuorumCertificate;
use crate::message::Message;
use crate::numbers::{Sequence, VoterSet};
use crate::persist::Recipient;
use crate::state::BftNode;

const DOUBT: Duration = Duration::from_millis(limits::BFT_DOUBT_MS);

/// What the primary knows of whom it can count on, and whom it has still to tell of what.
#[derive(Clone, Debug)]
pub(crate) struct Audience {
    doubts: Vec<Option<Doubt>>,
    /// Decisions that these replicas have not been told of, and until when that may wait.
    untold: VecDeque<(Instant, Sequence, VoterSet)>,
    /// These have not been told of the view that this replica has begun.
    untold_of_view: Option<(Instant, VoterSet)>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    is_heard: bool,
    /// It is said to be gone.
    is_gone: bool,
}

impl Audience {
    pub(crate) fn new(replicas: usize) -> Audience {
        Audience { doubts: vec![None; replicas], untold: VecDeque::new(), untold_of_view: None }
    }

    /// A replica did not answer in time.
    pub(crate) fn note_silent(&mut self, slot: usize, now: Instant) {
        let is_gone = self.gone_since(slot).is_some();
        self.doubts[slot] = Some(Doubt { since: now, is_heard: false, is_gone });
    }

    /// The network says that a replica is gone.
    pub(crate) fn note_gone(&mut self, slot: usize, now: Instant) {
        self.doubts[slot] = Some(Doubt { since: now, is_heard: false, is_gone: true });
    }

    /// Since when a replica is said to be gone, if nothing was heard of it since.
    pub(crate) fn gone_since(&self, slot: usize) -> Option<Instant> {
        self.doubts[slot].filter(|doubt| doubt.is_gone && !doubt.is_heard).map(|doubt| doubt.since)
    }

    /// These are told of the view that this replica has begun when it is time.
    pub(crate) fn tell_of_view(&mut self, at: Instant, slots: VoterSet) {
        self.untold_of_view = Some((at, slots));
    }

    /// These are told of a decision when it is time: with others, if others are to be.
    fn tell_at(&mut self, at: Instant, sequence: Sequence, slots: VoterSet) {
        if let Some((_, _, all)) = self.untold.iter_mut().find(|(_, known, _)| *known == sequence) {
            slots.iter().for_each(|slot| all.insert(slot));
            return;
        }
        if self.untold.len() as u64 >= 2 * limits::BFT_WINDOW_MAX {
            self.untold.pop_front(); // They ask whoever tells them how far it is.
        }
        let at = self.untold.back().map_or(at, |(last, _, _)| at.max(*last));
        self.untold.push_back((at, sequence, slots));
    }

    /// A replica has said something.
    pub(crate) fn note_heard(&mut self, slot: usize) {
        if let Some(doubt) = &mut self.doubts[slot] {
            doubt.is_heard = true;
        }
    }

    fn is_doubted(&self, slot: usize, now: Instant) -> bool {
        self.untold_of_view.is_some_and(|(_, untold)| untold.contains(slot))
            || self.doubts[slot]
                .is_some_and(|doubt| !doubt.is_heard || now.since(doubt.since) < DOUBT)
    }

    /// Those of `others` that nothing is held against.
    pub(crate) fn trusted(
        &self,
        others: impl Iterator<Item = usize>,
        now: Instant,
    ) -> impl Iterator<Item = usize> {
        others.filter(move |slot| !self.is_doubted(*slot, now))
    }

    /// Those of `others` who are asked first: `count` of them, in turn, whoever is doubted last.
    pub(crate) fn choose(
        &self,
        others: impl Iterator<Item = usize>,
        count: usize,
        sequence: Sequence,
        now: Instant,
    ) -> VoterSet {
        let mut others: Vec<usize> = others.collect();
        if let Some(turn) = sequence.0.checked_rem(others.len() as u64) {
            others.rotate_left(turn as usize);
        }
        others.sort_by_key(|slot| self.is_doubted(*slot, now));
        let mut chosen = VoterSet::default();
        others.into_iter().take(count).for_each(|slot| chosen.insert(slot));
        chosen
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let decision = self.untold.front().map(|(at, _, _)| *at);
        Instant::earliest([decision, self.untold_of_view.map(|(at, _)| at)])
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.untold.len() as u64 <= 2 * limits::BFT_WINDOW_MAX);
        assert!(self.untold.iter().is_sorted_by_key(|(at, _, _)| *at));
    }
}

impl BftNode {
    /// Whom a proposal of this replica's goes to first: all that can be counted on if they are a fast quorum,
    /// this replica included, or else a quorum.
    pub(crate) fn first_asked(&self, sequence: Sequence) -> VoterSet {
        let count = match self.can_be_fast() {
            true => self.audience.trusted(self.others(), self.now).count(),
            false => self.quorum() - 1,
        };
        self.audience.choose(self.others(), count, sequence, self.now)
    }

    /// The others, as a set.
    pub(crate) fn all_others(&self) -> VoterSet {
        let mut all = VoterSet::default();
        self.others().for_each(|slot| all.insert(slot));
        all
    }

    /// A decision that this replica has collected: whoever asked for something in it is told at once, and the
    /// others soon.
    pub(crate) fn tell_decision(&mut self, proof: &Arc<QuorumCertificate>) {
        let entry = self.log.get(proof.sequence);
        let batch = entry.and_then(|entry| entry.batch(proof.digest));
        let mut waiting = batch.map(|batch| self.requests.askers(batch)).unwrap_or_default();
        waiting.remove(self.slot);
        let mut others = self.all_others();
        waiting.iter().for_each(|slot| others.remove(slot));
        self.tell(proof.sequence, proof, waiting);
        // With nobody to be told first, there is nothing to be late for; but much waits for a new view.
        let is_idle = waiting.is_empty() && self.is_steady();
        let at = if is_idle { self.now } else { self.now + self.config.tell_after };
        self.audience.tell_at(at, proof.sequence, others);
    }

    /// Somebody votes on what was decided in an earlier view. It is told in a moment, with the others: what
    /// waits for an answer needs other votes.
    pub(crate) fn tell_voter(&mut self, slot: usize, sequence: Sequence) {
        let mut voter = VoterSet::default();
        voter.insert(slot);
        self.audience.tell_at(self.now + self.config.tell_after, sequence, voter);
    }

    /// Tells the others of the view and of decisions for which it is time.
    pub(crate) fn tell_the_rest(&mut self) {
        let now = self.now;
        if let Some((_, others)) = self.audience.untold_of_view.take_if(|(at, _)| *at <= now)
            && self.leads()
            && let Some(new_view) = self.new_view.clone()
        {
            let message = Message::NewView(new_view);
            self.send_when_durable(Recipient::Those(others), message);
        }
        while let Some((_, sequence, others)) =
            self.audience.untold.pop_front_if(|(at, _, _)| *at <= now)
        {
            // What is forgotten here is settled by a checkpoint.
            if let Some(proof) = self.log.certificate(sequence).cloned() {
                self.tell(sequence, &proof, others);
            }
        }
    }

    fn tell(&mut self, sequence: Sequence, proof: &Arc<QuorumCertificate>, others: VoterSet) {
        let Some(entry) = self.log.get(sequence) else { return };
        let (asked, batch) = (entry.asked, entry.batch(proof.digest).cloned());
        for slot in others.iter() {
            let certificate = proof.clone();
            let message = match &batch {
                Some(batch) if !asked.contains(slot) => {
                    Message::Committed { batch: batch.clone(), certificate }
                }
                Some(_) | None => Message::Certificate(certificate),
            };
            self.send(slot, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(audience: &Audience, sequence: u64, now: Instant) -> Vec<usize> {
        audience.choose(1..4, 2, Sequence(sequence), now).iter().collect()
    }

    #[test]
    fn all_are_asked_in_turn() {
        let (audience, now) = (Audience::new(4), Instant::ORIGIN);
        let turns: Vec<_> = (0..4).map(|number| chosen(&audience, number, now)).collect();
        assert_eq!(turns, [[1, 2], [2, 3], [1, 3], [1, 2]]);
        assert!(audience.choose(0..0, 0, Sequence(5), now).is_empty(), "a group of one");
    }

    /// Who is silent is asked last; once it is heard again it gets another try, but not at once.
    #[test]
    fn who_is_silent_is_asked_last() {
        let (mut audience, now) = (Audience::new(4), Instant::from_millis(7));
        audience.note_silent(2, now);
        let asked =
            |audience: &Audience, now| (0..3).any(|at| chosen(audience, at, now).contains(&2));
        assert!(!asked(&audience, now + DOUBT + DOUBT), "it was not heard");
        audience.note_heard(2);
        assert!(!asked(&audience, now + Duration::from_millis(1)));
        assert!(asked(&audience, now + DOUBT));
        // When there are no others, it is asked all the same.
        audience.note_silent(1, now);
        audience.note_silent(3, now);
        assert_eq!(chosen(&audience, 0, now), [1, 2]);
    }
}
