//! A doorbell between two threads: it counts, so that no ring is lost, and a wait ends in any case.

use core::time::Duration;
use std::sync::{Condvar, Mutex, PoisonError};

/// Counts how often it was rung.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<u64>,
    condition: Condvar,
}

impl Bell {
    /// Rings it.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.condition.notify_all();
    }

    /// How often it was rung.
    pub fn count(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was rung more than `seen` times. Says whether it was, before `timeout` passed.
    pub fn wait_past(&self, seen: u64, timeout: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.condition.wait_timeout_while(rung, timeout, |rung| *rung <= seen);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
