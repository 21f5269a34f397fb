//! Trouble on command: partitions, and loss, delay, duplicates between two ports.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::Rng;
use rand_core::SeedableRng;
use rand_xoshiro::SplitMix64;

use super::PortId;

/// What is wrong with the way from one port to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkFault {
    /// Of 1000 frames so many are lost.
    pub loss_per_mille: u16,
    /// Of 1000 frames so many come twice.
    pub duplicate_per_mille: u16,
    /// How much later a frame comes.
    pub delay: Duration,
    /// How much later still, at random: frames overtake each other.
    pub jitter: Duration,
}

/// What happens to a frame between two ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives, after so long, so many times.
    Arrives(Duration, u8),
    /// It is lost by chance.
    Lost,
    /// The two ports are cut off from each other.
    Cut,
}

/// All trouble.
#[derive(Debug)]
pub struct Faults {
    random: SplitMix64,
    links: BTreeMap<(PortId, PortId), LinkFault>,
    /// The side on which a port is, if the ports are parted; those without one are on a side of their own.
    sides: BTreeMap<PortId, usize>,
}

impl Faults {
    /// No trouble. All chance follows from `seed`.
    pub fn new(seed: u64) -> Faults {
        let random = SplitMix64::seed_from_u64(seed);
        Faults { random, links: BTreeMap::new(), sides: BTreeMap::new() }
    }

    /// Parts the ports: frames stay within a group. Ports in no group are a group of their own. Takes the
    /// place of an earlier partition.
    pub fn part(&mut self, groups: &[Vec<PortId>]) {
        let sides = groups.iter().enumerate();
        self.sides =
            sides.flat_map(|(side, ports)| ports.iter().map(move |port| (*port, side))).collect();
    }

    /// Spoils the way from one port to another; takes the place of an earlier fault there.
    pub fn spoil(&mut self, from: PortId, to: PortId, fault: LinkFault) {
        self.links.insert((from, to), fault);
    }

    /// Ends all trouble.
    pub fn heal(&mut self) {
        self.links.clear();
        self.sides.clear();
    }

    /// Forgets a port.
    pub fn forget(&mut self, port: PortId) {
        self.links.retain(|(from, to), _| *from != port && *to != port);
        self.sides.remove(&port);
    }

    /// What happens to a frame.
    pub fn fate(&mut self, from: PortId, to: PortId) -> Fate {
        if !self.sides.is_empty() && self.sides.get(&from) != self.sides.get(&to) {
            return Fate::Cut;
        }
        let Some(fault) = self.links.get(&(from, to)).copied() else {
            return Fate::Arrives(Duration::ZERO, 1);
        };
        if self.chance(fault.loss_per_mille) {
            return Fate::Lost;
        }
        let copies = 1 + u8::from(self.chance(fault.duplicate_per_mille));
        let jitter = match u64::try_from(fault.jitter.as_micros()).unwrap_or(u64::MAX) {
            0 => 0,
            most => self.random.next_u64() % most,
        };
        Fate::Arrives(fault.delay + Duration::from_micros(jitter), copies)
    }

    fn chance(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.random.next_u64() % 1_000 < u64::from(per_mille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [PortId; 4] = [PortId(0), PortId(1), PortId(2), PortId(3)];
    const WELL: Fate = Fate::Arrives(Duration::ZERO, 1);

    #[test]
    fn parts_and_heals() {
        let [a, b, c, d] = PORTS;
        let mut faults = Faults::new(1);
        faults.part(&[vec![a, b], vec![c]]);
        assert_eq!(faults.fate(a, b), WELL);
        assert_eq!(faults.fate(a, c), Fate::Cut);
        assert_eq!(faults.fate(d, c), Fate::Cut);
        assert_eq!(faults.fate(d, a), Fate::Cut);
        faults.heal();
        assert_eq!(faults.fate(a, c), WELL);
    }

    #[test]
    fn one_way_is_spoilt_as_often_as_asked() {
        let [a, b, ..] = PORTS;
        let mut faults = Faults::new(7);
        let fault = LinkFault {
            loss_per_mille: 250,
            duplicate_per_mille: 100,
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(2),
        };
        faults.spoil(a, b, fault);
        let (mut lost, mut twice) = (0, 0);
        for _ in 0..10_000 {
            match faults.fate(a, b) {
                Fate::Arrives(delay, copies) => {
                    assert!((5_000..7_000).contains(&delay.as_micros()));
                    twice += u32::from(copies == 2);
                }
                Fate::Lost => lost += 1,
                Fate::Cut => unreachable!(),
            }
            assert_eq!(faults.fate(b, a), WELL);
        }
        assert!((2_300..2_700).contains(&lost), "{lost}");
        assert!((600..900).contains(&twice), "{twice}");
    }
}
