//! Flows that QEMU's own card spreads among a machine's pairs of queues, as our driver tells it to (RSS): by
//! a TAP device with as many queues.

use anyhow::{Context, ensure};

use crate::bench::figures::Figures;
use crate::bench::net::number;
use crate::bench::net::rig::{Backend, Guest, Rig, mac};
use crate::cluster::network::Bridge;
use crate::interrupt;

const PAIRS: usize = 2;
const FLOWS: u64 = 64;
/// Frames a second: one that a busy host carries, too.
const PACED_RATE: u64 = 2_000;
/// What QEMU calls it.
const RSS: &str = "VIRTIO_NET_F_RSS";

/// What came by each pair, and how many flows, those of the bridge itself included: one that came by two
/// pairs is counted twice.
///
/// # Errors
/// If most frames are missing, or the card was not asked to spread flows. Nothing is left behind.
pub(in crate::bench) fn measure() -> anyhow::Result<Figures> {
    interrupt::watch()?;
    if let Some(obstacle) = Bridge::obstacle() {
        anyhow::bail!("{obstacle}");
    }
    let rig = Rig::with_guests(2, Guest::Several(PAIRS), Backend::Tap)?;
    let negotiated = rig.negotiated(2)?;
    ensure!(negotiated.iter().any(|name| name.starts_with(RSS)), "no RSS: {negotiated:?}");
    // Both have spoken, so that the bridge floods nothing.
    rig.measure(1, &format!("echo {} count=10", mac(2)))?;
    rig.ask(2, "flowsink")?;
    let words = format!("seconds=2 flows={FLOWS} rate={PACED_RATE}");
    let result = rig.measure(1, &format!("generate {} {words}", mac(2)))?;
    // A pair takes turns with what QEMU's queues bring: flows overtake each other, some by so much that they
    // are counted as there already.
    let pairs = rig.ask(2, "pairs")?;
    let late = number(&result, "duplicates")?;
    // The host's kernel drops what a busy QEMU does not fetch from a TAP device in time.
    let delivered = number(&result, "delivered")?;
    let is_most = delivered + late >= number(&result, "sent")? / 2.0;
    ensure!(is_most, "frames are missing: {result} {pairs} {}", rig.ask(1, "pairs")?);
    let pairs = pairs.as_array().context("the pairs")?;
    ensure!(pairs.len() == PAIRS, "the machine uses {} pairs", pairs.len());
    let mut figures = Figures::default();
    figures.add("sent", number(&result, "sent")?, "", None);
    figures.add("delivered", delivered, "", None);
    figures.add("late", late, "", None);
    figures.add("frames_pair_0", number(&pairs[0], "run_frames")?, "", None);
    figures.add("frames_pair_1", number(&pairs[1], "run_frames")?, "", None);
    figures.add("flows_pair_0", number(&pairs[0], "flows")?, "", None);
    figures.add("flows_pair_1", number(&pairs[1], "flows")?, "", None);
    Ok(figures)
}
