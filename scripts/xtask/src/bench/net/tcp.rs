//! How much TCP carries from one machine to another, and what offloads have to do with it.

use anyhow::ensure;

use super::rig::{Backend, Guest, Rig};
use super::{Plan, median, number};
use crate::bench::figures::{Bar, Figures};

/// A card with offloads, or without: what the machines are told, what the figures are called, and what the
/// first must reach.
const CARDS: [(&str, [&str; 2], Option<Bar>); 3] = [
    ("all", ["tcp_gbit_tso", "tcp_retransmissions_tso"], Some(Bar::AtLeast(2.0))),
    ("checksums", ["tcp_gbit_checksums", "tcp_retransmissions_checksums"], None),
    ("none", ["tcp_gbit", "tcp_retransmissions"], None),
];

/// One connection, one way.
pub(super) fn measure(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    figures.condition(
        "tcp",
        "one connection, MTU 1500, windows of 256 KiB, with TSO 1 MiB; the sink counts, and looks at samples",
    );
    for (offloads, [rate_name, repeats_name], bar) in CARDS {
        let rig = Rig::with_guests(2, Guest::Offloading(offloads), Backend::VhostUser)?;
        let sink = rig.ask(2, "tcp sink")?;
        let address = sink["address"].as_str().unwrap_or_default();
        let command = format!("tcp source {address} {} {}", sink["port"], plan.seconds);
        let mut repeated = 0.0;
        let rate = median(plan, |_| {
            let result = rig.measure(1, &command)?;
            ensure!(result["delivered"] == result["sent"], "bytes are missing: {result}");
            ensure!(result["misplaced"] == 0, "bytes have moved: {result}");
            ensure!(result["tso"] == (offloads == "all"), "the card does something else: {result}");
            repeated += number(&result, "retransmissions")?;
            Ok(number(&result, "delivered_mbit_per_second")? / 1e3)
        })?;
        for machine in [1, 2] {
            let status = rig.ask(machine, "tcp status")?;
            ensure!(
                status["copied_bytes"] == 0,
                "bytes were copied from buffer to buffer: {status}"
            );
        }
        figures.add(rate_name, rate, "Gbit/s", bar);
        figures.add(repeats_name, repeated, "", None);
    }
    Ok(())
}
