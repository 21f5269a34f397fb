//! The only clock here: to say how fast it was. What is simulated never sees it.

/// The present.
#[expect(clippy::disallowed_methods, reason = "a host program that measures itself")]
pub fn now() -> std::time::Instant {
    std::time::Instant::now()
}
