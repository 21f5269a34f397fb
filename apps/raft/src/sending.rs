//! How a leader brings a follower up to date whose next entry is no longer in any log: with a snapshot, part
//! by part. The caller has the bytes; the leader keeps an account of them.
//!
//! The first part goes alone: its answer says where the follower stopped the last time, perhaps under
//! another leader. Then a few parts are under way at once.

use alloc::boxed::Box;

use base::{Instant, LogIndex, NodeId, Term, limits};
use bytes::Bytes;

use crate::message::{Message, SnapshotMeta};
use crate::node::{RaftNode, Role};
use crate::output::{FetchId, Output};
use crate::progress::Progress;

/// So many heartbeats are answered without anything being stored before parts count as lost.
const STALLED_BEATS: u8 = 4;

/// How far a follower has a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sending {
    /// Which snapshot; unknown before the caller has given a part of it.
    snapshot: Option<(LogIndex, Term)>,
    total: u64,
    /// The follower has stored everything before.
    ///
    /// Invariant: `stored <= next <= total`, once the total is known.
    stored: u64,
    /// What it said last. That is less than it once had if it has started over, and perhaps an old word.
    answered: u64,
    /// The next byte to send.
    next: u64,
    /// The part that the caller is asked for.
    fetch: Option<FetchId>,
    /// The follower has said how far it is.
    has_answered: bool,
    /// Nothing is tried before the next heartbeat is answered.
    is_waiting: bool,
    /// What was not stored was sent again since something last was.
    has_repeated: bool,
    /// Answered heartbeats since something was stored.
    beats: u8,
}

impl Sending {
    /// Whether the caller should be asked for another part.
    fn has_window(&self) -> bool {
        let parts = if self.has_answered { limits::SNAPSHOT_PARTS_IN_FLIGHT_MAX as u64 } else { 1 };
        let window = parts * limits::SNAPSHOT_PART_MAX_BYTES as u64;
        let is_all_sent = self.snapshot.is_some() && self.next >= self.total;
        self.fetch.is_none() && !self.is_waiting && !is_all_sent && self.next - self.stored < window
    }

    /// Nothing is tried for a while: the follower does not answer, or the caller has nothing to give.
    pub(crate) fn pause(&mut self) {
        self.is_waiting = true;
    }

    /// The follower has answered a heartbeat. What was not stored in all that time is sent again, from where
    /// the follower said last that it is: it may have started over, and the word of that been overtaken.
    pub(crate) fn note_heard(&mut self) {
        self.is_waiting = false;
        self.beats = self.beats.saturating_add(1);
        if self.beats >= STALLED_BEATS {
            self.beats = 0;
            self.stored = self.stored.min(self.answered);
            self.next = self.stored;
        }
    }

    fn note_stored(&mut self, next_offset: u64) {
        self.has_answered = true;
        self.answered = next_offset;
        if next_offset == 0 {
            // It starts over: what it had was damaged, or of another snapshot.
            (self.stored, self.next) = (0, 0);
        } else if next_offset > self.stored {
            self.stored = next_offset;
            self.next = self.next.max(next_offset);
            (self.beats, self.has_repeated) = (0, false);
        } else if next_offset == self.stored && !self.has_repeated {
            // A part did not fit behind what it has: one before was lost. Once is enough, for all that were
            // under way behind the lost one are answered so.
            (self.next, self.has_repeated) = (self.stored, true);
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.stored <= self.next, "what is stored was sent");
        assert!(self.snapshot.is_none() || self.next <= self.total, "and is a part of the whole");
    }
}

impl RaftNode {
    /// Asks the caller for the next part, if the follower may be sent one.
    pub(crate) fn feed_snapshot(&mut self, peer: NodeId) {
        let id = FetchId(self.next_fetch);
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(peer) else { return };
        progress.wants_append = false;
        let Some(sending) = progress.sending_mut().filter(|sending| sending.has_window()) else {
            return;
        };
        sending.fetch = Some(id);
        let offset = sending.next;
        self.next_fetch += 1;
        let max_bytes = limits::SNAPSHOT_PART_MAX_BYTES;
        self.outputs.push_back(Output::FetchSnapshot { id, peer, offset, max_bytes });
    }

