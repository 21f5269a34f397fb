//! What nodes say to each other of who belongs to the cluster.

use base::limits;
use node::members::Message;

pub(super) fn run(bytes: &[u8]) {
    let Ok(message) = Message::decode(bytes) else { return };
    if let Message::Answer { members, .. } = &message {
        assert!(members.len() <= limits::CLUSTER_NODES_MAX);
        assert!(members.is_sorted_by(|one, next| one < next));
    }
    let mut written = Vec::new();
    message.encode(&mut written);
    assert_eq!(written, bytes, "{message:?}");
}
