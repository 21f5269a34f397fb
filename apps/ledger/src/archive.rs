//! What a node keeps of the ledger on its disk: the decisions in their order, with what proves them.
//!
//! | kind | bytes |
//! |---|---|
//! | 1, decided | a batch and its certificate, as replicas send them to each other |
//! | 2, executed | the same, of a batch of which every request was executed |
//! | 3, checkpoint | the certificate of the state at a checkpoint: a quorum has the head that is in it |
//! | 4, state | such a certificate, and the state; it takes the place of what the node has not seen decided |

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use bft::QuorumCertificate;
use bytes::Bytes;

use crate::decision::Decision;

const DECIDED: u8 = 1;
const EXECUTED: u8 = 2;
const CHECKPOINT: u8 = 3;
const STATE: u8 = 4;

/// One record of the log of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Archived {
    /// A decision that was executed.
    Decision {
        /// Which.
        decision: Decision,
        /// Every request of it was good and new, so that a node that trusts its own disk need not verify
        /// them again.
        is_clean: bool,
    },
    /// A quorum has this state.
    Checkpoint(Arc<QuorumCertificate>),
    /// A state that was fetched from another node.
    State {
        /// Its proof.
        certificate: Arc<QuorumCertificate>,
        /// [`crate::Ledger::snapshot`] there.
        state: Bytes,
    },
}

impl Archived {
    /// The kind of the record, and its bytes.
    pub fn encode(&self) -> (u8, Bytes) {
        let mut bytes = Vec::new();
        let kind = match self {
            Archived::Decision { decision, is_clean } => {
                return (if *is_clean { EXECUTED } else { DECIDED }, decision.encode());
            }
            Archived::Checkpoint(certificate) => {
                certificate.encode(&mut Writer::new(&mut bytes));
                CHECKPOINT
            }
            Archived::State { certificate, state } => {
                let mut writer = Writer::new(&mut bytes);
                certificate.encode(&mut writer);
                writer.bytes(state);
                STATE
            }
        };
        (kind, bytes.into())
    }

    /// Reads a record; nothing is verified.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(kind: u8, bytes: &Bytes) -> Result<Archived, DecodeError> {
        let mut reader = Reader::new(bytes);
        match kind {
            DECIDED | EXECUTED => {
                let decision = Decision::decode(bytes)?;
                Ok(Archived::Decision { decision, is_clean: kind == EXECUTED })
            }
            CHECKPOINT => {
                let certificate = Arc::new(QuorumCertificate::decode(&mut reader)?);
                reader.finish()?;
                Ok(Archived::Checkpoint(certificate))
            }
            STATE => {
                let certificate = Arc::new(QuorumCertificate::decode(&mut reader)?);
                let state = bytes.slice_ref(reader.rest());
                Ok(Archived::State { certificate, state })
            }
            _ => Err(DecodeError),
        }
    }
}