    /// A part of the caller's latest snapshot, as [`Output::FetchSnapshot`] asked: the bytes from `offset`
    /// on, of `total_bytes`. No bytes: there is none to be had now.
    pub fn handle_snapshot_part(
        &mut self,
        id: FetchId,
        meta: &SnapshotMeta,
        offset: u64,
        total_bytes: u64,
        bytes: Bytes,
    ) {
        if self.give_recalled(id, meta, offset, total_bytes, &bytes) {
            return;
        }
        let (term, first) = (self.hard_state.term, self.log.base());
        let Role::Leader(leadership) = &mut self.role else { return };
        let asked = |progress: &Progress| progress.sending().is_some_and(|s| s.fetch == Some(id));
        let Some((to, progress)) = leadership.followers.iter_mut().find(|(_, p)| asked(p)) else {
            return;
        };
        progress.wants_append = true;
        let Some(sending) = progress.sending_mut() else { return };
        sending.fetch = None;
        let end = offset.saturating_add(bytes.len() as u64);
        let is_usable = !bytes.is_empty()
            && bytes.len() <= limits::SNAPSHOT_PART_MAX_BYTES
            && end <= total_bytes
            && meta.index >= first
            && meta.configuration.is_valid();
        if !is_usable {
            sending.pause();
            return;
        }
        let snapshot = Some((meta.index, meta.term));
        if (sending.snapshot, sending.total) != (snapshot, total_bytes) {
            // The caller has another snapshot by now.
            *sending = Sending { snapshot, total: total_bytes, ..Sending::default() };
        }
        if offset != sending.next {
            return;
        }
        sending.next = end;
        self.counters.snapshot_parts_sent += 1;
        let meta = meta.clone();
        let meta = Box::new(meta);
        self.send(to, Message::Snapshot { term, meta, total_bytes, offset, bytes });
    }

    /// The follower has everything before `next_offset` of this snapshot; if that is all of it, it begins
    /// where the snapshot ends.
    pub(crate) fn handle_snapshot_accepted(
        &mut self,
        from: NodeId,
        snapshot: (LogIndex, Term),
        next_offset: u64,
        now: Instant,
    ) {
        let Some(progress) = self.hear(from, now) else { return };
        progress.wants_append = true;
        let Some(sending) = progress.sending_mut() else { return };
        if sending.snapshot != Some(snapshot) {
            return;
        }
        if next_offset > sending.total {
            self.counters.malformed += 1;
        } else if next_offset < sending.total {
            sending.note_stored(next_offset);
        } else {
            progress.note_accepted(snapshot.0);
            self.advance_commit();
            self.dismiss_removed();
            self.push_transfer(from);
        }
    }

    /// The caller has a durable snapshot that ends at `up_to` or later, and gives up the entries up to
    /// `up_to`. What is not applied or not durable stays.
    ///
    /// A follower that needs one of those entries is sent the snapshot instead.
    /// [`RaftNode::compaction_limit`] says how far nobody in reach does.
    pub fn compact(&mut self, up_to: LogIndex) {
        let up_to = up_to.min(self.applying.applied()).min(self.persistence.durable_index());
        if up_to > self.log.base() {
            self.log.compact(up_to);
            if self.damage.forget_up_to(up_to) {
                self.resume_after_repair();
            }
        }
    }

    /// How far the log may be given up without a follower that is in reach, and fed from the log, needing a
    /// snapshot.
    pub fn compaction_limit(&self, now: Instant) -> LogIndex {
        let own = self.applying.applied().min(self.persistence.durable_index());
        let Role::Leader(leadership) = &self.role else { return own };
        let patience = self.config.election_timeout_max;
        let needs = |progress: &Progress| {
            let heard = progress.last_heard.is_some_and(|heard| now.since(heard) < patience);
            (heard && progress.sending().is_none()).then_some(progress.match_index)
        };
        let needed = leadership.followers.iter().filter_map(|(_, progress)| needs(progress));
        needed.fold(own, LogIndex::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a follower had stored was refused, and it started over; but its word of that was overtaken by an
    /// older one.
    #[test]
    fn an_old_word_does_not_hold_a_snapshot_up_for_ever() {
        let snapshot = Some((LogIndex(9), Term(2)));
        let mut sending = Sending { snapshot, total: 600_000, ..Sending::default() };
        for stored in [65_536, 131_072, 0, 589_824] {
            sending.next = sending.next.max(stored);
            sending.note_stored(stored);
        }
        assert_eq!(sending.stored, 589_824);
        for _ in 0..STALLED_BEATS {
            // It says where it is whenever it is sent what does not fit there.
            sending.note_stored(262_144);
            sending.note_heard();
        }
        assert_eq!((sending.stored, sending.next), (262_144, 262_144));
        sending.check_invariants();
    }
}
