//! The disk driver against a disk that the test plays, on split rings.

/// What the device offers besides.
const RINGS: u64 = 0;

#[path = "blk/cases.rs"]
mod cases;
