//! What a flood is made of: messages that nobody asked for, no two of them the same, of every kind that costs
//! whoever hears them something.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Prng, limits};
use bytes::Bytes;
use crypto::Digest;

use super::{Adversary, Said, encoded, made_up};
use crate::batch::Batch;
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence, ViewNumber};

impl Adversary {
    /// The next message of a flood.
    pub fn make_up(&mut self, to: usize, prng: &mut Prng) -> Said {
        self.made_up += 1;
        let digest = Digest::of(&self.made_up.to_le_bytes());
        let (view, sequence) = (ViewNumber(prng.below(4)), Sequence(prng.below(1_000)));
        let signature = made_up(prng);
        let vote = |phase| Message::Vote(Vote { phase, view, sequence, digest, signature });
        let pre_prepare = |request: Vec<u8>| {
            let batch = Batch::new(vec![request.into()]);
            Message::PrePrepare { view, sequence, batch, signature }
        };
        // What costs the liar much is rare, so that there is more of the rest.
        let message = match prng.below(512) {
            0..80 => Message::Request(Bytes::copy_from_slice(&digest.0)),
            80..160 => pre_prepare(digest.0.to_vec()),
            160..200 => vote(PhaseState::Prepare),
            200..240 => vote(PhaseState::Commit),
            240..280 => vote(PhaseState::Checkpoint),
            280..340 => Message::Leaving { view: view.next(), content: digest, signature },
            340..400 => Message::Fetch { from: sequence },
            400..440 => Message::Status { view, is_active: true, executed: sequence },
            440..470 => Message::AskPosition,
            470..508 => self.spoil_certificate(prng).unwrap_or(Message::AskPosition),
            508..511 => self.signed_vote(view, sequence, digest),
            // As long as one may be.
            _ => pre_prepare(vec![self.made_up as u8; limits::BFT_REQUEST_MAX_BYTES]),
        };
        Said { from: self.slot, to, bytes: encoded(&message), late: Duration::ZERO }
    }

    /// A vote that is its own, for what nobody has proposed.
    fn signed_vote(&self, view: ViewNumber, sequence: Sequence, digest: Digest) -> Message {
        let phase = PhaseState::Commit;
        let signature = self.sign(phase.number(), view, sequence, digest);
        Message::Vote(Vote { phase, view, sequence, digest, signature })
    }

    /// The last certificate that it has heard, with a last signature that is bad: whoever has use for it
    /// verifies the others in vain.
    fn spoil_certificate(&self, prng: &mut Prng) -> Option<Message> {
        let mut proof = self.certificate.as_deref()?.clone();
        *proof.signatures.last_mut()? = made_up(prng);
        Some(Message::Certificate(Arc::new(proof)))
    }
}
