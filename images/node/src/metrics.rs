//! The node in numbers, as Prometheus reads them (text format 0.0.4).

use alloc::string::String;
use core::fmt::{Display, Write};

use kv::service::Status;
use netio::LatencyHistogram;
use raft::RaftState;
use wire::Refusal;

use crate::node::View;
use crate::notary::Notary;
use crate::output::Port;
use crate::traffic::views::{CARDS, CLASS_FIGURES, FIGURES, drops};

/// A page under construction.
struct Page(String);

impl Page {
    /// Opens a metric: its name, its type, and what it is.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail, here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "counter", help);
        self.sample(name, "", value);
    }

    /// The samples of a summary.
    fn quantiles(&mut self, name: &str, labels: &str, histogram: &LatencyHistogram) {
        let separator = if labels.is_empty() { "" } else { "," };
        for (quantile, per_mille) in [("0.5", 500), ("0.99", 990)] {
            let Some(nanos) = histogram.percentile_ns(per_mille) else { continue };
            let labels = alloc::format!("{labels}{separator}quantile=\"{quantile}\"");
            let seconds = format_args!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
            self.sample(name, &labels, seconds);
        }
        self.sample(&alloc::format!("{name}_count"), labels, histogram.count());
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help);
        self.sample(name, "", value);
    }
}

/// The whole page.
pub(crate) fn text(view: &View<'_>) -> String {
    let mut page = Page(String::new());
    node(&mut page, view);
    if view.raft.is_some() {
        raft(&mut page, view);
    }
    if let Some(status) = view.kv {
        key_values(&mut page, status);
    }
    if let Some(notary) = view.notary {
        ledger(&mut page, notary);
    }
    disk(&mut page, view);
    network(&mut page, view);
    cards(&mut page, view);
    clients(&mut page, view);
    page.0
}

fn node(page: &mut Page, view: &View<'_>) {
    page.metric("coterie_node_info", "gauge", "The node and its cluster.");
    let labels =
        alloc::format!("node=\"{}\",cluster=\"{}\"", view.settings.id, view.settings.cluster);
    page.sample("coterie_node_info", &labels, 1);
    let uptime = view.now.as_millis();
    let seconds = alloc::format!("{}.{:03}", uptime / 1_000, uptime % 1_000);
    page.gauge("coterie_uptime_seconds", "Time since the image was started.", seconds);
    page.gauge("coterie_heap_bytes", "What the heap holds.", view.machine.heap_bytes);
    page.metric("coterie_interrupts_total", "counter", "Interrupts that the machine had.");
    page.sample("coterie_interrupts_total", "source=\"device\"", view.machine.device_interrupts);
    page.sample("coterie_interrupts_total", "source=\"timer\"", view.machine.timer_interrupts);
}

fn ledger(page: &mut Page, notary: &Notary) {
    let is_on = u8::from(notary.reason().is_none());
    page.gauge("coterie_bft_is_on", "Whether this node takes part in the ledger.", is_on);
    let (waiting, under_way) = notary.depth();
    let help = "Entries of this node's clients that are not appended yet.";
    page.gauge("coterie_ledger_waiting", help, waiting + under_way);
    let refused = notary.messages_refused();
    page.counter("coterie_bft_messages_refused_total", "Messages that were none.", refused);
    let help = "Messages that were lost because too many of their sender waited.";
    page.counter("coterie_bft_messages_dropped_total", help, notary.messages_dropped());
    let (Some(bft), Some(ledger)) = (notary.bft(), notary.ledger()) else { return };
    page.gauge("coterie_ledger_entries", "Entries of the ledger.", ledger.length());
    let status = bft.status();
    let counters = status.counters;
    page.gauge("coterie_bft_view", "The view.", status.view);
    page.gauge("coterie_bft_executed", "The last batch that was executed.", status.executed);
    let help = "Batches that a fast quorum decided.";
    page.counter("coterie_bft_decided_fast_total", help, counters.decided_fast);
    page.gauge("coterie_bft_stable", "The stable checkpoint.", status.low);
    let help = "Whether this node signs nothing, because what it signed is damaged.";
    page.gauge("coterie_bft_is_abstaining", help, u8::from(status.is_abstaining));
    page.counter("coterie_bft_signed_total", "Statements signed.", counters.signed);
    page.counter("coterie_bft_verified_total", "Signatures verified.", counters.verified);
    let help = "Signatures that did not verify.";
    page.counter("coterie_bft_bad_signatures_total", help, counters.bad_signatures);
    page.counter("coterie_bft_views_left_total", "Views left.", counters.views_left);
    page.counter("coterie_bft_muted_total", "Messages of peers that lied.", counters.muted);
}

