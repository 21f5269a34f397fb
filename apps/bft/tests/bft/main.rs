//! Groups of replicas in one process: a network and disks from a seed, liars among the replicas, and
//! checkers of everything that must hold whatever they do.

mod adversary;
mod checkers;
mod cluster;
mod faults;
mod machine;

mod liars;
#[cfg(feature = "mutants")]
mod mutants;
mod recovery;
mod service;
mod twins;
