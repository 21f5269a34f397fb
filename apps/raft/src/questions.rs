//! How a follower asks its leader from which index on it may answer reads: all reads that wait while a
//! question is under way share the next one.
//!
//! A question bears the name of the first read in it, which was never used before: so an answer that was
//! long under way is never taken for that to another question (pitfall 24).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::limits::{READ_CONFIRM_WITHIN_MS, READS_WAITING_MAX};
use base::{Duration, Instant, LogIndex, NodeId};

use crate::errors::ReadError;
use crate::message::Message;
use crate::node::RaftNode;
use crate::output::Output;

/// Reads for which the leader was asked.
#[derive(Clone, Debug)]
struct Batch {
    /// The first of these.
    context: u64,
    reads: Vec<u64>,
    asked: Instant,
}

/// The reads of a follower's caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingReads {
    /// Those for which nobody was asked yet.
    waiting: Vec<u64>,
    /// In the order of asking.
    batches: VecDeque<Batch>,
}

impl PendingReads {
    fn len(&self) -> usize {
        self.waiting.len() + self.batches.iter().map(|batch| batch.reads.len()).sum::<usize>()
    }

    /// Everything, in the order of asking.
    pub(crate) fn take(&mut self) -> Vec<u64> {
        let mut reads: Vec<u64> = self.batches.drain(..).flat_map(|batch| batch.reads).collect();
        reads.append(&mut self.waiting);
        reads
    }
}

impl RaftNode {
    pub(crate) fn wait_for_leader(&mut self, context: u64) -> Result<(), ReadError> {
        if self.reads.len() >= READS_WAITING_MAX {
            return Err(ReadError::Busy);
        }
        self.reads.waiting.push(context);
        Ok(())
    }

    /// A question that is not answered after this span may be lost: the next does not wait for it.
    fn question_due(&self) -> Option<Instant> {
        let newest = self.reads.batches.back()?;
        Some(newest.asked + self.config.heartbeat)
    }

    /// Asks the leader on behalf of everything that waits, if no question is under way.
    pub(crate) fn prepare_questions(&mut self, leader: NodeId) {
        let Some(&context) = self.reads.waiting.first() else { return };
        let is_under_way = self.question_due().is_some_and(|due| self.now < due);
        if is_under_way {
            return;
        }
        let reads = core::mem::take(&mut self.reads.waiting);
        self.reads.batches.push_back(Batch { context, reads, asked: self.now });
        self.send(leader, Message::ReadIndex { term: self.hard_state.term, context });
    }

    /// When a question is to be asked, or given up.
    pub(crate) fn questions_due(&self) -> Option<Instant> {
        let patience = Duration::from_millis(READ_CONFIRM_WITHIN_MS);
        let given_up = self.reads.batches.front().map(|oldest| oldest.asked + patience);
        let next = self.question_due().filter(|_| !self.reads.waiting.is_empty());
        given_up.into_iter().chain(next).min()
    }

    /// Gives up on questions that nobody has answered for too long.
    pub(crate) fn expire_questions(&mut self, now: Instant) {
        let patience = Duration::from_millis(READ_CONFIRM_WITHIN_MS);
        let is_old = |batch: &mut Batch| now.since(batch.asked) >= patience;
        while let Some(batch) = self.reads.batches.pop_front_if(is_old) {
            let failed = batch.reads.into_iter().map(|context| Output::ReadFailed { context });
            self.outputs.extend(failed);
        }
    }

    pub(crate) fn handle_read_index_reply(&mut self, context: u64, index: Option<LogIndex>) {
        // An answer to a question that was given up, or answered, is none.
        let asked = self.reads.batches.iter().position(|batch| batch.context == context);
        let Some(batch) = asked.and_then(|place| self.reads.batches.remove(place)) else { return };
        for context in batch.reads {
            self.outputs.push_back(match index {
                Some(index) => Output::ReadReady { context, index },
                None => Output::ReadFailed { context },
            });
        }
    }
}
