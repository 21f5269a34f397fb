//! The only clocks here: to say how fast it was. What is simulated never sees them.

use std::time::Duration;

/// The present.
#[expect(clippy::disallowed_methods, reason = "a host program that measures itself")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// How long this thread has had a processor; on a machine that others use too this says more than the time
/// that has passed. `None` if the system does not tell.
pub fn processor_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}
