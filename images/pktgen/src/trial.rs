//! One trial: send for a while, let the network settle, ask what has arrived.

use alloc::collections::VecDeque;
use core::num::NonZeroU64;
use core::ops::Range;

use base::{Duration, Instant};
use pool::{Frame, Pool};

use crate::BURST;
use crate::echo::Echo;
use crate::pace::Pace;
use crate::probe::{Arrivals, Kind, Probe};
use crate::template::Template;

/// So long after the last frame nothing is on its way any more.
const SETTLE: Duration = Duration::from_millis(50);
/// How often, and after how long, the receiver is asked again.
const QUESTIONS_MAX: u32 = 50;
const ASK_EVERY: Duration = Duration::from_millis(20);

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// To which station.
    pub to: [u8; 6],
    /// How long a frame is, in bytes with its checksum.
    pub size: usize,
    /// For how long.
    pub duration: Duration,
    /// So many frames a second, or as many as it goes.
    pub per_second: Option<u64>,
    /// In so many flows, in turn.
    pub flows: u16,
    /// The first of them.
    pub first_flow: u16,
    /// Which of the stations that send together this is.
    pub lane: u8,
}

impl Plan {
    /// The part of the station `lane` of `lanes`: a flow is sent by one station, and they share the rate.
    /// `None` if there is nothing for it to do.
    pub fn share(&self, lane: u8, lanes: u8) -> Option<Plan> {
        let lanes = u16::from(lanes).min(self.flows);
        if u16::from(lane) >= lanes {
            return None;
        }
        let from = |whole: u64, place: u8| whole * u64::from(place) / u64::from(lanes);
        let part = |whole: u64| from(whole, lane + 1) - from(whole, lane);
        let first = from(self.flows.into(), lane);
        let within = |flows: u64| u16::try_from(flows).expect("a part is no larger than the whole");
        Some(Plan {
            per_second: self.per_second.map(part),
            flows: within(part(self.flows.into())),
            first_flow: self.first_flow + within(first),
            lane,
            ..*self
        })
    }
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How many frames were sent.
    pub sent: u64,
    /// In how long a time, in nanoseconds.
    pub span_ns: u64,
    /// What the receiver says has arrived, if it says anything.
    pub arrivals: Option<Arrivals>,
}

impl Outcome {
    /// Frames that were sent and did not arrive. If more arrived than were sent, nobody knows.
    pub fn lost(&self) -> Option<u64> {
        self.arrivals.and_then(|arrivals| self.sent.checked_sub(arrivals.frames))
    }

    /// How many frames were sent in a second.
    pub fn per_second(&self) -> f64 {
        if self.span_ns == 0 { 0.0 } else { self.sent as f64 * 1e9 / self.span_ns as f64 }
    }
}

/// Where buffers come from.
#[derive(Clone, Copy, Debug)]
pub struct Pools<'a> {
    /// Those that only templates are written to: see [`Template::refill`].
    pub templates: &'a Pool,
    /// Those of everything else.
    pub others: &'a Pool,
}

/// Numbers the runs of a station, and the templates of its trials.
#[derive(Debug)]
pub struct Runs {
    mac: [u8; 6],
    last_run: u32,
    last_stamp: u64,
}

impl Runs {
    /// Of the station with this address. `last_run` tells its runs from those before its boot.
    pub fn new(mac: [u8; 6], last_run: u32) -> Runs {
        Runs { mac, last_run, last_stamp: 0 }
    }

    /// The address of their station.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The number of the next run.
    pub fn next_run(&mut self) -> u32 {
        self.last_run = self.last_run.wrapping_add(1);
        self.last_run
    }

    /// A trial, as the next run.
    pub fn trial(&mut self, plan: &Plan, now: Instant) -> Trial {
        let run = self.next_run();
        self.trial_as(plan, run, now)
    }

    /// A trial, as this run: another station of the card has numbered it.
    pub fn trial_as(&mut self, plan: &Plan, run: u32, now: Instant) -> Trial {
        self.last_run = run;
        // Nobody begins 2^64 trials.
        let stamp = NonZeroU64::MIN.saturating_add(self.last_stamp);
        self.last_stamp = stamp.get();
        Trial::new(plan, self.mac, run, stamp, now)
    }

    /// Echoes, as the next run.
    pub fn echo(&mut self, to: [u8; 6], size: usize, count: u32) -> Echo {
        let run = self.next_run();
        Echo::new(to, self.mac, size, count, run)
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Sending,
    Settling { until: Instant },
    Asking { count: u32, next: Instant },
    Done { arrivals: Option<Arrivals> },
}

/// A trial that runs.
#[derive(Debug)]
pub struct Trial {
    template: Template,
    question: Template,
    run: u32,
    lane: u8,
    flows: Range<u16>,
    flow: u16,
    pace: Pace,
    started: Instant,
    until: Instant,
    ended: Instant,
    phase: Phase,
}

impl Trial {
    /// Begins. `run` tells it from those before.
    /// `stamp` tells its template from all others.
    pub fn new(plan: &Plan, from: [u8; 6], run: u32, stamp: NonZeroU64, now: Instant) -> Trial {
        Trial {
            template: Template::new(from, plan.to, plan.size).stamped(stamp),
            question: Template::new(from, plan.to, *crate::SIZES.start()),
            run,
            lane: plan.lane,
            flows: plan.first_flow..plan.first_flow + plan.flows.max(1),
            flow: plan.first_flow,
            pace: Pace::new(plan.per_second, now),
            started: now,
            until: now + plan.duration,
            ended: now,
            phase: Phase::Sending,
        }
    }

