//! What is written is read again, and nothing else is read.

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
        0 => RepairAnswer::Absent { in_term: Term(from) },
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
        (number(), number(), number()).prop_map(|(term, index, offset)| Message::Recall {
            term: Term(term),
            index: LogIndex(index),
            offset,
        }),
        (number(), 0..1u64 << 60, prop::collection::vec(any::<u8>(), 1..64)).prop_map(
            |(index, offset, bytes)| Message::Recalled {
                meta: Box::new(meta(index)),
                total_bytes: offset + bytes.len() as u64 + index % 3,
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
        (number(), number(), any::<bool>()).prop_map(|(term, round, is_bound)| {
            Message::HeartbeatReply { term: Term(term), round, is_bound }
        }),
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
