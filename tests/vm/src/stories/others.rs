//! Devices, drivers and stacks that others wrote, with ours at the other end, as `scripts/bench` runs them:
//! it fails if a frame or a byte is unaccounted for.

use std::process::Command;

use crate::stories::packets::{bench, figure};
use crate::stories::{Ending, World};

const TESTPMD_MISSING: &str = "needs DPDK's testpmd (scripts/setup --peers)";
/// What a driver sends through our switch at least, in frames …
const SWITCHED_MIN: f64 = 100_000.0;
/// … and ours to DPDK's device: a busy host is no faster.
const COUNTED_MIN: f64 = 100_000.0;
/// At a pace that all can carry, in two seconds.
const CARRIED_MIN: f64 = 1_000.0;

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

fn has_testpmd() -> bool {
    Command::new("dpdk-testpmd").arg("--version").output().is_ok()
}
