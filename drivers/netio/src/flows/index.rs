//! Where in the table a flow is.
//!
//! Strangers choose the keys, so the hash that decides is one that they cannot make collide: but that takes a
//! hundred instructions and more. In front of it is a table by a hash that costs a few and that anybody can
//! make collide: it remembers what was found last, and who collides in it is looked up by the other.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::FlowMetadata;
use super::summary::Summary;
use crate::FlowKey;
use crate::limits::{FLOW_CHAINS, FLOW_FRONTS};

/// No place: none is that high.
const NONE: u16 = u16::MAX;

/// The chain that a place is in, and the next in it.
#[derive(Clone, Copy, Debug)]
struct Link {
    chain: u16,
    next: u16,
}

/// The index. Each method is given the flows, in their places.
///
/// Invariants: every flow is in the chain of its key, once, and nothing else is in a chain. What the front
/// names is a flow that belongs there.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// The secret of the hash; random for every boot.
    hash_key: [u64; 2],
    front: Box<[u16; FLOW_FRONTS]>,
    /// Of each place's flow.
    summaries: Vec<Summary>,
    chains: Box<[u16; FLOW_CHAINS]>,
    links: Vec<Link>,
}

impl Index {
    /// Without flows; there will be at most so many.
    pub(super) fn new(hash_key: [u64; 2], places: usize) -> Index {
        Index {
            hash_key,
            front: Box::new([NONE; FLOW_FRONTS]),
            summaries: vec![Summary::NONE; places],
            chains: Box::new([NONE; FLOW_CHAINS]),
            links: vec![Link { chain: 0, next: NONE }; places],
        }
    }

    /// The place of a flow of this summary that was found of late.
    #[inline]
    pub(super) fn recent(&self, summary: Summary) -> Option<u16> {
        let place = self.front[summary.front()];
        let found = self.summaries.get(usize::from(place));
        (found == Some(&summary)).then_some(place)
    }

    /// The place of a flow, which is recent then.
    pub(super) fn find(&mut self, flows: &[FlowMetadata], key: &FlowKey) -> Option<u16> {
        let summary = Summary::of(key);
        if let Some(place) = self.recent(summary)
            && flows[usize::from(place)].key == *key
        {
            return Some(place);
        }
        let place = self.find_in_chain(flows, key)?;
        self.front[summary.front()] = place;
        Some(place)
    }

    /// The place of a flow.
    pub(super) fn find_in_chain(&self, flows: &[FlowMetadata], key: &FlowKey) -> Option<u16> {
        let mut place = self.chains[usize::from(self.chain_of(key))];
        // No flow is at the place that is none.
        while flows.get(usize::from(place))?.key != *key {
            place = self.links[usize::from(place)].next;
        }
        Some(place)
    }

    /// Adds the flow at `place`, which is not in the index.
    pub(super) fn insert(&mut self, key: &FlowKey, place: u16) {
        let chain = self.chain_of(key);
        let next = core::mem::replace(&mut self.chains[usize::from(chain)], place);
        self.links[usize::from(place)] = Link { chain, next };
        let summary = Summary::of(key);
        self.summaries[usize::from(place)] = summary;
        self.front[summary.front()] = place;
    }

    /// Forgets the flow at `place`, which is in the index.
    pub(super) fn remove(&mut self, place: u16) {
        let front = &mut self.front[self.summaries[usize::from(place)].front()];
        if *front == place {
            *front = NONE;
        }
        let Link { chain, next } = self.links[usize::from(place)];
        let mut before = self.chains[usize::from(chain)];
        if before == place {
            self.chains[usize::from(chain)] = next;
            return;
        }
        while self.links[usize::from(before)].next != place {
            before = self.links[usize::from(before)].next;
        }
        self.links[usize::from(before)].next = next;
    }

    /// The chain of a key.
    pub(super) fn chain_of(&self, key: &FlowKey) -> u16 {
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
}

/// SipHash-1-3, as in the tables of Rust's and Python's standard libraries, of the words' bytes in
/// little-endian order.
fn siphash(key: [u64; 2], words: &[u64]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
    words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
    hasher.finish()
}
