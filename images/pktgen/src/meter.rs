//! What has arrived, of each run of each sender.

use base::Instant;

use crate::probe::{Arrivals, LANES, Probe, RunKey};

/// Of so many runs at a time; that which was silent for longest makes room.
pub const RUNS_MAX: usize = 4;
/// Of so many numbers before the highest it is known which have come. What comes later than that counts as
/// having come before: then more seems lost than was, and never less.
const WINDOW: u64 = u64::BITS as u64;

/// What has arrived of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    run: RunKey,
    frames: u64,
    bytes: u64,
    reordered: u64,
    duplicates: u64,
    lanes: [Lane; LANES],
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Which numbers have come by one lane.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// One more than the highest.
    next: u64,
    /// Whether the highest has come, in the lowest bit, and so on downwards.
    seen: u64,
}

/// The runs that were heard of late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meters {
    /// The first is that which was heard last.
    meters: [Meter; RUNS_MAX],
}

impl Meters {
    /// A frame of this run has arrived, of so many bytes.
    ///
    /// # Panics
    /// If there is no such lane.
    #[inline]
    pub fn record(&mut self, run: RunKey, probe: &Probe, bytes: usize, now: Instant) {
        if self.meters[0].run != run {
            self.turn_to(run, now);
        }
        self.meters[0].record(probe, bytes, now);
    }

    /// Makes a run the first, perhaps a new one.
    #[cold]
    fn turn_to(&mut self, run: RunKey, now: Instant) {
        let known = self.meters.iter().position(|meter| meter.run == run);
        let place = known.unwrap_or_else(|| {
            let silent = (0..RUNS_MAX).min_by_key(|place| self.meters[*place].last);
            let place = silent.expect("there are meters");
            self.meters[place] = Meter { run, first: Some(now), ..Meter::default() };
            place
        });
        self.meters.swap(0, place);
    }

    /// What has arrived of a run.
    pub fn of(&self, run: RunKey) -> Meter {
        let meter = self.meters.iter().find(|meter| meter.run == run);
        meter.copied().unwrap_or(Meter { run, ..Meter::default() })
    }

    /// What has arrived of the run that was heard last.
    pub fn latest(&self) -> Meter {
        self.meters[0]
    }
}

impl Meter {
    #[inline]
    fn record(&mut self, probe: &Probe, bytes: usize, now: Instant) {
        self.frames += 1;
        self.bytes += bytes as u64;
        self.last = Some(now);
        let lane = &mut self.lanes[usize::from(probe.lane)];
        if probe.sequence >= lane.next {
            let gap = probe.sequence - lane.next;
            lane.seen = if gap < WINDOW - 1 { lane.seen << (gap + 1) } else { 0 } | 1;
            lane.next = probe.sequence + 1;
        } else if lane.is_new(probe.sequence) {
            self.reordered += 1;
        } else {
            self.duplicates += 1;
            self.frames -= 1;
        }
    }

    /// What two stations have counted of one run. A frame that has come to both counts twice: a flow comes to
    /// one of them.
    #[must_use]
    pub fn joined(self, other: Meter) -> Meter {
        Meter {
            run: self.run,
            frames: self.frames + other.frames,
            bytes: self.bytes + other.bytes,
            reordered: self.reordered + other.reordered,
            duplicates: self.duplicates + other.duplicates,
            lanes: self.lanes,
            first: [self.first, other.first].into_iter().flatten().min(),
            last: self.last.max(other.last),
        }
    }

    /// Which run it is.
    pub fn run(&self) -> RunKey {
        self.run
    }

    /// When the last frame of it has arrived.
    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    /// What has arrived.
    pub fn arrivals(&self) -> Arrivals {
        let span = self.first.zip(self.last).map(|(first, last)| last.since(first));
        Arrivals {
            frames: self.frames,
            reordered: self.reordered,
            duplicates: self.duplicates,
            span_ns: span.map_or(0, |span| span.as_nanos()),
        }
    }

    /// How many bytes the frames had that came, also those that came again; their checksums not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Lane {
    /// Notes a number below the highest. False if it has come before, or may have.
    fn is_new(&mut self, sequence: u64) -> bool {
        let behind = self.next - 1 - sequence;
        let bit = if behind < WINDOW { 1 << behind } else { 0 };
        let is_new = bit & !self.seen != 0;
        self.seen |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Kind, PAYLOAD, PROBE_BYTES};

    fn key(sender: u8, run: u32) -> RunKey {
        let mut frame = [0; PAYLOAD + PROBE_BYTES];
        frame[6] = sender;
        RunKey::of(&frame, &probe(run, 0, 0))
    }

    fn probe(run: u32, lane: u8, sequence: u64) -> Probe {
        Probe { kind: Kind::Data, run, lane, sequence, sent_ns: 0 }
    }

