//! The way between the services and the cards: which frames go first, how many wait, and what was seen.
//!
//! What is sent waits here, in eight classes for each card, as long as the card has as much to send as it
//! should; it is fetched from links and stacks only while there is room, so nothing is dropped for want of
//! it.
//! What arrives is counted, and given on unless it is for another machine.

mod plan;
#[cfg(test)]
mod tests;
pub(crate) mod views;

use base::{Duration, Instant, NodeId};
use net::addresses::{cluster_mac, outside_mac};
use net::links::Urgency;
use netio::{
    CardOffloads, Class, Classes, FlowKey, FlowTable, LatencyHistogram, NetStatistics,
    NetworkPacket,
};
use pool::Frame;

pub(crate) use self::plan::Origin;
use crate::output::Port;

/// Rates are over spans of at least this.
const RATE_OVER: Duration = Duration::from_millis(500);

/// What a card tells of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CardReport {
    /// What it has counted.
    pub statistics: NetStatistics,
    /// What it takes over.
    pub offloads: CardOffloads,
}

/// How much a card receives and sends in a second, of late.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Rates {
    received_frames: u64,
    received_bits: u64,
    sent_frames: u64,
    sent_bits: u64,
}

/// The way to and from one card.
#[derive(Debug)]
struct Gate {
    mac: [u8; 6],
    classes: Classes,
    /// How many frames the card takes now.
    room: usize,
    /// Frames that were for another machine.
    filtered: u64,
    /// Frames that came before there was anybody to take them.
    early: u64,
    /// How long packets waited.
    waits: LatencyHistogram,
    /// What the card has told last.
    card: Option<CardReport>,
    rates: Rates,
    /// What the rates are counted from.
    rated: (Instant, NetStatistics),
}

/// The ways to and from both cards.
#[derive(Debug)]
pub(crate) struct Traffic {
    cluster: Gate,
    outside: Gate,
    flows: FlowTable,
    /// What frames cost, each, in nanoseconds.
    costs: LatencyHistogram,
}

impl Traffic {
    /// Nothing waits, and there is room for any number of frames. `hash_key` must be random for every start.
    pub(crate) fn new(id: NodeId, hash_key: [u64; 2], now: Instant) -> Traffic {
        Traffic {
            cluster: Gate::new(cluster_mac(id).0, now),
            outside: Gate::new(outside_mac(id).0, now),
            flows: FlowTable::new(hash_key, netio::limits::FLOW_IDLE_NS),
            costs: LatencyHistogram::new(),
        }
    }

    /// A frame has arrived. `None` if it is for another machine: a switch that does not know where that is
    /// gives it to all.
    pub(crate) fn receive(&mut self, port: Port, frame: Frame, now: Instant) -> Option<Frame> {
        let gate = self.gate_mut(port);
        let is_for_group = frame.first().is_some_and(|first| first & 1 != 0);
        if !is_for_group && !frame.starts_with(&gate.mac) {
            gate.filtered += 1;
            return None;
        }
        let flow = FlowKey::of_frame(&frame);
        self.note_flow(flow.as_ref(), frame.len(), now);
        Some(frame)
    }

    /// A frame has arrived before the disk is read: nobody is served yet. Whoever wants something will say it
    /// again.
    pub(crate) fn drop_early(&mut self, port: Port) {
        self.gate_mut(port).early += 1;
    }

    /// Fetches frames of links that are to be sent, as many as may wait. `next` gives one, of any urgency or,
    /// if there is no room for it, without bulk.
    pub(crate) fn fetch_from_links(
        &mut self,
        mut next: impl FnMut(bool) -> Option<(Urgency, Frame)>,
        now: Instant,
    ) {
        while self.room(Port::Cluster, Origin::Urgent) > 0 {
            let has_room_for_bulk = self.room(Port::Cluster, Origin::Bulk) > 0;
            let Some((urgency, frame)) = next(has_room_for_bulk) else { break };
            let flow = FlowKey::of_frame(&frame);
            self.send(Port::Cluster, plan::class_of_link(urgency), flow, frame, now);
        }
    }

    /// A frame of the stack on a card is to be sent. It is counted and dropped if there is no room for it:
    /// see [`Traffic::room`].
    pub(crate) fn send_of_stack(&mut self, port: Port, frame: Frame, now: Instant) {
        let flow = FlowKey::of_frame(&frame);
        self.send(port, plan::class_of_client(flow.as_ref()), flow, frame, now);
    }

    fn send(
        &mut self,
        port: Port,
        class: Class,
        flow: Option<FlowKey>,
        frame: Frame,
        now: Instant,
    ) {
        let packet = NetworkPacket { frame, class, flow, since_ns: now.as_nanos() };
        // What is refused is counted there.
        let _ = self.gate_mut(port).classes.enqueue(packet);
    }

    /// How many more packets from there may wait for this card.
    pub(crate) fn room(&self, port: Port, origin: Origin) -> usize {
        let gate = self.gate(port);
        let is_from_there = |class: &Class| plan::CLASS[usize::from(class.number())].1 == origin;
        let waiting = Class::all().filter(is_from_there).map(|class| gate.classes.waiting(class));
        origin.frames_max().saturating_sub(waiting.sum())
    }

