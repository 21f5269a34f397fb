//! What a replica must never forget. A vote leaves only when the record that binds it is on the disk.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use bytes::Bytes;
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{self, QuorumCertificate};
use crate::change::{NewView, ViewChange};
use crate::numbers::{Sequence, ViewNumber};

/// One thing that happened, to be kept in the order in which it did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// It takes this proposal, and no other in this view for this number: before its prepare, or as the
    /// primary before the proposal itself.
    Accepted {
        /// In which view.
        view: ViewNumber,
        /// For which number.
        sequence: Sequence,
        /// What: it must be there when it is decided.
        batch: Batch,
        /// The primary's signature.
        signature: Signature,
    },
    /// A quorum takes it: before its commit, and what its next view change must tell.
    Prepared(Arc<QuorumCertificate>),
    /// It is decided. No vote depends on it; others may ask for it.
    Committed(Arc<QuorumCertificate>),
    /// What came of executing everything up to here.
    Checkpoint {
        /// Up to where.
        sequence: Sequence,
        /// The digest of the state.
        digest: Digest,
    },
    /// A checkpoint is stable: records of numbers up to it may be forgotten, but for the last view.
    Stable(Arc<QuorumCertificate>),
    /// It has left all views before that one.
    Left(Box<ViewChange>),
    /// It is in this view.
    Entered(Arc<NewView>),
}

mod tag {
    pub(super) const ACCEPTED: u8 = 1;
    pub(super) const PREPARED: u8 = 2;
    pub(super) const COMMITTED: u8 = 3;
    pub(super) const CHECKPOINT: u8 = 4;
    pub(super) const STABLE: u8 = 5;
    pub(super) const LEFT: u8 = 6;
    pub(super) const ENTERED: u8 = 7;
}

impl Record {
    /// Appends the record to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        match self {
            Record::Accepted { view, sequence, batch, signature } => {
                writer.u8(tag::ACCEPTED).u64(view.0).u64(sequence.0);
                signature.encode(&mut writer);
                batch.encode(&mut writer);
            }
            Record::Prepared(certificate) => certificate.encode(writer.u8(tag::PREPARED)),
            Record::Committed(certificate) => certificate.encode(writer.u8(tag::COMMITTED)),
            Record::Checkpoint { sequence, digest } => {
                digest.encode(writer.u8(tag::CHECKPOINT).u64(sequence.0));
            }
            Record::Stable(certificate) => certificate.encode(writer.u8(tag::STABLE)),
            Record::Left(change) => change.encode(writer.u8(tag::LEFT)),
            Record::Entered(new_view) => new_view.encode(writer.u8(tag::ENTERED)),
        }
    }

    /// Reads a record; requests are slices of `bytes`.
    ///
    /// # Errors
    /// If the bytes are anything but one whole record.
    pub fn decode(bytes: &Bytes) -> Result<Record, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        let record = match reader.u8()? {
            tag::ACCEPTED => Record::Accepted {
                view: certificate::view(reader)?,
                sequence: certificate::sequence(reader)?,
                signature: Signature::decode(reader)?,
                batch: Batch::decode(reader, bytes)?,
            },
            tag::PREPARED => Record::Prepared(Arc::new(QuorumCertificate::decode(reader)?)),
            tag::COMMITTED => Record::Committed(Arc::new(QuorumCertificate::decode(reader)?)),
            tag::CHECKPOINT => Record::Checkpoint {
                sequence: certificate::sequence(reader)?,
                digest: Digest::decode(reader)?,
            },
            tag::STABLE => Record::Stable(Arc::new(QuorumCertificate::decode(reader)?)),
            tag::LEFT => Record::Left(Box::new(ViewChange::decode(reader)?)),
            tag::ENTERED => Record::Entered(Arc::new(NewView::decode(reader)?)),
            _ => return Err(DecodeError),
        };
        reader.clone().finish()?;
        Ok(record)
    }
}
