//! How many frames are due.

use base::Instant;

use crate::BURST;

/// In nanoseconds. A rate is at most as many frames a second, so that nothing overflows.
const SECOND: u64 = 1_000_000_000;

/// Sends at a rate, or as fast as it goes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    started: Instant,
    per_second: Option<u64>,
    sent: u64,
}

impl Pace {
    /// From `now` on, so many frames a second, or as many as it goes.
    pub fn new(per_second: Option<u64>, now: Instant) -> Pace {
        Pace { started: now, per_second, sent: 0 }
    }

    /// How many frames are due: a burst at most. A sender that falls behind catches up.
    pub fn due(&self, now: Instant) -> usize {
        let Some(per_second) = self.per_second else { return BURST };
        let elapsed = now.since(self.started).as_nanos();
        let (seconds, rest) = (elapsed / SECOND, elapsed % SECOND);
        let due = (seconds * per_second + rest * per_second / SECOND).saturating_sub(self.sent);
        usize::try_from(due).unwrap_or(BURST).min(BURST)
    }

    /// So many were sent.
    pub fn note(&mut self, frames: usize) {
        self.sent += frames as u64;
    }

    /// How many were sent in all.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Duration;

    #[test]
    fn keeps_its_rate() {
        let start = Instant::from_nanos(5);
        let mut pace = Pace::new(Some(1_000_000), start);
        let mut now = start;
        assert_eq!(pace.due(now), 0);
        for _ in 0..10_000 {
            now += Duration::from_nanos(700);
            let due = pace.due(now);
            assert!(due <= 1);
            pace.note(due);
        }
        assert_eq!(pace.sent(), 7_000);
        assert_eq!(pace.due(now + Duration::from_secs(1)), BURST);
        assert_eq!(Pace::new(None, start).due(start), BURST);
    }
}
