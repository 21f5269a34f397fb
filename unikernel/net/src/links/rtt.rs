//! How long a peer takes to answer (RFC 6298), and when to send again.

use base::Duration;

/// Sooner than this nothing is sent again: an acknowledgement may wait a little for company, and a virtual
/// machine may have to wait for a processor.
const TIMEOUT_MIN: Duration = Duration::from_millis(50);
/// Later than this something is always sent again.
const TIMEOUT_MAX: Duration = Duration::from_millis(320);
/// Before anything is known.
const TIMEOUT_FIRST: Duration = Duration::from_millis(80);

/// A smoothed round-trip time and its variation, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rtt {
    smoothed: Option<(u64, u64)>,
    /// How often the time-out was doubled since the last answer.
    backoff: u32,
}

impl Rtt {
    /// Takes in a measurement: of something that was sent once.
    pub(super) fn measure(&mut self, rtt: Duration) {
        let rtt = rtt.as_nanos();
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((smoothed, variation)) => {
                let difference = smoothed.abs_diff(rtt);
                ((7 * smoothed + rtt) / 8, (3 * variation + difference) / 4)
            }
        });
    }

    /// The peer has answered.
    pub(super) fn relax(&mut self) {
        self.backoff = 0;
    }

    /// The peer has not answered in time.
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(8);
    }

    /// How often in a row the peer has not answered in time.
    pub(super) fn backoff(&self) -> u32 {
        self.backoff
    }

    /// How long to wait for an answer.
    pub(super) fn timeout(&self) -> Duration {
        let base = self.smoothed.map_or(TIMEOUT_FIRST, |(smoothed, variation)| {
            Duration::from_nanos(smoothed + 4 * variation)
        });
        base.max(TIMEOUT_MIN).times(1 << self.backoff).min(TIMEOUT_MAX)
    }

    /// The smoothed round-trip time.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed.map(|(smoothed, _)| Duration::from_nanos(smoothed))
    }
}
