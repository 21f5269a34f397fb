//! What a station sends, and what comes of it.

use core::net::Ipv4Addr;
use core::num::NonZeroU64;

use base::{Duration, Instant};

use super::Station;
use crate::echo::{Echo, Spans};
use crate::search::Search;
use crate::tcp;
use crate::trial::{Outcome, Plan, Trial};

/// What it sends.
#[derive(Debug)]
pub(super) enum Job {
    Trial(Trial),
    Search(Plan, Search, Trial),
    Echo(Echo),
}

/// What came of the last job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finished {
    /// A trial.
    Trial(Outcome),
    /// A search: its end, and its last trial.
    Search(Search, Outcome),
    /// Echoes.
    Echo(Spans),
    /// A source of TCP.
    Tcp(tcp::Outcome),
}

impl Station {
    /// What came of the job, if that is over; a search goes on with its next trial.
    pub(super) fn finish(&mut self, now: Instant) -> Option<Finished> {
        match self.job.as_mut()? {
            Job::Trial(trial) => trial.outcome().map(Finished::Trial),
            Job::Echo(echo) => echo.outcome().map(Finished::Echo),
            Job::Search(plan, search, trial) => {
                let outcome = trial.outcome()?;
                let Some(rate) = search.next_rate(&outcome) else {
                    return Some(Finished::Search(*search, outcome));
                };
                self.last_run = self.last_run.wrapping_add(1);
                let plan = Plan { per_second: Some(rate), ..*plan };
                self.last_stamp = next(self.last_stamp);
                *trial = Trial::new(&plan, self.mac, self.last_run, self.last_stamp, now);
                None
            }
        }
    }

    pub(super) fn next_run(&mut self) -> u32 {
        self.finished = None;
        self.costs.clear();
        self.next_cost = 0;
        self.last_run = self.last_run.wrapping_add(1);
        self.last_run
    }

    pub(super) fn begin_trial(&mut self, plan: &Plan, run: u32, now: Instant) {
        self.last_stamp = next(self.last_stamp);
        self.job = Some(Job::Trial(Trial::new(plan, self.mac, run, self.last_stamp, now)));
    }

    /// Begins a search; another job ends. The plan's rate is not looked at.
    pub fn start_search(&mut self, plan: &Plan, now: Instant) {
        self.stop(now);
        let plan = Plan { per_second: None, ..*plan };
        let run = self.next_run();
        self.last_stamp = next(self.last_stamp);
        let trial = Trial::new(&plan, self.mac, run, self.last_stamp, now);
        self.job = Some(Job::Search(plan, Search::default(), trial));
    }

    /// Begins to send echoes; another job ends.
    pub fn start_echo(&mut self, to: [u8; 6], size: usize, count: u32, now: Instant) {
        self.stop(now);
        let run = self.next_run();
        self.job = Some(Job::Echo(Echo::new(to, self.mac, size, count, run)));
    }

    /// Begins to send by TCP; another job ends.
    pub fn start_tcp(&mut self, to: Ipv4Addr, port: u16, duration: Duration, now: Instant) {
        self.stop(now);
        self.next_run();
        self.tcp.connect(to, port, duration, now);
    }

    pub(super) fn end_job(&mut self, now: Instant) {
        self.job = None;
        self.tcp.stop(now);
    }

    /// Whether a job runs.
    pub fn is_busy(&self) -> bool {
        self.job.is_some() || self.tcp.is_busy()
    }

    /// What came of the last job.
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }
}

/// Nobody begins 2^64 trials.
fn next(stamp: NonZeroU64) -> NonZeroU64 {
    stamp.saturating_add(1)
}
