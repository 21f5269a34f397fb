//! What a station sends, and what comes of it.

use alloc::boxed::Box;
use core::net::Ipv4Addr;

use base::{Duration, Instant};

use super::Station;
use crate::echo::{Echo, Spans};
use crate::rfc2544::{Rows, SIZES_COUNT, Survey};
use crate::search::Search;
use crate::tcp;
use crate::trial::{Outcome, Plan, Trial};

/// What it sends.
#[derive(Debug)]
pub(super) enum Job {
    Trial(Trial),
    Search(Plan, Search, Trial),
    Echo(Echo),
    Survey(Box<Survey>),
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
    /// All sizes of RFC 2544.
    Survey(Rows),
    /// A source of TCP.
    Tcp(tcp::Outcome),
}

impl Station {
    /// What came of the job, if that is over; one of several trials goes on with the next.
    pub(super) fn finish(&mut self, now: Instant) -> Option<Finished> {
        match self.job.as_mut()? {
            Job::Trial(trial) => trial.outcome().map(Finished::Trial),
            Job::Echo(echo) => echo.outcome().map(Finished::Echo),
            Job::Survey(survey) => survey.advance(&mut self.runs, now).map(Finished::Survey),
            Job::Search(plan, search, trial) => {
                let outcome = trial.outcome()?;
                let Some(rate) = search.next_rate(&outcome) else {
                    return Some(Finished::Search(*search, outcome));
                };
                let plan = Plan { per_second: Some(rate), ..*plan };
                *trial = self.runs.trial(&plan, now);
                None
            }
        }
    }

    /// What was measured before is not asked for any more.
    pub(super) fn forget(&mut self) {
        self.finished = None;
        self.costs.clear();
        self.next_cost = 0;
    }

    pub(super) fn begin_trial(&mut self, plan: &Plan, run: u32, now: Instant) {
        self.forget();
        self.job = Some(Job::Trial(self.runs.trial_as(plan, run, now)));
    }

    /// Begins a search; another job ends. The plan's rate is not looked at.
    pub fn start_search(&mut self, plan: &Plan, now: Instant) {
        self.stop(now);
        self.forget();
        let plan = Plan { per_second: None, ..*plan };
        let trial = self.runs.trial(&plan, now);
        self.job = Some(Job::Search(plan, Search::default(), trial));
    }

    /// Begins with all sizes of RFC 2544; another job ends. Size and rate of the plan are not looked at.
    pub fn start_survey(&mut self, plan: &Plan, now: Instant) {
        self.stop(now);
        self.forget();
        self.job = Some(Job::Survey(Box::new(Survey::new(plan, &mut self.runs, now))));
    }

    /// Begins to send echoes; another job ends.
    pub fn start_echo(&mut self, to: [u8; 6], size: usize, count: u32, now: Instant) {
        self.stop(now);
        self.forget();
        self.job = Some(Job::Echo(self.runs.echo(to, size, count)));
    }

    /// Begins to send by TCP; another job ends.
    pub fn start_tcp(&mut self, to: Ipv4Addr, port: u16, duration: Duration, now: Instant) {
        self.stop(now);
        self.forget();
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

    /// Which of how many sizes is being measured, if several are.
    pub fn progress(&self) -> Option<(usize, usize)> {
        match &self.job {
            Some(Job::Survey(survey)) => Some((survey.place(), SIZES_COUNT)),
            _ => None,
        }
    }

    /// What came of the last job.
    pub fn finished(&self) -> Option<&Finished> {
        self.finished.as_ref()
    }
}
