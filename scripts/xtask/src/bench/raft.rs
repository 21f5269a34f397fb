//! Consensus between machines: elections, failures, stops that are planned, and starts with a past.

use super::figures::{Bar, Figures, percentile};
use super::{load, machines};
use crate::cluster::launch;
use crate::cluster::state::Description;
use crate::interrupt;

/// How often.
struct Plan {
    small_failovers: usize,
    large_failovers: usize,
    stops: usize,
    /// Entries that a restart has behind it.
    entries: u64,
}

const FULL: Plan = Plan { small_failovers: 30, large_failovers: 50, stops: 20, entries: 1_000_000 };
const QUICK: Plan = Plan { small_failovers: 3, large_failovers: 3, stops: 3, entries: 50_000 };

const SMALL: u16 = 3;
const LARGE: u16 = 32;

/// All figures of `scripts/bench raft`.
///
/// # Errors
/// If one cannot be measured. No machine is left behind.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    let plan = if is_quick { QUICK } else { FULL };
    machines::measured(|figures| measure_all(&plan, figures))
}

fn measure_all(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (small, _) = machines::start(SMALL)?;
    figures.condition("accelerator", format!("{:?}", small.accel).to_lowercase());
    figures.condition("network", format!("{:?}", small.net).to_lowercase());
    planned_stops(plan, &small, figures)?;
    let mut failovers = machines::failovers(&small, plan.small_failovers)?;
    let spans = &mut failovers.spans_ms;
    figures.condition("failovers of 3 nodes", spans.len());
    figures.add("failover_3_p50_ms", percentile(spans, 50.0), "ms", Some(Bar::AtMost(100.0)));
    figures.add("failover_3_p99_ms", percentile(spans, 99.0), "ms", Some(Bar::AtMost(250.0)));
    restart(plan, &small, figures)?;
    let (large, _) = machines::start(LARGE)?;
    let mut failovers = machines::failovers(&large, plan.large_failovers)?;
    let (spans, elections) = (&mut failovers.spans_ms, &mut failovers.elections_ms);
    figures.condition("failovers of 32 nodes", spans.len());
    figures.add("failover_32_p50_ms", percentile(spans, 50.0), "ms", Some(Bar::AtMost(250.0)));
    figures.add("failover_32_p99_ms", percentile(spans, 99.0), "ms", Some(Bar::AtMost(500.0)));
    figures.add("election_32_p50_ms", percentile(elections, 50.0), "ms", Some(Bar::AtMost(30.0)));
    figures.add("election_32_p99_ms", percentile(elections, 99.0), "ms", Some(Bar::AtMost(100.0)));
    Ok(())
}

/// Stops the leader in good order while somebody writes through another node.
fn planned_stops(
    plan: &Plan,
    description: &Description,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut gaps = Vec::new();
    for _ in 0..plan.stops {
        interrupt::check()?;
        let leader = machines::leader(description)?;
        let other = leader % description.founders + 1;
        let stop = || launch::stop_node(leader);
        let gap = load::longest_gap(description.resp_port(other), stop)?;
        gaps.push(gap.as_secs_f64() * 1_000.0);
        machines::restart(description, leader)?;
    }
    figures.condition("planned stops of 3 nodes", gaps.len());
    figures.add(
        "planned_stop_gap_p50_ms",
        percentile(&mut gaps, 50.0),
        "ms",
        Some(Bar::AtMost(50.0)),
    );
    figures.add("planned_stop_gap_max_ms", percentile(&mut gaps, 100.0), "ms", None);
    Ok(())
}

/// All nodes lose power, with many entries behind them, and are started together.
fn restart(plan: &Plan, description: &Description, figures: &mut Figures) -> anyhow::Result<()> {
    let leader = machines::leader(description)?;
    load::fill(description.resp_port(leader), plan.entries)?;
    figures.condition("entries before the restart", plan.entries);
    launch::kill_nodes(description.node_numbers())?;
    let first_s = machines::start_again(description)?;
    figures.add("restart_s", first_s, "s", Some(Bar::AtMost(3.0)));
    Ok(())
}
