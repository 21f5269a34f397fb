//! The wires between the nodes: what is sent is delivered late, twice, out of order, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use base::{Duration, Instant, NodeId, Prng};

use crate::counts::{Counts, Kind};

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

/// A way from one node to another.
type Way = (NodeId, NodeId);

/// The wires.
#[derive(Debug)]
pub struct Network {
    prng: Prng,
    weather: Weather,
    /// Ways on which nothing passes.
    blocked: BTreeSet<Way>,
    /// Ways that take longer than the weather says.
    slow: BTreeMap<Way, Duration>,
    /// When the last frame arrives on each way.
    latest: BTreeMap<Way, Instant>,
    /// Buffers of frames that have arrived, to be used again.
    spare: Vec<Vec<u8>>,
    counts: Counts,
}

impl Network {
    /// Wires with this weather.
    pub fn new(weather: Weather, seed: u64) -> Network {
        Network {
            prng: Prng::new(seed),
            weather,
            blocked: BTreeSet::new(),
            slow: BTreeMap::new(),
            latest: BTreeMap::new(),
            spare: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Sends a frame; tells when it arrives, if it does, and perhaps a second time.
    pub fn send(
        &mut self,
        (from, to): Way,
        bytes: &[u8],
        now: Instant,
        mut arrive: impl FnMut(Instant, Vec<u8>),
    ) {
        self.counts.note(Kind::FramesSent);
        if self.blocked.contains(&(from, to)) {
            return self.counts.note(Kind::FramesBlocked);
        }
        if self.prng.chance(self.weather.loss_per_mille, 1_000) {
            return self.counts.note(Kind::FramesLost);
        }
        let extra = self.slow.get(&(from, to)).copied().unwrap_or_default();
        if extra > Duration::ZERO {
            self.counts.note(Kind::FramesDelayed);
        }
        let is_twice = self.prng.chance(self.weather.duplicate_per_mille, 1_000);
        if is_twice {
            self.counts.note(Kind::FramesDuplicated);
        }
        for _ in 0..=u8::from(is_twice) {
            let delay = self.prng.duration_between(self.weather.delay_min, self.weather.delay_max);
            let mut copy = self.spare.pop().unwrap_or_default();
            copy.extend_from_slice(bytes);
            self.perhaps_corrupt(&mut copy);
            let at = now + delay + extra;
            let latest = self.latest.entry((from, to)).or_default();
            if at < *latest {
                self.counts.note(Kind::FramesOvertaking);
            }
            *latest = at.max(*latest);
            arrive(at, copy);
        }
    }

    /// A frame has arrived, and nobody needs its buffer any more.
    pub fn take_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.spare.push(buffer);
    }

    fn perhaps_corrupt(&mut self, bytes: &mut [u8]) {
        if !bytes.is_empty() && self.prng.chance(self.weather.corrupt_per_mille, 1_000) {
            self.counts.note(Kind::FramesCorrupted);
            let position = self.prng.below(bytes.len() as u64) as usize;
            bytes[position] ^= 1 << self.prng.below(8);
        }
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
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::node;

    fn arrivals(network: &mut Network, from: u16, to: u16) -> Vec<(Instant, Vec<u8>)> {
        let mut arrived = Vec::new();
        let way = (node(from), node(to));
        network.send(way, &[1; 60], Instant::ORIGIN, |at, bytes| arrived.push((at, bytes)));
        arrived
    }

    #[test]
    fn a_block_has_a_direction_and_a_partition_has_two() {
        let mut network = Network::new(Weather::calm(), 1);
        network.block(node(1), node(2));
        assert_eq!(arrivals(&mut network, 1, 2).len(), 0);
        assert_eq!(arrivals(&mut network, 2, 1).len(), 1);
        network.partition(&[vec![node(1), node(2)], vec![node(3)]]);
        assert_eq!(arrivals(&mut network, 3, 1).len() + arrivals(&mut network, 1, 3).len(), 0);
        network.heal();
        assert_eq!(arrivals(&mut network, 1, 2).len(), 1);
        assert_eq!(network.counts().get(Kind::FramesBlocked), 3);
    }

    #[test]
    fn every_fault_of_the_weather_fires() {
        let storm = Weather {
            loss_per_mille: 300,
            duplicate_per_mille: 300,
            corrupt_per_mille: 300,
            ..Weather::calm()
        };
        let mut network = Network::new(storm, 1);
        network.slow_down(node(1), node(2), Duration::from_millis(50));
        let all: Vec<_> = (0..100).flat_map(|_| arrivals(&mut network, 1, 2)).collect();
        let counts = network.counts();
        let [lost, twice] = [Kind::FramesLost, Kind::FramesDuplicated].map(|kind| counts.get(kind));
        assert_eq!(all.len() as u64, 100 - lost + twice);
        let corrupted = all.iter().filter(|(_, bytes)| *bytes != [1; 60]).count();
        assert_eq!(corrupted as u64, counts.get(Kind::FramesCorrupted));
        assert!(lost > 10 && twice > 10 && corrupted > 10);
        assert!(all.iter().all(|(at, _)| *at >= Instant::from_millis(50)));
    }
}
