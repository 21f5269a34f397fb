//! What a replica wants done.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use base::NodeId;
use bytes::Bytes;

use crate::batch::Batch;
use crate::certificate::QuorumCertificate;
use crate::message::Message;
use crate::numbers::{Sequence, ViewNumber};
use crate::record::Record;

/// The name of a write to the disk. Later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// Records to be appended to the signing record, in this order, after everything with an earlier ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Persist {
    /// To be named in [`crate::BftNode::handle_persisted`].
    pub ticket: Ticket,
    /// What to append: at least one.
    pub records: Vec<Record>,
}

/// Something for the caller to do. Each may be carried out at once: what must wait for the disk is kept
/// back until the disk has said so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a message. It may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Write to the disk.
    Persist(Persist),
    /// Execute a decided batch. Numbers come in order, without gaps, and each once as long as the replica
    /// runs; answer with [`crate::BftNode::handle_applied`].
    Apply {
        /// Which number.
        sequence: Sequence,
        /// What: null requests do nothing, and a request that was executed before must do nothing again.
        batch: Batch,
        /// The proof that it is decided.
        certificate: Arc<QuorumCertificate>,
    },
    /// When everything up to here is executed, keep a copy of the state, and answer with
    /// [`crate::BftNode::handle_checkpoint`].
    TakeCheckpoint {
        /// Up to where.
        sequence: Sequence,
    },
    /// The copy of the state there is what others may ask for; older ones may go.
    Stable {
        /// The proof.
        certificate: Arc<QuorumCertificate>,
    },
    /// Read a part of the copy at this checkpoint, and answer with [`crate::BftNode::handle_state_part`];
    /// do nothing if there is none.
    ReadState {
        /// Whom it is for.
        peer: NodeId,
        /// Which checkpoint.
        sequence: Sequence,
        /// Where the part begins.
        offset: u64,
        /// How long it may be, in bytes.
        max_bytes: usize,
    },
    /// Keep a part of a state that comes in, behind those before; a part at 0 begins anew. After the last
    /// part replace the state with it if its digest is that of the certificate, and answer with
    /// [`crate::BftNode::handle_state_installed`], or else [`crate::BftNode::handle_state_refused`].
    StoreState {
        /// Which checkpoint, and the digest of the whole.
        certificate: Arc<QuorumCertificate>,
        /// Where the part begins.
        offset: u64,
        /// The part.
        bytes: Bytes,
        /// It is the last one.
        is_last: bool,
    },
    /// Something happened that an operator would want to know.
    Event(Event),
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// This replica leaves the view before.
    Leaving {
        /// The view that it moves to.
        view: ViewNumber,
    },
    /// A view has begun.
    Entered {
        /// The view.
        view: ViewNumber,
        /// Its primary.
        primary: NodeId,
    },
    /// A signature did not verify in what this node sent.
    BadSignature {
        /// Who sent it.
        from: NodeId,
    },
    /// A primary proposed two batches for one number.
    Equivocation {
        /// Which primary.
        primary: NodeId,
        /// For which number.
        sequence: Sequence,
    },
    /// A replica voted for a batch that this one, as the primary, has not proposed.
    FalseVote {
        /// Which replica.
        from: NodeId,
        /// On which number.
        sequence: Sequence,
    },
    /// A quorum has another state than this replica: it fetches theirs.
    Diverged {
        /// At this checkpoint.
        sequence: Sequence,
    },
    /// Two different batches are proven to be decided for one number: more replicas lie than may.
    Forked {
        /// Which number.
        sequence: Sequence,
    },
    /// The state at a checkpoint was fetched from another replica.
    StateInstalled {
        /// Which checkpoint.
        sequence: Sequence,
    },
    /// A state that came in was not what a quorum has.
    StateRefused {
        /// From whom the last part came.
        from: NodeId,
    },
    /// What this replica signed is not known any more: it signs nothing.
    Abstaining,
    /// It signs again: nothing can contradict what it may have signed.
    SigningAgain {
        /// Everything up to here is settled.
        sequence: Sequence,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Leaving { view } => write!(f, "moving to view {view}"),
            Event::Entered { view, primary } => {
                write!(f, "view {view} has begun, node {primary} is the primary")
            }
            Event::BadSignature { from } => write!(f, "node {from} sent a bad signature"),
            Event::Equivocation { primary, sequence } => {
                write!(f, "node {primary} proposed two batches for number {sequence}")
            }
            Event::FalseVote { from, sequence } => {
                write!(f, "node {from} voted for two batches for number {sequence}")
            }
            Event::Diverged { sequence } => {
                write!(f, "the state at checkpoint {sequence} is not that of a quorum")
            }
            Event::Forked { sequence } => {
                write!(f, "two batches are decided for number {sequence}: too many nodes lie")
            }
            Event::StateInstalled { sequence } => {
                write!(f, "the state at checkpoint {sequence} is installed")
            }
            Event::StateRefused { from } => write!(f, "node {from} sent a state that is not ours"),
            Event::Abstaining => f.write_str("the signing record is damaged: nothing is signed"),
            Event::SigningAgain { sequence } => {
                write!(f, "everything up to {sequence} is settled: signing again")
            }
        }
    }
}
