//! Two machines of the packet generator on our switch, as `scripts/bench net` runs them.

use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::stories::{Ending, World};

/// Frames arrive, come back, and are never copied by the machines. How many is for a quiet host to say.
pub fn arrive(_: &mut World) -> anyhow::Result<Ending> {
    let output = Command::new("scripts/bench").args(["net", "--quick", "--json"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "scripts/bench net: {said}");
    let figures: Value = serde_json::from_slice(&output.stdout).context("its figures")?;
    for name in ["pps_64_sent", "pps_64_delivered", "rtt_us_p50", "packet_ns_p50"] {
        anyhow::ensure!(
            figures[name].as_f64().is_some_and(|value| value > 0.0),
            "{name}: {figures}"
        );
    }
    anyhow::ensure!(figures["copied_bytes"] == 0.0, "bytes were copied: {figures}");
    Ok(Ending::Good)
}
