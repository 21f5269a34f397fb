//! Several stations of one card, each with a pair of queues and a processor of its own.
//!
//! The first has the shell and the stack. It gives the others orders, and each tells now and then what it has
//! counted; there is nothing else that two of them share, and nothing on the way of a frame that is measured.
//!
//! A flow that the stack answers comes to the first by itself from then on, where the network steers flows to
//! the pair of queues that they are sent from; what has come to another is handed over.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::Instant;
use pool::{Frame, PoolStatistics};
use spin::Mutex;

use crate::card::Card;
use crate::meter::{Meter, Meters, RUNS_MAX};
use crate::probe::{Arrivals, LANES, Probe, RunKey};
use crate::station::{Counters, Finished, Role};
use crate::trial::{Outcome, Plan};

/// The most stations of a card.
pub const STATIONS_MAX: usize = 8;
const _: () = assert!(STATIONS_MAX <= LANES);
/// At most so many questions are known to be asked: as many as there are runs that are counted, and lanes of
/// each.
const ASKED_MAX: usize = RUNS_MAX * STATIONS_MAX;
/// At most so many frames for the stack wait for the first station.
pub const PACKETS_MAX: usize = 64;

/// What a station is to do.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Its share of a trial, as this run.
    Trial(Plan, u32),
    /// Another role.
    Become(Role),
    /// It has asked what has arrived, and another has heard the answer.
    Answer(Probe, Arrivals),
    /// It has sent an echo, and another has heard the reply, then.
    Reply(Probe, Instant),
    /// To tell what it has counted, since another was asked for that.
    Report(Asked),
    /// Nothing any more.
    Stop,
}

/// What a station says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Whether it has something to do.
    pub is_busy: bool,
    /// What it has counted.
    pub counters: Counters,
    /// What the card has told it.
    pub card: Card,
    /// What has arrived.
    pub meters: Meters,
    /// How many flows it hears, if it keeps account of them.
    pub flows: Option<usize>,
    /// Of its buffers.
    pub pool: PoolStatistics,
    /// What came of its last job.
    pub finished: Option<Finished>,
    /// For what there was an [`Order::Report`] before this one.
    pub reported: Reported,
}

/// A question: what has arrived of this run? Each lane of its sender asks for itself, when it has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The run.
    pub run: RunKey,
    /// The lane.
    pub lane: u8,
}

/// What was asked of late: several senders may ask at the same time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reported {
    asked: [Option<Asked>; ASKED_MAX],
    next: usize,
}

impl Reported {
    /// Notes a question; the oldest is forgotten.
    pub fn note(&mut self, asked: Asked) {
        if !self.has(asked) {
            self.asked[self.next] = Some(asked);
            self.next = (self.next + 1) % ASKED_MAX;
        }
    }

    /// Whether it was noted.
    pub fn has(&self, asked: Asked) -> bool {
        self.asked.contains(&Some(asked))
    }
}

#[derive(Debug, Default)]
struct Desk {
    orders: VecDeque<Order>,
    /// Frames for the stack, and whether a card vouches for their checksums.
    packets: VecDeque<(Frame, bool)>,
    report: Report,
}

/// How a station knows the others.
#[derive(Clone, Debug)]
pub struct Member {
    desks: Arc<[Mutex<Desk>]>,
    lane: u8,
}

impl Member {
    /// The members of a team of so many stations, in their order.
    ///
    /// # Panics
    /// If they are more than [`STATIONS_MAX`].
    pub fn team(stations: usize) -> Vec<Member> {
        assert!(stations <= STATIONS_MAX, "a card has no more pairs");
        let desks: Arc<[_]> = (0..stations).map(|_| Mutex::default()).collect();
        (0..stations as u8).map(|lane| Member { desks: Arc::clone(&desks), lane }).collect()
    }

    /// Which of them this is.
    pub fn lane(&self) -> u8 {
        self.lane
    }

    /// How many they are.
    pub fn lanes(&self) -> u8 {
        self.desks.len() as u8
    }

    /// Gives one of them an order, if there is such a one. Whoever does so sees to it that it wakes up.
    pub fn order(&self, lane: u8, order: Order) {
        let Some(desk) = self.desks.get(usize::from(lane)) else { return };
        let mut desk = desk.lock();
        if matches!(order, Order::Trial(..)) {
            // It has not begun yet, and is not to be taken for one that has finished.
            (desk.report.is_busy, desk.report.finished) = (true, None);
        } else if matches!(order, Order::Stop) {
            desk.report.finished = None;
        }
        desk.orders.push_back(order);
    }

    /// Gives the others an order.
    pub fn order_others(&self, order: Order) {
        for lane in (0..self.lanes()).filter(|lane| *lane != self.lane) {
            self.order(lane, order);
        }
    }

    /// Gives the first a frame for the stack. False if too many wait: then it is dropped.
    #[must_use]
    pub fn hand_over(&self, frame: Frame, is_vouched_for: bool) -> bool {
        let packets = &mut self.desks[0].lock().packets;
        let has_room = packets.len() < PACKETS_MAX;
        if has_room {
            packets.push_back((frame, is_vouched_for));
        }
        has_room
    }

    /// Frames for the stack that others have handed over to this one.
    pub fn take_packets(&self) -> VecDeque<(Frame, bool)> {
        core::mem::take(&mut self.desks[usize::from(self.lane)].lock().packets)
    }

    /// The orders that this one was given since; if there are none, its report is what the others see.
    pub fn exchange(&self, report: Report) -> VecDeque<Order> {
        let mut desk = self.desks[usize::from(self.lane)].lock();
        if desk.orders.is_empty() {
            desk.report = report;
        }
        core::mem::take(&mut desk.orders)
    }

    /// What the others have said last, in their order.
    pub fn others(&self) -> impl Iterator<Item = Report> {
        let others = self.desks.iter().enumerate();
        let others = others.filter(|(lane, _)| *lane != usize::from(self.lane));
        others.map(|(_, desk)| desk.lock().report)
    }
}

/// What all stations of a card have counted of the run that one of them heard last.
pub fn heard_last(reports: &[Report]) -> Meter {
    let latest = reports.iter().map(|report| report.meters.latest());
    let Some(latest) = latest.max_by_key(Meter::last) else { return Meter::default() };
    let all = reports.iter().map(|report| report.meters.of(latest.run()));
    all.reduce(Meter::joined).unwrap_or(latest)
}

/// What came of two shares of a trial. Each station has told what it has sent, and has asked what has arrived
/// of all; who asked last has heard most.
pub fn together(one: Outcome, other: Outcome) -> Outcome {
    Outcome {
        sent: one.sent + other.sent,
        span_ns: one.span_ns.max(other.span_ns),
        arrivals: [one.arrivals, other.arrivals].into_iter().flatten().max_by_key(|it| it.frames),
    }
}
