//! The same frames with others in the place of ours: DPDK's testpmd as the device and as the switch, QEMU's
//! socket backend, TAP devices, and Linux guests. All of it in one run, round by round beside ours.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::rig::{Backend, Guest, Pace, Rig, mac};
use super::{FULL, NOBODY, Plan, QUICK, number, rate_into_switch, testpmd};
use crate::bench::conditions;
use crate::bench::figures::{Bar, Figures, percentile};
use crate::bench::meter::processor_time;
use crate::cluster::network::Bridge;
use crate::{clock, interrupt};

/// A bridge between two machines forwards nothing before both have set up their rings.
const SETTLES: Duration = Duration::from_secs(2);

/// All figures of `scripts/bench peers`.
///
/// # Errors
/// If one cannot be measured. No machine is left behind.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    interrupt::watch()?;
    let plan = if is_quick { QUICK } else { FULL };
    prepare()?;
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    figures.condition("accelerator", "tcg, one thread a machine");
    figures.condition("frames", "64 bytes with their checksum, bursts of 32, one flow");
    figures.condition("rounds", format!("{} of {} s, medians", plan.rounds, plan.seconds));
    figures.condition("testpmd", "Debian's, 0.5 GiB without huge pages, one core of two");
    figures.condition("linux", "Debian's cloud kernel; pktgen, burst 32, clone_skb; sinks count");

    let obstacle = Bridge::obstacle();
    if let Some(obstacle) = &obstacle {
        figures.condition("tap", format!("left out: {obstacle}"));
    }
    let mut rates = Rates::default();
    for _ in 0..plan.rounds {
        rates.to_device.push(to_testpmd(&plan)?);
        rates.to_switch.push(to_switch(&plan)?);
        rates.linux_to_switch.push(linux_to_switch(&plan)?);
        let (bridged, busy) = through_testpmd(&plan)?;
        rates.bridged.push(bridged);
        rates.testpmd_idle.push(busy);
        rates.switched.push(through_switch(&plan, Backend::VhostUser)?);
        rates.streamed.push(through_switch(&plan, Backend::Stream)?);
        if obstacle.is_none() {
            rates.bridged_by_kernel.push(through_switch(&plan, Backend::Tap)?);
        }
        rates.linux_switched.push(linux_through_switch(&plan)?);
    }
    rates.publish(&mut figures);
    Ok(figures)
}

/// Packets a second, one of each round.
#[derive(Default)]
struct Rates {
    to_device: Vec<f64>,
    to_switch: Vec<f64>,
    linux_to_switch: Vec<f64>,
    bridged: Vec<f64>,
    testpmd_idle: Vec<f64>,
    switched: Vec<f64>,
    streamed: Vec<f64>,
    bridged_by_kernel: Vec<f64>,
    linux_switched: Vec<f64>,
}

impl Rates {
    fn publish(&mut self, figures: &mut Figures) {
        let to_device = percentile(&mut self.to_device, 50.0);
        let to_switch = percentile(&mut self.to_switch, 50.0);
        let linux_to_switch = percentile(&mut self.linux_to_switch, 50.0);
        figures.add("pps_64_sent_to_testpmd", to_device, "1/s", Some(Bar::AtLeast(4e6)));
        figures.add("pps_64_sent_to_switch", to_switch, "1/s", None);
        figures.add("linux_pps_64_sent", linux_to_switch, "1/s", None);
        let ratio = to_switch / linux_to_switch;
        figures.add("sent_to_linux_ratio", ratio, "", Some(Bar::AtLeast(2.0)));

        let switched = percentile(&mut self.switched, 50.0);
        let bridged = percentile(&mut self.bridged, 50.0);
        let linux = percentile(&mut self.linux_switched, 50.0);
        figures.add("pps_64_delivered", switched, "1/s", None);
        figures.add("pps_64_delivered_by_testpmd", bridged, "1/s", None);
        figures.add("switch_to_testpmd_ratio", switched / bridged, "", Some(Bar::AtLeast(1.0)));
        let streamed = percentile(&mut self.streamed, 50.0);
        figures.add("pps_64_delivered_over_sockets", streamed, "1/s", None);
        if !self.bridged_by_kernel.is_empty() {
            let bridged = percentile(&mut self.bridged_by_kernel, 50.0);
            figures.add("pps_64_delivered_over_tap", bridged, "1/s", None);
        }
        figures.add("linux_pps_64_delivered", linux, "1/s", None);
        figures.add("delivered_to_linux_ratio", switched / linux, "", Some(Bar::AtLeast(2.0)));
        let idle = percentile(&mut self.testpmd_idle, 50.0);
        figures.add("testpmd_idle_percent", idle, "%", None);
    }
}

/// What the peers need, or the sentence that says what is missing.
fn prepare() -> anyhow::Result<()> {
    testpmd::require()?;
    make_linux()
}

/// Makes the Linux guest, unless it is there.
pub(super) fn make_linux() -> anyhow::Result<()> {
    let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
    let made = Command::new("scripts/peers/linux").current_dir(root).status()?;
    anyhow::ensure!(made.success(), "there is no Linux guest");
    Ok(())
}

