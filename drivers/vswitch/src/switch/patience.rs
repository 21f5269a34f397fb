//! How long a port is looked at again and again before its machine is asked to ring.

use std::time::Duration;

/// Waiting for a bell costs each side a system call and a change of threads, some tens of microseconds. So it
/// does not pay if the next frame is likely to come before that …
const LOOK_AT_MOST: Duration = Duration::from_micros(50);
/// … and is what an idle machine costs otherwise. No gap counts as longer than this: after a pause, some tens
/// of bursts in quick succession show that the port is busy.
const GAP_MAX: Duration = Duration::from_millis(1);
/// The weight of the past, of 8.
const PAST: u32 = 7;

/// Where the machines that are busy leave no processor free, looking again keeps one of them from doing what
/// is looked for. Then nobody looks again, but for this many frames in a turn …
pub(super) const NAP_AFTER_FRAMES: usize = 16;
/// … after which the machines have the processors for so long: a bell for each burst would cost more.
pub(super) const NAP: Duration = Duration::from_micros(50);

/// After being left in peace, a port is looked at once more so much later, and by twice that time again.
///
/// A machine publishes its frames and then looks whether we asked for a bell, and we do the opposite; without
/// a full fence on both sides either may miss what the other wrote, and both wait for ever. An emulated
/// machine has no fence, whatever it does: with one processor, QEMU 7.2 translates neither `mfence` nor
/// locked instructions into one. Nothing stays in a processor's store buffer for long, so the later look sees
/// what the first one missed.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// See there.
pub(super) const LOOKS: u8 = 2;

/// Remembers how quickly bursts follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    last: Duration,
    gap: Duration,
}

impl Patience {
    /// Without any, until bursts come quickly.
    pub(super) fn new() -> Patience {
        Patience { last: Duration::ZERO, gap: GAP_MAX }
    }

    /// There was something to do.
    pub(super) fn reward(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.last).min(GAP_MAX);
        self.gap = (self.gap * PAST + gap) / (PAST + 1);
        self.last = now;
    }

    /// Whether to stop looking. Where it is crowded, there is nothing to be had by it.
    pub(super) fn is_over(&self, now: Duration, is_crowded: bool) -> bool {
        is_crowded || self.gap >= LOOK_AT_MOST || now.saturating_sub(self.last) >= LOOK_AT_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_again_while_bursts_come_quickly() {
        let at = Duration::from_micros;
        let mut patience = Patience::new();
        // A heartbeat now and then is not worth it.
        for beat in 1..100 {
            patience.reward(at(beat * 50_000));
            patience.reward(at(beat * 50_000 + 5));
            assert!(patience.is_over(at(beat * 50_000 + 6), false));
        }
        // A stream of frames is, and for a while after it ends.
        let start = 5_000_000;
        (0..40).for_each(|count| patience.reward(at(start + count * 10)));
        let end = start + 390;
        assert!(!patience.is_over(at(end), false) && !patience.is_over(at(end + 49), false));
        assert!(patience.is_over(at(end + 50), false));
        assert!(patience.is_over(at(end), true));
    }
}
