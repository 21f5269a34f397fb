//! The time: the only place that asks for it.
#![allow(clippy::disallowed_methods, reason = "a host program has to ask somewhere")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// What it shows.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }
}

/// The time since 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
