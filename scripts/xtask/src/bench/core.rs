//! The Raft core alone, beside the crate `raft` 0.7, and the Byzantine core: `tests/bench` measures, and
//! is built when it is wanted.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::conditions;
use super::figures::{Bar, Figures};

/// What is published of what the program prints.
const FIGURES: [(&str, &str, Option<Bar>); 22] = [
    ("core_commits_per_second_burst_1", "1/s", None),
    ("raft_rs_commits_per_second_burst_1", "1/s", None),
    ("core_ratio_burst_1", "", Some(Bar::AtLeast(2.0))),
    ("core_commits_per_second_burst_16", "1/s", None),
    ("raft_rs_commits_per_second_burst_16", "1/s", None),
    ("core_ratio_burst_16", "", Some(Bar::AtLeast(2.0))),
    ("core_commits_per_second_burst_256", "1/s", None),
    ("raft_rs_commits_per_second_burst_256", "1/s", None),
    ("core_ratio_burst_256", "", Some(Bar::AtLeast(2.0))),
    ("signature_sign_us", "us", None),
    ("signature_verify_us", "us", None),
    ("signature_verify_in_batch_us", "us", None),
    ("bft_decision_processor_ms", "ms", None),
    ("bft_decision_answered_ms", "ms", None),
    ("bft_decision_messages", "", None),
    ("bft_decision_kib", "KiB", None),
    // Half of what it is when each sends its votes to all, who verify them: two phases of 32 x 31.
    ("bft_decision_signatures", "", Some(Bar::AtMost(992.0))),
    ("bft_decision_signed", "", None),
    ("bft_answer_messages", "", None),
    ("bft_answer_kib", "KiB", None),
    // What 300 ms on two cores have room for where one takes 0.6 ms, with half of the time left for the rest.
    ("bft_answer_signatures", "", Some(Bar::AtMost(550.0))),
    ("bft_answer_signed", "", None),
];

/// All figures of `scripts/bench core`.
///
/// # Errors
/// If the program cannot be built, or fails.
pub fn measure() -> anyhow::Result<Figures> {
    let root = PathBuf::from(std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?);
    eprintln!("building tests/bench; the first time this takes a minute or two");
    let output = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--manifest-path"])
        .arg(root.join("tests/bench/Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/core-bench"))
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "tests/bench ended with {}", output.status);
    let printed: Value = serde_json::from_slice(&output.stdout).context("tests/bench")?;
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition("core", "3 members in memory, one thread, 16 bytes, medians of 5");
    figures
        .condition("bft", "32 replicas in memory, one thread, one request at a time, 64 of them");
    figures.add_printed(&printed, &FIGURES).context("tests/bench")?;
    Ok(figures)
}
