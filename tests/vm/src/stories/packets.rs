//! Two machines of the packet generator on our switch, as `scripts/bench net` runs them.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::stories::{Ending, World};

/// A frame of a connection that comes to another pair than the one that serves it is one of its first.
const HANDED_OVER_MAX: f64 = 10.0;
/// A processor that does not sleep takes a core.
const IDLE_PERCENT_MAX: f64 = 20.0;

/// Frames arrive, come back, and are never copied by the machines. How many is for a quiet host to say.
pub fn arrive(_: &mut World) -> anyhow::Result<Ending> {
    let figures = bench(&["net", "--quick", "--json"])?;
    for name in ["pps_64_sent", "pps_64_delivered", "rtt_us_p50", "packet_ns_p50"] {
        anyhow::ensure!(figure(&figures, name)? > 0.0, "{name}: {figures}");
    }
    anyhow::ensure!(figures["copied_bytes"] == 0.0, "bytes were copied: {figures}");
    Ok(Ending::Good)
}

/// Two processors with a pair of queues each: frames of many flows come by both, and none is lost; those of a
/// connection come to the one that serves it; without anything to do both sleep.
pub fn queues(_: &mut World) -> anyhow::Result<Ending> {
    if !Path::new("target/coterie-pktgen-smp").exists() {
        return Ok(Ending::Skipped("the image for it is not built: scripts/image --smp"));
    }
    let figures = bench(&["net", "--smp", "--quick", "--json"])?;
    let get = |name| figure(&figures, name);
    anyhow::ensure!(get("paced_sent")? > 0.0, "nothing was sent: {figures}");
    anyhow::ensure!(get("paced_lost")? == 0.0, "frames were lost: {figures}");
    anyhow::ensure!(get("paced_reordered")? == 0.0, "frames were overtaken: {figures}");
    let pairs = [get("paced_frames_pair_0")?, get("paced_frames_pair_1")?];
    anyhow::ensure!(pairs.iter().all(|frames| *frames > 0.0), "a pair got nothing: {figures}");
    let frames: f64 = pairs.iter().sum();
    anyhow::ensure!(frames == get("paced_sent")?, "the pairs' counts are not all: {figures}");
    anyhow::ensure!(get("paced_flows")? == 64.0, "a flow came by two pairs: {figures}");
    let (served, handed_over) = (get("tcp_frames_pair_0")?, get("tcp_frames_pair_1")?);
    let is_steered = handed_over <= HANDED_OVER_MAX && served > HANDED_OVER_MAX;
    anyhow::ensure!(is_steered, "a connection was served elsewhere than it came: {figures}");
    anyhow::ensure!(get("idle_percent_2")? < IDLE_PERCENT_MAX, "it does not sleep: {figures}");
    Ok(Ending::Good)
}

/// The figures of a bench.
pub(super) fn bench(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new("scripts/bench").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "scripts/bench: {said}");
    serde_json::from_slice(&output.stdout).context("its figures")
}

pub(super) fn figure(figures: &Value, name: &str) -> anyhow::Result<f64> {
    figures[name].as_f64().with_context(|| format!("{name}: {figures}"))
}
