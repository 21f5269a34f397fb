//! Messages as bytes: a tag, then the fields in order, little-endian. What is read is within the limits,
//! and nothing in it is verified.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use bytes::Bytes;
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::{QuorumCertificate, sequence, view};
use crate::change::{NewView, ViewChange, proofs};
use crate::message::{Message, Vote};
use crate::numbers::PhaseState;

/// The tag of each message. A number is never used for another message.
mod tag {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const PRE_PREPARE: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const CERTIFICATE: u8 = 4;
    pub(super) const LEAVING: u8 = 5;
    pub(super) const VIEW_CHANGE: u8 = 6;
    pub(super) const NEW_VIEW: u8 = 7;
    pub(super) const STATUS: u8 = 8;
    pub(super) const FETCH: u8 = 9;
    pub(super) const COMMITTED: u8 = 10;
    pub(super) const FETCH_BATCH: u8 = 11;
    pub(super) const BATCH: u8 = 12;
    pub(super) const FETCH_STATE: u8 = 13;
    pub(super) const STATE: u8 = 14;
    pub(super) const ASK_POSITION: u8 = 15;
    pub(super) const POSITION: u8 = 16;
}

impl Message {
    /// Appends the message to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        match self {
            Message::Request(request) => {
                writer.u8(tag::REQUEST).length_prefixed(request);
            }
            Message::PrePrepare { view, sequence, batch, signature } => {
                writer.u8(tag::PRE_PREPARE).u64(view.0).u64(sequence.0);
                signature.encode(&mut writer);
                batch.encode(&mut writer);
            }
            Message::Vote(vote) => {
                writer.u8(tag::VOTE).u8(vote.phase.number());
                writer.u64(vote.view.0).u64(vote.sequence.0);
                vote.digest.encode(&mut writer);
                vote.signature.encode(&mut writer);
            }
            Message::Certificate(certificate) => certificate.encode(writer.u8(tag::CERTIFICATE)),
            Message::Leaving { view, content, signature } => {
                content.encode(writer.u8(tag::LEAVING).u64(view.0));
                signature.encode(&mut writer);
            }
            Message::ViewChange { change, proofs } => {
                change.encode(writer.u8(tag::VIEW_CHANGE));
                writer.u16(u16::try_from(proofs.len()).expect("the window is below 2^16"));
                proofs.iter().for_each(|proof| proof.encode(&mut writer));
            }
            Message::NewView(new_view) => new_view.encode(writer.u8(tag::NEW_VIEW)),
            Message::Status { view, is_active, executed } => {
                writer.u8(tag::STATUS).u64(view.0).bool(*is_active).u64(executed.0);
            }
            Message::Fetch { .. }
            | Message::Committed { .. }
            | Message::FetchBatch { .. }
            | Message::Batch { .. }
            | Message::FetchState { .. }
            | Message::State { .. }
            | Message::AskPosition
            | Message::Position { .. } => self.encode_transfer(&mut writer),
        }
    }

    /// Those by which a replica catches up.
    fn encode_transfer(&self, writer: &mut Writer<'_>) {
        match self {
            Message::Fetch { from } => {
                writer.u8(tag::FETCH).u64(from.0);
            }
            Message::Committed { batch, certificate } => {
                certificate.encode(writer.u8(tag::COMMITTED));
                batch.encode(writer);
            }
            Message::FetchBatch { sequence, digest } => {
                digest.encode(writer.u8(tag::FETCH_BATCH).u64(sequence.0));
            }
            Message::Batch { sequence, batch } => {
                batch.encode(writer.u8(tag::BATCH).u64(sequence.0));
            }
            Message::FetchState { sequence, offset } => {
                writer.u8(tag::FETCH_STATE).u64(sequence.0).u64(*offset);
            }
            Message::State { sequence, total_bytes, offset, bytes } => {
                writer.u8(tag::STATE).u64(sequence.0).u64(*total_bytes).u64(*offset);
                writer.length_prefixed(bytes);
            }
            Message::AskPosition => {
                writer.u8(tag::ASK_POSITION);
            }
            Message::Position { view, certificate } => {
                writer.u8(tag::POSITION).u64(view.0).bool(certificate.is_some());
                if let Some(certificate) = certificate {
                    certificate.encode(writer);
                }
            }
            Message::Request(_)
            | Message::PrePrepare { .. }
            | Message::Vote(_)
            | Message::Certificate(_)
            | Message::Leaving { .. }
            | Message::ViewChange { .. }
            | Message::NewView(_)
            | Message::Status { .. } => unreachable!("`encode` has written it"),
        }
    }

    /// Reads a message; requests are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// If the bytes are anything but one whole message within the limits.
    pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            tag::REQUEST => Message::Request(
                bytes.slice_ref(reader.length_prefixed(limits::BFT_REQUEST_MAX_BYTES)?),
            ),
            tag::PRE_PREPARE => Message::PrePrepare {
                view: view(&mut reader)?,
                sequence: sequence(&mut reader)?,
                signature: Signature::decode(&mut reader)?,
                batch: Batch::decode(&mut reader, bytes)?,
            },
            tag::VOTE => Message::Vote(decode_vote(&mut reader)?),
            tag::CERTIFICATE => Message::Certificate(certificate(&mut reader)?),
            tag::LEAVING => Message::Leaving {
                view: view(&mut reader)?,
                content: Digest::decode(&mut reader)?,
                signature: Signature::decode(&mut reader)?,
            },
            tag::VIEW_CHANGE => Message::ViewChange {
                change: Box::new(ViewChange::decode(&mut reader)?),
                proofs: proofs(&mut reader)?,
            },
            tag::NEW_VIEW => Message::NewView(Arc::new(NewView::decode(&mut reader)?)),
            tag::STATUS => Message::Status {
                view: view(&mut reader)?,
                is_active: reader.bool()?,
                executed: sequence(&mut reader)?,
            },
            other => decode_transfer(other, &mut reader, bytes)?,
        };
        reader.finish()?;
        Ok(message)
    }
}

