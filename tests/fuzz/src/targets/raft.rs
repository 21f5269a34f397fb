//! The messages of consensus.

use base::limits;
use bytes::Bytes;
use raft::Message;

pub(super) fn run(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(message) = Message::decode(&bytes) else { return };
    if let Message::Append { prev_index, entries, .. } = &message {
        assert!(entries.len() <= limits::APPEND_BATCH_MAX_ENTRIES);
        let distances = entries.iter().map(|entry| entry.index.0.checked_sub(prev_index.0));
        assert!(distances.zip(1..).all(|(distance, place)| distance == Some(place)), "no gaps");
    }
    let mut written = Vec::new();
    message.encode(&mut written);
    assert_eq!(written.len(), bytes.len(), "{message:?}");
    assert_eq!(Message::decode(&written.into()), Ok(message));
}
