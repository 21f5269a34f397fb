//! What a replica finds when it starts again.

use alloc::boxed::Box;
use alloc::vec::Vec;

use base::Instant;
use crypto::SigningKey;

use crate::config::{Config, ConfigError};
use crate::departures::Departure;
use crate::leaving::Changing;
use crate::log::{Accepted, Ballot};
use crate::numbers::{Sequence, ViewNumber};
use crate::record::Record;
use crate::state::{BftNode, Mode};

/// What is left of what the replica signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SigningRecord {
    /// All of it, in the order in which it was written.
    Intact(Vec<Record>),
    /// Something is missing: the replica signs nothing until the group has left it behind.
    Damaged {
        /// The latest view that it moved to or entered, if that is known for certain.
        view: Option<ViewNumber>,
    },
}

/// What a caller has of a replica that ran before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The last number that is executed in the caller's state.
    pub applied: Sequence,
    /// What the replica signed.
    pub record: SigningRecord,
}

impl BftNode {
    /// A replica that ran before. It says what it said before its restart, or nothing.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn restore(
        config: Config,
        key: SigningKey,
        restored: Restored,
        seed: u64,
        now: Instant,
    ) -> Result<BftNode, ConfigError> {
        config.validate()?;
        let mut node = BftNode::blank(config, key, seed, now);
        node.executed = restored.applied;
        node.applied = restored.applied;
        match restored.record {
            SigningRecord::Intact(records) => node.replay(records),
            SigningRecord::Damaged { view } => {
                if let Some(view) = view.filter(|view| view.0 > 0) {
                    node.view = view;
                    node.mode = Mode::Changing(Box::default());
                }
                node.abstain(view);
            }
        }
        node.resend_at = now;
        node.execute_decided();
        node.fetch_if_behind();
        Ok(node)
    }

    fn replay(&mut self, records: Vec<Record>) {
        for record in records {
            self.replay_one(record);
        }
        // In the present view it proposes behind everything that it has proposed.
        let view = self.view;
        let last = self.log.open().filter(|(_, entry)| entry.accepted_in(view).is_some()).last();
        if let Some(next) = last.map(|(sequence, _)| sequence.next()) {
            self.next_sequence = self.next_sequence.max(next);
        }
        self.next_sequence = self.next_sequence.max(self.log.low().next());
    }

    fn replay_one(&mut self, record: Record) {
        match record {
            Record::Accepted { view, sequence, batch, signature } => {
                let Some(entry) = self.log.entry(sequence) else { return };
                let (digest, is_verified) = (batch.digest(), false);
                entry.accepted = Some(Accepted { view, digest, signature, is_verified });
                entry.voted = Some(Ballot { view, digest });
                entry.keep(batch);
            }
            Record::Prepared(proof) => {
                self.verified.insert(proof.identity());
                if let Some(entry) = self.log.entry(proof.sequence) {
                    entry.prepared = Some(proof);
                }
            }
            Record::Committed(proof) => {
                self.verified.insert(proof.identity());
                if let Some(entry) = self.log.entry(proof.sequence) {
                    entry.committed = Some(proof);
                }
            }
            Record::Checkpoint { sequence, digest } => {
                if sequence > self.log.low() {
                    self.states.insert(sequence, digest);
                }
            }
            Record::Stable(proof) => {
                self.verified.insert(proof.identity());
                self.states = self.states.split_off(&proof.sequence.next());
                self.move_watermarks(&proof);
            }
            Record::Left(change) => {
                self.view = change.view;
                self.new_view = None;
                self.departures.note_own(self.slot, Departure::of(&change));
                let (own, proofs) = (Some(*change), self.proofs());
                let changing = Changing { own, proofs, ..Changing::default() };
                self.mode = Mode::Changing(Box::new(changing));
            }
            Record::Entered(new_view) => self.adopt(new_view),
        }
    }
}
