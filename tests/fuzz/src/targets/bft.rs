//! What replicas that may lie say to each other, and what one finds on its disk.

use base::limits;
use bft::{Batch, Message, Record};
use bytes::Bytes;

pub(super) fn run(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(record) = Record::decode(&bytes) {
        let mut written = Vec::new();
        record.encode(&mut written);
        assert_eq!(written, bytes, "{record:?}");
    }
    let Ok(message) = Message::decode(&bytes) else { return };
    match &message {
        Message::PrePrepare { batch, .. }
        | Message::Committed { batch, .. }
        | Message::Batch { batch, .. } => check(batch),
        _ => {}
    }
    let mut written = Vec::new();
    message.encode(&mut written);
    assert_eq!(written, bytes, "{message:?}");
}

fn check(batch: &Batch) {
    assert!(batch.requests().len() <= limits::BFT_BATCH_MAX_REQUESTS);
    assert!(batch.length() <= limits::BFT_BATCH_MAX_BYTES);
    assert_eq!(Batch::new(batch.requests().to_vec()).digest(), batch.digest());
}
