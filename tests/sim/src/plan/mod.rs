//! The trouble that a run makes: which kind of run it is, and what happens in it. All of it from the seed.

mod profile;
mod topology;
mod trouble;

use base::{Duration, NodeId, Prng};

use crate::disk::DiskTemper;
use crate::network::Weather;
use profile::CLOCK_ERROR_MAX_PPM;
pub use profile::Profile;
pub use topology::Topology;
pub use trouble::{Act, Moment, Reaction, Trouble, Who};

/// One run in so many has reads by lease, whatever it is about.
const LEASES_EVERY: u64 = 4;

/// The options of a run, derived from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the run is about.
    pub profile: Profile,
    /// How many nodes.
    pub nodes: u16,
    /// How many clients.
    pub clients: usize,
    /// A client waits at most this long before it asks the next thing.
    pub think_max: Duration,
    /// How long trouble is made.
    pub trouble: Duration,
    /// How long, on average, until something happens.
    pub pause: Duration,
    /// The wires.
    pub weather: Weather,
    /// The disks.
    pub temper: DiskTemper,
    /// The nodes' own options.
    pub tuning: Tuning,
    /// What happens now and then, and how likely, against each other.
    pub troubles: Vec<(u64, Trouble)>,
    /// What happens at the worst moment.
    pub reactions: Vec<Reaction>,
}

/// Limits of consensus that a run makes small, so that a short run comes to them.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How many entries an append message carries.
    pub append_entries_max: usize,
    /// How many append messages may be on their way to a follower.
    pub append_in_flight_max: usize,
    /// How many bytes of entries stay in memory.
    pub entry_cache_max_bytes: usize,
    /// After how many entries a snapshot is taken.
    pub snapshot_entries: u64,
    /// Whether reads are answered by lease. Then no clock leaps, and none halts while its machine is paused.
    pub lease_reads: bool,
    /// Whether a leader is suspected that is silent for longer than usual.
    pub suspects_silence: bool,
    /// By how many parts in a million a clock is too fast or too slow, at the least …
    pub clock_error_min_ppm: u64,
    /// … and at the most.
    pub clock_error_max_ppm: u64,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        Plan::with_profile(seed, None)
    }

    /// The plan of a seed, with another profile than the one that it would draw.
    pub fn with_profile(seed: u64, profile: Option<Profile>) -> Plan {
        let mut prng = Prng::new(seed);
        let drawn = Profile::draw(&mut prng);
        let profile = profile.unwrap_or(drawn);
        let mut plan = Plan::moderate(profile, &mut prng);
        profile.shape(&mut plan, &mut prng);
        plan.draw_clocks(&mut prng);
        plan
    }

    /// Reads by lease in some runs: all clocks are then as the nodes have been promised that they are.
    fn draw_clocks(&mut self, prng: &mut Prng) {
        let tuning = &mut self.tuning;
        let has_leaps = matches!(self.profile, Profile::Clocks);
        tuning.lease_reads |= !has_leaps && prng.chance(1, LEASES_EVERY);
        if tuning.lease_reads {
            self.troubles.retain(|(_, trouble)| !matches!(trouble, Trouble::Leap(_)));
        }
        if prng.chance(1, 2) {
            tuning.clock_error_max_ppm = CLOCK_ERROR_MAX_PPM;
        }
    }

    /// A little of everything; the profile makes much of something.
    fn moderate(profile: Profile, prng: &mut Prng) -> Plan {
        let clients = prng.between(2, 6) as usize;
        let trouble = Duration::from_millis(prng.between(1_000, 3_000));
        let pause = Duration::from_millis(prng.between(100, 600));
        Plan {
            profile,
            nodes: [3, 3, 3, 5, 5, 7][prng.below(6) as usize],
            clients,
            think_max: Duration::from_millis(prng.between(2, 20)),
            trouble,
            pause,
            weather: moderate_weather(prng),
            temper: moderate_temper(prng),
            tuning: Tuning {
                append_entries_max: [1, 2, 512, 512][prng.below(4) as usize],
                append_in_flight_max: [1, 2, 16, 16][prng.below(4) as usize],
                entry_cache_max_bytes: [64, 1_024, 1 << 23][prng.below(3) as usize],
                snapshot_entries: [10, 50, 300, 100_000][prng.below(4) as usize],
                lease_reads: false,
                suspects_silence: true,
                clock_error_min_ppm: 0,
                clock_error_max_ppm: 0,
            },
            troubles: Vec::new(),
            reactions: Vec::new(),
        }
    }

    /// What happens next.
    pub fn next_trouble(&self, prng: &mut Prng) -> Trouble {
        let total: u64 = self.troubles.iter().map(|(weight, _)| weight).sum();
        let mut draw = prng.below(total.max(1));
        for &(weight, trouble) in &self.troubles {
            match draw.checked_sub(weight) {
                Some(rest) => draw = rest,
                None => return trouble,
            }
        }
        Trouble::Mend
    }
}

fn moderate_weather(prng: &mut Prng) -> Weather {
    let per_mille =
        |prng: &mut Prng, most: u64| if prng.chance(1, 2) { prng.below(most) } else { 0 };
    Weather {
        delay_min: Duration::from_micros(50),
        delay_max: Duration::from_micros(prng.between(200, 5_000)),
        loss_per_mille: per_mille(prng, 30),
        duplicate_per_mille: per_mille(prng, 30),
        corrupt_per_mille: per_mille(prng, 10),
    }
}

fn moderate_temper(prng: &mut Prng) -> DiskTemper {
    let lost_per_mille = prng.below(700);
    DiskTemper {
        access_min: Duration::from_micros(20),
        access_max: Duration::from_micros(prng.between(50, 1_000)),
        flush_min: Duration::from_micros(50),
        flush_max: Duration::from_micros(prng.between(100, 10_000)),
        slow_per_mille: 0,
        slow_max: Duration::ZERO,
        lost_per_mille,
        torn_per_mille: prng.below(1_000 - lost_per_mille),
        misread_per_mille: 0,
    }
}

/// The node with this number.
pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("nodes are counted from 1")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let plan = |seed| format!("{:?}", Plan::new(seed));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_profile_and_every_size_is_drawn() {
        let plans: Vec<Plan> = (0..1_000).map(Plan::new).collect();
        let mut profiles = BTreeMap::new();
        plans.iter().for_each(|plan| *profiles.entry(plan.profile).or_insert(0) += 1);
        assert_eq!(profiles.len(), Profile::ALL.len(), "{profiles:?}");
        for nodes in [1, 3, 5, 7, 32] {
            assert!(plans.iter().any(|plan| plan.nodes == nodes), "{nodes} nodes");
        }
    }

    #[test]
    fn trouble_is_drawn_by_weight() {
        let troubles = vec![(0, Trouble::Blackout), (1, Trouble::Split), (3, Trouble::Mend)];
        let plan = Plan { troubles, ..Plan::new(1) };
        let mut prng = Prng::new(1);
        let drawn: Vec<Trouble> = (0..400).map(|_| plan.next_trouble(&mut prng)).collect();
        let count = |wanted| drawn.iter().filter(|trouble| **trouble == wanted).count();
        assert_eq!(count(Trouble::Blackout), 0);
        assert!((50..150).contains(&count(Trouble::Split)), "{}", count(Trouble::Split));
        assert_eq!(count(Trouble::Split) + count(Trouble::Mend), 400);
    }
}
