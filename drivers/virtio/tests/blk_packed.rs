//! The disk driver against a disk that the test plays, on packed rings.

/// What the device offers besides.
const RINGS: u64 = virtio::fake::PACKED;

#[path = "blk/cases.rs"]
mod cases;
