//! What is decided about packets between a card and a stack: pure, and without a device.
//!
//! - [`FlowKey`] says which flow a frame belongs to; [`Toeplitz`] hashes it as cards do (RSS).
//! - [`Steering`] says which core handles a frame, and moves flows to the cores that consume them (RFS)
//!   without ever reordering one.
//! - [`FlowTable`] knows of each flow how much, how long, and how fast.
//! - [`Classes`] says which [`NetworkPacket`] leaves next: eight strict priorities, each shaped if so
//!   wanted.
//! - [`OffloadEngine`] cuts and merges TCP segments where the card does not.
//! - [`NetStatistics`] and [`CardOffloads`] are what a card tells of itself, [`ZeroCopyPath`] what carries
//!   its frames.
//!
//! Time is an argument everywhere: nanoseconds (`u64`) of one monotonic clock. Nothing allocates after its
//! construction, and every limit is in [`limits`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod card;
mod classes;
mod flows;
mod key;
pub mod limits;
mod offload;
mod packet;
mod path;
mod steering;
#[cfg(test)]
mod testing;
mod toeplitz;

pub use card::{CardOffloads, Names, NetStatistics, OffloadCounts};
pub use classes::{Class, ClassConfig, ClassStatistics, Classes, Refusal, RefusalCause, Shape};
pub use flows::{FlowMetadata, FlowStatistics, FlowTable, LatencyHistogram};
pub use key::FlowKey;
pub use offload::{
    CardChecksum, CardSegmentation, CardTask, MergeStatistics, OffloadEngine, OffloadSet,
    OffloadStatus, OffloadUse, Outgoing, SegmentError,
};
pub use packet::NetworkPacket;
pub use path::ZeroCopyPath;
pub use steering::{Core, Steering, SteeringStatistics};
pub use toeplitz::{KEY_BYTES, MICROSOFT_KEY, Toeplitz};
