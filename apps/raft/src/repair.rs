//! What if an entry on this member's disk is damaged? (R. Alagappan et al., "Protocol-aware recovery for
//! consensus-based storage", FAST 2018.)
//!
//! A damaged entry may have been acknowledged, and committed on the strength of that. So it is not absent:
//! the log is never cut at it. Neither is it there: nothing is built on it. A member with a damaged entry
//!
//! - **votes**: index and term of its last entry are known, and nothing else is compared (section 5.4.1), so
//!   that it elects nobody who lacks what it may have acknowledged;
//! - **does not stand**: a leader must be able to give and to apply every entry that it has;
//! - **acknowledges nothing from that entry on**, nor counts itself: a copy that cannot be read is none;
//! - **applies nothing from that entry on**;
//! - **asks the others for it**, one after another, with or without a leader: by log matching, the entry of
//!   this index and term is the same wherever it is.
//!
//! The others give what they have, and tell what they have not. They need not be whole themselves, so that
//! members that are damaged at different places heal each other. Where an entry is in snapshots only, a
//! member that has applied it takes one of its own, and any other is sent the leader's. If everybody has
//! answered and nobody has it, the member says so and goes on asking, slowly: to go on without the entry
//! would be to forget it. An entry that was never committed is replaced by the next leader, as any other; if
//! nobody can lead because of it, `void` says how it is let go of.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::limits::{APPEND_BATCH_MAX_BYTES, REPAIR_ENTRIES_MAX, REPAIR_ROUND_MS};
use base::{Duration, Instant, LogIndex, NodeId, Term};

use crate::config::Mutant;
use crate::damage::Lack;
use crate::message::{LogEntry, Message, Payload, RepairAnswer};
use crate::node::{FetchPurpose, RaftNode, Role};
use crate::output::{Event, Output, StepDown};

impl RaftNode {
    /// What the disk has of the entry of this index and term is not what was written.
    pub fn handle_damaged(&mut self, index: LogIndex, term: Term, now: Instant) {
        self.note_time(now);
        // What was cut off or given up meanwhile concerns nobody.
        if index <= self.log.base() || self.log.term_at(index) != Some(term) {
            return;
        }
        if !self.damage.note(index, self.hard_state.term, now) {
            return;
        }
        self.counters.entries_damaged += 1;
        self.acknowledged = self.acknowledged.min(self.whole_index());
        self.note(Event::Damaged { index });
        if let Some(entry) = self.log.entry_in_memory(index).cloned() {
            self.mend(&entry);
        }
    }

    /// The disk has the entry of this index again, durably: what [`Output::Repair`] gave.
    pub fn handle_repaired(&mut self, index: LogIndex) {
        if !self.damage.remove(index) {
            return;
        }
        self.counters.entries_repaired += 1;
        self.note(Event::Repaired { index });
        self.resume_after_repair();
    }

    /// What [`Output::Repair`] gave is not what was on the disk, or could not be written.
    pub fn handle_repair_failed(&mut self, index: LogIndex, now: Instant) {
        self.note_time(now);
        self.damage.fail_writing(index, now + Duration::from_millis(REPAIR_ROUND_MS));
    }

    /// Whether an entry is damaged that nobody gives, but which is applied: a snapshot of the state that the
    /// caller has makes up for it, when the log before it is given up.
    pub fn is_mended_by_snapshot(&self) -> bool {
        self.damage.is_in_vain_up_to(self.applying.applied())
    }

    /// Goes on with what has waited for a damaged entry.
    pub(crate) fn resume_after_repair(&mut self) {
        match &mut self.role {
            Role::Leader(leadership) => {
                leadership.followers.iter_mut().for_each(|(_, peer)| peer.wants_append = true);
                self.advance_commit();
            }
            Role::Follower { leader: Some(leader) } => {
                let (leader, term) = (*leader, self.hard_state.term);
                let accepted = Message::AppendAccepted { term, match_index: self.matched };
                self.persistence.withhold(leader, accepted, &self.log);
            }
            Role::Follower { leader: None } | Role::PreCandidate(_) | Role::Candidate(..) => {}
        }
    }

    /// Every entry up to here is intact, as far as this member knows.
    pub(crate) fn whole_index(&self) -> LogIndex {
        let before = self.damage.first().and_then(LogIndex::previous);
        before.unwrap_or(LogIndex(u64::MAX))
    }

    /// Whether nothing is damaged that keeps this member from leading. What is in a snapshot of somebody's is
    /// committed, and need not be given to anybody by this one: perhaps nobody else is up to date, and then
    /// it brings the others what they lack, and hands over to one that can send it that snapshot.
    pub(crate) fn is_fit_to_lead(&self) -> bool {
        let is_whole = self.damage.is_in_snapshots() || self.may_stand_to_decide();
        is_whole && !self.lacks_state()
    }

    /// A message as it may leave now: what was found damaged since it was written is not acknowledged.
    pub(crate) fn without_damaged(&mut self, message: Message) -> Message {
        let Message::AppendAccepted { term, match_index } = message else { return message };
        let whole = self.whole_index();
        let match_index = if self.config.has_bug(Mutant::AcknowledgesDamaged) {
            match_index
        } else {
            match_index.min(whole)
        };
        self.acknowledged = match_index;
        Message::AppendAccepted { term, match_index }
    }

    /// Gives the caller an intact copy of a damaged entry.
    pub(crate) fn mend(&mut self, entry: &LogEntry) {
        if !self.damage.begin_writing(entry.index) {
            return;
        }
        if let Payload::Configuration(configuration) = &entry.payload {
            // Perhaps it could not be read when this member started.
            self.membership.insert(entry.index, (**configuration).clone());
        }
        self.outputs.push_back(Output::Repair(entry.clone()));
    }

