//! Who talks to whom, how much, and how fast: the flows that were seen of late.
//!
//! A fixed table, an index into it by a keyed hash, and a list in the order of use. Look-up, insertion and
//! eviction are O(1); the least recently used flow makes room. Strangers choose the keys, so the hash is one
//! that they cannot make collide.

mod histogram;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

pub use self::histogram::LatencyHistogram;
use crate::FlowKey;
use crate::limits::{FLOW_CHAINS, FLOWS_EXPIRED_PER_CALL, FLOWS_MAX};

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
    /// How long its frames, or answers to them, took: whatever the caller measures.
    pub latency: LatencyHistogram,
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

/// A place in the table; `None` is the end of a list.
type Link = Option<u16>;

/// A flow and its places in two lists: the chain of its hash, and the order of use.
#[derive(Clone, Debug)]
struct Entry {
    flow: FlowMetadata,
    chain: u16,
    next_in_chain: Link,
    /// Towards what was used later, and what was used earlier.
    newer: Link,
    older: Link,
}

/// The table of flows.
///
/// Invariants: every place of `entries` is in `free`, or in exactly one chain and once in the order of use.
/// From newest to oldest, `last_seen_ns` never grows.
#[derive(Clone, Debug)]
pub struct FlowTable {
    /// The secret of the hash; random for every boot.
    hash_key: [u64; 2],
    idle_ns: u64,
    /// Its capacity is reserved at the start, so that it never allocates again.
    entries: Vec<Option<Entry>>,
    free: Vec<u16>,
    chains: Box<[Link; FLOW_CHAINS]>,
    newest: Link,
    oldest: Link,
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
            hash_key,
            idle_ns,
            entries: vec![None; capacity],
            free: (0..capacity as u16).rev().collect(),
            chains: Box::new([None; FLOW_CHAINS]),
            newest: None,
            oldest: None,
            statistics: FlowStatistics::default(),
        }
    }

    /// Counts a frame of `bytes` bytes, and gives what is known of its flow. A new flow takes the place of
    /// the least recently used one if there is no other.
    pub fn record(&mut self, key: &FlowKey, bytes: usize, now_ns: u64) -> &mut FlowMetadata {
        // Frames come in bursts: most belong to the flow of the one before.
        let place = match self.newest {
            Some(newest) if self.entry(newest).flow.key == *key => newest,
            newest => {
                let newest_ns = newest.map_or(0, |newest| self.entry(newest).flow.last_seen_ns);
                let place = self.find_or_insert(key, now_ns);
                self.link_as_newest(place);
                // A clock that goes back does not disturb the order.
                let last_seen_ns = &mut self.entry_mut(place).flow.last_seen_ns;
                *last_seen_ns = newest_ns.max(*last_seen_ns);
                place
            }
        };
        let flow = &mut self.entry_mut(place).flow;
        flow.last_seen_ns = now_ns.max(flow.last_seen_ns);
        flow.packets += 1;
        flow.bytes += bytes as u64;
        flow.unanswered_since_ns.get_or_insert(now_ns);
        flow
    }

    /// A frame of this flow was seen, which answers the flow in the other direction: how long the first frame
    /// since the last answer has waited goes into that one's histogram. This is no use of it.
    pub fn note_answer(&mut self, answer: &FlowKey, now_ns: u64) {
        let asked = answer.reversed();
        let Some(place) = self.find(self.chain_of(&asked), &asked) else { return };
        let flow = &mut self.entry_mut(place).flow;
        if let Some(since_ns) = flow.unanswered_since_ns.take() {
            flow.latency.record(now_ns.saturating_sub(since_ns));
        }
    }

    /// What is known of a flow; this is no use of it.
    pub fn get(&self, key: &FlowKey) -> Option<&FlowMetadata> {
        self.find(self.chain_of(key), key).map(|place| &self.entry(place).flow)
    }

    /// All flows, the most recently used first.
    pub fn iter(&self) -> impl Iterator<Item = &FlowMetadata> {
        let mut next = self.newest;
        core::iter::from_fn(move || {
            let entry = self.entry(next?);
            next = entry.older;
            Some(&entry.flow)
        })
    }

    /// Forgets flows that have been silent for too long, at most [`FLOWS_EXPIRED_PER_CALL`] of them, and says
    /// how many.
    pub fn handle_timeout(&mut self, now_ns: u64) -> usize {
        let mut expired = 0;
        while expired < FLOWS_EXPIRED_PER_CALL
            && let Some(oldest) = self.oldest
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
        self.oldest.map(|oldest| self.deadline_of(oldest))
    }

    /// What was counted so far.
    pub fn statistics(&self) -> FlowStatistics {
        FlowStatistics { active: self.entries.len() - self.free.len(), ..self.statistics }
    }

    fn deadline_of(&self, place: u16) -> u64 {
        self.entry(place).flow.last_seen_ns.saturating_add(self.idle_ns)
    }

    fn chain_of(&self, key: &FlowKey) -> u16 {
        let (source_port, destination_port) = key.ports.unwrap_or((0, 0));
        let rest = u64::from(key.protocol) << 32
            | u64::from(source_port) << 16
            | u64::from(destination_port);
        let hash = match key.ipv4() {
            Some((source, destination)) => {
                let addresses =
                    u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits());
                siphash(self.hash_key, &[addresses, rest])
            }
            None => {
                let (source, destination) = key.ipv6();
                let (source, destination) = (source.to_bits(), destination.to_bits());
                let high = |bits: u128| (bits >> 64) as u64;
                let low = |bits: u128| bits as u64;
                let words = [high(source), low(source), high(destination), low(destination), rest];
                siphash(self.hash_key, &words)
            }
        };
        (hash % FLOW_CHAINS as u64) as u16
    }

    fn find(&self, chain: u16, key: &FlowKey) -> Link {
        let mut next = self.chains[usize::from(chain)];
        while let Some(place) = next {
            let entry = self.entry(place);
            if entry.flow.key == *key {
                break;
            }
            next = entry.next_in_chain;
        }
        next
    }

    /// The place of a flow, known or new, which is not in the order of use now.
    fn find_or_insert(&mut self, key: &FlowKey, now_ns: u64) -> u16 {
        let chain = self.chain_of(key);
        match self.find(chain, key) {
            Some(place) => {
                self.unlink_from_order(place);
                place
            }
            None => self.insert(chain, key, now_ns),
        }
    }

    /// Puts a new flow into its chain, but not yet into the order of use.
    fn insert(&mut self, chain: u16, key: &FlowKey, now_ns: u64) -> u16 {
        if self.free.is_empty() {
            let oldest = self.oldest.expect("a table without room has flows");
            self.remove(oldest);
            self.statistics.evicted += 1;
        }
        let place = self.free.pop().expect("room was made");
        let flow = FlowMetadata {
            key: *key,
            first_seen_ns: now_ns,
            last_seen_ns: now_ns,
            packets: 0,
            bytes: 0,
            latency: LatencyHistogram::new(),
            unanswered_since_ns: None,
        };
        let next_in_chain = self.chains[usize::from(chain)].replace(place);
        let entry = Entry { flow, chain, next_in_chain, newer: None, older: None };
        self.entries[usize::from(place)] = Some(entry);
        self.statistics.inserted += 1;
        place
    }

    fn remove(&mut self, place: u16) {
        self.unlink_from_order(place);
        self.unlink_from_chain(place);
        self.entries[usize::from(place)] = None;
        self.free.push(place);
    }

    fn unlink_from_chain(&mut self, place: u16) {
        let Entry { chain, next_in_chain, .. } = *self.entry(place);
        let head = self.chains[usize::from(chain)];
        if head == Some(place) {
            self.chains[usize::from(chain)] = next_in_chain;
            return;
        }
        let mut before = head.expect("the chain has this flow");
        while self.entry(before).next_in_chain != Some(place) {
            before = self.entry(before).next_in_chain.expect("the chain has this flow");
        }
        self.entry_mut(before).next_in_chain = next_in_chain;
    }

    fn unlink_from_order(&mut self, place: u16) {
        let Entry { newer, older, .. } = *self.entry(place);
        match newer {
            Some(newer) => self.entry_mut(newer).older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.entry_mut(older).newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_as_newest(&mut self, place: u16) {
        let older = self.newest.replace(place);
        let entry = self.entry_mut(place);
        (entry.newer, entry.older) = (None, older);
        match older {
            Some(older) => self.entry_mut(older).newer = Some(place),
            None => self.oldest = Some(place),
        }
    }

    fn entry(&self, place: u16) -> &Entry {
        self.entries[usize::from(place)].as_ref().expect("links lead to flows")
    }

    fn entry_mut(&mut self, place: u16) -> &mut Entry {
        self.entries[usize::from(place)].as_mut().expect("links lead to flows")
    }
}

/// SipHash-1-3, as in the tables of Rust's and Python's standard libraries, of the words' bytes in
/// little-endian order.
fn siphash(key: [u64; 2], words: &[u64]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
    hasher.finish()
}
