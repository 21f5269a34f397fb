//! What a run will bring.

use base::{Duration, Instant, Prng};
use bft::{FaultBound, Lie, Quorums};

/// Who lies, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Liar {
    /// It tampers with everything that it says.
    Adversary(Lie),
    /// It runs twice.
    Twin,
}

/// All that is derived from a seed before a run begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many replicas there are.
    pub replicas: usize,
    /// Which of them lie: as many as may, or fewer.
    pub liars: Vec<(usize, Liar)>,
    /// An honest replica that will start once with a damaged signing record.
    pub damaged: Option<usize>,
    /// Of a thousand messages, so many are lost …
    pub lost: u64,
    /// … and so many come twice, until the network is stable.
    pub doubled: u64,
    /// The longest that a message is on its way until then.
    pub delay_max: Duration,
    /// In how many of a thousand rounds a partition begins or ends.
    pub parted: u64,
    /// In how many of a thousand rounds a replica crashes or starts again.
    pub crashing: u64,
    /// The longest round.
    pub round_max: Duration,
    /// When the network is stable, everybody runs, and liveness is due.
    pub stable_from: Instant,
}

impl Plan {
    /// The plan of a seed.
    pub fn of_seed(seed: u64) -> Plan {
        let mut prng = Prng::new(seed ^ 0x1135);
        let replicas = [4, 4, 4, 5, 7, 8][prng.below(6) as usize];
        let quorums = Quorums::of(replicas, FaultBound::Quarter).expect("there are such groups");
        let mut places: Vec<usize> = (0..replicas).collect();
        let mut draw = |prng: &mut Prng| {
            let at = prng.below(places.len() as u64) as usize;
            places.swap_remove(at)
        };
        let liars = prng.below(quorums.liars() as u64 * 4 + 1).div_ceil(4) as usize;
        let liars = (0..liars).map(|_| {
            let lie = Lie::ALL[prng.below(Lie::ALL.len() as u64) as usize];
            let liar = if prng.chance(1, 8) { Liar::Twin } else { Liar::Adversary(lie) };
            (draw(&mut prng), liar)
        });
        let liars: Vec<_> = liars.collect();
        // Whoever abstains does not help a quorum, no more than a liar does.
        let has_room = liars.len() < replicas - quorums.quorum();
        let damaged = (has_room && prng.chance(1, 2)).then(|| draw(&mut prng));
        let mut often = |max: u64| if prng.chance(1, 3) { 0 } else { prng.between(1, max) };
        let (lost, doubled, parted, crashing) = (often(200), often(100), often(150), often(150));
        Plan {
            replicas,
            liars,
            damaged,
            lost,
            doubled,
            parted,
            crashing,
            delay_max: Duration::from_millis(prng.between(2, 80)),
            round_max: Duration::from_millis(prng.between(20, 300)),
            stable_from: Instant::from_millis(prng.between(1_000, 5_000)),
        }
    }
}
