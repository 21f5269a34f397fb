//! Two processors with a pair of queues each, beside one with one, on the same switch.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::rig::{Backend, Guest, Rig, SMP_IMAGE, mac};
use super::{FULL, Plan, QUICK, median, number, sent_into_switch};
use crate::bench::conditions;
use crate::bench::figures::{Bar, Figures};
use crate::bench::meter::processor_time;
use crate::interrupt;

const PAIRS: usize = 2;
/// The flows that are sent, spread among the pairs.
const FLOWS: f64 = 64.0;
/// A rate that busy hosts carry, too, in frames a second.
const PACED_RATE: u64 = 20_000;
/// For how long an idle machine is watched: its time is counted in hundredths of a second.
const IDLE_SECONDS: u64 = 5;

/// All figures of `scripts/bench net --smp`.
///
/// # Errors
/// If the image is not there, or something cannot be measured. No machine is left behind.
pub(in crate::bench) fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    interrupt::watch()?;
    let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
    let is_built = Path::new(&root).join("target").join(SMP_IMAGE).exists();
    ensure!(is_built, "build it first: scripts/image --smp");
    let plan = if is_quick { QUICK } else { FULL };
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition("accelerator", "tcg, a thread for each processor of a machine");
    let network = "vhost-user, our switch (one thread), split rings of 256, no offloads";
    figures.condition("network", network);
    figures.condition("frames", "64 bytes with their checksum, bursts of 32, 64 flows");
    figures.condition("rounds", format!("{} of {} s, medians", plan.rounds, plan.seconds));
    rates(1, ["idle_percent_1", "pps_64_sent_1", "pps_64_delivered_1"], &plan, &mut figures)?;
    let names = ["idle_percent_2", "pps_64_sent_2", "pps_64_delivered_2"];
    let rig = rates(PAIRS, names, &plan, &mut figures)?;
    spread(&rig, &plan, &mut figures)?;
    steered(&rig, &plan, &mut figures)?;
    Ok(figures)
}

/// Machines with so many processors: what they take when idle, send, and receive. They run on.
fn rates(
    processors: usize,
    [idle, sent, delivered]: [&'static str; 3],
    plan: &Plan,
    figures: &mut Figures,
) -> anyhow::Result<Rig> {
    let rig = Rig::with_guests(2, Guest::Several(processors), Backend::VhostUser)?;
    // Both have spoken, so that no frame is flooded.
    rig.measure(1, &format!("echo {} count=10", mac(2)))?;
    figures.add(idle, idle_percent(&rig)?, "%", None);
    let command = format!("generate {} seconds={} flows={FLOWS}", mac(2), plan.seconds);
    let rate = median(plan, |_| number(&rig.measure(1, &command)?, "delivered_pps"))?;
    figures.add(delivered, rate, "1/s", None);
    let words = format!(" flows={FLOWS}");
    let rate = median(plan, |_| sent_into_switch(&rig, plan, &words))?;
    figures.add(sent, rate, "1/s", None);
    Ok(rig)
}

/// How much of a core a machine takes that has nothing to do.
fn idle_percent(rig: &Rig) -> anyhow::Result<f64> {
    // Whoever has just heard something looks for more for a while.
    std::thread::sleep(Duration::from_millis(500));
    let before = processor_time(rig.machine(2)?)?;
    std::thread::sleep(Duration::from_secs(IDLE_SECONDS));
    let used = (processor_time(rig.machine(2)?)? - before).as_secs_f64();
    Ok(used / IDLE_SECONDS as f64 * 100.0)
}

/// Frames of many flows, at a rate that all can carry: they come by both pairs, each flow by one.
fn spread(rig: &Rig, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    figures.condition("paced run", format!("{FLOWS} flows, {PACED_RATE} frames a second"));
    rig.ask(2, "flowsink")?;
    let (to, seconds) = (mac(2), plan.seconds);
    let command = format!("generate {to} seconds={seconds} flows={FLOWS} rate={PACED_RATE}");
    let result = rig.measure(1, &command)?;
    figures.add("paced_sent", number(&result, "sent")?, "", None);
    figures.add("paced_lost", number(&result, "lost")?, "", Some(Bar::AtMost(0.0)));
    figures.add("paced_reordered", number(&result, "reordered")?, "", Some(Bar::AtMost(0.0)));
    let [frames_0, frames_1] = each_pair(rig, "run_frames")?;
    figures.add("paced_frames_pair_0", frames_0, "", Some(Bar::AtLeast(1.0)));
    figures.add("paced_frames_pair_1", frames_1, "", Some(Bar::AtLeast(1.0)));
    // A flow on two pairs would be counted twice.
    let flows: f64 = each_pair(rig, "flows")?.iter().sum();
    figures.add("paced_flows", flows, "", Some(Bar::AtMost(FLOWS)));
    rig.ask(2, "sink")?;
    Ok(())
}

/// Connections, which the first processor serves: from its first answer on, a flow comes to its pair.
fn steered(rig: &Rig, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let sink = rig.ask(2, "tcp sink")?;
    let address = sink["address"].as_str().unwrap_or_default();
    let result =
        rig.measure(1, &format!("tcp source {address} {} {}", sink["port"], plan.seconds))?;
    ensure!(result["delivered"] == result["sent"], "bytes are missing: {result}");
    ensure!(result["misplaced"] == 0, "bytes have moved: {result}");
    let [served, handed_over] = each_pair(rig, "foreign")?;
    figures.add("tcp_frames_pair_0", served, "", Some(Bar::AtLeast(1.0)));
    figures.add("tcp_frames_pair_1", handed_over, "", None);
    Ok(())
}

/// A number that the second machine says of each of its pairs.
fn each_pair(rig: &Rig, name: &str) -> anyhow::Result<[f64; PAIRS]> {
    let pairs = rig.ask(2, "pairs")?;
    let pairs = pairs.as_array().context("the pairs")?;
    let each = pairs.iter().map(|pair: &Value| number(pair, name));
    let each = each.collect::<anyhow::Result<Vec<_>>>()?;
    let count = each.len();
    each.try_into().map_err(|_| anyhow::anyhow!("the machine uses {count} pairs"))
}
