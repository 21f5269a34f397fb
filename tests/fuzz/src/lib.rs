//! Whatever comes in from outside, from bytes that somebody makes up: one target for each parser, and for
//! each device or disk that may lie. A target asserts what must hold whatever the bytes are.
//!
//! `scripts/fuzz TARGET` runs a target in libFuzzer, which makes bytes that reach code that was not reached
//! before. `cargo test` in this folder runs all of them on the seeds, on what comes of the seeds by small
//! changes, and on noise: the same inputs every time, in plain Rust.

mod disk;
mod input;
mod ip;
mod liar;
mod targets;

/// Something that is given bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder with its seeds.
    pub name: &'static str,
    /// What is given the bytes, and what must hold.
    pub summary: &'static str,
    /// How many inputs a test gives it: fewer where one takes long.
    pub rounds: u32,
    /// Runs it. It panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = targets::ALL;

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
