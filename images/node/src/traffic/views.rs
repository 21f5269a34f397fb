//! `netio`: what is shown of cards, classes and flows, to people, programs and Prometheus.

use alloc::vec::Vec;
use core::cmp::Reverse;

use net::host;
use net::links::Links;
use netio::limits::FLOWS_MAX;
use netio::{
    Class, ClassStatistics, FlowMetadata, FlowStatistics, LatencyHistogram, NetStatistics,
    OffloadCounts, OffloadSet, ZeroCopyPath,
};
use pool::Pool;
use shell::{Listing, Record, Value};

use super::{Gate, Traffic, plan};
use crate::clients::ClientCounts;
use crate::node::MachineReport;

/// What something is called, and where it is among what a card counts.
pub(crate) type Figure = (&'static str, fn(&NetStatistics) -> u64);

/// What a card counts.
pub(crate) const FIGURES: [Figure; 17] = [
    ("received_frames", |it| it.received_frames),
    ("received_bytes", |it| it.received_bytes),
    ("sent_frames", |it| it.sent_frames),
    ("sent_bytes", |it| it.sent_bytes),
    ("dropped_bad_length", |it| it.receive_bad_length),
    ("dropped_bad_header", |it| it.receive_bad_header),
    ("dropped_bad_chain", |it| it.receive_bad_chain),
    ("dropped_unsendable", |it| it.send_refused),
    ("pool_empty", |it| it.receive_pool_empty),
    ("ring_full", |it| it.send_ring_full),
    ("kicks", |it| it.kicks),
    ("interrupts_armed", |it| it.interrupts_armed),
    ("interrupts_overtaken", |it| it.interrupts_overtaken),
    ("polls", |it| it.receive_polls),
    ("polls_empty", |it| it.receive_polls_empty),
    ("restarts", |it| it.restarts),
    ("link_changes", |it| it.link_changes),
];

/// What a class counts: its name, what it is, and where it is.
type ClassFigure = (&'static str, &'static str, fn(&ClassStatistics) -> u64);

/// What classes count.
pub(crate) const CLASS_FIGURES: [ClassFigure; 5] = [
    ("sent", "Frames that left, by class of traffic.", |it| it.sent_frames),
    ("dropped", "Frames for which there was no room, by class.", |it| {
        it.refused_full + it.refused_long
    }),
    ("starved", "Spells in which others went first, by class.", |it| it.starved),
    ("shaped", "Times that a shape kept a frame back, by class.", |it| it.shaped),
    ("passed_over", "Times that another went before a frame, by class.", |it| it.passed_over),
];

/// What the cards are called.
pub(crate) const CARDS: [&str; 2] = ["cluster", "outside"];

impl Traffic {
    /// The ways to both cards.
    fn gates(&self) -> impl Iterator<Item = (&'static str, &Gate)> {
        CARDS.into_iter().zip([&self.cluster, &self.outside])
    }

    /// The cards that have told of themselves.
    pub(crate) fn cards(&self) -> impl Iterator<Item = (&'static str, &NetStatistics)> {
        self.gates().filter_map(|(name, gate)| Some((name, &gate.card.as_ref()?.statistics)))
    }

    /// What classes count, of both cards together, in the order of [`CLASS_FIGURES`].
    pub(crate) fn class_counts(&self) -> impl Iterator<Item = (&'static str, [u64; 5])> {
        Class::all().zip(plan::CLASS).map(|(class, (name, _))| {
            let both = [&self.cluster, &self.outside].map(|gate| gate.classes.statistics(class));
            (name, CLASS_FIGURES.map(|(_, _, figure)| both.iter().map(figure).sum()))
        })
    }

    /// What became of flows.
    pub(crate) fn flow_counts(&self) -> FlowStatistics {
        self.flows.statistics()
    }

    /// What frames cost, each, in nanoseconds.
    pub(crate) fn costs(&self) -> &LatencyHistogram {
        &self.costs
    }

    /// How long frames waited for each card.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (&'static str, &LatencyHistogram)> {
        self.gates().map(|(name, gate)| (name, &gate.waits))
    }

    /// How often each card did what it takes over.
    pub(crate) fn offloads_used(
        &self,
    ) -> impl Iterator<Item = (&'static str, [(&'static str, u64); 5])> {
        let used = |gate: &Gate| Some(used(&gate.card.as_ref()?.offloads.used));
        self.gates().filter_map(move |(name, gate)| Some((name, used(gate)?)))
    }
}

