//! The network driver against a card that the test plays, on packed rings.

/// What the device offers besides.
const RINGS: u64 = virtio::fake::PACKED;

#[path = "net/cases.rs"]
mod cases;
#[path = "net/link.rs"]
mod link;
#[path = "net/sizes.rs"]
mod sizes;
