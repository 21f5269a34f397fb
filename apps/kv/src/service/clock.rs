//! The cluster's time, as one node estimates it, and the stamps it gives when it leads.
//!
//! The estimate is the greater of two clocks that run at the same speed: this node's wall clock,
//! and the greatest time seen in the log plus the time that passed since. So it never runs behind
//! the log, and it goes on even if an earlier leader's clock was ahead of ours.

use base::{Duration, Instant};

/// A node's estimate of the cluster's time, in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Clock {
    wall: Mark,
    seen: Mark,
    /// The last stamp given since this node leads, and when.
    stamped: Option<Mark>,
}

/// A time of the cluster and the instant it belongs to.
#[derive(Clone, Copy, Debug)]
struct Mark {
    time_ms: u64,
    at: Instant,
}

impl Mark {
    fn time_ms(self, now: Instant) -> u64 {
        self.time_ms.saturating_add(now.since(self.at).as_millis())
    }

    /// When this clock shows `time_ms`.
    fn instant(self, time_ms: u64) -> Instant {
        self.at + Duration::from_millis(time_ms.saturating_sub(self.time_ms))
    }
}

impl Clock {
    /// A clock whose wall shows `wall_ms` at `now`.
    pub fn new(wall_ms: u64, now: Instant) -> Clock {
        let wall = Mark { time_ms: wall_ms, at: now };
        Clock { wall, seen: wall, stamped: None }
    }

    /// The cluster's time.
    pub fn now_ms(&self, now: Instant) -> u64 {
        self.wall.time_ms(now).max(self.seen.time_ms(now))
    }

    /// The earliest instant at which [`now_ms`](Self::now_ms) is at least `time_ms`.
    pub fn instant(&self, time_ms: u64) -> Instant {
        self.wall.instant(time_ms).min(self.seen.instant(time_ms))
    }

    /// Takes note of a time in the log.
    pub fn observe(&mut self, time_ms: u64, now: Instant) {
        if time_ms > self.now_ms(now) {
            self.seen = Mark { time_ms, at: now };
        }
    }

    /// The time for the next entry, never less than that of the one before.
    pub fn stamp(&mut self, now: Instant) -> u64 {
        let time_ms = self.now_ms(now).max(self.stamped.map_or(0, |mark| mark.time_ms));
        self.stamped = Some(Mark { time_ms, at: now });
        time_ms
    }

    /// Forgets the stamps: who knows whether their entries are still in the log.
    pub fn forget_stamps(&mut self) {
        self.stamped = None;
    }

    /// When a leader should propose that the clock reach `deadline_ms`: at that time, but not
    /// within `pause` of the last stamp, nor within `patience` if that stamp would do, since its
    /// entry is under way.
    pub fn tick_at(&self, deadline_ms: u64, pause: Duration, patience: Duration) -> Instant {
        let due = self.instant(deadline_ms);
        match self.stamped {
            None => due,
            Some(mark) if mark.time_ms >= deadline_ms => due.max(mark.at + patience),
            Some(mark) => due.max(mark.at + pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_millis(250);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_estimate_follows_the_greater_clock_and_never_stops() {
        let mut clock = Clock::new(1_000, at(0));
        assert_eq!(clock.now_ms(at(5)), 1_005);
        clock.observe(9_000, at(10));
        assert_eq!((clock.now_ms(at(10)), clock.now_ms(at(12))), (9_000, 9_002));
        clock.observe(2_000, at(20));
        assert_eq!(clock.now_ms(at(20)), 9_010);
        assert_eq!(clock.instant(9_100), at(110));
        assert_eq!(clock.now_ms(clock.instant(9_100)), 9_100);
    }

    #[test]
    fn stamps_never_go_back() {
        let mut clock = Clock::new(1_000, at(0));
        assert_eq!(clock.stamp(at(10)), 1_010);
        assert_eq!(clock.stamp(at(5)), 1_010);
    }

    #[test]
    fn a_tick_waits_for_its_deadline_and_for_what_is_under_way() {
        let mut clock = Clock::new(1_000, at(0));
        assert_eq!(clock.tick_at(1_100, PAUSE, PATIENCE), at(100));
        clock.stamp(at(90));
        assert_eq!(clock.tick_at(1_100, PAUSE, PATIENCE), at(110));
        clock.stamp(at(120));
        assert_eq!(clock.tick_at(1_100, PAUSE, PATIENCE), at(370));
        clock.forget_stamps();
        assert_eq!(clock.tick_at(1_100, PAUSE, PATIENCE), at(100));
    }
}