/// `netio status`: what carries the frames, and how many.
pub(crate) fn status(
    traffic: &Traffic,
    path: Option<ZeroCopyPath>,
    machine: MachineReport,
) -> Record {
    let mut cards = Listing::new(&[
        "card",
        "link",
        "received_per_second",
        "received_gbit",
        "sent_per_second",
        "sent_gbit",
        "waiting",
        "in_ring",
        "receive_ring",
        "transmit_ring",
        "wait_us_p50",
        "wait_us_p99",
    ]);
    for (name, gate) in traffic.gates() {
        let Some(card) = &gate.card else { continue };
        let rates = &gate.rates;
        cards.push([
            name.into(),
            if card.statistics.link_up { "up" } else { "down" }.into(),
            rates.received_frames.into(),
            gbit(rates.received_bits),
            rates.sent_frames.into(),
            gbit(rates.sent_bits),
            gate.classes.len().into(),
            card.statistics.transmit_buffers.into(),
            card.statistics.receive_ring.into(),
            card.statistics.transmit_ring.into(),
            micros(&gate.waits, 500),
            micros(&gate.waits, 990),
        ]);
    }
    let costs = &traffic.costs;
    Record::default()
        .with("path", path.map(ZeroCopyPath::name))
        .with("packet_ns_p50", costs.percentile_ns(500))
        .with("packet_ns_p99", costs.percentile_ns(990))
        .with("flows", traffic.flows.statistics().active)
        .with("device_interrupts", machine.device_interrupts)
        .with("timer_interrupts", machine.timer_interrupts)
        .with("cards", Value::Listing(cards))
}

/// `netio packets`: the pool, and the classes of traffic.
pub(crate) fn packets(traffic: &Traffic, packets: &Pool) -> Record {
    let pool = packets.statistics();
    let mut classes = Listing::new(&[
        "card",
        "class",
        "name",
        "waiting",
        "sent",
        "sent_bytes",
        "refused",
        "shape_mbit",
        "shaped",
        "passed_over",
        "starved",
        "longest_wait_us",
    ]);
    for (card, gate) in traffic.gates() {
        for (class, (name, _)) in Class::all().zip(plan::CLASS) {
            let it = gate.classes.statistics(class);
            if it.sent_frames == 0 && it.waiting == 0 && it.refused_full == 0 {
                continue;
            }
            let shape = gate.classes.shape(class);
            classes.push([
                card.into(),
                u64::from(class.number()).into(),
                name.into(),
                it.waiting.into(),
                it.sent_frames.into(),
                it.sent_bytes.into(),
                (it.refused_full + it.refused_long).into(),
                shape.map(|shape| shape.bytes_per_second() / 125_000).into(),
                it.shaped.into(),
                it.passed_over.into(),
                it.starved.into(),
                (it.longest_wait_ns / 1_000).into(),
            ]);
        }
    }
    Record::default()
        .with("buffers", pool.buffers)
        .with("buffers_free", pool.free)
        .with("pool_empty", pool.exhausted)
        .with("copied_bytes", pool.copied_bytes)
        .with("classes", Value::Listing(classes))
}

/// `netio shape`: how a class is shaped now.
pub(crate) fn shape(traffic: &Traffic, class: Class) -> Record {
    let shape = traffic.cluster.classes.shape(class);
    Record::default()
        .with("class", u64::from(class.number()))
        .with("name", plan::CLASS[usize::from(class.number())].0)
        .with("shape_mbit", shape.map(|shape| shape.bytes_per_second() / 125_000))
}

/// Which flows are shown first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlowOrder {
    /// Those of late.
    Recent,
    /// Those with most bytes.
    Bytes,
    /// Those with most packets.
    Packets,
    /// Those whose answers took longest, of 99 in 100.
    Latency,
}

impl FlowOrder {
    fn rank(self, flow: &FlowMetadata) -> Option<u64> {
        match self {
            FlowOrder::Recent => None,
            FlowOrder::Bytes => Some(flow.bytes),
            FlowOrder::Packets => Some(flow.packets),
            FlowOrder::Latency => flow.latency.percentile_ns(990),
        }
    }
}

/// `netio flows`: who talks to whom, so many of them.
pub(crate) fn flows(traffic: &Traffic, count: usize, order: FlowOrder, now_ns: u64) -> Record {
    let counts = traffic.flows.statistics();
    let mut rows = Listing::new(&[
        "source",
        "destination",
        "protocol",
        "packets",
        "bytes",
        "seen_ms_ago",
        "answer_us_p50",
        "answer_us_p99",
    ]);
    let mut flows: Vec<_> = traffic.flows.iter().collect();
    flows.sort_by_cached_key(|flow| Reverse(order.rank(flow)));
    for flow in flows.into_iter().take(count) {
        rows.push(flow_row(flow, now_ns));
    }
    Record::default()
        .with("active", counts.active)
        .with("room", FLOWS_MAX)
        .with("new", counts.inserted)
        .with("evicted", counts.evicted)
        .with("expired", counts.expired)
        .with("flows", Value::Listing(rows))
}

fn flow_row(flow: &FlowMetadata, now_ns: u64) -> [Value; 8] {
    let key = &flow.key;
    let end = |address, port| match port {
        Some(port) => Value::text(core::net::SocketAddr::new(address, port)),
        None => Value::text(address),
    };
    let protocol = match key.protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        58 => "icmpv6".into(),
        other => u64::from(other).into(),
    };
    [
        end(key.source, key.ports.map(|(source, _)| source)),
        end(key.destination, key.ports.map(|(_, destination)| destination)),
        protocol,
        flow.packets.into(),
        flow.bytes.into(),
        (now_ns.saturating_sub(flow.last_seen_ns) / 1_000_000).into(),
        micros(&flow.latency, 500),
        micros(&flow.latency, 990),
    ]
}

