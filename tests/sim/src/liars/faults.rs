//! What the network does to messages, and when.

use base::{Duration, Instant, Prng};

use super::counts::{Counts, Kind};

/// How the network behaves until it is stable, and that it is stable then.
#[derive(Clone, Debug)]
pub struct Network {
    /// Of a thousand messages, so many are lost …
    pub lost: u64,
    /// … and so many come twice.
    pub doubled: u64,
    /// The longest that one is on its way.
    pub delay_max: Duration,
    /// The group of each copy, by its place: messages pass only within a group.
    pub groups: Vec<u32>,
    /// From here on nothing is lost any more, delays are short, and all are connected.
    pub stable_from: Instant,
}

impl Network {
    /// One that is stable from the beginning.
    pub fn calm() -> Network {
        Network {
            lost: 0,
            doubled: 0,
            delay_max: Duration::from_millis(2),
            groups: Vec::new(),
            stable_from: Instant::ORIGIN,
        }
    }

    /// One that loses so many of a thousand messages until it is stable.
    pub fn stormy(lost: u64, stable_from: Instant) -> Network {
        let delay_max = Duration::from_millis(80);
        Network { lost, doubled: 50, delay_max, groups: Vec::new(), stable_from }
    }

    /// When the copies of a message arrive: none, one or two of them.
    pub fn arrivals(
        &self,
        (from, to): (usize, usize),
        now: Instant,
        prng: &mut Prng,
        counts: &mut Counts,
    ) -> Vec<Instant> {
        let low = Duration::from_micros(200);
        if now >= self.stable_from {
            return vec![now + prng.duration_between(low, Duration::from_millis(2))];
        }
        let group = |place: usize| self.groups.get(place).copied().unwrap_or(0);
        if group(from) != group(to) {
            counts.note(Kind::Blocked);
            return Vec::new();
        }
        if prng.chance(self.lost, 1000) {
            counts.note(Kind::Lost);
            return Vec::new();
        }
        let is_doubled = prng.chance(self.doubled, 1000);
        counts.add(Kind::Doubled, is_doubled.into());
        let copies = 1 + usize::from(is_doubled);
        (0..copies).map(|_| now + prng.duration_between(low, self.delay_max)).collect()
    }
}
