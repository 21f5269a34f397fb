//! Messages as bytes: a tag, then the fields in order, little-endian.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{LogIndex, Term, limits};
use bytes::Bytes;

use crate::configuration::Configuration;
use crate::message::{LogEntry, Message, Payload, RepairAnswer, SnapshotMeta};

/// Most messages are no longer than this: their bytes are allocated once.
const ENCODED_USUALLY_BYTES: usize = 128;

/// The tag of each message. A number is never used for another message.
mod tag {
    pub(super) const PRE_VOTE: u8 = 1;
    pub(super) const PRE_VOTE_REPLY: u8 = 2;
    pub(super) const VOTE: u8 = 3;
    pub(super) const VOTE_REPLY: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const APPEND_ACCEPTED: u8 = 6;
    pub(super) const APPEND_REJECTED: u8 = 7;
    pub(super) const HEARTBEAT: u8 = 8;
    pub(super) const HEARTBEAT_REPLY: u8 = 9;
    pub(super) const COMMIT: u8 = 10;
    pub(super) const READ_INDEX: u8 = 11;
    pub(super) const READ_INDEX_REPLY: u8 = 12;
    pub(super) const TIMEOUT_NOW: u8 = 13;
    pub(super) const VOTE_ON_TRANSFER: u8 = 14;
    pub(super) const SNAPSHOT: u8 = 15;
    pub(super) const SNAPSHOT_ACCEPTED: u8 = 16;
    pub(super) const REPAIR: u8 = 17;
    pub(super) const REPAIRED: u8 = 18;
    pub(super) const RECALL: u8 = 19;
    pub(super) const RECALLED: u8 = 20;
}

