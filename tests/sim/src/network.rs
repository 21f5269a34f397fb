//! The wires between the nodes: what is sent is delivered late, twice, out of order, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use base::{Duration, Instant, NodeId, Prng};

/// How the wires treat frames. Chances are per mille of the frames.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The shortest way takes this long.
    pub delay_min: Duration,
    /// The longest way takes this long; frames overtake each other in between.
    pub delay_max: Duration,
    /// Frames that vanish.
    pub loss_per_mille: u64,
    /// Frames that arrive twice.
    pub duplicate_per_mille: u64,
    /// Frames with a flipped bit.
    pub corrupt_per_mille: u64,
}

/// What became of frames: a run in which no fault fired proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkCounts {
    /// Frames that nodes sent.
    pub sent: u64,
    /// Arrivals, duplicates included.
    pub delivered: u64,
    /// Frames that vanished by chance.
    pub lost: u64,
    /// Frames that arrived twice.
    pub duplicated: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames that a partition held back.
    pub blocked: u64,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When it arrives.
    pub at: Instant,
    /// Where.
    pub to: NodeId,
    /// Its bytes, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// The wires.
#[derive(Debug)]
pub struct Network {
    prng: Prng,
    weather: Weather,
    /// Pairs (from, to) whose frames do not pass.
    blocked: BTreeSet<(NodeId, NodeId)>,
    /// Links (from, to) that take longer than the weather says.
    slow: BTreeMap<(NodeId, NodeId), Duration>,
    counts: NetworkCounts,
}

impl Network {
    /// Wires with this weather.
    pub fn new(weather: Weather, seed: u64) -> Network {
        Network {
            prng: Prng::new(seed),
            weather,
            blocked: BTreeSet::new(),
            slow: BTreeMap::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// Sends a frame; answers when and how often it arrives.
    pub fn send(&mut self, from: NodeId, to: NodeId, bytes: Vec<u8>, now: Instant) -> Vec<Arrival> {
        self.counts.sent += 1;
        if self.blocked.contains(&(from, to)) {
            self.counts.blocked += 1;
            return Vec::new();
        }
        if self.prng.chance(self.weather.loss_per_mille, 1_000) {
            self.counts.lost += 1;
            return Vec::new();
        }
        let twice = self.prng.chance(self.weather.duplicate_per_mille, 1_000);
        self.counts.duplicated += u64::from(twice);
        let mut arrivals = Vec::new();
        for _ in 0..=u8::from(twice) {
            let extra = self.slow.get(&(from, to)).copied().unwrap_or_default();
            let delay = self.prng.duration_between(self.weather.delay_min, self.weather.delay_max);
            arrivals.push(Arrival {
                at: now + delay + extra,
                to,
                bytes: self.perhaps_corrupted(&bytes),
            });
        }
        self.counts.delivered += arrivals.len() as u64;
        arrivals
    }

    fn perhaps_corrupted(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if !bytes.is_empty() && self.prng.chance(self.weather.corrupt_per_mille, 1_000) {
            self.counts.corrupted += 1;
            let position = self.prng.below(bytes.len() as u64) as usize;
            bytes[position] ^= 1 << self.prng.below(8);
        }
        bytes
    }

    /// Blocks the way from one node to another, and only that way.
    pub fn block(&mut self, from: NodeId, to: NodeId) {
        self.blocked.insert((from, to));
    }

    /// Blocks both ways between every pair that is not in the same group.
    pub fn partition(&mut self, groups: &[Vec<NodeId>]) {
        for (index, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(index + 1) {
                for &a in group {
                    for &b in other {
                        self.block(a, b);
                        self.block(b, a);
                    }
                }
            }
        }
    }

    /// Makes one way slower than the weather.
    pub fn slow_down(&mut self, from: NodeId, to: NodeId, extra: Duration) {
        self.slow.insert((from, to), extra);
    }

    /// Removes every block and slow-down.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.slow.clear();
    }

    /// Replaces the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// What became of frames so far.
    pub fn counts(&self) -> NetworkCounts {
        self.counts
    }
}

impl Weather {
    /// A quiet wire: a fraction of a millisecond, nothing lost.
    pub fn calm() -> Weather {
        Weather {
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_micros(500),
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            corrupt_per_mille: 0,
        }
    }
}
