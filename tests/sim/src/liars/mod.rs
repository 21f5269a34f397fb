//! Replicas of the ledger's consensus, some of which lie, on a network and disks that follow a seed.
//!
//! These are not whole nodes: each replica is a [`bft::BftNode`] with a state machine and a signing record,
//! so that a run is short and a failure easy to read. What a run brings follows from its [`Plan`]: messages
//! that are lost, late or doubled, partitions, crashes and power cuts that lose what was being written,
//! signing records that are damaged, and as many liars as may be, each with a [`bft::Lie`] of its own or as a
//! twin. The [`checkers`] look at everything that an honest replica says and does; after the network has
//! become stable, everything that clients asked for must be executed by all honest replicas.
//!
//! Reading order: [`plan`], [`cluster`] with [`copy`], [`faults`] and [`machine`], [`checkers`], [`twins`],
//! [`run`], [`seeds`].

pub mod checkers;
pub mod cluster;
pub mod copy;
pub mod counts;
pub mod faults;
pub mod machine;
mod outputs;
pub mod plan;
pub mod run;
pub mod seeds;
pub mod twins;

pub use counts::{Counts, Kind};
pub use plan::Plan;
