//! The network driver against a card that the test plays, on split rings.

/// What the device offers besides.
const RINGS: u64 = 0;

#[path = "net/cases.rs"]
mod cases;
#[path = "net/link.rs"]
mod link;
#[path = "net/sizes.rs"]
mod sizes;
