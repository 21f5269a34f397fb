//! Where a frame goes, and what happens to it on the way: decisions, without a socket or a clock.

pub mod addresses;
pub mod delay;
pub mod faults;

pub use addresses::{AddressTable, MacAddress, Route};
pub use delay::{DelayQueue, Delayed};
pub use faults::{Fate, Faults, LinkFault};

/// A port's number within one switch; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub u32);

/// Where a frame has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// To the port behind which its address is.
    Port(PortId),
    /// To every port but its own.
    Flood,
    /// Nowhere: the address is behind the port that it came from.
    Stay,
    /// Nowhere: no station sends such a frame.
    Senseless,
    /// Nowhere: its source is pinned to another port, or another is pinned to the port that it came from.
    Spoofed,
}
