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

/// Where they leave none, a machine that a frame was given to is waiting for it on a processor of its own, or
/// for ours. The one answers within this time, and it costs less to look for the answer than to be woken by
/// it; the other cannot while we look …
const ANSWERS_WITHIN: Duration = Duration::from_micros(15);
/// … and is not looked at for twice as many of its answers each time, up to so many. Machines move from one
/// processor to another.
const ANSWERS_SKIPPED_MAX: u32 = 256;
/// Who answers every frame is given few in a turn. More are a stream, for which one waits without looking.
pub(super) const ANSWERS_TO_FRAMES_MAX: usize = 4;

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
    /// It has sent something since it was given something.
    has_answered: bool,
    /// Until when to look for an answer.
    answers_until: Duration,
    /// For how many answers not to look, and for how many after the next that does not come in time.
    skip: u32,
    skip_next: u32,
}

impl Patience {
    /// Without any, until bursts come quickly.
    pub(super) fn new() -> Patience {
        let (last, answers_until) = (Duration::ZERO, Duration::ZERO);
        let has_answered = false;
        Patience { last, gap: GAP_MAX, has_answered, answers_until, skip: 0, skip_next: 1 }
    }

    /// There was something to do.
    pub(super) fn reward(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.last).min(GAP_MAX);
        self.gap = (self.gap * PAST + gap) / (PAST + 1);
        self.last = now;
    }

    /// The machine has sent something.
    pub(super) fn note_answer(&mut self, now: Duration) {
        self.has_answered = true;
        if now < self.answers_until {
            (self.answers_until, self.skip_next) = (Duration::ZERO, 1);
        }
    }

    /// The machine was given a frame where it is crowded. Whether to look for its answer.
    pub(super) fn expect_answer(&mut self, now: Duration) -> bool {
        if !std::mem::take(&mut self.has_answered) {
            return false;
        }
        if self.answers_until != Duration::ZERO {
            self.skip = self.skip_next;
            self.skip_next = (2 * self.skip_next).min(ANSWERS_SKIPPED_MAX);
            self.answers_until = Duration::ZERO;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.answers_until = now + ANSWERS_WITHIN;
        true
    }

    /// Whether to stop looking. Where it is crowded, there is nothing to be had by it but answers.
    pub(super) fn is_over(&self, now: Duration, is_crowded: bool) -> bool {
        if is_crowded {
            return now >= self.answers_until;
        }
        self.gap >= LOOK_AT_MOST || now.saturating_sub(self.last) >= LOOK_AT_MOST
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

    /// Gives a machine frames, each of which it answers after `within`. How many answers are looked for, and
    /// how many of these come while we look.
    fn answers(
        patience: &mut Patience,
        start: Duration,
        frames: u32,
        within: Duration,
    ) -> (u32, u32) {
        let (mut looked, mut seen) = (0, 0);
        for frame in 0..frames {
            let given = start + frame * Duration::from_micros(100);
            let is_looking = patience.expect_answer(given);
            assert_eq!(is_looking, !patience.is_over(given, true));
            looked += u32::from(is_looking);
            seen += u32::from(is_looking && !patience.is_over(given + within, true));
            patience.note_answer(given + within);
        }
        (looked, seen)
    }

    #[test]
    fn looks_for_answers_of_those_who_have_answered_in_time() {
        let mut patience = Patience::new();
        let [soon, late] = [5, 30].map(Duration::from_micros);
        let start = Duration::from_secs(1);
        // Nobody knows whether it answers at all; then each of its answers comes in time.
        assert_eq!(answers(&mut patience, start, 1_000, soon), (999, 999));
        // It waits for our processor now: we look after 1, 2, 4 … frames, and every 256 from then on.
        let (looked, seen) = answers(&mut patience, 2 * start, 10_000, late);
        assert!((40..=50).contains(&looked) && seen == 0, "{looked} looks, {seen} answers");
        // It has one of its own again.
        let (looked, seen) = answers(&mut patience, 4 * start, 1_000, soon);
        assert!(looked >= 700 && seen == looked, "{looked} looks, {seen} answers");
    }

    #[test]
    fn who_never_answers_is_not_looked_at() {
        let mut patience = Patience::new();
        let given = (1..1_000).map(Duration::from_micros);
        assert!(given.into_iter().all(|at| !patience.expect_answer(at)));
    }
}
