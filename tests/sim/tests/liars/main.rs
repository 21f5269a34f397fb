//! Groups of replicas of which some lie, scene by scene. `sim --liars` runs whatever seeds bring.

mod groups;
mod limits;
#[cfg(feature = "mutants")]
mod mutants;
mod recovery;
mod seeds;
mod service;
mod twins;
mod views;
