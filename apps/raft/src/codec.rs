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
            Message::HeartbeatReply { term, round } => {
                writer.u8(tag::HEARTBEAT_REPLY).term(*term).u64(*round);
            }
            Message::Commit { term, commit } => {
                writer.u8(tag::COMMIT).term(*term).log_index(*commit);
            }
            Message::TimeoutNow { term } => {
                writer.u8(tag::TIMEOUT_NOW).term(*term);
            }
            Message::Snapshot { term, meta, total_bytes, offset, bytes } => {
                let mut configuration = Vec::with_capacity(meta.configuration.encoded_length());
                meta.configuration.encode(&mut configuration);
                writer.u8(tag::SNAPSHOT).term(*term).log_index(meta.index).term(meta.term);
                writer.length_prefixed(&configuration).u64(*total_bytes).u64(*offset);
                writer.length_prefixed(bytes);
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
            tag::SNAPSHOT => decode_snapshot(&mut reader, bytes, term)?,
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
            tag::HEARTBEAT_REPLY => Message::HeartbeatReply { term, round: reader.u64()? },
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
        RepairAnswer::Absent => drop(writer.u8(1)),
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
        1 => Ok(RepairAnswer::Absent),
        2 => Ok(RepairAnswer::Damaged),
        3 => Ok(RepairAnswer::Compacted),
        _ => Err(DecodeError),
    }
}

