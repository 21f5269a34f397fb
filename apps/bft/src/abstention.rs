//! What a replica does that does not know what it has signed.
//!
//! Its signing record is damaged. Whatever it signed may still be on its way, so that anything that it
//! signs now may contradict it: it would be a liar without knowing. It signs nothing, follows what others
//! decide, and asks a quorum where the group stands. It has voted on numbers within a window above a
//! checkpoint of its own only; that one was executed by a quorum, so one honest replica in every quorum
//! can prove something as late, and nothing that it voted on is beyond B + L, if B is the latest number
//! that is proven to it. And it has moved to a view only after a quorum had left, or begun, the one
//! before: to none beyond the latest that a quorum speaks of, plus one.
//!
//! It signs again when the stable checkpoint is past B + L, in a view that it cannot have left: if the
//! record of views is intact that is the present one, else one later than the bound, so that it may have
//! to wait for a view change. Until then it counts among the f. A liar that names a late view makes it
//! wait longer; it cannot make it sign too early.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::certificate::QuorumCertificate;
use crate::message::Message;
use crate::numbers::{PhaseState, Sequence, ViewNumber};
use crate::output::Event;
use crate::state::BftNode;

/// What is known of what this replica may have signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abstention {
    /// The latest view that it moved to, if the record of that is intact.
    pub(crate) view: Option<ViewNumber>,
    /// Where others say that the group stands: their view, and the latest number that they proved.
    pub(crate) heard: BTreeMap<usize, (ViewNumber, Sequence)>,
}

impl Abstention {
    /// The first view, and the last number, that matter: once a quorum has spoken.
    fn bounds(&self, quorum: usize, window: u64) -> Option<(ViewNumber, Sequence)> {
        if self.heard.len() < quorum {
            return None;
        }
        let proven = self.heard.values().map(|(_, sequence)| *sequence).max()?;
        let spoken_of = self.heard.values().map(|(view, _)| *view).max()?;
        // It may have moved to the view behind that, and must not vote before the one behind that.
        let view = self.view.unwrap_or(spoken_of.next().next());
        Some((view, proven.plus(window)))
    }
}

impl BftNode {
    /// Whether this replica may sign anything: one that knows what it signed may.
    pub(crate) fn may_sign(&self) -> bool {
        self.abstention.is_none()
    }

    pub(crate) fn abstain(&mut self, view: Option<ViewNumber>) {
        self.abstention = Some(Abstention { view, ..Abstention::default() });
        self.note(Event::Abstaining);
    }

    pub(crate) fn ask_positions(&mut self) {
        let quorum = self.quorum();
        if self.abstention.as_ref().is_some_and(|abstention| abstention.heard.len() < quorum) {
            self.send_to_others(&Message::AskPosition);
        }
    }

    pub(crate) fn handle_ask_position(&mut self, from: usize) {
        if !self.guard.may_answer(from) {
            return;
        }
        let decided = self.log.certificate(self.executed).filter(|_| self.executed.0 > 0);
        let certificate = decided.or(self.stable.as_ref()).cloned();
        self.send(from, Message::Position { view: self.view, certificate });
        // It has forgotten where its window begins, too.
        if let Some(stable) = self.stable.clone() {
            self.send(from, Message::Certificate(stable));
        }
    }

    pub(crate) fn handle_position(
        &mut self,
        from: usize,
        view: ViewNumber,
        certificate: Option<Arc<QuorumCertificate>>,
    ) {
        if self.abstention.is_none() {
            return;
        }
        let sequence = match certificate {
            None => Sequence(0),
            Some(proof) => {
                let is_settled =
                    proof.phase == PhaseState::Checkpoint || proof.is_decision(self.config.quorums);
                if !is_settled || !self.is_proven(from, &proof) {
                    return;
                }
                proof.sequence
            }
        };
        if let Some(abstention) = &mut self.abstention {
            abstention.heard.insert(from, (view, sequence));
        }
        self.consider_signing();
    }

    /// Signs again when nothing can contradict what it may have signed.
    pub(crate) fn consider_signing(&mut self) {
        let Some(abstention) = &self.abstention else { return };
        let Some((view, sequence)) = abstention.bounds(self.quorum(), self.config.window) else {
            return;
        };
        let low = self.log.low();
        if low >= sequence && self.view >= view && self.is_active() {
            self.abstention = None;
            self.note(Event::SigningAgain { sequence: low });
        }
    }
}
