//! What happens to a machine short of losing power: its disk hangs, its clock leaps, somebody gives orders.

use base::{Duration, NodeId, limits};
use node::Stop;

use super::World;
use super::queue::Event;
use crate::counts::Kind;
use crate::machine::Hang;
use crate::plan::Who;

/// A disk hangs for at least this long …
const HANG_MIN: Duration = Duration::from_millis(20);
/// … and for at most this long, if not for ever: longer than a leader without a disk stays in office.
const HANG_MAX: Duration = Duration::from_millis(limits::PERSIST_STALL_MAX_MS + 1_000);
/// A clock leaps by at least this much …
const LEAP_MIN: Duration = Duration::from_millis(20);
/// … and at most this much, as after a pause of the whole machine: longer than anybody waits for anything.
const LEAP_MAX: Duration = Duration::from_secs(10);
/// A calendar is wrong by at most this much.
const CALENDAR_MAX_MS: u64 = 600_000;
/// A machine that starts afresh is off for at most this long.
const REBOOT_MAX: Duration = Duration::from_millis(60);

impl World {
    /// A disk finishes nothing for a while.
    pub(super) fn hang_disk(&mut self, id: NodeId) {
        if !self.machine(id).is_on() || self.machine(id).hang.is_some() {
            return;
        }
        let until = self.now + self.prng.duration_between(HANG_MIN, HANG_MAX);
        self.counts.note(Kind::DiskHangs);
        self.trace.tell(self.now, || format!("node {id}'s disk hangs until {until}"));
        self.machine_mut(id).hang = Some(Hang::Until(until));
        self.queue.push(until, Event::DiskGoesOn { id, until });
    }

    /// Switches a machine on whose disk finishes nothing for so long.
    pub fn start_with_hung_disk(&mut self, id: NodeId, span: Duration) {
        let until = self.now + span;
        self.counts.note(Kind::DiskHangs);
        self.machine_mut(id).hang = Some(Hang::Until(until));
        self.queue.push(until, Event::DiskGoesOn { id, until });
        self.start(id);
    }

    /// A disk finishes nothing any more.
    pub(super) fn lose_disk(&mut self, who: Who) {
        let id = self.choose(who);
        if self.machine(id).is_on() {
            self.lose_disk_of(id);
        }
    }

    /// The disk of this node finishes nothing any more, until its machine loses power.
    pub fn lose_disk_of(&mut self, id: NodeId) {
        self.counts.note(Kind::DisksLost);
        self.trace.tell(self.now, || format!("node {id}'s disk hangs for ever"));
        self.machine_mut(id).hang = Some(Hang::UntilPowerCut);
    }

    /// A disk goes on: what it would have finished meanwhile is finished now.
    pub(super) fn release_disk(&mut self, id: NodeId) {
        let now = self.now;
        let machine = self.machine_mut(id);
        machine.hang = None;
        let (life, stuck) = (machine.life, std::mem::take(&mut machine.stuck));
        for operation in stuck {
            self.queue.push(now, Event::DiskDone { id, life, operation });
        }
    }

    /// A disk that hangs goes on, if need be by a power cut.
    pub(super) fn mend_disk(&mut self, id: NodeId) {
        match self.machine(id).hang {
            None => {}
            Some(Hang::Until(_)) => self.release_disk(id),
            Some(Hang::UntilPowerCut) => self.crash(id),
        }
    }

    /// A node's clock leaps forward: its deadlines have passed.
    pub(super) fn leap(&mut self, who: Who) {
        let id = self.choose(who);
        let most = if self.prng.chance(1, 4) { LEAP_MAX } else { LEAP_MIN.times(30) };
        let span = self.prng.duration_between(LEAP_MIN, most);
        let now = self.now;
        self.trace.tell(now, || format!("node {id}'s clock leaps by {} ms", span.as_millis()));
        let machine = self.machine_mut(id);
        machine.clock.leap(span);
        if machine.is_on() {
            machine.wake = Some(now);
            self.counts.note(Kind::ClockLeaps);
            self.queue.push(now, Event::Wake { id, at: now });
        }
    }

    /// Somebody sets a machine's calendar.
    pub(super) fn set_calendar(&mut self, who: Who) {
        let id = self.choose(who);
        let ahead_ms = self.prng.between(0, CALENDAR_MAX_MS) as i64;
        let is_behind = self.prng.chance(1, 2);
        self.machine_mut(id).calendar_ahead_ms = if is_behind { -ahead_ms } else { ahead_ms };
    }

    /// Somebody tells the leader to hand over.
    pub(super) fn hand_over(&mut self) {
        let leader = self.leaders().next();
        if let Some(id) = leader {
            self.type_line(id, "raft transfer");
        }
    }

    /// Somebody tells a node to stop, or to start afresh.
    pub(super) fn order_stop(&mut self, who: Who) {
        let id = self.choose(who);
        let order = if self.prng.chance(1, 2) { "poweroff" } else { "reboot" };
        let is_heard = self.machine(id).is_on() && self.machine(id).paused_until.is_none();
        self.machine_mut(id).is_stopping |= is_heard;
        self.type_line(id, order);
    }

    /// Somebody types a line at a node's console.
    pub fn type_line(&mut self, id: NodeId, line: &str) {
        let local = self.machine(id).local(self.now);
        if self.machine(id).paused_until.is_some() {
            return;
        }
        let Some(node) = self.node_mut(id) else { return };
        node.handle_console(format!("{line}\r").as_bytes(), local);
        self.trace.tell(self.now, || format!("node {id} is told: {line}"));
        self.drain(id);
    }

    /// Nodes that were told to stop have done so.
    pub(super) fn end_stops(&mut self) {
        for id in self.ids().filter(|id| self.machine(*id).is_stopping).collect::<Vec<_>>() {
            self.take_stop(id, Stop::PowerOff);
        }
    }

    /// A node has stopped. The worst that may follow is what follows: the power is gone at once.
    pub(super) fn take_stop(&mut self, id: NodeId, stop: Stop) {
        self.counts.note(Kind::Stops);
        match stop {
            Stop::PowerOff => self.crash(id),
            Stop::Restart => self.interrupt(id, REBOOT_MAX),
            Stop::Disk(_) | Stop::Device(_) | Stop::Settings(_) => {
                panic!("node {id} stops: {stop:?}")
            }
        }
    }
}
