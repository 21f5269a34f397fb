//! What the stations of one card do together: see [`crate::team`].

use alloc::vec::Vec;

use base::Instant;
use netio::OffloadSet;
use pool::{Frame, Pool};

use super::{Finished, Job, Role, Seed, Station, Unfinished};
use crate::meter::Meter;
use crate::probe::{Arrivals, Probe, RunKey};
use crate::tcp::Tcp;
use crate::team::{self, Asked, Member, Order, Report};
use crate::trial::{Outcome, Plan};

impl Station {
    /// One of several stations of a card, each with a pair of queues of its own. The first has the stack: the
    /// `tcp` of the others has nothing to do.
    pub fn of_team(
        mac: [u8; 6],
        pool: Pool,
        templates: Pool,
        tcp: Tcp,
        seed: Seed,
        member: Member,
    ) -> Station {
        Station { team: Some(member), ..Station::new(mac, pool, templates, tcp, seed) }
    }

    /// Its place among the stations of its card, if it is not the only one.
    pub fn team(&self) -> Option<&Member> {
        self.team.as_ref()
    }

    /// Whether it has given others something to do since this was asked last. They may sleep: the caller
    /// wakes them up.
    pub fn take_call(&mut self) -> bool {
        core::mem::take(&mut self.is_calling)
    }

    /// Tells the other stations what it has counted, and does what it was given to do by them.
    pub fn confer(&mut self, now: Instant) {
        let Some(member) = self.team.clone() else { return };
        for (frame, is_vouched_for) in member.take_packets() {
            self.tcp.handle_frame(frame, is_vouched_for);
        }
        loop {
            let orders = member.exchange(self.report());
            if orders.is_empty() {
                return;
            }
            orders.into_iter().for_each(|order| self.obey(order, now));
        }
    }

    fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Trial(plan, run) => self.begin_trial(&plan, run, now),
            Order::Become(role) => self.take_role(role),
            Order::Answer(probe, arrivals) => self.handle_answer(&probe, arrivals),
            Order::Reply(probe, at) => self.handle_reply(&probe, at),
            Order::Report(asked) => self.reported.note(asked),
            Order::Stop => {
                self.end_job(now);
                self.finished = None;
            }
        }
    }

    fn order(&mut self, lane: u8, order: Order) {
        if let Some(member) = &self.team {
            member.order(lane, order);
            self.is_calling = true;
        }
    }

    fn order_others(&mut self, order: Order) {
        if let Some(member) = &self.team {
            member.order_others(order);
            self.is_calling = true;
        }
    }

    /// What it says of itself.
    pub fn report(&self) -> Report {
        Report {
            is_busy: self.is_busy(),
            counters: self.counters,
            card: self.card,
            meters: self.meters,
            flows: self.flows(),
            pool: self.pool.statistics(),
            finished: self.finished,
            reported: self.reported,
        }
    }

    /// What all stations of the card say, this one first.
    pub fn reports(&self) -> Vec<Report> {
        let others = self.team.iter().flat_map(Member::others);
        core::iter::once(self.report()).chain(others).collect()
    }

    /// What all have counted of a run.
    pub(super) fn meter_of_all(&self, run: RunKey) -> Meter {
        let others = self.team.iter().flat_map(Member::others);
        others.fold(self.meters.of(run), |sum, other| sum.joined(other.meters.of(run)))
    }

    /// Whether the others have reported since this was first asked. If not they are told to; it is asked
    /// again, until it is answered.
    pub(super) fn have_all_reported(&mut self, asked: Asked) -> bool {
        let has_reported = |other: Report| other.reported.has(asked);
        let have_all = self.team.iter().flat_map(Member::others).all(has_reported);
        if !have_all {
            self.order_others(Order::Report(asked));
        }
        have_all
    }

    /// A frame that is none of ours: the stack has it, which is the first station's.
    pub(super) fn handle_foreign(&mut self, frame: Frame, is_vouched_for: bool) {
        match &self.team {
            Some(member) if member.lane() > 0 => {
                self.counters.overrun += u64::from(!member.hand_over(frame, is_vouched_for));
                self.is_calling = true;
            }
            Some(_) | None => self.tcp.handle_frame(frame, is_vouched_for),
        }
    }

    /// An echo is back; the network may have brought it to another pair of queues than it left from.
    pub(super) fn handle_reply(&mut self, probe: &Probe, at: Instant) {
        if self.lane() != probe.lane {
            self.order(probe.lane, Order::Reply(*probe, at));
            return;
        }
        match &mut self.job {
            Some(Job::Echo(echo)) => echo.handle_reply(probe, at),
            Some(Job::Survey(survey)) => survey.handle_reply(probe, at),
            Some(Job::Trial(_) | Job::Search(..)) | None => {}
        }
    }

    /// A question is answered; as with an echo.
    pub(super) fn handle_answer(&mut self, probe: &Probe, arrivals: Arrivals) {
        if self.lane() != probe.lane {
            self.order(probe.lane, Order::Answer(*probe, arrivals));
            return;
        }
        match &mut self.job {
            Some(Job::Trial(trial) | Job::Search(_, _, trial)) => {
                trial.handle_answer(probe.run, arrivals);
            }
            Some(Job::Survey(survey)) => survey.handle_answer(probe.run, arrivals),
            Some(Job::Echo(_)) | None => {}
        }
    }

    /// Its place among the stations of its card.
    fn lane(&self) -> u8 {
        self.team.as_ref().map_or(0, Member::lane)
    }

    /// Changes what all stations of the card do with frames that come, and begins to count anew.
    ///
    /// # Errors
    /// If it is to forward what the card does not hand up as it was on the wire; nothing has changed then.
    pub fn set_role(&mut self, role: Role) -> Result<(), Unfinished> {
        let OffloadSet { receive_checksum, mergeable_buffers, .. } =
            self.tcp.offload_status().negotiated;
        if role == Role::Forwarder && (receive_checksum || mergeable_buffers) {
            return Err(Unfinished);
        }
        self.take_role(role);
        self.order_others(Order::Become(role));
        Ok(())
    }

    /// Begins a trial, in which all stations of the card have a share; another job ends.
    pub fn start_trial(&mut self, plan: &Plan, now: Instant) {
        self.end_job(now);
        let run = self.runs.next_run();
        let lanes = self.team.as_ref().map_or(1, Member::lanes);
        for lane in 1..lanes {
            let share = plan.share(lane, lanes);
            self.order(lane, share.map_or(Order::Stop, |plan| Order::Trial(plan, run)));
        }
        let own = plan.share(0, lanes).unwrap_or(*plan);
        self.begin_trial(&own, run, now);
    }

    /// Ends what all stations of the card do.
    pub fn stop(&mut self, now: Instant) {
        self.end_job(now);
        self.order_others(Order::Stop);
    }

    /// Whether one of the card's stations has a job.
    pub fn is_any_busy(&self) -> bool {
        self.is_busy() || self.team.iter().flat_map(Member::others).any(|other| other.is_busy)
    }

    /// What came of the last trial, of all who had a share in it.
    pub fn whole(&self, own: Outcome) -> Outcome {
        let others = self.team.iter().flat_map(Member::others);
        let others = others.filter_map(|report| match report.finished {
            Some(Finished::Trial(outcome)) => Some(outcome),
            Some(
                Finished::Search(..) | Finished::Survey(_) | Finished::Echo(_) | Finished::Tcp(_),
            )
            | None => None,
        });
        others.fold(own, team::together)
    }
}
