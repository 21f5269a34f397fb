//! What the shell says of a station, and of all that share its card.

use pool::PoolStatistics;
use shell::{Listing, Record, Report, Value};

use crate::station::{Counters, Role, Station};
use crate::team;

pub(super) fn all(station: &Station) -> Report {
    let role = match station.role() {
        Role::Sink => "sink",
        Role::FlowSink => "flowsink",
        Role::Forwarder => "forwarder",
    };
    let mac = station.mac().map(|byte| alloc::format!("{byte:02x}")).join(":");
    let reports = station.reports();
    let counters = reports.iter().fold(Counters::default(), |sum, it| sum + it.counters);
    let meter = team::heard_last(&reports);
    let (arrivals, costs) = (meter.arrivals(), station.costs());
    let sum = |of: fn(&PoolStatistics) -> u64| reports.iter().map(|it| of(&it.pool)).sum::<u64>();
    Report::Record(
        Record::default()
            .with("mac", Value::text(mac))
            .with("role", role)
            .with("busy", station.is_any_busy())
            .with("progress", station.progress().map(progress))
            .with("pairs", reports.len())
            .with("received", counters.received)
            .with("returned", counters.returned)
            .with("foreign", counters.foreign)
            .with("run_frames", arrivals.frames)
            .with("run_bytes", meter.bytes())
            .with("run_reordered", arrivals.reordered)
            .with("run_duplicates", arrivals.duplicates)
            .with("run_pps", arrivals.per_second() as u64)
            .with("flows", reports.iter().map(|it| it.flows).sum::<Option<usize>>())
            .with("packet_ns_p50", costs.map(|(p50, _)| u64::from(p50 / 10)))
            .with("packet_ns_p99", costs.map(|(_, p99)| u64::from(p99 / 10)))
            .with("receive_ring", u64::from(station.card().statistics.receive_ring))
            .with("transmit_ring", u64::from(station.card().statistics.transmit_ring))
            .with("buffers", sum(|pool| pool.buffers as u64))
            .with("buffers_free", sum(|pool| pool.free as u64))
            .with("pool_exhausted", sum(|pool| pool.exhausted))
            .with("copied_bytes", sum(|pool| pool.copied_bytes)),
    )
}

fn progress((place, count): (usize, usize)) -> Value {
    let size = crate::SIZES_RFC2544[place - 1];
    Value::text(alloc::format!("size {place} of {count}: {size} bytes"))
}

const PAIR_COLUMNS: &[&str] = &[
    "pair",
    "busy",
    "received",
    "returned",
    "foreign",
    "overrun",
    "run_frames",
    "run_reordered",
    "flows",
    "buffers_free",
];

pub(super) fn pairs(station: &Station) -> Report {
    let mut listing = Listing::new(PAIR_COLUMNS);
    for (pair, report) in station.reports().into_iter().enumerate() {
        let (arrivals, counters) = (report.meters.latest().arrivals(), report.counters);
        listing.push([
            pair.into(),
            report.is_busy.into(),
            counters.received.into(),
            counters.returned.into(),
            counters.foreign.into(),
            counters.overrun.into(),
            arrivals.frames.into(),
            arrivals.reordered.into(),
            report.flows.into(),
            report.pool.free.into(),
        ]);
    }
    Report::Listing(listing)
}
