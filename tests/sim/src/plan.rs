//! The trouble that a run makes: which kind of run it is, and what happens next. All of it from the seed.

use base::{Duration, NodeId, Prng};

use crate::disk::DiskTemper;
use crate::network::Weather;

/// The options of a run, derived from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many nodes.
    pub nodes: u16,
    /// How many clients.
    pub clients: usize,
    /// How long trouble is made.
    pub trouble: Duration,
    /// How long, on average, until something happens.
    pub pause: Duration,
    /// The wires.
    pub weather: Weather,
    /// The disks.
    pub temper: DiskTemper,
    /// How likely each kind of trouble is, against each other.
    pub weights: [u64; 6],
}

/// Something that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A machine loses power, or gets it back.
    Power(NodeId),
    /// All machines lose power at once.
    Blackout,
    /// The nodes are split in two.
    Split(Vec<Vec<NodeId>>),
    /// One node is not heard by another.
    Deaf(NodeId, NodeId),
    /// One way is slow.
    Slow(NodeId, NodeId, Duration),
    /// The wires are mended.
    Mend,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let mut prng = Prng::new(seed);
        let per_mille =
            |prng: &mut Prng, most: u64| if prng.chance(1, 2) { prng.below(most) } else { 0 };
        let delay_max = Duration::from_micros(prng.between(200, 20_000));
        let weather = Weather {
            delay_min: Duration::from_micros(50),
            delay_max,
            loss_per_mille: per_mille(&mut prng, 80),
            duplicate_per_mille: per_mille(&mut prng, 100),
            corrupt_per_mille: per_mille(&mut prng, 30),
        };
        let lost_per_mille = prng.below(700);
        let temper = DiskTemper {
            access_min: Duration::from_micros(20),
            access_max: Duration::from_micros(prng.between(50, 2_000)),
            flush_min: Duration::from_micros(50),
            flush_max: Duration::from_micros(prng.between(100, 30_000)),
            lost_per_mille,
            torn_per_mille: prng.below(1_000 - lost_per_mille),
        };
        Plan {
            nodes: if prng.chance(1, 3) { 5 } else { 3 },
            clients: prng.between(2, 6) as usize,
            trouble: Duration::from_millis(prng.between(2_000, 5_000)),
            pause: Duration::from_millis(prng.between(100, 800)),
            weather,
            temper,
            weights: std::array::from_fn(|_| prng.below(5)),
        }
    }

    /// What happens next.
    pub fn next_trouble(&self, prng: &mut Prng) -> Trouble {
        let any = |prng: &mut Prng| node(1 + prng.below(u64::from(self.nodes)) as u16);
        let total: u64 = self.weights.iter().sum::<u64>().max(1);
        let mut draw = prng.below(total);
        let kind = self.weights.iter().position(|weight| match draw.checked_sub(*weight) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        match kind {
            Some(0) => Trouble::Power(any(prng)),
            Some(1) if prng.chance(1, 4) => Trouble::Blackout,
            Some(2) => {
                let side = |prng: &mut Prng| prng.chance(1, 2);
                let (left, right) = (1..=self.nodes).map(node).partition(|_| side(prng));
                Trouble::Split(vec![left, right])
            }
            Some(3) => Trouble::Deaf(any(prng), any(prng)),
            Some(4) => {
                let extra = Duration::from_millis(prng.between(1, 200));
                Trouble::Slow(any(prng), any(prng), extra)
            }
            _ => Trouble::Mend,
        }
    }
}

/// The node with this number.
pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("nodes are counted from 1")
}
