//! What the shell says of the card.

use shell::{Record, Report};

use crate::card::Card;
use crate::station::Station;

/// Of all pairs of queues together.
pub(super) fn all(station: &Station) -> Report {
    let reports = station.reports();
    let Card { statistics: it, is_link_up, is_packed } =
        Card::whole(reports.iter().map(|report| report.card));
    let exhausted: u64 = reports.iter().map(|report| report.pool.exhausted).sum();
    let overrun: u64 = reports.iter().map(|report| report.counters.overrun).sum();
    Report::Record(
        Record::default()
            .with("link_up", is_link_up)
            .with("link_changes", it.link_changes)
            .with("restarts", it.restarts)
            .with("ring_format", is_packed.map(|it| if it { "packed" } else { "split" }))
            .with("receive_ring", it.receive_ring)
            .with("transmit_ring", it.transmit_ring)
            .with("receive_buffers", it.receive_buffers)
            .with("transmit_buffers", it.transmit_buffers)
            .with("received_frames", it.received_frames)
            .with("received_bytes", it.received_bytes)
            .with("sent_frames", it.sent_frames)
            .with("sent_bytes", it.sent_bytes)
            .with("polls", it.receive_polls)
            .with("polls_empty", it.receive_polls_empty)
            .with("kicks", it.kicks)
            .with("interrupts_armed", it.interrupts_armed)
            .with("interrupts_overtaken", it.interrupts_overtaken)
            .with("ring_full", it.send_ring_full)
            .with("receive_pool_empty", it.receive_pool_empty)
            .with("pool_exhausted", exhausted)
            .with("dropped_bad_length", it.receive_bad_length)
            .with("dropped_bad_header", it.receive_bad_header)
            .with("dropped_bad_chain", it.receive_bad_chain)
            .with("dropped_refused", it.send_refused)
            .with("dropped_stack_full", overrun + station.tcp().overrun())
            .with("dropped_bad_checksum", station.tcp().offload_status().used.bad_checksum),
    )
}