fn raft(page: &mut Page, view: &View<'_>) {
    let Some(raft) = view.raft else { return };
    let status = raft.status(view.now);
    let is_leader = u8::from(status.state == RaftState::Leader);
    page.gauge("coterie_raft_is_leader", "Whether this node leads.", is_leader);
    let has_leader = u8::from(status.leader.is_some());
    page.gauge("coterie_raft_has_leader", "Whether this node knows a leader.", has_leader);
    page.gauge("coterie_raft_term", "The latest term.", status.term.0);
    page.gauge("coterie_raft_commit_index", "The last committed entry.", status.commit_index.0.0);
    page.gauge("coterie_raft_last_applied", "The last applied entry.", status.last_applied.0.0);
    page.gauge("coterie_raft_last_index", "The last entry of the log.", status.last_index.0);
    page.gauge("coterie_raft_persisted_index", "The last durable entry.", status.persisted_index.0);
    page.gauge("coterie_raft_cached_bytes", "Bytes of entries in memory.", status.cached_bytes);
    let configuration = &status.configuration;
    page.gauge("coterie_raft_voters", "Members that vote.", configuration.voters.len());
    page.gauge("coterie_raft_learners", "Members that learn.", configuration.learners.len());
    let help = "Whether voters are being exchanged.";
    page.gauge("coterie_raft_is_joint", help, u8::from(configuration.is_joint()));
    let help = "Numbers of members that were removed.";
    page.gauge("coterie_raft_retired", help, configuration.retired.len());
    let is_member = u8::from(configuration.contains(status.id));
    page.gauge("coterie_raft_is_member", "Whether this node belongs to the cluster.", is_member);
    let damaged = status.damage.entries;
    page.gauge("coterie_raft_entries_damaged", "Entries damaged here and not repaired.", damaged);
    let is_nowhere = u8::from(status.damage.nowhere.is_some());
    let help = "Whether no node has an intact copy of an entry that is damaged here.";
    page.gauge("coterie_raft_entry_is_nowhere", help, is_nowhere);
    let counters = status.counters;
    page.counter("coterie_raft_proposals_total", "Commands taken as leader.", counters.proposals);
    page.counter("coterie_raft_appends_sent_total", "Append messages sent.", counters.appends_sent);
    page.counter("coterie_raft_candidacies_total", "Elections stood for.", counters.candidacies);
    let help =
        "Suspicions that the leader is gone, because of its silence or of the switch's word.";
    page.counter("coterie_raft_suspicions_total", help, counters.suspicions);
    let help = "Of those: times that the leader spoke after the others had been asked.";
    page.counter("coterie_raft_suspicions_refuted_total", help, counters.suspicions_refuted);
    let help = "Times that this machine stood still, or its clock leapt.";
    page.counter("coterie_time_jumps_total", help, counters.time_jumps);
    page.metric("coterie_raft_reads_total", "counter", "Questions about reads answered as leader.");
    page.sample("coterie_raft_reads_total", "by=\"index\"", counters.index_reads);
    page.sample("coterie_raft_reads_total", "by=\"lease\"", counters.lease_reads);
    page.metric("coterie_raft_messages_refused_total", "counter", "Messages not acted upon.");
    for (cause, count) in [
        ("stale", counters.stale),
        ("malformed", counters.malformed + view.messages_refused),
        ("stranger", counters.strangers),
        ("vote_ignored", counters.votes_ignored),
    ] {
        let labels = alloc::format!("cause=\"{cause}\"");
        page.sample("coterie_raft_messages_refused_total", &labels, count);
    }
}