    /// Adds the frames that are due to `outgoing`, a burst at most in all.
    pub fn poll(&mut self, now: Instant, pools: Pools<'_>, outgoing: &mut VecDeque<Frame>) {
        match self.phase {
            Phase::Sending if now < self.until => self.send(now, pools.templates, outgoing),
            Phase::Sending => {
                self.ended = now;
                self.phase = Phase::Settling { until: now + SETTLE };
            }
            Phase::Settling { until } if now >= until => {
                self.phase = Phase::Asking { count: 0, next: now };
            }
            Phase::Asking { count: QUESTIONS_MAX, next } if now >= next => {
                self.phase = Phase::Done { arrivals: None };
            }
            Phase::Asking { count, next } if now >= next => {
                // A flow of this station's own, so that the answer comes back to its pair of queues.
                outgoing.extend(self.question.frame(
                    self.flows.start,
                    &self.probe(Kind::Question, now),
                    pools.others,
                ));
                self.phase = Phase::Asking { count: count + 1, next: now + ASK_EVERY };
            }
            Phase::Settling { .. } | Phase::Asking { .. } | Phase::Done { .. } => {}
        }
    }

    fn probe(&self, kind: Kind, now: Instant) -> Probe {
        let (sequence, sent_ns) = (self.pace.sent(), now.as_nanos() as u32);
        Probe { kind, run: self.run, lane: self.lane, sequence, sent_ns }
    }

    fn send(&mut self, now: Instant, templates: &Pool, outgoing: &mut VecDeque<Frame>) {
        let room = BURST.saturating_sub(outgoing.len());
        let mut buffers = templates.allocate_burst(self.pace.due(now).min(room));
        let (count, mut flow) = (buffers.len(), self.flow);
        let Range { start: first, end: last } = self.flows;
        let mut probe = self.probe(Kind::Data, now);
        for buffer in buffers.by_ref() {
            outgoing.push_back(self.template.refill(buffer, flow, &probe));
            probe.sequence += 1;
            flow = if flow + 1 < last { flow + 1 } else { first };
        }
        self.flow = flow;
        self.pace.note(count);
    }

    /// Whether the time for which it sends is not over.
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Sending)
    }

    /// The receiver has answered.
    pub fn handle_answer(&mut self, run: u32, arrivals: Arrivals) {
        if run == self.run && matches!(self.phase, Phase::Asking { .. }) {
            self.phase = Phase::Done { arrivals: Some(arrivals) };
        }
    }

    /// What came of it, once it is over.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Done { arrivals } => Some(Outcome {
                sent: self.pace.sent(),
                span_ns: self.ended.since(self.started).as_nanos(),
                arrivals,
            }),
            Phase::Sending | Phase::Settling { .. } | Phase::Asking { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_was_sent_is_no_confirmation() {
        let outcome = |frames| {
            let arrivals = Some(Arrivals { frames, ..Arrivals::default() });
            Outcome { sent: 100, span_ns: 1, arrivals }
        };
        let lost = [99, 100, 101].map(|frames| outcome(frames).lost());
        assert_eq!(lost, [Some(1), Some(0), None]);
        assert_eq!(Outcome { arrivals: None, ..outcome(100) }.lost(), None);
    }

    #[test]
    fn shares_are_the_whole_and_no_flow_is_in_two() {
        let duration = Duration::from_secs(1);
        let whole = Plan {
            to: [2; 6],
            size: 64,
            duration,
            per_second: Some(1_000_003),
            flows: 64,
            first_flow: 0,
            lane: 0,
        };
        for lanes in 1..=8 {
            for flows in [1, 2, 7, 64, 1024] {
                let whole = Plan { flows, ..whole };
                let shares: Vec<_> =
                    (0..lanes).filter_map(|lane| whole.share(lane, lanes)).collect();
                assert_eq!(shares.len(), usize::from(flows.min(lanes.into())));
                let mut next = 0;
                for (lane, share) in (0..).zip(&shares) {
                    assert_eq!((share.lane, share.first_flow), (lane, next));
                    assert!(share.flows > 0);
                    next += share.flows;
                }
                assert_eq!(next, flows);
                let rate: Option<u64> = shares.iter().map(|share| share.per_second).sum();
                assert_eq!(rate, whole.per_second);
            }
        }
    }
}