impl Message {
    /// Appends the message to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        match self {
            Message::PreVote { term, last_index, last_term } => {
                writer.u8(tag::PRE_VOTE).term(*term).log_index(*last_index).term(*last_term);
            }
            Message::PreVoteReply { term, granted } => {
                writer.u8(tag::PRE_VOTE_REPLY).term(*term).bool(*granted);
            }
            Message::Vote { term, last_index, last_term, on_transfer } => {
                let tag = if *on_transfer { tag::VOTE_ON_TRANSFER } else { tag::VOTE };
                writer.u8(tag).term(*term).log_index(*last_index).term(*last_term);
            }
            Message::VoteReply { term, granted } => {
                writer.u8(tag::VOTE_REPLY).term(*term).bool(*granted);
            }
            Message::Append { term, prev_index, prev_term, commit, entries } => {
                writer.u8(tag::APPEND).term(*term).log_index(*prev_index).term(*prev_term);
                writer.log_index(*commit);
                encode_entries(&mut writer, entries);
            }
            Message::AppendAccepted { term, match_index } => {
                writer.u8(tag::APPEND_ACCEPTED).term(*term).log_index(*match_index);
            }
            Message::AppendRejected { term, prev_index, hint_index, hint_term } => {
                writer.u8(tag::APPEND_REJECTED).term(*term).log_index(*prev_index);
                writer.log_index(*hint_index).term(*hint_term);
            }
            Message::Heartbeat { term, commit, round } => {
                writer.u8(tag::HEARTBEAT).term(*term).log_index(*commit).u64(*round);
            }
            Message::HeartbeatReply { term, round, is_bound } => {
                writer.u8(tag::HEARTBEAT_REPLY).term(*term).u64(*round).bool(*is_bound);
            }
            Message::Commit { term, commit } => {
                writer.u8(tag::COMMIT).term(*term).log_index(*commit);
            }
            Message::TimeoutNow { term } => {
                writer.u8(tag::TIMEOUT_NOW).term(*term);
            }
            Message::Snapshot { term, meta, total_bytes, offset, bytes } => {
                encode_part(
                    writer.u8(tag::SNAPSHOT).term(*term),
                    meta,
                    *total_bytes,
                    *offset,
                    bytes,
                );
            }
            Message::SnapshotAccepted { term, index, snapshot_term, next_offset } => {
                writer.u8(tag::SNAPSHOT_ACCEPTED).term(*term).log_index(*index);
                writer.term(*snapshot_term).u64(*next_offset);
            }
            Message::ReadIndex { term, context } => {
                writer.u8(tag::READ_INDEX).term(*term).u64(*context);
            }
            Message::ReadIndexReply { term, context, index } => {
                writer.u8(tag::READ_INDEX_REPLY).term(*term).u64(*context);
                writer.bool(index.is_some()).log_index(index.unwrap_or_default());
            }
            Message::Repair { term, from, to } => {
                writer.u8(tag::REPAIR).term(*term).log_index(*from).log_index(*to);
            }
            Message::Repaired { term, from, answer } => {
                writer.u8(tag::REPAIRED).term(*term).log_index(*from);
                encode_answer(&mut writer, answer);
            }
            Message::Recall { term, index, offset } => {
                writer.u8(tag::RECALL).term(*term).log_index(*index).u64(*offset);
            }
            Message::Recalled { meta, total_bytes, offset, bytes } => {
                let writer = writer.u8(tag::RECALLED).term(meta.term);
                encode_part(writer, meta, *total_bytes, *offset, bytes);
            }
        }
    }

    /// Reads a message; commands are slices of `bytes`, not copies.
    ///
    /// # Errors
    /// If the bytes are anything but one whole message.
    pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8()?;
        let term = read_term(&mut reader)?;
        let message = match tag {
            tag::PRE_VOTE => Message::PreVote {
                term,
                last_index: read_index(&mut reader)?,
                last_term: read_term(&mut reader)?,
            },
            tag::PRE_VOTE_REPLY => Message::PreVoteReply { term, granted: reader.bool()? },
            tag::VOTE | tag::VOTE_ON_TRANSFER => Message::Vote {
                term,
                last_index: read_index(&mut reader)?,
                last_term: read_term(&mut reader)?,
                on_transfer: tag == tag::VOTE_ON_TRANSFER,
            },
            tag::SNAPSHOT => {
                let (meta, total_bytes, offset, bytes) = decode_part(&mut reader, bytes)?;
                Message::Snapshot { term, meta, total_bytes, offset, bytes }
            }
            tag::SNAPSHOT_ACCEPTED => Message::SnapshotAccepted {
                term,
                index: reader.log_index()?,
                snapshot_term: reader.term()?,
                next_offset: reader.u64()?,
            },
            tag::TIMEOUT_NOW => Message::TimeoutNow { term },
            tag::VOTE_REPLY => Message::VoteReply { term, granted: reader.bool()? },
            tag::APPEND => {
                let (prev_index, prev_term) = (read_index(&mut reader)?, read_term(&mut reader)?);
                let commit = read_index(&mut reader)?;
                let entries = Arc::new(decode_entries(&mut reader, bytes, prev_index)?);
                Message::Append { term, prev_index, prev_term, commit, entries }
            }
            tag::APPEND_ACCEPTED => {
                Message::AppendAccepted { term, match_index: read_index(&mut reader)? }
            }
            tag::APPEND_REJECTED => Message::AppendRejected {
                term,
                prev_index: read_index(&mut reader)?,
                hint_index: read_index(&mut reader)?,
                hint_term: read_term(&mut reader)?,
            },
            tag::HEARTBEAT => {
                Message::Heartbeat { term, commit: read_index(&mut reader)?, round: reader.u64()? }
            }
            tag::HEARTBEAT_REPLY => {
                let (round, is_bound) = (reader.u64()?, reader.bool()?);
                Message::HeartbeatReply { term, round, is_bound }
            }
            tag::COMMIT => Message::Commit { term, commit: read_index(&mut reader)? },
            tag::READ_INDEX => Message::ReadIndex { term, context: reader.u64()? },
            tag::READ_INDEX_REPLY => {
                let context = reader.u64()?;
                let (known, index) = (reader.bool()?, read_index(&mut reader)?);
                Message::ReadIndexReply { term, context, index: known.then_some(index) }
            }
            tag::REPAIR => {
                let (from, to) = (read_index(&mut reader)?, read_index(&mut reader)?);
                if from.0 == 0 || to < from {
                    return Err(DecodeError);
                }
                Message::Repair { term, from, to }
            }
            tag::REPAIRED => {
                let from = read_index(&mut reader)?;
                let answer = decode_answer(&mut reader, bytes, from)?;
                Message::Repaired { term, from, answer }
            }
            tag::RECALL => {
                Message::Recall { term, index: read_index(&mut reader)?, offset: reader.u64()? }
            }
            tag::RECALLED => {
                let (meta, total_bytes, offset, bytes) = decode_part(&mut reader, bytes)?;
                if meta.term != term {
                    return Err(DecodeError);
                }
                Message::Recalled { meta, total_bytes, offset, bytes }
            }
            _ => return Err(DecodeError),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn read_term(reader: &mut Reader<'_>) -> Result<Term, DecodeError> {
    let term = reader.term()?;
    if term.0 > limits::RAFT_NUMBER_MAX { Err(DecodeError) } else { Ok(term) }
}

fn read_index(reader: &mut Reader<'_>) -> Result<LogIndex, DecodeError> {
    let index = reader.log_index()?;
    if index.0 > limits::RAFT_NUMBER_MAX { Err(DecodeError) } else { Ok(index) }
}

/// Turns messages into bytes, and the same message only once: most followers of a leader are sent the same
/// entries at the same time, and those follow each other.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    last: Option<(Message, Bytes)>,
}