/// `netio offloads`: what each card can take over, was asked to, and how often it did.
pub(crate) fn offloads(traffic: &Traffic) -> Listing {
    let mut rows = Listing::new(&["card", "offload", "offered", "negotiated", "used"]);
    for (name, gate) in traffic.gates() {
        let Some(card) = &gate.card else { continue };
        let used = used(&card.offloads.used);
        for (offload, has) in OFFLOADS {
            // Cards do not count by family what they cut and put together.
            let count = used.iter().find(|(name, _)| *name == offload).map(|(_, count)| *count);
            let [offered, negotiated] =
                [&card.offloads.offered, &card.offloads.negotiated].map(|set| has(set).into());
            rows.push([name.into(), offload.into(), offered, negotiated, count.into()]);
        }
    }
    rows
}

/// What something is called that may be taken over, and whether it is in a set.
type Offload = (&'static str, fn(&OffloadSet) -> bool);

/// What may be taken over.
const OFFLOADS: [Offload; 9] = [
    ("transmit_checksum", |set| set.transmit_checksum),
    ("receive_checksum", |set| set.receive_checksum),
    ("transmit_tso", |set| set.transmit_tso_ipv4 || set.transmit_tso_ipv6),
    ("transmit_tso_ipv4", |set| set.transmit_tso_ipv4),
    ("transmit_tso_ipv6", |set| set.transmit_tso_ipv6),
    ("receive_tso", |set| set.receive_tso_ipv4 || set.receive_tso_ipv6),
    ("receive_tso_ipv4", |set| set.receive_tso_ipv4),
    ("receive_tso_ipv6", |set| set.receive_tso_ipv6),
    ("mergeable_buffers", |set| set.mergeable_buffers),
];

/// How often a card did it.
fn used(used: &OffloadCounts) -> [(&'static str, u64); 5] {
    [
        ("transmit_checksum", used.sent_partial),
        ("receive_checksum", used.received_partial + used.received_valid),
        ("transmit_tso", used.sent_large),
        ("receive_tso", used.received_large),
        ("mergeable_buffers", used.received_in_several),
    ]
}

/// `netio stats`: everything that the cards count, and drops by cause.
pub(crate) fn stats(traffic: &Traffic, clients: &ClientCounts, links: Option<&Links>) -> Listing {
    let mut rows = Listing::new(&["figure", "cluster", "outside"]);
    let both = [&traffic.cluster, &traffic.outside];
    let of = |gate: &Gate, figure: fn(&NetStatistics) -> u64| -> Value {
        gate.card.as_ref().map(|card| figure(&card.statistics)).into()
    };
    for (name, figure) in FIGURES {
        let [cluster, outside] = both.map(|gate| of(gate, figure));
        rows.push([name.into(), cluster, outside]);
    }
    for (name, [cluster, outside]) in drops(traffic, clients, links) {
        rows.push([name.into(), cluster.into(), outside.into()]);
    }
    let [cluster, outside] = both.map(|gate| sum_of_classes(gate, |it| it.shaped).into());
    rows.push(["kept_back_by_shape".into(), cluster, outside]);
    rows
}

/// Frames that were dropped behind the cards, by cause and card.
pub(crate) fn drops(
    traffic: &Traffic,
    clients: &ClientCounts,
    links: Option<&Links>,
) -> [(&'static str, [Option<u64>; 2]); 5] {
    let of_gates = |of: fn(&Gate) -> u64| [Some(of(&traffic.cluster)), Some(of(&traffic.outside))];
    let of_stacks = |of: fn(&host::Counters) -> u64| {
        clients.stacks.each_ref().map(|(_, stack)| stack.as_ref().map(of))
    };
    let of_links = links.map_or(0, |it| it.counters().refused[wire::Refusal::Checksum as usize]);
    let [cluster, outside] = of_stacks(|it| it.bad_checksum);
    let of_classes = |gate: &Gate| sum_of_classes(gate, |it| it.refused_full + it.refused_long);
    [
        ("dropped_bad_checksum", [cluster.map(|count| count + of_links), outside]),
        ("dropped_filter", of_gates(|gate| gate.filtered)),
        ("dropped_starting", of_gates(|gate| gate.early)),
        ("dropped_stack_full", of_stacks(|it| it.overrun)),
        ("dropped_queue_full", of_gates(of_classes)),
    ]
}

fn sum_of_classes(gate: &Gate, of: fn(&ClassStatistics) -> u64) -> u64 {
    Class::all().map(|class| of(&gate.classes.statistics(class))).sum()
}

/// Bits in gigabits, to the millionth.
fn gbit(bits: u64) -> Value {
    Value::Millionths(bits / 1_000)
}

fn micros(histogram: &LatencyHistogram, per_mille: u64) -> Value {
    histogram.percentile_ns(per_mille).map(|nanos| nanos / 1_000).into()
}
