//! The time: the only place that asks for it.
#![allow(clippy::disallowed_methods, reason = "a host program has to ask somewhere")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now.
pub fn now() -> Instant {
    Instant::now()
}

/// The time since 1970.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
