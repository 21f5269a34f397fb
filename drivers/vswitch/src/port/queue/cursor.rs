//! How far both sides have come in a ring.

use super::shared::Shared;
use crate::port::Unplug;

/// Indices, which wrap.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    pub(super) has_events: bool,
    /// How many chains were offered at once at most.
    most_offered: u16,
    /// The next chain to take, and where the next used one is noted.
    next_available: u16,
    next_used: u16,
    /// How much the machine was shown, and how much of that it was told of.
    published: u16,
    told: u16,
    /// The machine is asked to ring when it has something.
    is_armed: bool,
}

impl Cursor {
    pub(super) fn set_available(&mut self, next_available: u16) {
        (self.next_available, self.most_offered) = (next_available, 0);
    }

    pub(super) fn available(&self) -> u16 {
        self.next_available
    }

    /// The hypervisor tells only what was taken; what is used stands in the ring itself.
    pub(super) fn set_used(&mut self, used: u16) {
        (self.next_used, self.published, self.told) = (used, used, used);
    }

    /// The machine has a new bell: whatever was used before is told again, and it is asked to ring.
    pub(super) fn forget_bells(&mut self) {
        self.told = self.published.wrapping_sub(1);
        self.is_armed = true;
    }

    /// How many chains the machine offers.
    pub(super) fn offered(&mut self, shared: &Shared<'_>) -> Result<u16, Unplug> {
        let offered = self.offered_at(shared.available_index(), shared)?;
        self.most_offered = self.most_offered.max(offered);
        Ok(offered)
    }

    fn offered_at(&self, index: u16, shared: &Shared<'_>) -> Result<u16, Unplug> {
        let offered = index.wrapping_sub(self.next_available);
        if offered > shared.size() {
            return Err(Unplug::Fault(format!("its ring offers {offered} buffers")));
        }
        Ok(offered)
    }

    /// Takes the next chain, of which there is one: its first descriptor.
    pub(super) fn take(&mut self, shared: &Shared<'_>) -> Result<u16, Unplug> {
        let head = shared.head(self.next_available);
        if head >= shared.size() {
            return Err(Unplug::Fault("its ring names a buffer that is none".into()));
        }
        self.next_available = self.next_available.wrapping_add(1);
        Ok(head)
    }

    /// Notes that a chain was used; [`Cursor::publish`] shows it.
    pub(super) fn give_back(&mut self, shared: &Shared<'_>, head: u16, written: u32) {
        shared.write_used(self.next_used, head, written);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// How many were used.
    pub(super) fn used(&self) -> u16 {
        self.next_used
    }

    /// Whether the machine has taken everything that was used before `position`. It has if it offers more
    /// since than there is room for beside what it would not have taken, or as much at once as it ever did,
    /// or asks to be rung for what comes next, as one does that has taken everything and goes to sleep.
    pub(super) fn has_taken(&self, shared: &Shared<'_>, position: u16) -> bool {
        let since = |index: u16| index.wrapping_sub(position);
        let is_passed = since(self.next_used) >= shared.size();
        // A hostile index may be anything: it spoils the order of its own frames.
        let available = shared.available_index();
        let offered = available.wrapping_sub(self.next_available);
        let is_whole = self.most_offered > 0 && offered >= self.most_offered;
        let is_offered_again = is_whole || since(available) >= shared.size();
        let is_asleep = self.has_events && shared.call_event() == self.next_used;
        is_passed || is_offered_again || (is_asleep && self.published == self.next_used)
    }

    /// Shows the machine everything that was used.
    pub(super) fn publish(&mut self, shared: &Shared<'_>) {
        if self.published != self.next_used {
            shared.publish(self.next_used);
            self.published = self.next_used;
        }
    }

    /// Whether the machine is to be rung now; then it counts as told.
    pub(super) fn must_call(&mut self, shared: &Shared<'_>) -> bool {
        let told = std::mem::replace(&mut self.told, self.published);
        told != self.published && shared.wants_call(told, self.published, self.has_events)
    }

    /// Asks the machine to ring when it has something. True if it has something already.
    pub(super) fn arm(&mut self, shared: &Shared<'_>) -> Result<bool, Unplug> {
        self.is_armed = true;
        let index = shared.arm(self.next_available, self.has_events);
        Ok(self.offered_at(index, shared)? > 0)
    }

    /// The machine need not ring: we look by ourselves.
    pub(super) fn disarm(&mut self, shared: &Shared<'_>) {
        if std::mem::take(&mut self.is_armed) {
            shared.disarm(self.has_events);
        }
    }
}
