//! The frame sizes of RFC 2544 through our switch: the rate without loss, and latencies beside it.

use anyhow::{Context, ensure};
use serde_json::Value;

use super::rig::{Backend, Pace, Rig, mac};
use super::{Plan, number};
use crate::bench::figures::Figures;

/// What the figures of a size are called.
const SIZES: [(u64, [&str; 4]); 7] = [
    (64, ["rfc2544_64_pps", "rfc2544_64_gbit", "rfc2544_64_us_p50", "rfc2544_64_us_p99"]),
    (128, ["rfc2544_128_pps", "rfc2544_128_gbit", "rfc2544_128_us_p50", "rfc2544_128_us_p99"]),
    (256, ["rfc2544_256_pps", "rfc2544_256_gbit", "rfc2544_256_us_p50", "rfc2544_256_us_p99"]),
    (512, ["rfc2544_512_pps", "rfc2544_512_gbit", "rfc2544_512_us_p50", "rfc2544_512_us_p99"]),
    (1024, ["rfc2544_1024_pps", "rfc2544_1024_gbit", "rfc2544_1024_us_p50", "rfc2544_1024_us_p99"]),
    (1280, ["rfc2544_1280_pps", "rfc2544_1280_gbit", "rfc2544_1280_us_p50", "rfc2544_1280_us_p99"]),
    (1518, ["rfc2544_1518_pps", "rfc2544_1518_gbit", "rfc2544_1518_us_p50", "rfc2544_1518_us_p99"]),
];

/// How long a trial is. The RFC has a minute, which would take hours.
const FULL_MS: u64 = 2_000;
const QUICK_MS: u64 = 100;

/// One table of the packet generator's.
pub(super) fn measure(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let millis = if plan.is_searching { FULL_MS } else { QUICK_MS };
    figures.condition(
        "rfc2544",
        format!(
            "trials of {millis} ms (the RFC: 60 s); latencies there and back, at 90 % of the rate"
        ),
    );
    let rig = Rig::with_machines(2, Pace::Free, Backend::VhostUser)?;
    // Both have spoken, so that no frame is flooded.
    rig.measure(1, &format!("echo {} count=10", mac(2)))?;
    let table = rig.measure(1, &format!("rfc2544 {} ms={millis}", mac(2)))?;
    let rows = table.as_array().context("it answers no table")?;
    ensure!(rows.len() == SIZES.len(), "sizes are missing: {table}");
    for (row, (size, names)) in rows.iter().zip(SIZES) {
        ensure!(row["size"] == size, "sizes have changed places: {table}");
        add(row, names, figures)?;
    }
    Ok(())
}

fn add(row: &Value, names: [&'static str; 4], figures: &mut Figures) -> anyhow::Result<()> {
    let [pps, gbit, p50, p99] = names;
    figures.add(pps, number(row, "zero_loss_pps")?, "1/s", None);
    figures.add(gbit, number(row, "mbit_per_second")? / 1e3, "Gbit/s", None);
    // On a host with other work there may be no rate without loss, and then no latency.
    for (name, field) in [(p50, "rtt_ns_p50"), (p99, "rtt_ns_p99")] {
        if let Some(nanos) = row[field].as_f64() {
            figures.add(name, nanos / 1e3, "us", None);
        }
    }
    Ok(())
}
