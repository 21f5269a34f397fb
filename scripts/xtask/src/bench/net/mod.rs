//! Frames through virtio: how many, how long each takes, how far it is there and back.

mod apart;
mod guest;
pub(super) mod others;
mod paths;
pub(super) mod peers;
pub(super) mod queues;
mod rfc2544;
mod rig;
mod rings;
mod tcp;
mod testpmd;

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::conditions;
use super::figures::{Bar, Figures, percentile};
use super::meter::processor_time;
use crate::{clock, interrupt};
use rig::{Backend, Pace, Rig, mac};

/// An address that nobody has: frames to it end in the switch.
const NOBODY: &str = "02:77:00:00:00:ff";

/// How long, and how often.
struct Plan {
    seconds: u64,
    rounds: usize,
    echoes: u32,
    /// Whether to look for the rate without loss, which takes a dozen trials.
    is_searching: bool,
}

const FULL: Plan = Plan { seconds: 5, rounds: 5, echoes: 20_000, is_searching: true };
const QUICK: Plan = Plan { seconds: 1, rounds: 1, echoes: 2_000, is_searching: false };

/// All figures of `scripts/bench net`.
///
/// # Errors
/// If one cannot be measured. No machine is left behind.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    interrupt::watch()?;
    let plan = if is_quick { QUICK } else { FULL };
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition("accelerator", "tcg, one thread a machine");
    figures
        .condition("network", "vhost-user, our switch, split rings of 256, no offloads but of TCP");
    figures.condition("frames", "64 bytes with their checksum, bursts of 32");
    figures.condition("rounds", format!("{} of {} s, medians", plan.rounds, plan.seconds));
    to_switch(&plan, &mut figures)?;
    through_switch(&plan, &mut figures)?;
    rfc2544::measure(&plan, &mut figures)?;
    rings::measure(&plan, &mut figures)?;
    paths::measure(&plan, &mut figures)?;
    tcp::measure(&plan, &mut figures)?;
    instructions(&mut figures)?;
    Ok(figures)
}

/// A number of a machine's answer.
fn number(answer: &Value, name: &str) -> anyhow::Result<f64> {
    answer[name].as_f64().with_context(|| format!("the machine says no '{name}': {answer}"))
}

/// The median of what each round measures.
fn median(plan: &Plan, round: impl FnMut(usize) -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut values = (0..plan.rounds).map(round).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(percentile(&mut values, 50.0))
}

/// One machine sends, the switch counts and drops.
fn to_switch(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let rig = Rig::with_machines(1, Pace::Free, Backend::VhostUser)?;
    let sent = median(plan, |_| sent_into_switch(&rig, plan, ""))?;
    figures.add("pps_64_sent", sent, "1/s", Some(Bar::AtLeast(4e6)));
    Ok(())
}

/// How many frames a second the first machine sends to nobody, with further words for the generator.
fn sent_into_switch(rig: &Rig, plan: &Plan, words: &str) -> anyhow::Result<f64> {
    rig.ask(1, &format!("generate {NOBODY} seconds={}{words}", plan.seconds + 1))?;
    let rate = rate_into_switch(rig, plan)?;
    rig.ask(1, "stop")?;
    Ok(rate)
}

/// How many frames a second come from the first machine, once it is at it, as the switch counts them.
fn rate_into_switch(rig: &Rig, plan: &Plan) -> anyhow::Result<f64> {
    std::thread::sleep(Duration::from_millis(300));
    let (started, before) = (clock::now(), rig.frames_in(1)?);
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let frames = rig.frames_in(1)? - before;
    Ok(frames as f64 / started.elapsed().as_secs_f64())
}