    /// Asks for the next damaged entries, if it is time.
    pub(crate) fn prepare_repairs(&mut self) {
        self.cut_void();
        if self.damage.is_empty() {
            return;
        }
        let turn = self.damage.next_question(&self.peers_to_ask(), self.now);
        if let Some(index) = turn.nowhere {
            self.note(Event::Nowhere { index });
        }
        let applied = self.applying.applied();
        if turn.in_vain.is_some_and(|index| index > applied) && self.is_leader() {
            // It cannot bring its followers beyond that entry. If it was never committed, the others can do
            // without it; if it was, and is nowhere, nobody may lead.
            self.note_undecided();
            self.resign(StepDown::Damaged, self.now);
        }
        let Some(question) = turn.question else { return };
        let Some(term) = self.log.term_at(question.from) else { return };
        let most = LogIndex(question.from.0 + REPAIR_ENTRIES_MAX as u64 - 1);
        let (from, to) = (question.from, question.to.min(most));
        self.counters.repairs_asked += 1;
        self.send(question.peer, Message::Repair { term, from, to });
    }

    /// A peer wants intact copies of entries of its log, the first of which is of this term. Its own term
    /// does not matter: the answer is about what was, and changes nobody's state.
    pub(crate) fn handle_repair(&mut self, peer: NodeId, term: Term, from: LogIndex, to: LogIndex) {
        if from <= self.log.base() {
            self.answer_repair(peer, term, from, RepairAnswer::Compacted);
            self.replace_log_of(peer);
        } else if self.log.term_at(from) != Some(term) {
            // What was denied in a term stays denied, so the disk must have the term.
            let answer = RepairAnswer::Absent { in_term: self.hard_state.term };
            self.persistence.withhold(peer, Message::Repaired { term, from, answer }, &self.log);
        } else if self.damage.contains(from) {
            self.answer_repair(peer, term, from, RepairAnswer::Damaged);
        } else {
            self.give_copies(peer, from, to);
        }
    }

    fn answer_repair(&mut self, to: NodeId, term: Term, from: LogIndex, answer: RepairAnswer) {
        self.send(to, Message::Repaired { term, from, answer });
    }

    /// The entry that a follower lacks is in this leader's snapshot: that is what it needs.
    fn replace_log_of(&mut self, peer: NodeId) {
        let Role::Leader(leadership) = &mut self.role else { return };
        if let Some(progress) = leadership.followers.get_mut(peer)
            && progress.sending().is_none()
        {
            progress.start_snapshot();
        }
    }

    /// Gives a peer the copies that it wants, from memory or from the disk.
    fn give_copies(&mut self, peer: NodeId, from: LogIndex, to: LogIndex) {
        let end = self.damage.first_from(from).and_then(LogIndex::previous);
        let to = to.min(self.log.last_index()).min(end.unwrap_or(to));
        let (bytes, count) = (APPEND_BATCH_MAX_BYTES, REPAIR_ENTRIES_MAX);
        match self.log.recent(from, to, bytes, count) {
            Some(entries) => self.send_copies(peer, entries),
            None => {
                // One question of each peer at a time: whoever is impatient asks again.
                let is_asked = self.fetches.values().any(|purpose| purpose.is_repair_of(peer));
                if !is_asked {
                    self.fetch(from, to, bytes, count, FetchPurpose::Repair { peer, from });
                }
            }
        }
    }

    fn send_copies(&mut self, peer: NodeId, entries: Vec<LogEntry>) {
        let Some(first) = entries.first() else { return };
        let (term, from) = (first.term, first.index);
        self.counters.copies_given += entries.len() as u64;
        self.answer_repair(peer, term, from, RepairAnswer::Copies(Arc::new(entries)));
    }

    /// Copies for a peer have come from the disk.
    pub(crate) fn copies_fetched(
        &mut self,
        peer: NodeId,
        from: LogIndex,
        mut entries: Vec<LogEntry>,
    ) {
        entries.truncate(REPAIR_ENTRIES_MAX);
        let is_current = |entry: &LogEntry| self.log.term_at(entry.index) == Some(entry.term);
        let is_first = entries.first().is_some_and(|entry| entry.index == from);
        if is_first && entries.iter().all(is_current) {
            self.send_copies(peer, entries);
        } else if let Some(term) = self.log.term_at(from).filter(|_| self.damage.contains(from)) {
            // That is why it was not read.
            self.answer_repair(peer, term, from, RepairAnswer::Damaged);
        }
    }

    /// A peer has answered.
    pub(crate) fn handle_repair_answer(
        &mut self,
        peer: NodeId,
        from: LogIndex,
        answer: RepairAnswer,
    ) {
        if !self.damage.end_question(peer, from) {
            // It comes late. Copies are welcome nevertheless.
            if !matches!(answer, RepairAnswer::Copies(_)) {
                return;
            }
        }
        match answer {
            RepairAnswer::Absent { in_term } => {
                self.damage.note_lack(peer, from, Lack::Absent { in_term });
            }
            RepairAnswer::Damaged => self.damage.note_lack(peer, from, Lack::Damaged),
            RepairAnswer::Compacted => self.damage.note_lack(peer, from, Lack::Compacted),
            RepairAnswer::Copies(entries) => {
                for entry in entries.iter() {
                    if self.log.term_at(entry.index) == Some(entry.term) {
                        self.mend(entry);
                    }
                }
            }
        }
    }
}
