//! The time: the only place that asks for it, and waiting for something to become true.
#![allow(clippy::disallowed_methods, reason = "a host program has to ask somewhere")]

use std::time::{Duration, Instant};

/// Now.
pub fn now() -> Instant {
    Instant::now()
}

/// How often is looked whether what is waited for has happened: the machines need the processor themselves.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until `has_happened` says so.
///
/// # Errors
/// If that takes longer than `within`. A failure to look is no end: the node may be about to start.
pub fn wait(
    what: &str,
    within: Duration,
    mut has_happened: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let started = now();
    loop {
        let seen = has_happened();
        if matches!(seen, Ok(true)) {
            return Ok(());
        }
        if started.elapsed() >= within {
            let why = seen.err().map_or_else(String::new, |error| format!(": {error:#}"));
            anyhow::bail!("{what}: not within {} s{why}", within.as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
