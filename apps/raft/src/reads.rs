//! Reads that see every write before them, without a log entry each (ReadIndex; thesis, section 6.4).
//!
//! The leader notes how far it has committed, asks a majority whether it still leads, and then says so. All
//! reads that come while one question is under way share the next. A leader that has committed nothing of
//! its own term yet does not know how far its predecessors had come, and lets the reads wait.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::limits::READS_WAITING_MAX;
use base::{Instant, LogIndex, NodeId};

use crate::config::Mutant;
use crate::errors::ReadError;
use crate::message::Message;
use crate::node::{RaftNode, Role};
use crate::output::Output;

/// Who asked.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// A follower, or `None` for this member's caller.
    from: Option<NodeId>,
    context: u64,
}

/// Reads that share a round of heartbeats.
#[derive(Clone, Debug)]
struct Round {
    number: u64,
    index: LogIndex,
    questions: Vec<Question>,
}

/// The reads that wait at a leader: those of its own caller and the questions of followers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaderReads {
    waiting: VecDeque<Question>,
    confirming: Option<Round>,
}

impl RaftNode {
    pub(crate) fn ask_read_index(&mut self, context: u64, now: Instant) -> Result<(), ReadError> {
        self.note_time(now);
        match self.role {
            Role::Leader(_) => {
                if !self.answer_at_once(Question { from: None, context }, now) {
                    return Err(ReadError::Busy);
                }
                Ok(())
            }
            Role::Follower { leader: Some(_) } => self.wait_for_leader(context),
            Role::Follower { leader: None } | Role::PreCandidate(_) | Role::Candidate(..) => {
                Err(ReadError::NoLeader)
            }
        }
    }

    pub(crate) fn handle_read_index(&mut self, from: NodeId, context: u64, now: Instant) {
        let term = self.hard_state.term;
        if !self.answer_at_once(Question { from: Some(from), context }, now) {
            self.send(from, Message::ReadIndexReply { term, context, index: None });
        }
    }

    /// Answers the question if this leader has a lease, or lets it wait for the next round. False if there is
    /// no room, or if it does not lead.
    fn answer_at_once(&mut self, question: Question, now: Instant) -> bool {
        if self.has_lease(now) {
            self.answer(question, self.commit);
            self.counters.lease_reads += 1;
            return true;
        }
        let Role::Leader(leadership) = &mut self.role else { return false };
        let has_room = leadership.reads.waiting.len() < READS_WAITING_MAX;
        if has_room {
            leadership.reads.waiting.push_back(question);
        }
        has_room
    }

    fn answer(&mut self, Question { from, context }: Question, index: LogIndex) {
        let term = self.hard_state.term;
        self.outputs.push_back(match from {
            None => Output::ReadReady { context, index },
            Some(to) => {
                let index = Some(index);
                Output::Send { to, message: Message::ReadIndexReply { term, context, index } }
            }
        });
    }

    /// Asks the majority on behalf of everything that waits, if no question is under way.
    pub(crate) fn prepare_reads(&mut self) {
        let commit = self.commit;
        let answers_early = self.config.has_bug(Mutant::ReadBeforeOwnCommit);
        let Role::Leader(leadership) = &mut self.role else { return };
        let knows_commit = commit >= leadership.first_own || answers_early;
        let reads = &mut leadership.reads;
        if reads.waiting.is_empty() || reads.confirming.is_some() || !knows_commit {
            return;
        }
        let number = leadership.round + 1;
        let questions = reads.waiting.drain(..).collect();
        reads.confirming = Some(Round { number, index: commit, questions });
        self.send_heartbeats();
        self.confirm_reads();
    }

    /// Answers the reads whose round a majority has acknowledged.
    pub(crate) fn confirm_reads(&mut self) {
        let own = self.config.id;
        let quorum = self.membership.current().quorum();
        let needs_nobody = self.config.has_bug(Mutant::ReadWithoutQuorum);
        let Role::Leader(leadership) = &mut self.role else { return };
        let is_confirmed = |round: &mut Round| {
            let has_acknowledged = |id| {
                let progress = leadership.followers.get(id);
                progress.is_some_and(|peer| peer.acknowledged_round >= round.number)
            };
            needs_nobody || quorum.has(|id| id == own || has_acknowledged(id))
        };
        let Some(round) = leadership.reads.confirming.take_if(is_confirmed) else { return };
        self.counters.index_reads += round.questions.len() as u64;
        for question in round.questions {
            self.answer(question, round.index);
        }
    }

    /// This member no longer leads, or follows another leader: nobody will answer.
    pub(crate) fn fail_reads(&mut self) {
        let mut failed: Vec<u64> = self.reads.take();
        let mut refused = Vec::new();
        if let Role::Leader(leadership) = &mut self.role {
            let reads = core::mem::take(&mut leadership.reads);
            let confirming = reads.confirming.into_iter().flat_map(|round| round.questions);
            for question in confirming.chain(reads.waiting) {
                match question.from {
                    None => failed.push(question.context),
                    Some(from) => refused.push((from, question.context)),
                }
            }
        }
        let failed = failed.into_iter().map(|context| Output::ReadFailed { context });
        self.outputs.extend(failed);
        let term = self.hard_state.term;
        for (to, context) in refused {
            self.send(to, Message::ReadIndexReply { term, context, index: None });
        }
    }
}
