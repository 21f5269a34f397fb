//! How a follower takes its leader's entries (section 5.3), and learns what is committed.

use base::{LogIndex, NodeId, Term};

use crate::config::Mutant;
use crate::message::{LogEntry, Message, Payload};
use crate::node::RaftNode;

impl RaftNode {
    /// A follower takes entries of its leader.
    pub(crate) fn handle_append(
        &mut self,
        from: NodeId,
        prev_index: LogIndex,
        prev_term: Term,
        commit: LogIndex,
        entries: &[LogEntry],
    ) {
        let term = self.hard_state.term;
        if !is_well_formed(prev_index, prev_term, entries, term) {
            self.counters.malformed += 1;
            return;
        }
        if self.installing().is_some() {
            // The log is about to be replaced; the leader asks again.
            return;
        }
        let (prev_index, prev_term, entries) = self.behind_base(prev_index, prev_term, entries);
        if self.log.term_at(prev_index) != Some(prev_term) {
            self.counters.appends_rejected += 1;
            let (hint_index, hint_term) = self.log.agreement(prev_index, prev_term);
            let reply = Message::AppendRejected { term, prev_index, hint_index, hint_term };
            self.persistence.withhold(from, reply, &self.log);
            return;
        }
        let match_index = entries.last().map_or(prev_index, |entry| entry.index);
        if !self.take_entries(entries) {
            // What is before them is the leader's all the same. A member that starts with as many
            // configurations as it can remember makes room for another only if it hears of that.
            self.follow_commit(commit.min(prev_index));
            return;
        }
        self.matched = self.matched.max(match_index);
        self.follow_commit(commit.min(match_index));
        let reply = Message::AppendAccepted { term, match_index };
        if self.config.has_bug(Mutant::AppendAckBeforePersist) {
            self.send(from, reply);
        } else {
            self.persistence.withhold(from, reply, &self.log);
        }
    }

    /// What lies behind the end of the snapshot, which has everything up to there as the leader has it.
    fn behind_base<'a>(
        &self,
        prev_index: LogIndex,
        prev_term: Term,
        entries: &'a [LogEntry],
    ) -> (LogIndex, Term, &'a [LogEntry]) {
        let base = self.log.base();
        match self.log.term_at(base) {
            Some(base_term) if prev_index < base => {
                let begun = entries.partition_point(|entry| entry.index <= base);
                (base, base_term, &entries[begun..])
            }
            _ => (prev_index, prev_term, entries),
        }
    }

    /// Appends those entries that are new. What conflicts with them is cut off first; what agrees with them
    /// stays, and so does what lies behind them: the message may be an old one (pitfall 26). False if they
    /// cannot be taken.
    fn take_entries(&mut self, entries: &[LogEntry]) -> bool {
        let is_known = |entry: &LogEntry| self.log.term_at(entry.index) == Some(entry.term);
        let cuts_always = self.config.has_bug(Mutant::TruncateAlways);
        let is_kept =
            |entry: &&LogEntry| is_known(entry) && !(cuts_always && entry.index > self.commit);
        let known = entries.iter().take_while(is_kept).count();
        let (known, new) = entries.split_at(known);
        // What the leader sends once more may be just what is damaged here.
        known.iter().for_each(|entry| self.mend(entry));
        let Some(first_new) = new.first().map(|entry| entry.index) else { return true };
        let has_command = new.iter().any(|entry| matches!(entry.payload, Payload::Command(_)));
        if self.is_log_full && has_command {
            self.counters.refused_full += 1;
            return false;
        }
        if first_new <= self.log.last_index() {
            if first_new <= self.commit {
                // No leader's log contradicts what is committed.
                self.counters.malformed += 1;
                return false;
            }
            if self.config.has_bug(Mutant::NoTruncateOnConflict) {
                return true;
            }
            self.cut(first_new);
        }
        for entry in new {
            if let Payload::Configuration(configuration) = &entry.payload {
                if self.membership.is_full() {
                    // The leader sends it again; by then some are applied.
                    return false;
                }
                self.adopt(entry.index, (**configuration).clone());
            }
            self.log.append(entry.clone());
        }
        true
    }

    /// Forgets the entries from `index` on, none of which is committed.
    pub(crate) fn cut(&mut self, index: LogIndex) {
        self.log.truncate(index);
        self.membership.truncate(index);
        let vouches = self.config.has_bug(Mutant::LateConfirmationVouches);
        self.persistence.note_truncation(index, vouches);
        let kept = index.previous().unwrap_or_default();
        self.damage.forget_from(index);
        (self.matched, self.acknowledged) = (self.matched.min(kept), self.acknowledged.min(kept));
    }

    /// The leader says how far this follower's log is committed.
    pub(crate) fn follow_commit(&mut self, commit: LogIndex) {
        let before_snapshot = self.installing().and_then(LogIndex::previous);
        let end = before_snapshot.unwrap_or(LogIndex(u64::MAX)).min(self.log.last_index());
        self.commit = self.commit.max(commit.min(end));
    }
}

/// Whether a leader of `term` can have sent this: terms ascend, and none is of the future.
fn is_well_formed(prev_index: LogIndex, prev_term: Term, entries: &[LogEntry], term: Term) -> bool {
    let mut before = prev_term;
    let mut index = prev_index;
    entries.iter().all(|entry| {
        let is_next = entry.index == index.next() && entry.term >= before && entry.term <= term;
        (index, before) = (entry.index, entry.term);
        is_next
    }) && prev_term <= term
}
