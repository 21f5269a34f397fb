//! A long life in the simulator: does anything grow for ever? `tests/sim` runs it, in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use super::conditions;
use super::figures::{Bar, Figures};

const FULL: u64 = 10_000_000;
const QUICK: u64 = 1_000_000;

/// All figures of `scripts/bench soak`.
///
/// # Errors
/// If the program cannot be built, or fails.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    let root = PathBuf::from(std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?);
    let commands = if is_quick { QUICK } else { FULL };
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition(
        "soak",
        format!("3 nodes and their disks in one process, {commands} SETs of 512 bytes"),
    );
    eprintln!("building tests/sim; the full soak then takes about ten minutes");
    let mut soak = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--release",
            "-p",
            "sim",
            "--bin",
            "soak",
            "--",
            &commands.to_string(),
        ])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = soak.stdout.take().context("the soak's output")?;
    let mut parts = Vec::new();
    for line in BufReader::new(output).lines() {
        let part: Value = serde_json::from_str(&line?).context("the soak's output")?;
        eprintln!("{} commands, {} MiB", part["commands"], mebibytes(&part, "resident_bytes")?);
        parts.push(part);
    }
    anyhow::ensure!(soak.wait()?.success(), "the soak has failed");
    report(&parts, &mut figures)?;
    Ok(figures)
}

/// The first tenth fills keys, caches and rings; from then on nothing may grow.
fn report(parts: &[Value], figures: &mut Figures) -> anyhow::Result<()> {
    let settled = parts.get(parts.len() / 10..).context("a soak has parts")?;
    let (first, second) = settled.split_at(settled.len() / 2);
    let most = |parts: &[Value], name: &str| -> anyhow::Result<f64> {
        let all: anyhow::Result<Vec<f64>> =
            parts.iter().map(|part| mebibytes(part, name)).collect();
        Ok(all?.into_iter().fold(0.0, f64::max))
    };
    let (before, after) = (most(first, "resident_bytes")?, most(second, "resident_bytes")?);
    let last = parts.last().context("a soak has parts")?;
    figures.add("soak_commands", last["commands"].as_f64().context("commands")?, "", None);
    figures.add("soak_refused", last["refused"].as_f64().context("refused")?, "", None);
    figures.add("soak_resident_mib", after, "MiB", None);
    figures.add("soak_growth", after / before, "x", Some(Bar::AtMost(1.05)));
    figures.add("soak_node_data_mib", most(second, "machine_bytes")?, "MiB", None);
    figures.add("soak_node_cache_mib", most(second, "cached_bytes")?, "MiB", None);
    figures.add("soak_snapshots", last["snapshots"].as_f64().context("snapshots")?, "", None);
    Ok(())
}

fn mebibytes(part: &Value, name: &str) -> anyhow::Result<f64> {
    let bytes = part[name].as_f64().with_context(|| format!("the soak says no {name}"))?;
    Ok(bytes / f64::from(1 << 20))
}
