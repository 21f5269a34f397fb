//! How long single frames take there and back, one at a time.

use alloc::vec::Vec;

use base::{Duration, Instant};
use pool::{Frame, Pool};

use crate::probe::{Kind, Probe};
use crate::template::Template;

/// A frame that is not back by then is lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// The most samples that are kept, in memory of the heap: a quarter of a mebibyte.
pub const SAMPLES_MAX: u32 = 65_536;

/// Frames there and back.
#[derive(Debug)]
pub struct Echo {
    template: Template,
    run: u32,
    wanted: u32,
    sent: u32,
    /// The frame that is on its way: when it left.
    waiting: Option<Instant>,
    spans_ns: Vec<u32>,
    lost: u32,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spans {
    /// How many came back, and how many did not.
    pub count: usize,
    /// See there.
    pub lost: u32,
    /// How long half of them took at most, in nanoseconds …
    pub p50_ns: u32,
    /// … and 99 of 100.
    pub p99_ns: u32,
    /// The longest.
    pub max_ns: u32,
}

impl Echo {
    /// Begins: `wanted` frames of `size` bytes to a station, [`SAMPLES_MAX`] at most.
    pub fn new(to: [u8; 6], from: [u8; 6], size: usize, wanted: u32, run: u32) -> Echo {
        let wanted = wanted.min(SAMPLES_MAX);
        Echo {
            template: Template::new(from, to, size),
            run,
            wanted,
            sent: 0,
            waiting: None,
            spans_ns: Vec::with_capacity(wanted as usize),
            lost: 0,
        }
    }

    /// The next frame, when the last one is back or lost.
    pub fn poll(&mut self, now: Instant, pool: &Pool) -> Option<Frame> {
        if self.waiting.is_some_and(|left| now.since(left) >= LOST_AFTER) {
            self.waiting = None;
            self.lost += 1;
        }
        if self.waiting.is_some() || self.sent == self.wanted {
            return None;
        }
        let (run, sequence, sent_ns) = (self.run, self.sent.into(), now.as_nanos() as u32);
        let probe = Probe { kind: Kind::Echo, run, lane: 0, sequence, sent_ns };
        let frame = self.template.frame(0, &probe, pool)?;
        self.waiting = Some(now);
        self.sent += 1;
        Some(frame)
    }

    /// A frame has come back.
    pub fn handle_reply(&mut self, probe: &Probe, now: Instant) {
        let is_last = probe.run == self.run && probe.sequence + 1 == u64::from(self.sent);
        if let Some(left) = self.waiting.filter(|_| is_last) {
            let span = now.since(left).as_nanos();
            self.spans_ns.push(u32::try_from(span).unwrap_or(u32::MAX));
            self.waiting = None;
        }
    }

    /// What came of it, once it is over.
    pub fn outcome(&mut self) -> Option<Spans> {
        let is_over = self.sent == self.wanted && self.waiting.is_none();
        is_over.then(|| self.spans())
    }

    /// What has come of it until now.
    pub fn spans(&mut self) -> Spans {
        self.spans_ns.sort_unstable();
        let rank = |percent: usize| {
            let rank = (self.spans_ns.len() * percent).div_ceil(100).max(1);
            self.spans_ns.get(rank - 1).copied().unwrap_or(0)
        };
        let (count, lost) = (self.spans_ns.len(), self.lost);
        Spans { count, lost, p50_ns: rank(50), p99_ns: rank(99), max_ns: rank(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_one_frame_at_a_time() {
        let pool = Pool::on_heap(2, pool::PAGE_BYTES);
        let mut echo = Echo::new([2; 6], [4; 6], 64, 100, 9);
        let mut now = Instant::from_nanos(1);
        for count in 1..=100 {
            let frame = echo.poll(now, &pool).unwrap();
            assert!(echo.poll(now, &pool).is_none() && echo.outcome().is_none());
            let mut probe = Probe::parse(&frame).unwrap();
            probe.kind = Kind::Reply;
            now += Duration::from_nanos(count * 1_000);
            // Neither an old one nor another's is this one.
            echo.handle_reply(&Probe { sequence: probe.sequence + 1, ..probe }, now);
            echo.handle_reply(&Probe { run: 8, ..probe }, now);
            if count == 100 {
                assert!(echo.poll(now + LOST_AFTER, &pool).is_none());
                break;
            }
            echo.handle_reply(&probe, now);
        }
        let spans = echo.outcome().unwrap();
        assert_eq!((spans.count, spans.lost), (99, 1));
        assert_eq!((spans.p50_ns, spans.p99_ns, spans.max_ns), (50_000, 99_000, 99_000));
    }
}
