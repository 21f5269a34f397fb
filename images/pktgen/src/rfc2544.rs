//! The frame sizes of RFC 2544, one after the other: for each the highest rate without loss (section 26.1),
//! and then how long single frames take there and back while others go that way at nine tenths of that rate
//! (in the manner of section 26.2, which has the rate itself).
//!
//! The RFC wants trials of 60 seconds; how long they are here is the caller's affair.

use alloc::collections::VecDeque;

use base::Instant;
use pool::Frame;

use crate::SIZES_RFC2544;
use crate::echo::{Echo, SAMPLES_MAX};
use crate::probe::{Arrivals, Probe};
use crate::search::Search;
use crate::trial::{Plan, Pools, Runs, Trial};

/// How many sizes there are.
pub const SIZES_COUNT: usize = SIZES_RFC2544.len();

/// What came of one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// How long a frame is, in bytes with its checksum.
    pub size: u16,
    /// The highest rate without loss, in frames a second.
    pub best: u64,
    /// How many trials that took.
    pub trials: u32,
    /// At nine tenths of that rate; `None` if nothing gets through at any rate.
    pub latency: Option<Latency>,
}

/// How long frames take there and back among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// How many came back.
    pub echoes: u32,
    /// How long half of them took at most, in nanoseconds …
    pub p50_ns: u32,
    /// … and 99 of 100.
    pub p99_ns: u32,
    /// How many of the others were lost meanwhile.
    pub lost: Option<u64>,
}

/// What came of all; those of a receiver that does not answer are missing.
pub type Rows = [Option<Row>; SIZES_COUNT];

#[derive(Debug)]
enum Stage {
    Rate(Search, Trial),
    Latency(Search, Trial, Echo),
}

/// See the module.
#[derive(Debug)]
pub struct Survey {
    /// Of all but size and rate.
    plan: Plan,
    rows: Rows,
    done: usize,
    stage: Stage,
}

impl Survey {
    /// Begins. Size and rate of the plan are not looked at.
    pub fn new(plan: &Plan, runs: &mut Runs, now: Instant) -> Survey {
        let plan = Plan { size: SIZES_RFC2544[0], per_second: None, ..*plan };
        let stage = Stage::Rate(Search::default(), runs.trial(&plan, now));
        Survey { plan, rows: [None; SIZES_COUNT], done: 0, stage }
    }

    /// Adds the frames that are due to `outgoing`, a burst at most in all, and an echo.
    pub fn poll(&mut self, now: Instant, pools: Pools<'_>, outgoing: &mut VecDeque<Frame>) {
        match &mut self.stage {
            Stage::Rate(_, trial) => trial.poll(now, pools, outgoing),
            Stage::Latency(_, trial, echo) => {
                trial.poll(now, pools, outgoing);
                // Only what travels among the others.
                if trial.is_sending() {
                    outgoing.extend(echo.poll(now, pools.others));
                }
            }
        }
    }

    /// Goes on with the next trial when one is over. What came of all, once that was the last.
    pub fn advance(&mut self, runs: &mut Runs, now: Instant) -> Option<Rows> {
        match &mut self.stage {
            Stage::Rate(search, trial) => {
                let outcome = trial.outcome()?;
                if let Some(rate) = search.next_rate(&outcome) {
                    *trial = runs.trial(&Plan { per_second: Some(rate), ..self.plan }, now);
                    return None;
                }
                let search = *search;
                if outcome.arrivals.is_none() {
                    return Some(self.rows);
                }
                if search.best() == 0 {
                    return self.note(search, None, runs, now);
                }
                self.stage = self.latency(search, runs, now);
                None
            }
            Stage::Latency(search, trial, echo) => {
                let (search, outcome, spans) = (*search, trial.outcome()?, echo.spans());
                let latency = Latency {
                    echoes: spans.count as u32,
                    p50_ns: spans.p50_ns,
                    p99_ns: spans.p99_ns,
                    lost: outcome.lost(),
                };
                self.note(search, Some(latency), runs, now)
            }
        }
    }

    fn latency(&self, search: Search, runs: &mut Runs, now: Instant) -> Stage {
        let rate = (search.best() - search.best() / 10).max(1);
        let trial = runs.trial(&Plan { per_second: Some(rate), ..self.plan }, now);
        let echo = runs.echo(self.plan.to, self.plan.size, SAMPLES_MAX);
        Stage::Latency(search, trial, echo)
    }

    /// Notes what came of a size, and begins with the next one, if there is one.
    fn note(
        &mut self,
        search: Search,
        latency: Option<Latency>,
        runs: &mut Runs,
        now: Instant,
    ) -> Option<Rows> {
        let (size, best, trials) = (self.plan.size as u16, search.best(), search.trials());
        self.rows[self.done] = Some(Row { size, best, trials, latency });
        self.done += 1;
        let Some(size) = SIZES_RFC2544.get(self.done) else { return Some(self.rows) };
        self.plan.size = *size;
        self.stage = Stage::Rate(Search::default(), runs.trial(&self.plan, now));
        None
    }

    /// An echo is back.
    pub fn handle_reply(&mut self, probe: &Probe, now: Instant) {
        if let Stage::Latency(_, _, echo) = &mut self.stage {
            echo.handle_reply(probe, now);
        }
    }

    /// The receiver has answered.
    pub fn handle_answer(&mut self, run: u32, arrivals: Arrivals) {
        let (Stage::Rate(_, trial) | Stage::Latency(_, trial, _)) = &mut self.stage;
        trial.handle_answer(run, arrivals);
    }

    /// Which size it is at, from one on.
    pub fn place(&self) -> usize {
        self.done + 1
    }
}

impl Row {
    /// The bits of all frames at the rate without loss, checksums counted, preambles and gaps not.
    pub fn bits_per_second(&self) -> u64 {
        self.best * u64::from(self.size) * 8
    }
}
