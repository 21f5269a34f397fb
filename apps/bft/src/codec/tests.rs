//! Whatever is written is read back, and whatever is read is what would be written.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::change::Claim;
use crate::numbers::{Sequence, ViewNumber, VoterSet};
use crate::record::Record;

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..1000u64, 0..=limits::BFT_NUMBER_MAX]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn signature() -> impl Strategy<Value = Signature> {
    (digest(), digest()).prop_map(|(one, other)| {
        let mut signature = Signature([0; 64]);
        signature.0[..32].copy_from_slice(&one.0);
        signature.0[32..].copy_from_slice(&other.0);
        signature
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    vec(vec(any::<u8>(), 0..40), 0..5)
        .prop_map(|requests| Batch::new(requests.into_iter().map(Bytes::from).collect()))
}

fn phase() -> impl Strategy<Value = PhaseState> {
    prop_oneof![Just(PhaseState::Prepare), Just(PhaseState::Commit), Just(PhaseState::Checkpoint)]
}

fn certificates() -> impl Strategy<Value = Arc<QuorumCertificate>> {
    (phase(), number(), number(), digest(), any::<u32>(), signature()).prop_map(
        |(phase, view, sequence, digest, signers, signature)| {
            let signers = VoterSet(signers);
            let (view, sequence) = (ViewNumber(view), Sequence(sequence));
            let signatures = alloc::vec![signature; signers.len()];
            Arc::new(QuorumCertificate { phase, view, sequence, digest, signers, signatures })
        },
    )
}

fn change() -> impl Strategy<Value = ViewChange> {
    let claim = || {
        (number(), number(), digest()).prop_map(|(sequence, view, digest)| Claim {
            sequence: Sequence(sequence),
            view: ViewNumber(view),
            digest,
        })
    };
    let claims = (vec(claim(), 0..4), vec(claim(), 0..4));
    (number(), 0..32usize, number(), digest(), claims, signature()).prop_map(
        |(view, slot, stable, state, (prepared, voted), signature)| {
            let (view, stable) = (ViewNumber(view), Sequence(stable));
            ViewChange { view, slot, stable, state, prepared, voted, signature }
        },
    )
}

fn new_view() -> impl Strategy<Value = Arc<NewView>> {
    let proofs = vec(certificates(), 0..3);
    let stable = prop::option::of(certificates());
    (number(), vec(change(), 0..4), stable, proofs, vec(signature(), 0..4), signature()).prop_map(
        |(view, changes, stable, proofs, proposals, signature)| {
            let view = ViewNumber(view);
            Arc::new(NewView { view, changes, stable, proofs, proposals, signature })
        },
    )
}

fn vote() -> impl Strategy<Value = Vote> {
    (phase(), number(), number(), digest(), signature()).prop_map(
        |(phase, view, sequence, digest, signature)| {
            let (view, sequence) = (ViewNumber(view), Sequence(sequence));
            Vote { phase, view, sequence, digest, signature }
        },
    )
}

fn ordering() -> impl Strategy<Value = Message> {
    prop_oneof![
        vec(any::<u8>(), 0..64).prop_map(|request| Message::Request(request.into())),
        (number(), number(), batch(), signature()).prop_map(
            |(view, sequence, batch, signature)| {
                let (view, sequence) = (ViewNumber(view), Sequence(sequence));
                Message::PrePrepare { view, sequence, batch, signature }
            }
        ),
        vote().prop_map(Message::Vote),
        certificates().prop_map(Message::Certificate),
        (number(), digest(), signature()).prop_map(|(view, content, signature)| {
            Message::Leaving { view: ViewNumber(view), content, signature }
        }),
        (change(), vec(certificates(), 0..3))
            .prop_map(|(change, proofs)| Message::ViewChange { change: Box::new(change), proofs }),
        new_view().prop_map(Message::NewView),
    ]
}

fn transfer() -> impl Strategy<Value = Message> {
    prop_oneof![
        (number(), any::<bool>(), number()).prop_map(|(view, is_active, executed)| {
            let (view, executed) = (ViewNumber(view), Sequence(executed));
            Message::Status { view, is_active, executed }
        }),
        number().prop_map(|from| Message::Fetch { from: Sequence(from) }),
        (batch(), certificates())
            .prop_map(|(batch, certificate)| Message::Committed { batch, certificate }),
        (number(), digest()).prop_map(|(sequence, digest)| Message::FetchBatch {
            sequence: Sequence(sequence),
            digest
        }),
        (number(), batch())
            .prop_map(|(sequence, batch)| Message::Batch { sequence: Sequence(sequence), batch }),
        (number(), any::<u64>()).prop_map(|(sequence, offset)| Message::FetchState {
            sequence: Sequence(sequence),
            offset
        }),
        (number(), 0..1u64 << 50, vec(any::<u8>(), 1..64), 0..99u64).prop_map(
            |(sequence, offset, bytes, more)| Message::State {
                sequence: Sequence(sequence),
                total_bytes: offset + bytes.len() as u64 + more,
                offset,
                bytes: bytes.into(),
            }
        ),
        Just(Message::AskPosition),
        (number(), prop::option::of(certificates())).prop_map(|(view, certificate)| {
            Message::Position { view: ViewNumber(view), certificate }
        }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (number(), number(), batch(), signature()).prop_map(
            |(view, sequence, batch, signature)| {
                let (view, sequence) = (ViewNumber(view), Sequence(sequence));
                Record::Accepted { view, sequence, batch, signature }
            }
        ),
        certificates().prop_map(Record::Prepared),
        certificates().prop_map(Record::Committed),
        certificates().prop_map(Record::Stable),
        (number(), digest()).prop_map(|(sequence, digest)| Record::Checkpoint {
            sequence: Sequence(sequence),
            digest
        }),
        change().prop_map(|change| Record::Left(Box::new(change))),
        new_view().prop_map(Record::Entered),
    ]
}

fn encoded(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

#[test]
fn what_is_beyond_the_limits_is_refused() {
    let is_read = |message: &Message| Message::decode(&encoded(message)).is_ok();
    let most = limits::BFT_NUMBER_MAX;
    assert!(is_read(&Message::Fetch { from: Sequence(most) }));
    assert!(!is_read(&Message::Fetch { from: Sequence(most + 1) }));
    let request = |length| Bytes::from(alloc::vec![0; length]);
    assert!(is_read(&Message::Request(request(limits::BFT_REQUEST_MAX_BYTES))));
    assert!(!is_read(&Message::Request(request(limits::BFT_REQUEST_MAX_BYTES + 1))));
    let batch = |count, length| {
        let batch = Batch::new(alloc::vec![request(length); count]);
        Message::Batch { sequence: Sequence(1), batch }
    };
    assert!(is_read(&batch(limits::BFT_BATCH_MAX_REQUESTS, 1)));
    assert!(!is_read(&batch(limits::BFT_BATCH_MAX_REQUESTS + 1, 1)));
    assert!(is_read(&batch(4, limits::BFT_BATCH_MAX_BYTES / 4)));
    assert!(!is_read(&batch(5, limits::BFT_BATCH_MAX_BYTES / 5 + 1)));
    let part = |offset, total_bytes, bytes: &'static [u8]| Message::State {
        sequence: Sequence(1),
        total_bytes,
        offset,
        bytes: Bytes::from_static(bytes),
    };
    assert!(is_read(&part(2, 5, b"abc")));
    assert!(!is_read(&part(3, 5, b"abc")) && !is_read(&part(2, 5, b"")));
    assert!(!is_read(&part(u64::MAX, 5, b"abc")));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(message in prop_oneof![ordering(), transfer()]) {
        prop_assert_eq!(Message::decode(&encoded(&message)), Ok(message));
    }

    #[test]
    fn a_shortened_or_longer_message_is_refused(
        message in prop_oneof![ordering(), transfer()],
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = encoded(&message);
        let short = bytes.slice(..cut.index(bytes.len()));
        prop_assert_eq!(Message::decode(&short), Err(DecodeError));
        let long = Bytes::from([&bytes[..], &[0]].concat());
        prop_assert_eq!(Message::decode(&long), Err(DecodeError));
    }

    #[test]
    fn no_bytes_make_it_panic(tag in 0..20u8, bytes in vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from([&[tag], &bytes[..]].concat());
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(encoded(&message), bytes.clone());
        }
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn records_are_read_back(record in record(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
        let short = bytes.slice(..cut.index(bytes.len()));
        prop_assert_eq!(Record::decode(&short), Err(DecodeError));
    }
}
