//! `netio`: what is shown of cards, classes and flows, to people, programs and Prometheus.

use base::limits::FLOWS_LISTED_MAX;
use netio::limits::FLOWS_MAX;
use netio::{Class, FlowMetadata, LatencyHistogram, NetStatistics, OffloadSet, ZeroCopyPath};
use pool::Pool;
use shell::{Listing, Record, Value};

use super::{Gate, Traffic, plan};

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

const CARDS: [&str; 2] = ["cluster", "outside"];

impl Traffic {
    /// The ways to both cards.
    fn gates(&self) -> impl Iterator<Item = (&'static str, &Gate)> {
        CARDS.into_iter().zip([&self.cluster, &self.outside])
    }

    /// The cards that have told of themselves.
    pub(crate) fn cards(&self) -> impl Iterator<Item = (&'static str, &NetStatistics)> {
        self.gates().filter_map(|(name, gate)| Some((name, &gate.card.as_ref()?.statistics)))
    }

    /// Frames that were for other machines, by card.
    pub(crate) fn filtered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.gates().map(|(name, gate)| (name, gate.filtered))
    }

    /// Frames that left, that were refused, and spells of starvation: by class, of both cards together.
    pub(crate) fn class_counts(&self) -> impl Iterator<Item = (&'static str, [u64; 3])> {
        Class::all().zip(plan::CLASS).map(|(class, (name, _))| {
            let [cluster, outside] =
                [&self.cluster, &self.outside].map(|gate| gate.classes.statistics(class));
            let sum = |of: fn(&netio::ClassStatistics) -> u64| of(&cluster) + of(&outside);
            let refused = sum(|it| it.refused_full + it.refused_long);
            (name, [sum(|it| it.sent_frames), refused, sum(|it| it.starved)])
        })
    }

    /// How many flows there are, and how many there were that are forgotten.
    pub(crate) fn flow_counts(&self) -> (usize, u64) {
        let flows = self.flows.statistics();
        (flows.active, flows.evicted + flows.expired)
    }
}

/// `netio status`: what carries the frames, and how many.
pub(crate) fn status(traffic: &Traffic, path: Option<ZeroCopyPath>) -> Record {
    let mut cards = Listing::new(&[
        "card",
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

/// `netio flows`: who talks to whom, those of late first.
pub(crate) fn flows(traffic: &Traffic, now_ns: u64) -> Record {
    let counts = traffic.flows.statistics();
    let mut flows = Listing::new(&[
        "source",
        "destination",
        "protocol",
        "packets",
        "bytes",
        "seen_ms_ago",
        "answer_us_p50",
        "answer_us_p99",
    ]);
    for flow in traffic.flows.iter().take(FLOWS_LISTED_MAX) {
        flows.push(flow_row(flow, now_ns));
    }
    Record::default()
        .with("active", counts.active)
        .with("room", FLOWS_MAX)
        .with("new", counts.inserted)
        .with("evicted", counts.evicted)
        .with("expired", counts.expired)
        .with("flows", Value::Listing(flows))
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
        let (offered, negotiated, used) =
            (&card.offloads.offered, &card.offloads.negotiated, &card.offloads.used);
        let mut row = |offload: &'static str, has: fn(&OffloadSet) -> bool, used: u64| {
            let (offered, negotiated) = (has(offered), has(negotiated));
            rows.push([
                name.into(),
                offload.into(),
                offered.into(),
                negotiated.into(),
                used.into(),
            ]);
        };
        let received = used.received_partial + used.received_valid;
        row("transmit_checksum", |set| set.transmit_checksum, used.sent_partial);
        row("receive_checksum", |set| set.receive_checksum, received);
        row("transmit_tso_ipv4", |set| set.transmit_tso_ipv4, used.sent_large);
        row("transmit_tso_ipv6", |set| set.transmit_tso_ipv6, 0);
        row("receive_tso_ipv4", |set| set.receive_tso_ipv4, used.received_large);
        row("receive_tso_ipv6", |set| set.receive_tso_ipv6, 0);
        row("mergeable_buffers", |set| set.mergeable_buffers, used.received_in_several);
    }
    rows
}

/// `netio stats`: everything that the cards count, and drops by cause. `bad_checksums` are frames of links.
pub(crate) fn stats(traffic: &Traffic, bad_checksums: u64) -> Listing {
    let mut rows = Listing::new(&["figure", "cluster", "outside"]);
    let both = [&traffic.cluster, &traffic.outside];
    let of = |gate: &Gate, figure: fn(&NetStatistics) -> u64| -> Value {
        gate.card.as_ref().map(|card| figure(&card.statistics)).into()
    };
    for (name, figure) in FIGURES {
        let [cluster, outside] = both.map(|gate| of(gate, figure));
        rows.push([name.into(), cluster, outside]);
    }
    rows.push(["dropped_bad_checksum".into(), bad_checksums.into(), Value::Null]);
    let [cluster, outside] = both.map(|gate| gate.filtered.into());
    rows.push(["dropped_filter".into(), cluster, outside]);
    let sum = |gate: &Gate, of: fn(&netio::ClassStatistics) -> u64| -> Value {
        Class::all().map(|class| of(&gate.classes.statistics(class))).sum::<u64>().into()
    };
    let [cluster, outside] = both.map(|gate| sum(gate, |it| it.refused_full + it.refused_long));
    rows.push(["dropped_queue_full".into(), cluster, outside]);
    let [cluster, outside] = both.map(|gate| sum(gate, |it| it.shaped));
    rows.push(["kept_back_by_shape".into(), cluster, outside]);
    rows
}

/// Bits in gigabits, to the millionth.
fn gbit(bits: u64) -> Value {
    let millionths = bits / 1_000;
    Value::text(format_args!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000))
}

fn micros(histogram: &LatencyHistogram, per_mille: u64) -> Value {
    histogram.percentile_ns(per_mille).map(|nanos| nanos / 1_000).into()
}
