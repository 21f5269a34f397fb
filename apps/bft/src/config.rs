//! What a replica is told when it starts.

use core::fmt;

use base::{Duration, NodeId, limits};
use crypto::Keyring;

use crate::quorum::{FaultBound, QuorumError, Quorums};

/// The configuration of one replica. All but `id` and the times must be the same at all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This replica.
    pub id: NodeId,
    /// The group, this replica included.
    pub keyring: Keyring,
    /// How many replicas must agree.
    pub quorums: Quorums,
    /// A checkpoint is taken every so many numbers (K).
    pub checkpoint_every: u64,
    /// How far ahead of the stable checkpoint replicas vote (L).
    pub window: u64,
    /// How many numbers a primary has under way at once.
    pub in_flight_max: u64,
    /// A replica whose oldest request is not executed for this long leaves the view.
    pub progress_timeout: Duration,
    /// A primary that is said to be gone has this long to contradict.
    pub gone_after: Duration,
    /// A request that is not executed within this span is given to all replicas.
    pub relay_after: Duration,
    /// Those who wait for an answer have this much of a start over those who are only told.
    pub tell_after: Duration,
    /// A fast quorum is waited for as long as votes come no later than this one after the other.
    pub fast_patience: Duration,
    /// What has not been answered is sent again after this span.
    pub resend_every: Duration,
    /// One other replica is told how far this one is, once in this span.
    pub status_every: Duration,
    /// A bug put in on purpose, for tests that must find it.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A bug that a checker must find. Without the feature `mutants` no replica has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Votes leave before they are on the disk: what a replica said before a crash it may say otherwise.
    NoPersistBeforeVote,
    /// A replica takes every proposal of a primary, not only the first for a number.
    AcceptTwice,
    /// A view change leaves out what was prepared (OSDI '99, section 4.4: P).
    ForgetPrepared,
    /// A view change leaves out what was only voted for: a fast quorum may have decided it.
    ForgetVotes,
    /// Certificates are believed without looking at the signatures.
    TrustCertificates,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 5] = [
        Mutant::NoPersistBeforeVote,
        Mutant::AcceptTwice,
        Mutant::ForgetPrepared,
        Mutant::ForgetVotes,
        Mutant::TrustCertificates,
    ];
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The replica has no key in the group.
    NotAMember(NodeId),
    /// The numbers of the quorums are for a group of another size.
    Size,
    /// There are no such quorums.
    Quorums(QuorumError),
    /// Checkpoints are not 0 < in flight <= K <= L / 2, or the window is wider than the limit.
    Window,
    /// Something is not sent again before the view is left, or a span is zero.
    Timing,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::NotAMember(id) => write!(f, "node {id} has no key in the group"),
            ConfigError::Size => f.write_str("the quorums are those of another group"),
            ConfigError::Quorums(error) => error.fmt(f),
            ConfigError::Window => f.write_str(
                "a window holds two checkpoints, and as many numbers are under way as one at most",
            ),
            ConfigError::Timing => {
                f.write_str("messages must be sent twice before a view is left, and spans not zero")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// The usual configuration of a replica of this group.
    ///
    /// # Errors
    /// If there are no quorums in a group of that size.
    pub fn new(id: NodeId, keyring: Keyring, bound: FaultBound) -> Result<Config, ConfigError> {
        let quorums = Quorums::of(keyring.size(), bound).map_err(ConfigError::Quorums)?;
        let replicas = keyring.size() as u64;
        let more = replicas.saturating_sub(limits::BFT_SPANS_REPLICAS);
        let tell_after_ms = limits::BFT_TELL_AFTER_MS + more * limits::BFT_TELL_AFTER_MORE_MS;
        let span =
            |ms: u64| Duration::from_millis(ms + ms * more / limits::BFT_SPANS_DOUBLE_PER_REPLICAS);
        Ok(Config {
            id,
            keyring,
            quorums,
            checkpoint_every: limits::BFT_CHECKPOINT_EVERY,
            window: limits::BFT_WINDOW,
            in_flight_max: limits::BFT_IN_FLIGHT_MAX,
            progress_timeout: span(limits::BFT_PROGRESS_TIMEOUT_MS),
            tell_after: Duration::from_millis(tell_after_ms),
            gone_after: span(limits::BFT_GONE_AFTER_MS),
            relay_after: span(limits::BFT_RELAY_AFTER_MS),
            fast_patience: span(limits::BFT_FAST_PATIENCE_MS),
            resend_every: span(limits::BFT_RESEND_EVERY_MS),
            status_every: Duration::from_millis(limits::BFT_STATUS_EVERY_MS),
            #[cfg(feature = "mutants")]
            mutant: None,
        })
    }

    /// Checks that the configuration can work.
    ///
    /// # Errors
    /// The first reason why it cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.keyring.slot(self.id).is_none() {
            return Err(ConfigError::NotAMember(self.id));
        }
        if self.quorums.replicas() != self.keyring.size() {
            return Err(ConfigError::Size);
        }
        let is_window = 0 < self.in_flight_max
            && self.in_flight_max <= self.checkpoint_every
            && self.checkpoint_every.saturating_mul(2) <= self.window
            && self.window <= limits::BFT_WINDOW_MAX;
        if !is_window {
            return Err(ConfigError::Window);
        }
        let is_late = self.resend_every.times(2) >= self.progress_timeout;
        if is_late || self.resend_every == Duration::ZERO || self.status_every == Duration::ZERO {
            return Err(ConfigError::Timing);
        }
        Ok(())
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn has_bug(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    pub(crate) fn has_bug(&self, _mutant: Mutant) -> bool {
        false
    }
}
