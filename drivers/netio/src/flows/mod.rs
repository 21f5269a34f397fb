//! Who talks to whom, how much, and how fast: the flows that were seen of late.
//!
//! A fixed table, an index into it, and a list in the order of use. Look-up, insertion and eviction are O(1);
//! the least recently used flow makes room. A frame of a known flow costs some tens of instructions.

mod histogram;
mod index;
mod order;
mod summary;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

pub use self::histogram::LatencyHistogram;
use self::index::Index;
use self::order::Order;
use self::summary::Summary;
use crate::FlowKey;
use crate::limits::{FLOWS_EXPIRED_PER_CALL, FLOWS_MAX};

/// What is known of a flow.
#[derive(Clone, Debug)]
pub struct FlowMetadata {
    /// Which flow it is.
    pub key: FlowKey,
    /// When its first frame was recorded, in nanoseconds.
    pub first_seen_ns: u64,
    /// When its last frame was recorded, in nanoseconds.
    pub last_seen_ns: u64,
    /// How many frames there were.
    pub packets: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How long its frames, or answers to them, took: whatever the caller measures. It lies apart, so that
    /// what every frame touches is in few pages.
    pub latency: Box<LatencyHistogram>,
    /// Since when a frame of it waits for an answer, in nanoseconds, if one does.
    pub unanswered_since_ns: Option<u64>,
}

/// What became of flows since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowStatistics {
    /// How many there are, now.
    pub active: usize,
    /// How many were new.
    pub inserted: u64,
    /// How many had to make room for others: the table is too small, or there is a flood.
    pub evicted: u64,
    /// How many had been silent for too long.
    pub expired: u64,
}

/// The table of flows.
///
/// Invariants: every place of `flows` is in `free`, or in the index and in the order of use. From newest to
/// oldest, `last_seen_ns` never grows.
#[derive(Clone, Debug)]
pub struct FlowTable {
    idle_ns: u64,
    /// All places, also those where no flow is now: nothing is ever allocated again.
    flows: Vec<FlowMetadata>,
    free: Vec<u16>,
    index: Index,
    order: Order,
    /// The latest time that was told: a clock that goes back does not disturb the order.
    latest_ns: u64,
    statistics: FlowStatistics,
}

impl FlowTable {
    /// A table of [`FLOWS_MAX`] flows, each of which is forgotten `idle_ns` nanoseconds after its last frame.
    /// The hash key must be random for every boot, and kept to oneself.
    pub fn new(hash_key: [u64; 2], idle_ns: u64) -> FlowTable {
        FlowTable::with_capacity(FLOWS_MAX, hash_key, idle_ns)
    }

    /// As [`FlowTable::new`], for `capacity` flows.
    ///
    /// # Panics
    /// If the capacity is zero or more than [`FLOWS_MAX`].
    pub fn with_capacity(capacity: usize, hash_key: [u64; 2], idle_ns: u64) -> FlowTable {
        assert!((1..=FLOWS_MAX).contains(&capacity), "there are 1 to FLOWS_MAX flows");
        FlowTable {
            idle_ns,
            flows: vec![FlowMetadata::nothing(); capacity],
            free: (0..capacity as u16).rev().collect(),
            index: Index::new(hash_key, capacity),
            order: Order::new(capacity as u16),
            latest_ns: 0,
            statistics: FlowStatistics::default(),
        }
    }

    /// Counts a frame of `bytes` bytes, and gives what is known of its flow. A new flow takes the place of
    /// the least recently used one if there is no other.
    pub fn record(&mut self, key: &FlowKey, bytes: usize, now_ns: u64) -> &mut FlowMetadata {
        self.latest_ns = self.latest_ns.max(now_ns);
        let summary = Summary::of(key);
        let place = match self.index.recent(summary) {
            Some(place) if summary.is_whole() => place,
            Some(_) | None => self.find_or_insert(key, now_ns),
        };
        self.order.touch(place);
        let flow = &mut self.flows[usize::from(place)];
        flow.last_seen_ns = self.latest_ns;
        flow.packets += 1;
        flow.bytes += bytes as u64;
        flow.unanswered_since_ns.get_or_insert(now_ns);
        flow
    }

