//! What replicas say to each other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::QuorumCertificate;
use crate::change::{NewView, ViewChange};
use crate::numbers::{PhaseState, Sequence, ViewNumber};

/// A replica's vote. Whose it is is known from who sends it: votes are not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// [`PhaseState::Prepare`], `Commit` or `Checkpoint`.
    pub phase: PhaseState,
    /// In which view; 0 for a checkpoint.
    pub view: ViewNumber,
    /// On which sequence number.
    pub sequence: Sequence,
    /// For which batch, or which state.
    pub digest: Digest,
    /// The signature.
    pub signature: Signature,
}

/// A message between replicas. Everything that is believed is signed; who sends it matters for votes, whose
/// signer it names, and for what a peer may cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Please have this ordered.
    Request(Bytes),
    /// The primary's proposal.
    PrePrepare {
        /// In which view.
        view: ViewNumber,
        /// For which sequence number.
        sequence: Sequence,
        /// What.
        batch: Batch,
        /// The primary's signature.
        signature: Signature,
    },
    /// A vote, for the primary to collect.
    Vote(Vote),
    /// What a quorum said.
    Certificate(Arc<QuorumCertificate>),
    /// The sender has left all views before this one. It is the signature of a [`ViewChange`], without
    /// that: only the next primary needs to know what was prepared.
    Leaving {
        /// The view that it moves to.
        view: ViewNumber,
        /// The digest of the view change.
        content: Digest,
        /// Its signature.
        signature: Signature,
    },
    /// The same, with what the sender knows and the proofs of it, for the next primary.
    ViewChange {
        /// What the sender claims.
        change: Box<ViewChange>,
        /// The certificates of its stable checkpoint and of all that it has prepared.
        proofs: Vec<Arc<QuorumCertificate>>,
    },
    /// A view begins. Whoever has it may pass it on.
    NewView(Arc<NewView>),
    /// How far the sender is.
    Status {
        /// The view that it is in, or moves to.
        view: ViewNumber,
        /// Whether that view has begun for it.
        is_active: bool,
        /// What it has executed.
        executed: Sequence,
    },
    /// What was decided from this number on?
    Fetch {
        /// The first that the sender lacks.
        from: Sequence,
    },
    /// This was decided. Whoever has it may pass it on.
    Committed {
        /// What.
        batch: Batch,
        /// The proof.
        certificate: Arc<QuorumCertificate>,
    },
    /// Which batch has this digest?
    FetchBatch {
        /// The sequence number that it was proposed for.
        sequence: Sequence,
        /// Its digest.
        digest: Digest,
    },
    /// This one.
    Batch {
        /// The sequence number that it was proposed for.
        sequence: Sequence,
        /// The batch: its digest is its proof.
        batch: Batch,
    },
    /// Please send a part of the state at this checkpoint.
    FetchState {
        /// Which checkpoint.
        sequence: Sequence,
        /// Where the part begins.
        offset: u64,
    },
    /// A part of the state at a checkpoint.
    State {
        /// Which checkpoint.
        sequence: Sequence,
        /// How long all of it is.
        total_bytes: u64,
        /// Where the part begins.
        offset: u64,
        /// The part.
        bytes: Bytes,
    },
    /// Where does the group stand? The sender has lost what it signed.
    AskPosition,
    /// Here: the sender's view, and the latest thing that it can prove.
    Position {
        /// The view that it is in, or moves to.
        view: ViewNumber,
        /// Of a commit, or a checkpoint; none at the beginning.
        certificate: Option<Arc<QuorumCertificate>>,
    },
}