/// Our guest sends, testpmd counts.
fn to_testpmd(plan: &Plan) -> anyhow::Result<f64> {
    let mut rig = Rig::new()?;
    let mut command = testpmd::device(&rig, 1, "rxonly");
    rig.start_other(&mut command, 1)?;
    rig.start_machine(1, Guest::Ours(Pace::Free), Backend::VhostUser)?;
    rig.wait_until_booted(1)?;
    std::thread::sleep(SETTLES);
    rig.ask(1, &format!("generate {NOBODY} seconds={}", plan.seconds + 3))?;
    std::thread::sleep(Duration::from_secs(plan.seconds + 2));
    // One of its seconds is cut by the beginning, one by the end.
    let said = rig.other_said();
    let rates = said.lines().filter_map(|line| {
        let value = line.split("Rx-pps:").nth(1)?;
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    let mut rates: Vec<f64> = rates.filter(|rate| *rate > 0.0).collect();
    anyhow::ensure!(!rates.is_empty(), "testpmd has counted nothing");
    Ok(percentile(&mut rates, 50.0))
}

/// Our guest sends, our switch counts and drops.
fn to_switch(plan: &Plan) -> anyhow::Result<f64> {
    let rig = Rig::with_machines(1, Pace::Free, Backend::VhostUser)?;
    rig.ask(1, &format!("generate {NOBODY} seconds={}", plan.seconds + 1))?;
    rate_into_switch(&rig, plan)
}

/// A Linux guest sends, our switch counts and drops.
fn linux_to_switch(plan: &Plan) -> anyhow::Result<f64> {
    let mut rig = Rig::new()?;
    rig.start_switch(1, Backend::VhostUser)?;
    rig.start_machine(1, Guest::Linux(Some(NOBODY)), Backend::VhostUser)?;
    rig.wait_until_said(1, "linux: ready")?;
    rate_into_switch(&rig, plan)
}

/// From one of our guests to another by way of testpmd; and how busy it is when nothing is sent.
fn through_testpmd(plan: &Plan) -> anyhow::Result<(f64, f64)> {
    let mut rig = Rig::new()?;
    let mut command = testpmd::device(&rig, 2, "io");
    rig.start_other(&mut command, 2)?;
    for machine in [1, 2] {
        rig.start_machine(machine, Guest::Ours(Pace::Free), Backend::VhostUser)?;
    }
    let rate = delivered(&rig, plan)?;
    let before = processor_time(rig.switch()?)?;
    std::thread::sleep(Duration::from_secs(plan.seconds));
    let busy =
        (processor_time(rig.switch()?)? - before).as_secs_f64() / plan.seconds as f64 * 100.0;
    Ok((rate, busy))
}

fn through_switch(plan: &Plan, backend: Backend) -> anyhow::Result<f64> {
    delivered(&Rig::with_machines(2, Pace::Free, backend)?, plan)
}

/// What the second machine counts of what the first sends.
fn delivered(rig: &Rig, plan: &Plan) -> anyhow::Result<f64> {
    rig.wait_until_booted(1)?;
    rig.wait_until_booted(2)?;
    std::thread::sleep(SETTLES);
    // Both have spoken, so that no frame is flooded.
    rig.measure(1, &format!("echo {} count=10", mac(2)))?;
    let command = format!("generate {} seconds={}", mac(2), plan.seconds);
    number(&rig.measure(1, &command)?, "delivered_pps")
}

/// From one Linux guest to another by way of our switch, as the receiver counts it.
fn linux_through_switch(plan: &Plan) -> anyhow::Result<f64> {
    let mut rig = Rig::new()?;
    rig.start_switch(2, Backend::VhostUser)?;
    rig.start_machine(2, Guest::Linux(None), Backend::VhostUser)?;
    rig.wait_until_said(2, "linux: ready")?;
    rig.start_machine(1, Guest::Linux(Some(&mac(2))), Backend::VhostUser)?;
    rig.wait_until_said(1, "linux: ready")?;
    let (started, before) = (clock::now(), received(&rig)?);
    std::thread::sleep(Duration::from_secs(plan.seconds));
    Ok((received(&rig)? - before) / started.elapsed().as_secs_f64())
}

/// How many frames the second machine has received when it says so next.
fn received(rig: &Rig) -> anyhow::Result<f64> {
    let counts = |said: &str| said.matches("linux: received").count();
    let before = counts(&rig.everything_said(2));
    let give_up = clock::now() + Duration::from_secs(10);
    loop {
        let said = rig.everything_said(2);
        // The last may not be whole yet.
        if counts(&said) > before + 1 {
            let said = said.rsplit("linux: received").nth(1).unwrap_or_default();
            return said.trim().parse().with_context(|| format!("Linux has received '{said}'"));
        }
        interrupt::check()?;
        anyhow::ensure!(clock::now() < give_up, "the receiving Linux says no more");
        std::thread::sleep(Duration::from_millis(20));
    }
}