fn decode_snapshot(
    reader: &mut Reader<'_>,
    bytes: &Bytes,
    term: Term,
) -> Result<Message, DecodeError> {
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
    Ok(Message::Snapshot { term, meta: Box::new(meta), total_bytes, offset, bytes: part })
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An empty command stands for a configuration here: both have their place among the entries.
    fn payload(command: Option<Vec<u8>>) -> Payload {
        match command {
            None => Payload::Noop,
            Some(command) if command.is_empty() => {
                let voters = (1..4).filter_map(base::NodeId::new).collect();
                Payload::Configuration(Box::new(Configuration::of_voters(voters)))
            }
            Some(command) => Payload::Command(command.into()),
        }
    }

    fn meta(number: u64) -> SnapshotMeta {
        let voters = (1..4).filter_map(base::NodeId::new).collect();
        let configuration = Configuration::of_voters(voters);
        SnapshotMeta { index: LogIndex(number), term: Term(number / 3), configuration }
    }

    #[test]
    fn a_part_that_is_no_part_of_its_snapshot_is_refused() {
        let encoded = |total_bytes, offset, bytes: &'static [u8]| {
            let mut encoded = Vec::new();
            let bytes = Bytes::from_static(bytes);
            let message = Message::Snapshot {
                term: Term(1),
                meta: Box::new(meta(9)),
                total_bytes,
                offset,
                bytes,
            };
            message.encode(&mut encoded);
            Message::decode(&encoded.into())
        };
        assert!(encoded(10, 7, b"abc").is_ok());
        assert_eq!(encoded(10, 8, b"abc"), Err(DecodeError));
        assert_eq!(encoded(10, 5, b""), Err(DecodeError));
        assert_eq!(encoded(10, u64::MAX, b"abc"), Err(DecodeError));
        static LONG: [u8; limits::SNAPSHOT_PART_MAX_BYTES + 1] =
            [0; limits::SNAPSHOT_PART_MAX_BYTES + 1];
        assert_eq!(encoded(1 << 20, 0, &LONG), Err(DecodeError));
    }

    type Written = Vec<(u64, Option<Vec<u8>>)>;

    /// What a peer says that was asked for copies from an index on.
    fn answer(kind: u8, from: u64, written: Written) -> RepairAnswer {
        let entry = |(index, (term, command)): (u64, (u64, Option<Vec<u8>>))| LogEntry {
            index: LogIndex(index),
            term: Term(term),
            payload: payload(command),
        };
        match kind {
            0 => RepairAnswer::Absent,
            1 => RepairAnswer::Damaged,
            2 => RepairAnswer::Compacted,
            _ => RepairAnswer::Copies(Arc::new((from..).zip(written).map(entry).collect())),
        }
    }

    #[test]
    fn a_question_for_no_entries_and_an_answer_without_any_are_refused() {
        let refused = |message: Message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(Message::decode(&bytes.into()), Err(DecodeError), "{message:?}");
        };
        let repair =
            |from, to| Message::Repair { term: Term(1), from: LogIndex(from), to: LogIndex(to) };
        refused(repair(0, 3));
        refused(repair(4, 3));
        let copies = |count: u64| {
            let entry =
                |index| LogEntry { index: LogIndex(index), term: Term(1), payload: Payload::Noop };
            let answer = RepairAnswer::Copies(Arc::new((5..5 + count).map(entry).collect()));
            Message::Repaired { term: Term(1), from: LogIndex(5), answer }
        };
        refused(copies(0));
        refused(copies(limits::REPAIR_ENTRIES_MAX as u64 + 1));
    }

    fn message() -> impl Strategy<Value = Message> {
        let number = || 0..=limits::RAFT_NUMBER_MAX;
        let entry = (number(), prop::option::of(prop::collection::vec(any::<u8>(), 0..64)));
        let copies = prop::collection::vec(entry.clone(), 1..8);
        let append =
            (number(), 0..limits::RAFT_NUMBER_MAX, number(), prop::collection::vec(entry, 0..8));
        prop_oneof![
            (number(), number(), number()).prop_map(|(term, index, last)| Message::PreVote {
                term: Term(term),
                last_index: LogIndex(index),
                last_term: Term(last)
            }),
            (number(), number(), number(), any::<bool>()).prop_map(
                |(term, index, last, on_transfer)| Message::Vote {
                    term: Term(term),
                    last_index: LogIndex(index),
                    last_term: Term(last),
                    on_transfer,
                }
            ),
            number().prop_map(|term| Message::TimeoutNow { term: Term(term) }),
            (number(), 0..1u64 << 60, prop::collection::vec(any::<u8>(), 1..64)).prop_map(
                |(term, offset, bytes)| Message::Snapshot {
                    term: Term(term),
                    meta: Box::new(meta(term)),
                    total_bytes: offset + bytes.len() as u64 + term % 3,
                    offset,
                    bytes: bytes.into(),
                }
            ),
            (number(), number(), number()).prop_map(|(term, index, next_offset)| {
                Message::SnapshotAccepted {
                    term: Term(term),
                    index: LogIndex(index),
                    snapshot_term: Term(term / 2),
                    next_offset,
                }
            }),
            (number(), any::<bool>())
                .prop_map(|(term, granted)| Message::VoteReply { term: Term(term), granted }),
            (number(), number(), prop::option::of(number())).prop_map(|(term, context, index)| {
                Message::ReadIndexReply { term: Term(term), context, index: index.map(LogIndex) }
            }),
            (number(), 1..limits::RAFT_NUMBER_MAX).prop_map(|(term, from)| Message::Repair {
                term: Term(term),
                from: LogIndex(from),
                to: LogIndex(from + (limits::RAFT_NUMBER_MAX - from) / 2),
            }),
            (number(), 1..limits::RAFT_NUMBER_MAX / 2, 0..4u8, copies).prop_map(
                |(term, from, kind, written)| Message::Repaired {
                    term: Term(term),
                    from: LogIndex(from),
                    answer: answer(kind, from, written),
                }
            ),
            append.prop_map(|(term, prev, commit, entries)| Message::Append {
                term: Term(term),
                prev_index: LogIndex(prev),
                prev_term: Term(term),
                commit: LogIndex(commit),
                entries: Arc::new(
                    (prev + 1..)
                        .zip(entries)
                        .map(|(index, (term, command))| LogEntry {
                            index: LogIndex(index),
                            term: Term(term),
                            payload: payload(command),
                        })
                        .collect(),
                ),
            }),
        ]
    }

    /// Whoever took such a term would have to stand for the one behind it, of which there is none.
    #[test]
    fn terms_and_positions_leave_room_to_count_on() {
        let decoded = |term, last_index, last_term| {
            let message = Message::Vote {
                term: Term(term),
                last_index: LogIndex(last_index),
                last_term: Term(last_term),
                on_transfer: false,
            };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Message::decode(&bytes.into()).is_ok()
        };
        let most = limits::RAFT_NUMBER_MAX;
        assert!(decoded(most, most, most));
        for above in [most + 1, u64::MAX] {
            assert!(!decoded(above, 1, 1) && !decoded(1, above, 1) && !decoded(1, 1, above));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(message in message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Message::decode(&bytes.into()), Ok(message));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = Message::decode(&bytes.into());
        }

        #[test]
        fn a_shortened_message_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert_eq!(Message::decode(&bytes.into()), Err(DecodeError));
        }
    }
}
