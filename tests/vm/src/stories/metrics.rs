//! What Prometheus reads, as Prometheus's own tool judges it.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::client;
use crate::stories::{Ending, World};

/// The page of a node that has done something passes `promtool check metrics`.
pub fn promtool(world: &mut World) -> anyhow::Result<Ending> {
    if !run(&["--version"], "")? {
        return Ok(Ending::Skipped("promtool is neither installed nor to be fetched"));
    }
    let cluster = world.boot(&["--nodes", "1"])?;
    cluster.write(1, "x", "1")?;
    let (_, page) = client::page(cluster.http_port(1), "/metrics")?;
    anyhow::ensure!(run(&["check", "metrics"], &page)?, "promtool finds fault with /metrics");
    Ok(Ending::Good)
}

/// Runs promtool; whether it is content.
fn run(words: &[&str], input: &str) -> anyhow::Result<bool> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/promtool");
    let mut child = Command::new(program).args(words).stdin(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    Ok(child.wait()?.success())
}
