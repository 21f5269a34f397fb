//! What the shell says of the sizes of RFC 2544.

use shell::{Listing, Report};

use crate::rfc2544::Rows;

const COLUMNS: &[&str] = &[
    "size",
    "zero_loss_pps",
    "mbit_per_second",
    "trials",
    "echoes",
    "rtt_ns_p50",
    "rtt_ns_p99",
    "lost_at_90_percent",
];

/// A row for each size. Latencies, and what was lost meanwhile, are at nine tenths of the rate without loss.
pub(super) fn result(rows: &Rows) -> Report {
    let mut listing = Listing::new(COLUMNS);
    for row in rows.iter().flatten() {
        let timed = row.latency.filter(|latency| latency.echoes > 0);
        listing.push([
            row.size.into(),
            row.best.into(),
            (row.bits_per_second() / 1_000_000).into(),
            u64::from(row.trials).into(),
            row.latency.map(|latency| u64::from(latency.echoes)).into(),
            timed.map(|latency| u64::from(latency.p50_ns)).into(),
            timed.map(|latency| u64::from(latency.p99_ns)).into(),
            row.latency.and_then(|latency| latency.lost).into(),
        ]);
    }
    Report::Listing(listing)
}
