//! Doing nothing, cheaply: the processor halts until a device or the timer has something.

use base::Instant;
use x86_64::instructions;

use crate::apic::Timer;
use crate::clock::Clock;
use crate::interrupts;

/// The way to sleep.
#[derive(Debug)]
pub struct Idle {
    clock: Clock,
    processor: usize,
    timer: Timer,
}

impl Idle {
    /// Takes over the timer of the first processor, on which this runs.
    pub fn new(clock: Clock) -> Idle {
        Idle::on(0, clock)
    }

    /// Takes over the timer of the processor of this number, on which this runs and the value stays.
    pub(crate) fn on(processor: usize, clock: Clock) -> Idle {
        Idle { clock, processor, timer: Timer::new(processor) }
    }

    /// Halts until a device interrupts, at the latest at `deadline`. Returns at once if that has passed.
    ///
    /// Interrupts are disabled before and after: one that came since the caller last looked at the devices is
    /// pending, and wakes the processor as soon as it has halted. So nothing is missed if the caller's order
    /// is: arm the devices' interrupts, look once more, wait.
    ///
    /// The timer may fire early, because it is left alone when a deadline moves further away, as those of
    /// followers do with every heartbeat. That is nobody's business but ours.
    pub fn wait(&mut self, deadline: Option<Instant>) {
        let heard = interrupts::devices(self.processor);
        while deadline.is_none_or(|deadline| self.clock.now() < deadline)
            && interrupts::devices(self.processor) == heard
        {
            if let Some(deadline) = deadline {
                self.timer.fire_by(deadline, &self.clock);
            }
            instructions::interrupts::enable_and_hlt();
            instructions::interrupts::disable();
        }
    }
}
