//! What the network does to messages, and when.

use base::{Duration, Instant, Prng};

/// How the network behaves until it is stable, and that it is stable then.
#[derive(Clone, Debug)]
pub struct Network {
    /// Of a thousand messages, so many are lost, and so many come twice.
    pub lost: u64,
    pub doubled: u64,
    pub delay_max: Duration,
    /// The group of each copy, by its place: messages pass only within a group.
    pub groups: Vec<u32>,
    /// From here on nothing is lost any more, delays are short, and all are connected.
    pub stable_from: Instant,
}

impl Network {
    pub fn calm() -> Network {
        Network {
            lost: 0,
            doubled: 0,
            delay_max: Duration::from_millis(2),
            groups: Vec::new(),
            stable_from: Instant::ORIGIN,
        }
    }

    pub fn stormy(lost: u64, stable_from: Instant) -> Network {
        let delay_max = Duration::from_millis(80);
        Network { lost, doubled: 50, delay_max, groups: Vec::new(), stable_from }
    }

    /// When the copies of a message arrive: none, one or two of them.
    pub fn arrivals(&self, from: usize, to: usize, now: Instant, prng: &mut Prng) -> Vec<Instant> {
        let low = Duration::from_micros(200);
        if now >= self.stable_from {
            return vec![now + prng.duration_between(low, Duration::from_millis(2))];
        }
        let group = |place: usize| self.groups.get(place).copied().unwrap_or(0);
        if group(from) != group(to) || prng.chance(self.lost, 1000) {
            return Vec::new();
        }
        let copies = 1 + usize::from(prng.chance(self.doubled, 1000));
        (0..copies).map(|_| now + prng.duration_between(low, self.delay_max)).collect()
    }
}