/// One machine sends, another receives; then it sends back.
fn through_switch(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let rig = Rig::with_machines(2, Pace::Free, Backend::VhostUser)?;
    let to = mac(2);
    let generate = |flows: u32| format!("generate {to} seconds={} flows={flows}", plan.seconds);
    let delivered = |flows: u32| {
        let result = rig.measure(1, &generate(flows))?;
        number(&result, "delivered_pps")
    };
    // Both have spoken, so that no frame is flooded.
    rig.measure(1, &format!("echo {to} count=10"))?;
    let before = rig.switch_work()?;
    let pps = median(plan, |_| delivered(1))?;
    figures.add("pps_64_delivered", pps, "1/s", Some(Bar::AtLeast(1e6)));
    let after = rig.switch_work()?;
    let calls = (after.1 - before.1) as f64 / (after.0 - before.0) as f64;
    figures.add("switch_calls_per_frame", calls, "", Some(Bar::AtMost(0.1)));
    rig.ask(2, "flowsink")?;
    let mut ratios = Vec::new();
    for _ in 0..plan.rounds {
        let (one, all) = (delivered(1)?, delivered(1024)?);
        ratios.push(all / one);
    }
    let ratio = percentile(&mut ratios, 50.0);
    figures.add("flows_1024_to_1_ratio", ratio, "", Some(Bar::AtLeast(0.9)));
    rig.ask(2, "sink")?;
    if plan.is_searching {
        let search = rig.measure(1, &format!("search {to} seconds=2"))?;
        figures.add("pps_64_zero_loss", number(&search, "zero_loss_pps")?, "1/s", None);
    }

    figures.condition("echoes", format!("{}, one at a time, both machines polling", plan.echoes));
    let echo = rig.measure(1, &format!("echo {to} count={}", plan.echoes))?;
    let us = |name| number(&echo, name).map(|nanos| nanos / 1_000.0);
    figures.add("rtt_us_p50", us("rtt_ns_p50")?, "us", Some(Bar::AtMost(20.0)));
    figures.add("rtt_us_p99", us("rtt_ns_p99")?, "us", Some(Bar::AtMost(100.0)));

    rig.ask(2, "forward")?;
    let status = forward(&rig, plan, figures, ["packet_ns_p50", "packet_ns_p99"])?;
    figures.add("copied_bytes", number(&status, "copied_bytes")?, "", Some(Bar::AtMost(0.0)));
    if apart::give_processor(rig.machine(2)?, &[rig.machine(1)?, rig.switch()?])? {
        figures.condition("apart", "the forwarder has a processor, sender and switch the rest");
        forward(&rig, plan, figures, ["packet_ns_p50_apart", "packet_ns_p99_apart"])?;
    }
    let before = processor_time(rig.switch()?)?;
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let used =
        (processor_time(rig.switch()?)? - before).as_secs_f64() / plan.seconds as f64 * 100.0;
    figures.add("switch_idle_percent", used, "%", Some(Bar::AtMost(1.0)));
    Ok(())
}

/// What a frame costs the second machine, a forwarder, at the median and the 99th percentile: figures of
/// these names. Returns what the machine says.
fn forward(
    rig: &Rig,
    plan: &Plan,
    figures: &mut Figures,
    [p50, p99]: [&'static str; 2],
) -> anyhow::Result<Value> {
    rig.measure(1, &format!("generate {} seconds={}", mac(2), plan.seconds))?;
    let status = rig.ask(2, "status")?;
    figures.add(p50, number(&status, "packet_ns_p50")?, "ns", Some(Bar::AtMost(1e3)));
    figures.add(p99, number(&status, "packet_ns_p99")?, "ns", Some(Bar::AtMost(1e3)));
    Ok(status)
}

/// The instructions that a forwarder needs for a frame: receive, handle, send.
fn instructions(figures: &mut Figures) -> anyhow::Result<()> {
    let rig = Rig::with_machines(2, Pace::Counted, Backend::VhostUser)?;
    rig.ask(2, "forward")?;
    rig.measure(1, &format!("generate {} seconds=1", mac(2)))?;
    let status = rig.ask(2, "status")?;
    figures.condition("instructions", "a forwarder's, counted by QEMU (-icount shift=0)");
    let (p50, p99) = (number(&status, "packet_ns_p50")?, number(&status, "packet_ns_p99")?);
    figures.add("packet_instructions_p50", p50, "", Some(Bar::AtMost(400.0)));
    figures.add("packet_instructions_p99", p99, "", None);
    Ok(())
}
