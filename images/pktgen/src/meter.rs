//! What has arrived of one run of one sender.

use base::Instant;

use crate::probe::{Arrivals, LANES};

/// Counts frames of a run. A new run begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    run: Option<u8>,
    frames: u64,
    bytes: u64,
    reordered: u64,
    next_sequences: [u32; LANES],
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Meter {
    /// A frame has arrived.
    ///
    /// # Panics
    /// If there is no such lane.
    #[inline]
    pub fn record(&mut self, run: u8, lane: u8, sequence: u32, bytes: usize, now: Instant) {
        if self.run != Some(run) {
            *self = Meter { run: Some(run), first: Some(now), ..Meter::default() };
        }
        self.frames += 1;
        self.bytes += bytes as u64;
        self.last = Some(now);
        let next = &mut self.next_sequences[usize::from(lane)];
        if sequence < *next {
            self.reordered += 1;
        } else {
            *next = sequence.saturating_add(1);
        }
    }

    /// This and what another station has counted, if both have heard the same run last; else what was heard
    /// last.
    #[must_use]
    pub fn joined(self, other: Meter) -> Meter {
        if self.run != other.run {
            return if other.last > self.last { other } else { self };
        }
        Meter {
            run: self.run,
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
            reordered: self.reordered + other.reordered,
            next_sequences: self.next_sequences,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// What has arrived of that run; nothing, if another was heard last.
    pub fn arrivals(&self, run: u8) -> Arrivals {
        if self.run == Some(run) { self.latest() } else { Arrivals::default() }
    }

    /// What has arrived of the run that was heard last.
    pub fn latest(&self) -> Arrivals {
        let span = self.first.zip(self.last).map(|(first, last)| last.since(first));
        Arrivals {
            frames: self.frames,
            reordered: self.reordered,
            span_ns: span.map_or(0, |span| span.as_nanos()),
        }
    }

    /// How many bytes those frames had, their checksums not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_run_at_a_time() {
        let mut meter = Meter::default();
        let at = Instant::from_nanos;
        for (run, sequence, now) in [(1, 0, 5), (2, 0, 10), (2, 2, 20), (2, 1, 30), (2, 3, 40)] {
            meter.record(run, 0, sequence, 60, at(now));
        }
        assert_eq!(meter.arrivals(2), Arrivals { frames: 4, reordered: 1, span_ns: 30 });
        assert_eq!(meter.bytes(), 240);
        assert_eq!(meter.arrivals(1), Arrivals::default());
    }

    #[test]
    fn lanes_are_in_order_each_for_itself() {
        let mut meter = Meter::default();
        for (lane, sequence) in [(0, 5), (1, 0), (0, 6), (1, 1), (1, 0)] {
            meter.record(1, lane, sequence, 60, Instant::from_nanos(7));
        }
        assert_eq!(meter.latest().reordered, 1);
    }

    #[test]
    fn stations_of_a_card_count_together() {
        let at = Instant::from_nanos;
        let [mut one, mut other, mut old] = [Meter::default(); 3];
        old.record(1, 0, 0, 60, at(5));
        one.record(2, 0, 0, 60, at(10));
        one.record(2, 0, 2, 60, at(20));
        other.record(2, 1, 0, 100, at(50));
        let joined = old.joined(one).joined(other).joined(old);
        assert_eq!(joined.latest(), Arrivals { frames: 3, reordered: 0, span_ns: 40 });
        assert_eq!(joined.bytes(), 220);
    }
}
