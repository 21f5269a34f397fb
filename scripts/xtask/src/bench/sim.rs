//! The simulator: how much of a cluster's time it simulates in a second, all checkers on.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::conditions;
use super::figures::{Bar, Figures};

const SEEDS: &str = "0..2000";
const SEEDS_QUICK: &str = "0..100";

/// What is published of what the program prints.
const FIGURES: [(&str, &str, Option<Bar>); 6] = [
    ("sim_seconds_per_second_3_nodes", "s/s", Some(Bar::AtLeast(1_000.0))),
    ("sim_seconds_per_core_second_3_nodes", "s/s", Some(Bar::AtLeast(500.0))),
    ("sim_seconds_per_second", "s/s", None),
    ("seeds_per_second", "1/s", None),
    ("failures", "", Some(Bar::AtMost(0.0))),
    ("longest_recovery_ms", "ms", None),
];

/// All figures of `scripts/bench sim`.
///
/// # Errors
/// If the simulator cannot be built, or says something else than figures.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    let root = PathBuf::from(std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?);
    let seeds = if is_quick { SEEDS_QUICK } else { SEEDS };
    eprintln!(
        "building the simulator, optimised as a whole; the first time this takes some minutes"
    );
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--profile", "swarm", "--package", "sim", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .args(["--", "--keep-going", "--json", "--seeds", seeds])
        .stderr(Stdio::inherit())
        .output()?;
    // Seeds that fail are told of in the figures.
    let printed: Value = serde_json::from_slice(&output.stdout).context("the simulator")?;
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition(
        "sim",
        format!("seeds {seeds}, one run at a time on each core, all checkers on"),
    );
    figures.add_printed(&printed, &FIGURES).context("the simulator")?;
    Ok(figures)
}