fn key_values(page: &mut Page, status: &Status) {
    page.gauge("coterie_kv_keys", "Keys.", status.keys);
    page.gauge("coterie_kv_keys_with_deadline", "Keys that will expire.", status.deadlines);
    page.gauge("coterie_kv_memory_bytes", "What the data occupies.", status.memory_bytes);
    page.gauge("coterie_kv_writes_in_flight", "Writes under way.", status.writes);
    page.gauge("coterie_kv_reads_waiting", "Reads that wait.", status.reads);
    let (counters, machine) = (status.counters, status.machine);
    page.counter("coterie_kv_commands_total", "Commands taken.", counters.commands);
    let help = "Requests that were no command.";
    page.counter("coterie_kv_requests_refused_total", help, counters.refused);
    page.counter("coterie_kv_reads_total", "Reads answered.", counters.reads);
    page.counter("coterie_kv_writes_total", "Writes executed.", machine.executed);
    let help = "Writes that came again, and were not executed again.";
    page.counter("coterie_kv_writes_repeated_total", help, machine.repeated);
    page.counter(
        "coterie_kv_expired_total",
        "Keys removed when their time was over.",
        machine.expired,
    );
    let help = "Writes refused for want of memory.";
    page.counter("coterie_kv_out_of_memory_total", help, machine.out_of_memory);
    let help = "Commands that the cluster could not carry out in time.";
    page.counter("coterie_kv_timed_out_total", help, counters.timed_out);
    let help = "Clients cut off because all together held too much memory.";
    page.counter("coterie_kv_clients_evicted_total", help, counters.evicted);
}

fn disk(page: &mut Page, view: &View<'_>) {
    let (status, snapshots) = (view.store.status(), view.snapshots);
    page.gauge(
        "coterie_snapshot_index",
        "The last entry in the snapshot.",
        status.snapshot_index.0,
    );
    page.gauge("coterie_snapshot_bytes", "The length of the snapshot.", status.snapshot_bytes);
    page.counter("coterie_snapshots_taken_total", "Own snapshots that count.", snapshots.taken);
    let help = "Own snapshots that came to nothing.";
    page.counter("coterie_snapshots_abandoned_total", help, snapshots.abandoned);
    let help = "Snapshots of leaders that took the place of the log.";
    page.counter("coterie_snapshots_installed_total", help, snapshots.installed);
    page.counter("coterie_disk_batches_total", "Batches written.", status.batches);
    page.counter("coterie_disk_records_total", "Records written.", status.records);
    page.counter("coterie_disk_flushes_total", "Flushes done.", status.flushes);
    page.counter("coterie_disk_scrubbed_total", "Records verified in passing.", status.scrubbed);
    page.counter("coterie_disk_damaged_total", "Damage found on the disk.", status.damaged);
    let help = "Damaged records written again from intact copies.";
    page.counter("coterie_disk_repaired_total", help, status.repaired);
    page.gauge("coterie_disk_body_bytes_used", "Bytes of the log in use.", status.body_bytes_used);
    page.gauge("coterie_disk_body_bytes", "Bytes of the log there is room for.", status.body_bytes);
}

