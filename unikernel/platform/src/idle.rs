//! Doing nothing, cheaply: the processor halts until a device or the timer has something.

use base::Instant;
use x86_64::instructions::interrupts;

use crate::apic::Timer;
use crate::clock::Clock;
use crate::interrupts::VECTOR_TIMER;

/// The way to sleep.
#[derive(Debug)]
pub struct Idle {
    clock: Clock,
    timer: Timer,
}

impl Idle {
    /// Takes over the processor's timer.
    pub fn new(clock: Clock) -> Idle {
        Idle { clock, timer: Timer::new(VECTOR_TIMER, &clock) }
    }

    /// Halts until an interrupt comes, at the latest at `deadline`. Returns at once if that has passed.
    ///
    /// Interrupts are disabled before and after: one that came since the caller last looked at the devices is
    /// pending, and wakes the processor as soon as it has halted. So nothing is missed if the caller's order
    /// is: arm the devices' interrupts, look once more, wait.
    pub fn wait(&mut self, deadline: Option<Instant>) {
        if deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            return;
        }
        match deadline {
            Some(deadline) => self.timer.set(deadline, &self.clock),
            None => self.timer.stop(),
        }
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}