impl Encoder {
    /// The message as bytes, which several sends may share.
    pub fn encode(&mut self, message: &Message) -> Bytes {
        if let Some((last, bytes)) = &self.last
            && last == message
        {
            return bytes.clone();
        }
        let mut bytes = Vec::with_capacity(ENCODED_USUALLY_BYTES);
        message.encode(&mut bytes);
        let bytes = Bytes::from(bytes);
        self.last = Some((message.clone(), bytes.clone()));
        bytes
    }
}

/// Entries follow each other without gaps: only the first position is known from the message, and each
/// entry is its term, its kind and its payload.
fn encode_entries(writer: &mut Writer<'_>, entries: &[LogEntry]) {
    writer.u32(u32::try_from(entries.len()).expect("batches are bounded"));
    for entry in entries {
        writer.term(entry.term).u8(entry.payload.kind()).length_prefixed(&entry.payload.bytes());
    }
}

/// A number for the answer, and the entries if there are any.
fn encode_answer(writer: &mut Writer<'_>, answer: &RepairAnswer) {
    match answer {
        RepairAnswer::Copies(entries) => encode_entries(writer.u8(0), entries),
        RepairAnswer::Absent { in_term } => drop(writer.u8(1).term(*in_term)),
        RepairAnswer::Damaged => drop(writer.u8(2)),
        RepairAnswer::Compacted => drop(writer.u8(3)),
    }
}

fn decode_answer(
    reader: &mut Reader<'_>,
    bytes: &Bytes,
    from: LogIndex,
) -> Result<RepairAnswer, DecodeError> {
    let before = from.previous().ok_or(DecodeError)?;
    match reader.u8()? {
        0 => {
            let entries = decode_entries(reader, bytes, before)?;
            let is_usable = (1..=limits::REPAIR_ENTRIES_MAX).contains(&entries.len());
            is_usable.then(|| RepairAnswer::Copies(Arc::new(entries))).ok_or(DecodeError)
        }
        1 => Ok(RepairAnswer::Absent { in_term: read_term(reader)? }),
        2 => Ok(RepairAnswer::Damaged),
        3 => Ok(RepairAnswer::Compacted),
        _ => Err(DecodeError),
    }
}

/// A part of a snapshot: what of, how long all of it is, where the part begins, and the part.
fn encode_part(
    writer: &mut Writer<'_>,
    meta: &SnapshotMeta,
    total_bytes: u64,
    offset: u64,
    bytes: &Bytes,
) {
    let mut configuration = Vec::with_capacity(meta.configuration.encoded_length());
    meta.configuration.encode(&mut configuration);
    writer.log_index(meta.index).term(meta.term).length_prefixed(&configuration);
    writer.u64(total_bytes).u64(offset).length_prefixed(bytes);
}

fn decode_part(
    reader: &mut Reader<'_>,
    bytes: &Bytes,
) -> Result<(Box<SnapshotMeta>, u64, u64, Bytes), DecodeError> {
    let (index, snapshot_term) = (reader.log_index()?, reader.term()?);
    let configuration = reader.length_prefixed(limits::CONFIGURATION_MAX_BYTES)?;
    let configuration = Configuration::decode(configuration)?;
    let meta = SnapshotMeta { index, term: snapshot_term, configuration };
    let (total_bytes, offset) = (reader.u64()?, reader.u64()?);
    let part = bytes.slice_ref(reader.length_prefixed(limits::SNAPSHOT_PART_MAX_BYTES)?);
    let end = offset.checked_add(part.len() as u64).ok_or(DecodeError)?;
    if part.is_empty() || end > total_bytes {
        return Err(DecodeError);
    }
    Ok((Box::new(meta), total_bytes, offset, part))
}

fn decode_entries(
    reader: &mut Reader<'_>,
    bytes: &Bytes,
    prev_index: LogIndex,
) -> Result<Vec<LogEntry>, DecodeError> {
    let count = usize::try_from(reader.u32()?).map_err(|_| DecodeError)?;
    if count > limits::APPEND_BATCH_MAX_ENTRIES {
        return Err(DecodeError);
    }
    let mut entries = Vec::with_capacity(count);
    let mut index = prev_index;
    for _ in 0..count {
        index = LogIndex(index.0.checked_add(1).ok_or(DecodeError)?);
        let term = read_term(reader)?;
        let kind = reader.u8()?;
        let payload = reader.length_prefixed(limits::ENTRY_PAYLOAD_MAX_BYTES)?;
        let payload =
            Payload::from_parts(kind, bytes.slice_ref(payload)).map_err(|_| DecodeError)?;
        entries.push(LogEntry { index, term, payload });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
