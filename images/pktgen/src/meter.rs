//! What has arrived of one run of one sender.

use base::Instant;

use crate::probe::Arrivals;

/// Counts frames of a run. A new run begins anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    run: Option<u8>,
    frames: u64,
    bytes: u64,
    reordered: u64,
    next_sequence: u32,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Meter {
    /// A frame has arrived.
    #[inline]
    pub fn record(&mut self, run: u8, sequence: u32, bytes: usize, now: Instant) {
        if self.run != Some(run) {
            *self = Meter { run: Some(run), first: Some(now), ..Meter::default() };
        }
        self.frames += 1;
        self.bytes += bytes as u64;
        self.last = Some(now);
        if sequence < self.next_sequence {
            self.reordered += 1;
        } else {
            self.next_sequence = sequence.saturating_add(1);
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
            meter.record(run, sequence, 60, at(now));
        }
        assert_eq!(meter.arrivals(2), Arrivals { frames: 4, reordered: 1, span_ns: 30 });
        assert_eq!(meter.bytes(), 240);
        assert_eq!(meter.arrivals(1), Arrivals::default());
    }
}
