//! How much TCP carries from one machine to another, and what offloads have to do with it.

use anyhow::ensure;
use serde_json::Value;

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
/// Over QEMU's sockets, which offer nothing, the processors cut and merge, or they do not.
const PROCESSORS: [(&str, &str); 2] = [("all", "tcp_gbit_socket_gso"), ("none", "tcp_gbit_socket")];

/// One connection, one way.
pub(super) fn measure(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    figures.condition(
        "tcp",
        "one connection, MTU 1500, windows of 256 KiB, with TSO 1 MiB; the sink counts, and looks at samples",
    );
    for (offloads, [rate_name, repeats_name], bar) in CARDS {
        let rig = Rig::with_guests(2, Guest::Offloading(offloads), Backend::VhostUser)?;
        let (rate, repeated) = carry(plan, &rig, |result| {
            ensure!(result["tso"] == (offloads == "all"), "the card does something else: {result}");
            Ok(())
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
    for (offloads, rate_name) in PROCESSORS {
        let rig = Rig::with_guests(2, Guest::Offloading(offloads), Backend::Stream)?;
        let is_cutting = offloads == "all";
        let (rate, _) = carry(plan, &rig, |result| {
            let has_cut = number(result, "cut_here")? > 0.0;
            ensure!(has_cut == is_cutting, "segments are cut elsewhere: {result}");
            Ok(())
        })?;
        let status = rig.ask(2, "tcp status")?;
        let has_merged = number(&status, "merged_here")? > 0.0;
        ensure!(has_merged == is_cutting, "segments are merged elsewhere: {status}");
        figures.add(rate_name, rate, "Gbit/s", None);
    }
    Ok(())
}

/// From the first machine to the second: Gbit/s, the median of all rounds, and how many segments had to be
/// sent again. Each round's result passes `check`.
fn carry(
    plan: &Plan,
    rig: &Rig,
    check: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    let sink = rig.ask(2, "tcp sink")?;
    let address = sink["address"].as_str().unwrap_or_default();
    let command = format!("tcp source {address} {} {}", sink["port"], plan.seconds);
    let mut repeated = 0.0;
    let rate = median(plan, |_| {
        let result = rig.measure(1, &command)?;
        ensure!(result["delivered"] == result["sent"], "bytes are missing: {result}");
        ensure!(result["misplaced"] == 0, "bytes have moved: {result}");
        check(&result)?;
        repeated += number(&result, "retransmissions")?;
        Ok(number(&result, "delivered_mbit_per_second")? / 1e3)
    })?;
    Ok((rate, repeated))
}
