//! (being written)
pub mod disk;
pub mod linearizability;
pub mod network;
