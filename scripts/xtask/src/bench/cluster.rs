//! A cluster of virtual machines, as its users have it.

use std::time::Duration;

use anyhow::Context;

use super::figures::{Bar, Figures, percentile};
use super::{load, machines, meter};
use crate::cluster::state::Description;

const CONNECTIONS: usize = 64;

/// How often, and how long.
struct Plan {
    starts: usize,
    failovers: usize,
    large_starts: usize,
    load: Duration,
    idle: Duration,
}

const FULL: Plan = Plan {
    starts: 5,
    failovers: 20,
    large_starts: 3,
    load: Duration::from_secs(10),
    idle: Duration::from_secs(20),
};
const QUICK: Plan = Plan {
    starts: 1,
    failovers: 3,
    large_starts: 1,
    load: Duration::from_secs(3),
    idle: Duration::from_secs(5),
};

/// All figures of `scripts/bench cluster`.
///
/// # Errors
/// If one cannot be measured. No machine is left behind.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    let plan = if is_quick { QUICK } else { FULL };
    machines::measured(|figures| measure_all(&plan, figures))
}

fn measure_all(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let mut starts = Vec::new();
    let mut description = None;
    for _ in 0..plan.starts {
        let (made, seconds) = machines::start(3)?;
        starts.push(seconds);
        description = Some(made);
    }
    let description = description.context("at least one start")?;
    figures.condition("accelerator", format!("{:?}", description.accel).to_lowercase());
    figures.condition("network", format!("{:?}", description.net).to_lowercase());
    figures
        .condition("machine", format!("{:?}, {} MiB", description.machine, description.memory_mib));
    figures.condition("starts", format!("{} of 3 nodes, median", plan.starts));
    let start_s = percentile(&mut starts, 50.0);
    figures.add("start_to_first_write_3_nodes_s", start_s, "s", Some(Bar::AtMost(2.0)));
    image_size(&description, figures)?;
    idle(plan, figures)?;
    throughput(plan, &description, figures)?;
    failover(plan, &description, figures)?;
    let mut large = Vec::new();
    for _ in 0..plan.large_starts {
        large.push(machines::start(32)?.1);
    }
    figures.condition("large starts", format!("{} of 32 nodes, median", plan.large_starts));
    let large_s = percentile(&mut large, 50.0);
    figures.add("start_to_first_write_32_nodes_s", large_s, "s", Some(Bar::AtMost(15.0)));
    Ok(())
}

fn image_size(description: &Description, figures: &mut Figures) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(&description.image)?.len();
    let mib = bytes as f64 / f64::from(1 << 20);
    figures.add("stripped_image_mib", mib, "MiB", Some(Bar::AtMost(2.0)));
    Ok(())
}

fn idle(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    // What a start leaves to do is done by then.
    std::thread::sleep(Duration::from_secs(2));
    let percent = meter::processor_percent(plan.idle)?;
    figures.condition("idle", format!("{} s, machines and switch", plan.idle.as_secs()));
    figures.add("idle_processor_percent_3_nodes", percent, "%", Some(Bar::AtMost(5.0)));
    figures.add("resident_idle_mib_largest", meter::largest_machine_mib()?, "MiB", None);
    Ok(())
}

fn throughput(plan: &Plan, description: &Description, figures: &mut Figures) -> anyhow::Result<()> {
    let leader = machines::leader(description)?;
    let follower = description.node_numbers().find(|node| *node != leader).unwrap_or(leader);
    let seconds = plan.load.as_secs();
    figures.condition(
        "load",
        format!("{CONNECTIONS} connections, 16 bytes, {seconds} s, every write flushed"),
    );
    let mut at_leader = load::writes(description.resp_port(leader), CONNECTIONS, plan.load)?;
    anyhow::ensure!(at_leader.failed == 0, "{} writes failed", at_leader.failed);
    let samples = &mut at_leader.latencies_ms;
    figures.add("sets_per_second", at_leader.per_second, "1/s", Some(Bar::AtLeast(2_000.0)));
    figures.add("set_p50_ms", percentile(samples, 50.0), "ms", None);
    figures.add("set_p99_ms", percentile(samples, 99.0), "ms", None);
    figures.add("set_samples", samples.len() as f64, "", None);
    let at_follower = load::writes(description.resp_port(follower), CONNECTIONS, plan.load)?;
    figures.add("sets_per_second_at_follower", at_follower.per_second, "1/s", None);
    let largest = meter::largest_machine_mib()?;
    figures.add("resident_loaded_mib_largest", largest, "MiB", Some(Bar::AtMost(96.0)));
    Ok(())
}

/// Kills the leader's machine, and waits for the next accepted write; again and again.
fn failover(plan: &Plan, description: &Description, figures: &mut Figures) -> anyhow::Result<()> {
    let mut spans = machines::failovers(description, plan.failovers)?.spans_ms;
    figures.condition(
        "failovers",
        format!("{} of 3 nodes, SIGKILL of the leader's machine", spans.len()),
    );
    let (p50, p95) = (percentile(&mut spans, 50.0), percentile(&mut spans, 95.0));
    figures.add("failover_p50_ms", p50, "ms", Some(Bar::AtMost(400.0)));
    figures.add("failover_p95_ms", p95, "ms", Some(Bar::AtMost(700.0)));
    Ok(())
}
