//! The simulator: whole nodes, as they are in the image, on wires and disks that follow a seed.
//!
//! Nothing here reads a clock or draws a number but from the seed, so a run is repeated by its number:
//! `cargo run -p sim -- --seed 7`. A run has two phases. In the first, its [`plan::Plan`] makes trouble:
//! crashes, partitions, one-way blocks, lost and late frames, slow disks and disks that hang, clocks that
//! leap, orders, at any moment and at the worst.
//! Clients work all the time. After every step the [`checkers`] look. In the second, everything is well, and
//! the cluster must recover within a bound, agree, and stay calm; then [`linearizability`] asks whether what
//! the clients saw can have happened. What fired is counted in [`counts`].
//!
//! Reading order: [`plan`] (what will happen), [`world`] (where it happens), [`network`], [`disk`],
//! [`machine`] and [`clients`] (to whom), [`checkers`] and [`linearizability`] (whether it is right),
//! [`runner`] (many seeds), [`report`] (what they came to), [`trace`] (how it came about).
//!
//! The ledger's consensus is simulated by itself, with replicas that lie: [`liars`].
#![forbid(unsafe_code)]

pub mod bug;
pub mod checkers;
pub mod clients;
pub mod clock;
pub mod counts;
pub mod disk;
pub mod liars;
pub mod linearizability;
pub mod local_clock;
pub mod machine;
pub mod network;
pub mod plan;
pub mod report;
pub mod runner;
pub mod soak;
pub mod swarm;
pub mod trace;
pub mod world;
