//! From one port to the others.

use std::time::Duration;

use super::Switch;
use super::patience::{ANSWERS_TO_FRAMES_MAX, LOOK_AGAIN_AFTER, LOOKS, NAP_AFTER_FRAMES};
use crate::BURST_FRAMES;
use crate::fabric::{Destination, Fate, PortId};
use crate::frame::{Packet, Stored, with_packet};
use crate::port::PortKind;
use crate::statistics::Statistics;

/// Of a machine that used many addresses no more than so many are announced when it is gone.
const STATIONS_ANNOUNCED_MAX: usize = 16;

impl Switch {
    /// Moves one burst from each port that may have frames. One that has none for a while is left in peace,
    /// and rings when it has.
    pub(super) fn switch_bursts(&mut self) {
        for index in (0..self.active.len()).rev() {
            let id = self.active[index];
            let Some(mut slot) = self.ports.take(id) else {
                self.active.swap_remove(index);
                continue;
            };
            let mut has_sent = false;
            let found = slot.receive(|packet, statistics| {
                has_sent = true;
                self.forward(id, packet, statistics);
            });
            if has_sent {
                slot.patience.note_answer(self.now);
            }
            self.ports.put(id, slot);
            if found {
                self.touch(id);
            }
            if !self.stays_active(id, found) {
                self.active.swap_remove(index);
            }
        }
    }

    fn stays_active(&mut self, id: PortId, found: bool) -> bool {
        let now = self.now;
        let Some(slot) = self.ports.get_mut(id) else { return false };
        if found {
            slot.patience.reward(now);
            return true;
        }
        let is_over = slot.patience.is_over(now, self.is_crowded);
        slot.is_active = !is_over || slot.arm();
        if !slot.is_active && slot.kind == PortKind::VhostUser {
            slot.looks_left = LOOKS;
            self.look_again_at.get_or_insert(now + LOOK_AGAIN_AFTER);
        }
        slot.is_active
    }

    /// Looks again at ports that were left in peace of late: see [`LOOK_AGAIN_AFTER`].
    pub(super) fn look_again(&mut self) {
        if self.look_again_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.look_again_at = None;
        for id in self.ports.ids() {
            let Some(slot) = self.ports.get_mut(id) else { continue };
            if slot.is_active || slot.looks_left == 0 {
                continue;
            }
            slot.looks_left -= 1;
            if slot.looks_left > 0 {
                self.look_again_at = Some(self.now + LOOK_AGAIN_AFTER);
            }
            // To ask again for what was asked for is to look.
            if slot.arm() {
                slot.statistics.unrung += 1;
                self.activate(id);
            }
            self.touch(id);
        }
    }

    /// Looks at a port in every turn from now on.
    pub(super) fn activate(&mut self, id: PortId) {
        let Some(slot) = self.ports.get_mut(id) else { return };
        if !std::mem::replace(&mut slot.is_active, true) {
            self.active.push(id);
        }
    }

    /// Tells a port's machine at the end of this turn what has happened in it.
    pub(super) fn touch(&mut self, id: PortId) {
        let Some(slot) = self.ports.get_mut(id) else { return };
        if !std::mem::replace(&mut slot.is_touched, true) {
            self.touched.push(id);
        }
    }

    /// Whether the machines that frames come from and go to, and the switch, need more than all processors.
    pub(super) fn look_for_a_crowd(&mut self, frames: usize) {
        if frames > 0 {
            self.is_crowded = self.touched.len() + 1 > self.processors;
        }
    }

    /// Where it is crowded, looks for answers of machines that were given one of few frames in this turn, as
    /// far as that has paid.
    pub(super) fn expect_answers(&mut self, frames: usize) {
        if !self.is_crowded || !(1..=ANSWERS_TO_FRAMES_MAX).contains(&frames) {
            return;
        }
        for index in 0..self.touched.len() {
            let (id, now) = (self.touched[index], self.now);
            let Some(slot) = self.ports.get_mut(id) else { continue };
            if slot.is_given && slot.patience.expect_answer(now) {
                self.activate(id);
            }
        }
    }