    /// The card takes so many frames now.
    pub(crate) fn set_room(&mut self, port: Port, frames: usize) {
        self.gate_mut(port).room = frames;
    }

    /// Whether packets wait until the card takes more.
    pub(crate) fn is_congested(&self, port: Port) -> bool {
        let gate = self.gate(port);
        gate.room == 0 && !gate.classes.is_empty()
    }

    /// The next frame for a card that takes one.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<(Port, Frame)> {
        for port in [Port::Cluster, Port::Outside] {
            if let Some(packet) = self.gate_mut(port).take(now) {
                self.note_flow(packet.flow.as_ref(), packet.frame.len(), now);
                return Some((port, packet.frame));
            }
        }
        None
    }

    /// When [`Traffic::poll_transmit`] has a frame that only time keeps back.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let open = [&self.cluster, &self.outside].into_iter().filter(|gate| gate.room > 0);
        open.filter_map(|gate| gate.classes.poll_timeout()).map(Instant::from_nanos).min()
    }

    /// Forgets flows that have been silent. Nobody needs to be woken for that.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.flows.handle_timeout(now.as_nanos());
    }

    /// A card tells of itself.
    pub(crate) fn handle_card(&mut self, port: Port, report: CardReport, now: Instant) {
        let gate = self.gate_mut(port);
        let (since, before) = gate.rated;
        if now.since(since) >= RATE_OVER {
            gate.rates = Rates::between(&before, &report.statistics, now.since(since));
            gate.rated = (now, report.statistics);
        }
        gate.card = Some(report);
    }

    /// So many frames were received, worked on and sent within this span.
    pub(crate) fn handle_turn(&mut self, frames: u64, span: Duration) {
        if let Some(each) = span.as_nanos().checked_div(frames) {
            self.costs.record(each);
        }
    }

    /// Shapes a class to so many megabits a second, or no more, on both cards.
    ///
    /// # Errors
    /// If there is no such class or rate: why.
    pub(crate) fn shape(
        &mut self,
        class: u8,
        mbit: Option<u64>,
        now: Instant,
    ) -> Result<Class, &'static str> {
        let class = Class::new(class).ok_or("there are classes 0 to 7: see 'netio packets'")?;
        let shape = match mbit {
            None => None,
            Some(mbit) => Some(plan::shape_of(mbit).ok_or("the rate is 1 to 100000 Mbit/s")?),
        };
        for gate in [&mut self.cluster, &mut self.outside] {
            // No burst is shorter than a frame, so none that waits is too long for it.
            let is_shaped = gate.classes.set_shape(class, shape, now.as_nanos());
            assert!(is_shaped, "a burst holds a frame");
        }
        Ok(class)
    }

    /// Counts a frame for its flow, and as an answer to the other direction's.
    fn note_flow(&mut self, flow: Option<&FlowKey>, bytes: usize, now: Instant) {
        if let Some(flow) = flow {
            self.flows.record(flow, bytes, now.as_nanos());
            self.flows.note_answer(flow, now.as_nanos());
        }
    }

    fn gate(&self, port: Port) -> &Gate {
        match port {
            Port::Cluster => &self.cluster,
            Port::Outside => &self.outside,
        }
    }

    fn gate_mut(&mut self, port: Port) -> &mut Gate {
        match port {
            Port::Cluster => &mut self.cluster,
            Port::Outside => &mut self.outside,
        }
    }
}

impl Gate {
    fn new(mac: [u8; 6], now: Instant) -> Gate {
        Gate {
            mac,
            classes: Classes::new(plan::configs(), now.as_nanos()),
            room: usize::MAX,
            filtered: 0,
            early: 0,
            waits: LatencyHistogram::new(),
            card: None,
            rates: Rates::default(),
            rated: (now, NetStatistics::default()),
        }
    }

    /// The packet whose turn it is, if the card takes one.
    fn take(&mut self, now: Instant) -> Option<NetworkPacket> {
        let left = self.room.checked_sub(1)?;
        let packet = self.classes.dequeue(now.as_nanos())?;
        self.room = left;
        self.waits.record(now.as_nanos().saturating_sub(packet.since_ns));
        Some(packet)
    }
}

impl Rates {
    fn between(before: &NetStatistics, after: &NetStatistics, span: Duration) -> Rates {
        let per_second = |before: u64, after: u64| {
            let count = u128::from(after.saturating_sub(before));
            (count * 1_000_000_000 / u128::from(span.as_nanos().max(1))) as u64
        };
        Rates {
            received_frames: per_second(before.received_frames, after.received_frames),
            received_bits: 8 * per_second(before.received_bytes, after.received_bytes),
            sent_frames: per_second(before.sent_frames, after.sent_frames),
            sent_bits: 8 * per_second(before.sent_bytes, after.sent_bytes),
        }
    }
}