fn network(page: &mut Page, view: &View<'_>) {
    let pool = view.packets.statistics();
    page.gauge("coterie_packet_buffers", "Packet buffers.", pool.buffers);
    page.gauge("coterie_packet_buffers_free", "Packet buffers that are free.", pool.free);
    let help = "Times that no packet buffer was free.";
    page.counter("coterie_packet_buffers_exhausted_total", help, pool.exhausted);
    let help = "Bytes of messages copied between nodes' frames and memory; TCP's are not counted.";
    page.counter("coterie_copied_bytes_total", help, pool.copied_bytes);
    let Some(links) = view.links else { return };
    let counters = links.counters();
    page.counter("coterie_link_frames_received_total", "Frames of nodes taken.", counters.received);
    page.counter("coterie_link_frames_sent_total", "Frames sent to nodes.", counters.sent);
    let help = "Word of the switch that a station has lost its link.";
    page.counter("coterie_link_notices_total", help, counters.notices);
    page.metric("coterie_link_frames_refused_total", "counter", "Frames of nodes refused.");
    for (refusal, count) in Refusal::ALL.iter().zip(counters.refused) {
        let labels = alloc::format!("cause=\"{refusal}\"");
        page.sample("coterie_link_frames_refused_total", &labels, count);
    }
    page.metric("coterie_link_frames_resent_total", "counter", "Frames sent again, by peer.");
    for (peer, status) in links.status(view.now) {
        let labels = alloc::format!("peer=\"{peer}\"");
        page.sample("coterie_link_frames_resent_total", &labels, status.resent);
    }
}

fn cards(page: &mut Page, view: &View<'_>) {
    let traffic = view.traffic;
    let card = |name| alloc::format!("card=\"{name}\"");
    for (name, figure) in FIGURES {
        let metric = alloc::format!("coterie_netio_{name}_total");
        page.metric(&metric, "counter", "What the cards count: see 'netio stats'.");
        for (name, statistics) in traffic.cards() {
            page.sample(&metric, &card(name), figure(statistics));
        }
    }
    for (name, counts) in drops(traffic, view.clients, view.links) {
        let metric = alloc::format!("coterie_netio_{name}_total");
        page.metric(&metric, "counter", "Frames that were dropped: see 'netio stats'.");
        for (name, count) in CARDS.into_iter().zip(counts) {
            if let Some(count) = count {
                page.sample(&metric, &card(name), count);
            }
        }
    }
    for (index, (figure, help, _)) in CLASS_FIGURES.into_iter().enumerate() {
        let metric = alloc::format!("coterie_netio_class_{figure}_total");
        page.metric(&metric, "counter", help);
        for (class, counts) in traffic.class_counts() {
            page.sample(&metric, &alloc::format!("class=\"{class}\""), counts[index]);
        }
    }
    let metric = "coterie_netio_offload_used_total";
    page.metric(metric, "counter", "How often a card did what it takes over.");
    for (name, used) in traffic.offloads_used() {
        for (offload, count) in used {
            page.sample(metric, &alloc::format!("{},offload=\"{offload}\"", card(name)), count);
        }
    }
    let metric = "coterie_netio_packet_seconds";
    page.metric(metric, "summary", "What a frame costs.");
    page.quantiles(metric, "", traffic.costs());
    let metric = "coterie_netio_wait_seconds";
    page.metric(metric, "summary", "How long frames waited for a card.");
    for (name, waits) in traffic.waits() {
        page.quantiles(metric, &card(name), waits);
    }
    let flows = traffic.flow_counts();
    page.gauge("coterie_netio_flows", "Flows that were seen of late.", flows.active);
    let help = "Flows that had to make room for others.";
    page.counter("coterie_netio_flows_evicted_total", help, flows.evicted);
    let help = "Flows that were silent for too long.";
    page.counter("coterie_netio_flows_expired_total", help, flows.expired);
}

fn clients(page: &mut Page, view: &View<'_>) {
    let counts = view.clients;
    page.gauge("coterie_connections", "Connections of clients.", counts.connections);
    page.counter("coterie_http_requests_total", "HTTP requests answered.", counts.http_answered);
    let help = "HTTP requests refused.";
    page.counter("coterie_http_requests_refused_total", help, counts.http_refused);
    page.metric("coterie_tcp_accepted_total", "counter", "Connections accepted, by card.");
    for (port, counters) in counts.stacks {
        let card = match port {
            Port::Cluster => "card=\"cluster\"",
            Port::Outside => "card=\"outside\"",
        };
        if let Some(counters) = counters {
            page.sample("coterie_tcp_accepted_total", card, counters.accepted);
        }
    }
}
