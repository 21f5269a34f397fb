//! Whether this machine has stood still, or its clock has leapt.

use base::{Duration, Instant, limits};

use super::Node;
use crate::journal::Level;

const JUMP_MIN: Duration = Duration::from_millis(limits::TIME_JUMP_MIN_MS);

impl Node {
    /// It is `now`, says a call. If it comes far later than the node wanted to be called, nobody knows what
    /// the others have done meanwhile.
    pub(super) fn note_time(&mut self, now: Instant) {
        let before = core::mem::replace(&mut self.called, now);
        if now.since(before) <= JUMP_MIN {
            return;
        }
        let Some(wanted) = self.poll_timeout(before) else { return };
        let late = now.since(wanted.max(before));
        if late > JUMP_MIN && self.replica.handle_time_jump(now) {
            let text = format_args!(
                "called {} ms late: this machine has stood still, or its clock has leapt",
                late.as_millis()
            );
            self.journal.note(now, Level::Warn, "node", text);
        }
    }
}
