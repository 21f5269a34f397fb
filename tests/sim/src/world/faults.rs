//! Trouble: now and then, and at the worst moment.

use base::{Duration, NodeId, limits};

use super::World;
use super::queue::Event;
use crate::counts::Kind;
use crate::plan::{Act, Moment, Topology, Trouble, Who};

/// A machine that loses power for a moment is back before the others have elected somebody.
const OFF_MAX: Duration = Duration::from_millis(60);
/// A node stands still for at most this long.
const PAUSE_MAX: Duration = Duration::from_millis(900);
/// By this time after its last word a leader is given up.
const ELECTION: Duration = Duration::from_millis(limits::ELECTION_TIMEOUT_MAX_MS);
/// A late way is usually late by at most this …
const LATE_MAX_MS: u64 = 100;
/// … and seldom by as much as this.
const VERY_LATE_MAX_MS: u64 = 1_000;

/// A reaction that was decided on: what, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Deed {
    act: Act,
    id: NodeId,
}

impl World {
    /// The next trouble of the plan, and when there is another.
    pub(super) fn make_next_trouble(&mut self) {
        let trouble = self.plan.next_trouble(&mut self.prng);
        self.trace.tell(self.now, || format!("trouble: {trouble:?}"));
        self.suffer(trouble);
        let pause = self.plan.pause.as_nanos();
        let pause = Duration::from_nanos(self.prng.between(pause / 4, pause * 2));
        self.queue.push(self.now + pause, Event::Trouble);
    }

    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Power(who) => self.switch(who),
            Trouble::Blackout => {
                self.ids().for_each(|id| self.crash(id));
                self.ids().for_each(|id| self.start(id));
            }
            Trouble::Split => {
                let (left, right) = self.halves();
                self.counts.note(Kind::Partitions);
                self.network.partition(&[left, right]);
            }
            Trouble::CutOff(who) => {
                let id = self.choose(who);
                self.cut_off(&[id]);
            }
            Trouble::Deaf => {
                let (a, b) = (self.choose(Who::Anyone), self.choose(Who::Anyone));
                self.counts.note(Kind::OneWayBlocks);
                self.network.block(a, b);
            }
            Trouble::Late => {
                let (a, b) = (self.choose(Who::Anyone), self.choose(Who::Anyone));
                let is_very = self.prng.chance(1, 8);
                let most_ms = if is_very { VERY_LATE_MAX_MS } else { LATE_MAX_MS };
                let extra = Duration::from_millis(self.prng.between(1, most_ms));
                self.counts.note(Kind::SlowWays);
                self.network.slow_down(a, b, extra);
            }
            Trouble::OneWaySplit => self.split_one_way(),
            Trouble::Arrange(topology) => self.arrange(topology),
            Trouble::Pause(who) => self.pause(who),
            Trouble::HangDisk(who) => {
                let id = self.choose(who);
                self.hang_disk(id);
            }
            Trouble::LoseDisk(who) => self.lose_disk(who),
            Trouble::Leap(who) => self.leap(who),
            Trouble::SetCalendar(who) => self.set_calendar(who),
            Trouble::HandOver => self.hand_over(),
            Trouble::Stop(who) => self.order_stop(who),
            Trouble::Join => self.join_somebody(),
            Trouble::Remove(who) => self.remove_somebody(who),
            Trouble::Exchange => self.exchange_some(),
            Trouble::Mend => self.network.heal(),
            Trouble::Restore => self.restore(),
            Trouble::Rot => self.rot(),
        }
    }

    /// Half of the nodes are not heard by the others, though they hear them.
    fn split_one_way(&mut self) {
        let (heard, unheard) = self.halves();
        self.counts.note(Kind::OneWaySplits);
        for &from in &unheard {
            heard.iter().for_each(|to| self.network.block(from, *to));
        }
    }

    fn halves(&mut self) -> (Vec<NodeId>, Vec<NodeId>) {
        let (ids, prng) = (self.ids(), &mut self.prng);
        ids.partition(|_| prng.chance(1, 2))
    }

    /// Lines the nodes up by chance; each hears only those that the topology joins it to.
    fn arrange(&mut self, topology: Topology) {
        let mut line: Vec<NodeId> = self.ids().collect();
        for last in (1..line.len()).rev() {
            line.swap(last, self.prng.below(last as u64 + 1) as usize);
        }
        self.trace.tell(self.now, || format!("{topology:?} of {line:?}"));
        self.arrange_line(topology, &line);
    }

    /// Mends the wires, but for those between nodes that the topology does not join.
    pub fn arrange_line(&mut self, topology: Topology, line: &[NodeId]) {
        self.counts.note(match topology {
            Topology::Bridge => Kind::Bridges,
            Topology::Chain => Kind::Chains,
            Topology::Ring => Kind::Rings,
        });
        self.network.heal();
        for (first, &a) in line.iter().enumerate() {
            for (second, &b) in line.iter().enumerate() {
                if !topology.joins(first, second, line.len()) {
                    self.network.block(a, b);
                }
            }
        }
    }

    /// Some node whose machine is there.
    pub(super) fn anyone(&mut self) -> NodeId {
        let count = self.ids().count() as u64;
        let draw = self.prng.below(count) as usize;
        self.ids().nth(draw).expect("one of them")
    }

    pub(super) fn choose(&mut self, who: Who) -> NodeId {
        let any = self.anyone();
        match who {
            Who::Anyone => any,
            Who::Leader => self.leaders().next().unwrap_or(any),
            Who::Follower => {
                let follows = |id: &NodeId| !self.machine(*id).is_leader();
                let followers: Vec<NodeId> = self.ids().filter(follows).collect();
                let draw = self.prng.below(followers.len().max(1) as u64) as usize;
                followers.get(draw).copied().unwrap_or(any)
            }
        }
    }

    /// A machine loses power, or gets it back. In a large cluster a majority stays on.
    fn switch(&mut self, who: Who) {
        let id = self.choose(who);
        if !self.machine(id).is_on() {
            return self.start(id);
        }
        let off = self.machines.iter().filter(|machine| !machine.is_on()).count();
        let is_large = self.machines.len() > 7;
        if !is_large || off + 1 < self.machines.len().div_ceil(2) {
            self.crash(id);
        }
    }

    fn pause(&mut self, who: Who) {
        let id = self.choose(who);
        let span = self.prng.duration_between(Duration::from_millis(20), PAUSE_MAX);
        // As QEMU's `stop` does. What stops the whole of QEMU leaves the clock alone.
        if !self.plan.tuning.lease_reads && self.prng.chance(1, 2) {
            self.counts.note(Kind::ClocksHalted);
            let now = self.now;
            self.machine_mut(id).clock.halt(now);
        }
        self.stand_still(id, span);
    }

    /// A node stands still for so long; its clock goes on.
    pub fn stand_still(&mut self, id: NodeId, span: Duration) {
        let until = self.now + span;
        self.counts.note(Kind::Pauses);
        if self.machine(id).is_leader() && span > ELECTION {
            self.counts.note(Kind::LeadersAsleep);
        }
        self.trace.tell(self.now, || format!("node {id} stands still for {} ms", span.as_millis()));
        self.machine_mut(id).paused_until = Some(until);
        self.queue.push(until, Event::Resume { id, until });
    }

    /// A node goes on: what has come meanwhile comes to it now.
    pub(super) fn resume(&mut self, id: NodeId) {
        let now = self.now;
        let machine = self.machine_mut(id);
        machine.paused_until = None;
        machine.clock.go_on(now);
        for (_, event) in self.held.extract_if(.., |(held, _)| *held == id) {
            self.queue.push(self.now, event);
        }
    }

    /// Mends the wires, but for those between these nodes and the others.
    pub(super) fn cut_off(&mut self, group: &[NodeId]) {
        let others: Vec<NodeId> = self.ids().filter(|id| !group.contains(id)).collect();
        self.counts.note(Kind::CutOffs);
        self.trace.tell(self.now, || format!("nodes {group:?} are cut off"));
        self.network.heal();
        self.network.partition(&[group.to_vec(), others]);
    }

    /// Mends the wires, wakes those who stand still, and switches everything on.
    pub(super) fn restore(&mut self) {
        self.network.heal();
        for id in self.ids() {
            self.resume(id);
            self.mend_disk(id);
            if !self.machine(id).is_on() {
                self.start(id);
            }
        }
    }

    /// It is a bad moment for a node: perhaps something happens.
    pub(super) fn react(&mut self, moment: Moment, id: NodeId) {
        if !self.is_troubled {
            return;
        }
        for position in 0..self.plan.reactions.len() {
            let reaction = self.plan.reactions[position];
            if reaction.moment != moment || !self.prng.chance(reaction.chance_per_mille, 1_000) {
                continue;
            }
            let delay = Duration::from_nanos(self.prng.between(0, reaction.delay_max.as_nanos()));
            let deed = Event::Act(Deed { act: reaction.act, id });
            self.queue.push(self.now + delay, deed);
        }
    }

    pub(super) fn act(&mut self, Deed { act, id }: Deed) {
        self.trace.tell(self.now, || format!("reaction at node {id}: {act:?}"));
        match act {
            Act::Crash => self.interrupt(id, OFF_MAX),
            Act::CutOff => self.cut_off(&[id]),
            Act::HangDisk => self.hang_disk(id),
            Act::CrashVoter => {
                if let Some(candidate) = self.candidate_of(id) {
                    self.interrupt(id, OFF_MAX);
                    self.cut_off(&[candidate]);
                }
            }
            Act::MuteCandidate => {
                if let Some(candidate) = self.candidate_of(id) {
                    self.mute(candidate);
                }
            }
            Act::CrashOthers => {
                self.ids()
                    .filter(|other| *other != id)
                    .for_each(|other| self.interrupt(other, OFF_MAX));
                self.cut_off(&[id]);
            }
            Act::LeaveOne => {
                let friend = self.choose(Who::Follower);
                self.cut_off(&[id, friend]);
            }
        }
    }

    /// Whom a node has voted for.
    fn candidate_of(&self, voter: NodeId) -> Option<NodeId> {
        self.machine(voter).node.as_ref()?.raft()?.vote()
    }

    /// Mends the wires, but for those on which this node speaks.
    fn mute(&mut self, id: NodeId) {
        self.counts.note(Kind::OneWayBlocks);
        self.trace.tell(self.now, || format!("node {id} is not heard any more"));
        self.network.heal();
        self.ids().filter(|other| *other != id).for_each(|other| self.network.block(id, other));
    }

    /// A machine loses power for a moment.
    pub(super) fn interrupt(&mut self, id: NodeId, off_max: Duration) {
        if self.machine(id).is_on() {
            self.crash(id);
            let life = self.machine(id).life;
            let span = self.prng.duration_between(Duration::from_millis(1), off_max);
            self.queue.push(self.now + span, Event::Power { id, life });
        }
    }
}