    /// A frame of this flow was seen, which answers the flow in the other direction: how long the first frame
    /// since the last answer has waited goes into that one's histogram. This is no use of it.
    pub fn note_answer(&mut self, answer: &FlowKey, now_ns: u64) {
        let summary = Summary::of(answer).reversed();
        let place = match self.index.recent(summary) {
            Some(place) if summary.is_whole() => place,
            Some(_) | None => match self.index.find(&self.flows, &answer.reversed()) {
                Some(place) => place,
                None => return,
            },
        };
        let flow = &mut self.flows[usize::from(place)];
        if let Some(since_ns) = flow.unanswered_since_ns.take() {
            flow.latency.record(now_ns.saturating_sub(since_ns));
        }
    }

    /// What is known of a flow; this is no use of it.
    pub fn get(&self, key: &FlowKey) -> Option<&FlowMetadata> {
        let place = self.index.find_in_chain(&self.flows, key)?;
        Some(&self.flows[usize::from(place)])
    }

    /// All flows, the most recently used first.
    pub fn iter(&self) -> impl Iterator<Item = &FlowMetadata> {
        let places = core::iter::successors(self.order.newest(), |place| self.order.older(*place));
        places.map(|place| &self.flows[usize::from(place)])
    }

    /// Forgets flows that have been silent for too long, at most [`FLOWS_EXPIRED_PER_CALL`] of them, and says
    /// how many.
    pub fn handle_timeout(&mut self, now_ns: u64) -> usize {
        let mut expired = 0;
        while expired < FLOWS_EXPIRED_PER_CALL
            && let Some(oldest) = self.order.oldest()
            && self.deadline_of(oldest) <= now_ns
        {
            self.remove(oldest);
            expired += 1;
        }
        self.statistics.expired += expired as u64;
        expired
    }

    /// When [`FlowTable::handle_timeout`] has something to do, in nanoseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.order.oldest().map(|oldest| self.deadline_of(oldest))
    }

    /// What was counted so far.
    pub fn statistics(&self) -> FlowStatistics {
        FlowStatistics { active: self.flows.len() - self.free.len(), ..self.statistics }
    }

    fn deadline_of(&self, place: u16) -> u64 {
        self.flows[usize::from(place)].last_seen_ns.saturating_add(self.idle_ns)
    }

    /// The place of a flow that is not among the recent ones of IPv4. Apart, so that theirs is found in few
    /// instructions.
    #[cold]
    fn find_or_insert(&mut self, key: &FlowKey, now_ns: u64) -> u16 {
        self.index.find(&self.flows, key).unwrap_or_else(|| self.insert(key, now_ns))
    }

    /// The place of a new flow, which counts as used now.
    fn insert(&mut self, key: &FlowKey, now_ns: u64) -> u16 {
        if self.free.is_empty() {
            let oldest = self.order.oldest().expect("a table without room has flows");
            self.remove(oldest);
            self.statistics.evicted += 1;
        }
        let place = self.free.pop().expect("room was made");
        self.flows[usize::from(place)].begin(key, now_ns);
        self.index.insert(key, place);
        self.order.add(place);
        self.statistics.inserted += 1;
        place
    }

    fn remove(&mut self, place: u16) {
        self.order.remove(place);
        self.index.remove(place);
        self.free.push(place);
    }
}

impl FlowMetadata {
    /// What is at a place where no flow is.
    fn nothing() -> FlowMetadata {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        FlowMetadata {
            key: FlowKey { source: nobody, destination: nobody, protocol: 0, ports: None },
            first_seen_ns: 0,
            last_seen_ns: 0,
            packets: 0,
            bytes: 0,
            latency: Box::new(LatencyHistogram::new()),
            unanswered_since_ns: None,
        }
    }

    /// Begins anew, with the memory that it has.
    fn begin(&mut self, key: &FlowKey, now_ns: u64) {
        (self.key, self.first_seen_ns, self.last_seen_ns) = (*key, now_ns, now_ns);
        (self.packets, self.bytes, self.unanswered_since_ns) = (0, 0, None);
        *self.latency = LatencyHistogram::new();
    }
}