fn decode_transfer(
    tag: u8,
    reader: &mut Reader<'_>,
    bytes: &Bytes,
) -> Result<Message, DecodeError> {
    Ok(match tag {
        tag::FETCH => Message::Fetch { from: sequence(reader)? },
        tag::COMMITTED => Message::Committed {
            certificate: certificate(reader)?,
            batch: Batch::decode(reader, bytes)?,
        },
        tag::FETCH_BATCH => {
            Message::FetchBatch { sequence: sequence(reader)?, digest: Digest::decode(reader)? }
        }
        tag::BATCH => {
            Message::Batch { sequence: sequence(reader)?, batch: Batch::decode(reader, bytes)? }
        }
        tag::FETCH_STATE => {
            Message::FetchState { sequence: sequence(reader)?, offset: reader.u64()? }
        }
        tag::STATE => decode_state(reader, bytes)?,
        tag::ASK_POSITION => Message::AskPosition,
        tag::POSITION => Message::Position {
            view: view(reader)?,
            certificate: if reader.bool()? { Some(certificate(reader)?) } else { None },
        },
        _ => return Err(DecodeError),
    })
}

fn decode_vote(reader: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    let phase = PhaseState::from_number(reader.u8()?).ok_or(DecodeError)?;
    if phase == PhaseState::PrePrepare {
        return Err(DecodeError);
    }
    Ok(Vote {
        phase,
        view: view(reader)?,
        sequence: sequence(reader)?,
        digest: Digest::decode(reader)?,
        signature: Signature::decode(reader)?,
    })
}

fn certificate(reader: &mut Reader<'_>) -> Result<Arc<QuorumCertificate>, DecodeError> {
    QuorumCertificate::decode(reader).map(Arc::new)
}

fn decode_state(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Message, DecodeError> {
    let sequence = sequence(reader)?;
    let (total_bytes, offset) = (reader.u64()?, reader.u64()?);
    let part = bytes.slice_ref(reader.length_prefixed(limits::SNAPSHOT_PART_MAX_BYTES)?);
    let end = offset.checked_add(part.len() as u64).ok_or(DecodeError)?;
    if part.is_empty() || end > total_bytes {
        return Err(DecodeError);
    }
    Ok(Message::State { sequence, total_bytes, offset, bytes: part })
}

#[cfg(test)]
mod tests;