    /// Frames of one run, with their lanes and numbers.
    fn meter(frames: &[(u8, u64)]) -> Arrivals {
        let mut meters = Meters::default();
        for (lane, sequence) in frames {
            meters.record(key(1, 1), &probe(1, *lane, *sequence), 60, Instant::from_nanos(7));
        }
        meters.of(key(1, 1)).arrivals()
    }

    #[test]
    fn counts_each_run_of_each_sender() {
        let mut meters = Meters::default();
        let frames = [(1, 1, 0, 5), (2, 1, 0, 10), (1, 1, 2, 20), (2, 2, 0, 30), (1, 1, 1, 40)];
        for (sender, run, sequence, now) in frames {
            let now = Instant::from_nanos(now);
            meters.record(key(sender, run), &probe(run, 0, sequence), 60, now);
        }
        let all = Arrivals { frames: 3, reordered: 1, duplicates: 0, span_ns: 35 };
        assert_eq!(meters.latest().arrivals(), all);
        assert_eq!(meters.of(key(1, 1)).bytes(), 180);
        for one in [key(2, 1), key(2, 2)] {
            assert_eq!(meters.of(one).arrivals(), Arrivals { frames: 1, ..Arrivals::default() });
        }
        assert_eq!(meters.of(key(1, 2)).arrivals(), Arrivals::default());
    }

    #[test]
    fn the_run_that_was_silent_for_longest_makes_room() {
        let mut meters = Meters::default();
        let order = [1, 2, 3, 4, 1, 5];
        for (now, sender) in (1..).zip(order) {
            meters.record(key(sender, 9), &probe(9, 0, 0), 60, Instant::from_nanos(now));
        }
        let frames = [1, 2, 3, 4, 5].map(|sender| meters.of(key(sender, 9)).arrivals().frames);
        // The second frame of the first sender has the number of its first.
        assert_eq!(frames, [1, 0, 1, 1, 1]);
    }

    #[test]
    fn lanes_are_in_order_each_for_itself() {
        let arrivals = meter(&[(0, 5), (1, 0), (0, 6), (1, 2), (1, 1)]);
        assert_eq!((arrivals.frames, arrivals.reordered, arrivals.duplicates), (5, 1, 0));
    }

    #[test]
    fn what_comes_again_is_not_counted_twice() {
        let arrivals = meter(&[(0, 0), (0, 0), (0, 2), (0, 1), (0, 2), (0, 1), (0, 0)]);
        assert_eq!((arrivals.frames, arrivals.reordered, arrivals.duplicates), (3, 1, 4));
    }

    #[test]
    fn what_comes_too_late_does_not_count() {
        // In 64 numbers the last one is known, the one before not any more.
        let arrivals = meter(&[(0, 64), (0, 1), (0, 0), (0, 1)]);
        assert_eq!((arrivals.frames, arrivals.reordered, arrivals.duplicates), (2, 1, 2));
        // What lies further back than the window is forgotten, and the rest is not.
        let arrivals = meter(&[(0, 0), (0, 63), (0, 0), (0, 127), (0, 64), (0, 63)]);
        assert_eq!((arrivals.frames, arrivals.reordered, arrivals.duplicates), (4, 1, 2));
    }

    #[test]
    fn agrees_with_a_set_of_all_numbers() {
        let mut prng = base::Prng::new(3);
        for _ in 0..200 {
            let (mut meters, mut seen, mut highest) = (Meters::default(), Vec::new(), 0);
            for _ in 0..500 {
                let sequence = (highest + prng.below(40)).saturating_sub(prng.below(60));
                // No later than the window.
                let sequence = sequence.max((highest + 1).saturating_sub(WINDOW));
                highest = highest.max(sequence);
                seen.push(sequence);
                meters.record(key(1, 1), &probe(1, 3, sequence), 60, Instant::from_nanos(1));
            }
            let count = seen.len() as u64;
            seen.sort_unstable();
            seen.dedup();
            let arrivals = meters.latest().arrivals();
            assert_eq!(arrivals.frames, seen.len() as u64);
            assert_eq!(arrivals.duplicates, count - arrivals.frames);
        }
    }

    #[test]
    fn stations_of_a_card_count_together() {
        let at = Instant::from_nanos;
        let [mut one, mut other] = [Meters::default(); 2];
        one.record(key(1, 2), &probe(2, 0, 0), 60, at(10));
        one.record(key(1, 2), &probe(2, 0, 2), 60, at(20));
        other.record(key(1, 2), &probe(2, 1, 0), 100, at(50));
        let silent = Meters::default();
        let joined = [silent, one, other, silent].map(|meters| meters.of(key(1, 2)));
        let joined = joined.into_iter().reduce(Meter::joined).unwrap();
        let all = Arrivals { frames: 3, span_ns: 40, ..Arrivals::default() };
        assert_eq!(joined.arrivals(), all);
        assert_eq!((joined.bytes(), joined.run()), (220, key(1, 2)));
    }
}
