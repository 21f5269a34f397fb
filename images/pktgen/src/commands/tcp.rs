//! What the shell says of TCP.

use alloc::string::String;

use netio::OffloadUse;
use shell::{Record, Report, Value};

use crate::station::Station;
use crate::tcp::{Ending, Outcome};

pub(super) fn status(station: &Station) -> Report {
    let tcp = station.tcp();
    let (sink, offloads) = (tcp.sink_statistics(), tcp.offload_status());
    let record = Record::default()
        .with("address", Value::text(tcp.address()))
        .with("port", sink.port)
        .with("connections", sink.connections)
        .with("finished", sink.finished)
        .with("bytes", sink.bytes)
        .with("overrun", tcp.overrun())
        .with("copied_bytes", tcp.copied_bytes())
        .with("offered", Value::text(netio::Names(offloads.offered)))
        .with("negotiated", Value::text(netio::Names(offloads.negotiated)));
    Report::Record(with_use(record, &offloads.used))
}

/// What came of a source; what arrived is what the sink says.
pub(super) fn result(outcome: &Outcome) -> Result<Report, String> {
    let report = match outcome.ending {
        Ending::Reported(report) => report,
        Ending::Unanswered => return Err("nobody has answered there".into()),
        Ending::Broken => return Err("the other end has ended the connection".into()),
        Ending::Unreported => return Err("the other end has not told what arrived".into()),
    };
    let record = Record::default()
        .with("sent", outcome.sent)
        .with("delivered", report.bytes)
        .with("delivered_us", report.span_ns / 1_000)
        .with("delivered_mbit_per_second", (report.bits_per_second() / 1e6) as u64)
        .with("misplaced", report.misplaced)
        .with("retransmissions", outcome.repeats.segments)
        .with("retransmitted_bytes", outcome.repeats.bytes)
        .with("checksum_offload", outcome.negotiated.transmit_checksum)
        .with("tso", outcome.negotiated.transmit_tso_ipv4);
    Ok(Report::Record(with_use(record, &outcome.used)))
}

fn with_use(record: Record, used: &OffloadUse) -> Record {
    record
        .with("cut_by_card", used.cut_by_card)
        .with("cut_here", used.cut_here)
        .with("summed_by_card", used.summed_by_card)
        .with("summed_here", used.summed_here)
        .with("verified_by_card", used.verified_by_card)
        .with("verified_here", used.verified_here)
        .with("bad_checksum", used.bad_checksum)
        .with("cut_refused", used.refused)
        .with("merged_here", used.merge.merged)
        .with("merged_from", used.merge.merged + used.merge.appended)
}
