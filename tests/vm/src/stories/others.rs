//! Devices, drivers and stacks that others wrote, with ours at the other end, as `scripts/bench` runs them:
//! it fails if a frame or a byte is unaccounted for.

use std::path::Path;
use std::process::Command;

use crate::stories::packets::{bench, figure};
use crate::stories::{Ending, World};

const TESTPMD_MISSING: &str = "needs DPDK's testpmd (scripts/setup --peers)";
const TAP_MISSING: &str = "needs TAP devices and the program 'ip'";
/// What a driver sends through our switch at least, in frames …
const SWITCHED_MIN: f64 = 100_000.0;
/// … and ours to DPDK's device: a busy host is no faster.
const COUNTED_MIN: f64 = 100_000.0;
/// At a pace that all can carry, in two seconds.
const CARRIED_MIN: f64 = 1_000.0;
/// So many flows there are, with some of the bridge; if each came by both pairs there would be twice as many.
const SPREAD_MAX: f64 = 64.0 + 16.0;
/// What goes in each direction of a connection: with the host's kernel, and with a Linux that is translated.
const HOST_BYTES_MIN: f64 = 10e6;
const LINUX_BYTES_MIN: f64 = 4e6;

/// DPDK's driver on both sides of our switch, with frames in several buffers, in one, and on rings that it
/// would like to be packed.
pub fn virtio_user(_: &mut World) -> anyhow::Result<Ending> {
    if !has_testpmd() {
        return Ok(Ending::Skipped(TESTPMD_MISSING));
    }
    let figures = bench(&["virtio-user", "--json"])?;
    for card in ["mergeable", "single", "packed_wanted"] {
        let sent = figure(&figures, &format!("sent_{card}"))?;
        let delivered = figure(&figures, &format!("delivered_{card}"))?;
        anyhow::ensure!(sent > SWITCHED_MIN, "hardly anything was sent: {figures}");
        anyhow::ensure!(delivered > SWITCHED_MIN, "hardly anything arrived: {figures}");
    }
    Ok(Ending::Good)
}

/// Our driver with DPDK's device, on rings of both formats.
pub fn testpmd(_: &mut World) -> anyhow::Result<Ending> {
    if !has_testpmd() {
        return Ok(Ending::Skipped(TESTPMD_MISSING));
    }
    let figures = bench(&["testpmd", "--json"])?;
    for rings in ["split", "packed"] {
        let counted = figure(&figures, &format!("counted_{rings}"))?;
        anyhow::ensure!(counted > COUNTED_MIN, "hardly anything was sent: {figures}");
        let carried = figure(&figures, &format!("carried_{rings}"))?;
        anyhow::ensure!(carried > CARRIED_MIN, "hardly anything was carried: {figures}");
    }
    Ok(Ending::Good)
}

/// TCP with the kernel of this host, both ways: what is left to the card is left to QEMU's and a TAP device.
pub fn offloads(_: &mut World) -> anyhow::Result<Ending> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Ending::Skipped("needs root"));
    }
    if !has_tap() {
        return Ok(Ending::Skipped(TAP_MISSING));
    }
    let figures = bench(&["tap", "--json"])?;
    let get = |name| figure(&figures, name);
    for direction in ["received_bytes", "sent_bytes"] {
        anyhow::ensure!(get(direction)? > HOST_BYTES_MIN, "hardly anything came: {figures}");
    }
    anyhow::ensure!(
        get("received_frames")? < get("received_frames_if_small")?,
        "the card hands up no large segments: {figures}"
    );
    the_card_worked(&figures)
}

/// Flows that QEMU's card spreads among a machine's pairs of queues: each comes by one of them.
pub fn rss(_: &mut World) -> anyhow::Result<Ending> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Ending::Skipped("needs root"));
    }
    if !has_tap() {
        return Ok(Ending::Skipped(TAP_MISSING));
    }
    if !Path::new("target/coterie-pktgen-smp").exists() {
        return Ok(Ending::Skipped("the image for it is not built: scripts/image --smp"));
    }
    let figures = bench(&["rss", "--smp", "--json"])?;
    let get = |name| figure(&figures, name);
    let (frames, flows) = (
        [get("frames_pair_0")?, get("frames_pair_1")?],
        [get("flows_pair_0")?, get("flows_pair_1")?],
    );
    anyhow::ensure!(frames.iter().all(|count| *count > 0.0), "a pair got nothing: {figures}");
    let is_all = frames.iter().sum::<f64>() == get("delivered")?;
    anyhow::ensure!(is_all, "the pairs' counts are not all: {figures}");
    let flows: f64 = flows.iter().sum();
    anyhow::ensure!(flows <= SPREAD_MAX, "flows came by two pairs: {figures}");
    Ok(Ending::Good)
}

/// TCP with Linux in another machine, both ways, by our switch.
pub fn linux(_: &mut World) -> anyhow::Result<Ending> {
    if !Path::new("target/peers/linux/kernel").exists() {
        return Ok(Ending::Skipped("there is no Linux guest: scripts/peers/linux makes one"));
    }
    let figures = bench(&["linux", "--json"])?;
    anyhow::ensure!(figure(&figures, "there_and_back_bytes")? > LINUX_BYTES_MIN, "{figures}");
    the_card_worked(&figures)
}

/// Segments were cut and sums made and verified by the card, and none was wrong.
fn the_card_worked(figures: &serde_json::Value) -> anyhow::Result<Ending> {
    for name in ["cut_by_card", "summed_by_card", "verified_by_card"] {
        anyhow::ensure!(figure(figures, name)? > 0.0, "the card has not {name}: {figures}");
    }
    for name in ["cut_here", "bad_checksum"] {
        anyhow::ensure!(figure(figures, name)? == 0.0, "{name}: {figures}");
    }
    Ok(Ending::Good)
}

fn has_tap() -> bool {
    Path::new("/dev/net/tun").exists() && Command::new("ip").arg("-V").output().is_ok()
}

fn has_testpmd() -> bool {
    Command::new("dpdk-testpmd").arg("--version").output().is_ok()
}