    /// Whether frames come in bulk where it is crowded: then the machines run while more frames gather.
    pub(super) fn is_time_for_a_nap(&self, frames: usize) -> bool {
        self.is_crowded && (NAP_AFTER_FRAMES..BURST_FRAMES).contains(&frames)
    }

    fn forward(&mut self, from: PortId, packet: &Packet<'_, '_>, statistics: &mut Statistics) {
        self.frames += 1;
        let route = self.addresses.route(from, &packet.ethernet, self.now);
        statistics.unlearnt += u64::from(!route.is_learnt);
        match route.to {
            Destination::Port(to) => self.send(from, to, packet),
            Destination::Flood => self.flood(from, packet),
            Destination::Stay => {}
            Destination::Senseless => statistics.refused.senseless += 1,
            Destination::Spoofed => statistics.refused.spoofed += 1,
        }
    }

    fn flood(&mut self, from: PortId, packet: &Packet<'_, '_>) {
        self.ports.ids().filter(|to| *to != from).for_each(|to| self.send(from, to, packet));
    }

    fn send(&mut self, from: PortId, to: PortId, packet: &Packet<'_, '_>) {
        let fate = self.faults.fate(from, to);
        let now = self.now;
        let Some(port) = self.ports.get_mut(to) else { return };
        match fate {
            Fate::Cut => port.statistics.dropped.cut += 1,
            Fate::Lost => port.statistics.dropped.lost += 1,
            Fate::Arrives(Duration::ZERO, copies) => {
                (0..copies).for_each(|_| self.give(to, packet));
            }
            Fate::Arrives(delay, copies) => {
                for _ in 0..copies {
                    let mut stored = Stored::default();
                    stored.set(packet);
                    port.statistics.copied += packet.len() as u64;
                    if !self.delayed.push(now + delay, to, stored) {
                        port.statistics.dropped.delayed += 1;
                    }
                }
            }
        }
    }

    /// Gives a port's machine a frame; what its card does not do is done first.
    fn give(&mut self, to: PortId, packet: &Packet<'_, '_>) {
        let Some(port) = self.ports.get_mut(to) else { return };
        let mut is_waiting = false;
        port.is_given = true;
        if port.accepts(packet) {
            is_waiting = port.send(packet);
        } else {
            match self.completer.complete(packet, |piece| is_waiting |= port.send(piece)) {
                Some(copied) => {
                    port.statistics.completed += 1;
                    port.statistics.copied += copied as u64;
                }
                None => port.statistics.dropped.senseless += 1,
            }
        }
        self.touch(to);
        if is_waiting {
            self.activate(to);
        }
    }

    /// Machines that were unplugged in this turn.
    pub(super) fn announce_losses(&mut self) {
        for index in 0..self.touched.len() {
            let id = self.touched[index];
            if self.ports.get_mut(id).is_some_and(|slot| slot.take_loss()) {
                self.announce_loss(id);
            }
        }
    }

    /// The machine at a port is gone: the others are told which stations are, on the ways that frames from
    /// there take. Nobody else would tell them before a timeout.
    pub(super) fn announce_loss(&mut self, lost: PortId) {
        let stations = self.addresses.lose(lost);
        for station in stations.iter().take(STATIONS_ANNOUNCED_MAX) {
            let mut frame = notice::link_lost(station.0);
            with_packet(&mut frame, |packet| self.flood(lost, packet));
        }
    }

    /// Frames on delayed ways that arrive now.
    pub(super) fn release_delayed(&mut self) {
        while let Some(mut delayed) = self.delayed.pop(self.now) {
            delayed.frame.with(|packet| self.give(delayed.to, packet));
        }
    }

    /// Tells machines what has happened to their rings. One that is unplugged then is announced, too.
    pub(super) fn flush(&mut self) {
        while let Some(id) = self.touched.pop() {
            let Some(slot) = self.ports.get_mut(id) else { continue };
            (slot.is_given, slot.is_touched) = (false, false);
            slot.flush();
            if slot.take_loss() {
                self.announce_loss(id);
            }
        }
    }
}
