//! When a leader has been silent for so long that it is more likely gone than late.
//!
//! A leader speaks once a heartbeat at the least. What the network and the machines at its ends add to that
//! is measured as RFC 6298 measures round trips: a smoothed lateness and its mean deviation. A leader that is
//! late by a whole heartbeat more than that is suspected, as if its link had been lost (`suspicion`): on a
//! quiet network after little more than two heartbeats, and on one that loses or delays them later, up to the
//! election timeout, which knows nothing of all this. (The accrual detector of N. Hayashibara et al., 2004,
//! asks the same of a distribution; a mean and a deviation are integers, and enough for one threshold.)
//!
//! Being wrong costs little: whoever suspects asks the others, and those who hear the leader refuse.

use base::{Duration, Instant, NodeId, limits};

use crate::node::{RaftNode, Role};

/// What is more than usual begins here.
const FLOOR: Duration = Duration::from_millis(limits::HEARTBEAT_LATENESS_FLOOR_MS);
/// A member that is called so late itself knows nothing of the lateness of others.
const OWN_LATENESS_MAX: Duration = Duration::from_millis(limits::OWN_LATENESS_MAX_MS);

/// The lateness of one leader's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats {
    /// Whose.
    leader: Option<NodeId>,
    /// When it last spoke, or this member last began to wait.
    heard: Option<Instant>,
    /// Smoothed lateness and its mean deviation, in nanoseconds.
    usual: Option<(u64, u64)>,
    measured: u32,
    /// The longest silence since `since`: one counts for each heartbeat, or a busy hour of many words would
    /// hide how late they can be.
    longest: Duration,
    since: Option<Instant>,
    /// The present silence was suspicious, and that was said.
    is_told: bool,
}

impl Heartbeats {
    /// The leader has spoken.
    pub(crate) fn note_word(&mut self, leader: NodeId, heartbeat: Duration, now: Instant) {
        if self.leader != Some(leader) {
            *self = Heartbeats { leader: Some(leader), ..Heartbeats::default() };
        }
        let silence = self.heard.replace(now).map_or(Duration::ZERO, |heard| now.since(heard));
        self.longest = self.longest.max(silence);
        self.is_told = false;
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= heartbeat {
            self.measure(self.longest - heartbeat);
            (self.longest, self.since) = (Duration::ZERO, Some(now));
        }
    }

    fn measure(&mut self, lateness: Duration) {
        // One pause must not hide the next.
        let most = Duration::from_millis(limits::ELECTION_TIMEOUT_MAX_MS);
        let lateness = lateness.min(most).as_nanos();
        self.measured = self.measured.saturating_add(1);
        self.usual = Some(match self.usual {
            None => (lateness, lateness / 2),
            Some((smoothed, deviation)) => {
                let difference = smoothed.abs_diff(lateness);
                ((7 * smoothed + lateness) / 8, (3 * deviation + difference) / 4)
            }
        });
    }

    /// This member was not there to hear anything: it begins to wait now.
    pub(crate) fn wait_anew(&mut self, now: Instant) {
        if self.heard.is_some() {
            self.heard = Some(now);
        }
        (self.longest, self.since) = (Duration::ZERO, Some(now));
    }

    /// When the silence is suspicious, if it is not already and enough is known to tell.
    fn due(&self, heartbeat: Duration) -> Option<Instant> {
        let (smoothed, deviation) = self.usual?;
        let is_known = self.measured >= limits::HEARTBEATS_MEASURED_MIN;
        let usual = Duration::from_nanos(smoothed + 4 * deviation).max(FLOOR);
        let patience = heartbeat.times(limits::HEARTBEATS_AWAITED) + usual;
        self.heard.filter(|_| is_known && !self.is_told).map(|heard| heard + patience)
    }
}

impl RaftNode {
    /// When the leader that this member follows is suspected, if it goes on being silent. Never with leases:
    /// they rest on everybody's patience.
    pub(crate) fn silence_due(&self) -> Option<Instant> {
        match self.role {
            Role::Follower { leader: Some(_) } if !self.config.lease_reads => {
                self.config.suspects_silence.then(|| self.heartbeats.due(self.config.heartbeat))?
            }
            Role::Follower { .. }
            | Role::PreCandidate(_)
            | Role::Candidate(..)
            | Role::Leader(_) => None,
        }
    }

    /// Suspects the leader if it has been silent for too long, as far as this member can tell: one that was
    /// not called when it wanted to be has perhaps not been given what the leader sent, either.
    pub(crate) fn watch_leader(&mut self, now: Instant) {
        let Some(due) = self.silence_due().filter(|due| *due <= now) else { return };
        if now.since(due) > OWN_LATENESS_MAX {
            self.heartbeats.wait_anew(now);
            return;
        }
        self.heartbeats.is_told = true;
        self.counters.silences += 1;
        self.suspect_leader(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(50);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The leader's words come after these silences, in milliseconds; how long the next may be.
    fn patience(silences: impl IntoIterator<Item = u64>) -> Option<Duration> {
        let (leader, mut now) = (NodeId::new(1).unwrap(), Instant::from_millis(7));
        let mut heartbeats = Heartbeats::default();
        heartbeats.note_word(leader, HEARTBEAT, now);
        for silence in silences {
            now += ms(silence);
            heartbeats.note_word(leader, HEARTBEAT, now);
        }
        heartbeats.due(HEARTBEAT).map(|due| due.since(now))
    }

    #[test]
    fn a_punctual_leader_may_miss_one_heartbeat() {
        assert_eq!(patience([50; 100]), Some(ms(110)));
        assert_eq!(patience([50; 7]), None, "too little is known");
        assert_eq!(patience([]), None);
    }

    #[test]
    fn a_leader_that_is_often_late_is_given_longer() {
        let jitter = patience((0..100).map(|turn| 50 + turn % 2 * 20)).unwrap();
        assert!((ms(130)..ms(180)).contains(&jitter), "{jitter}");
        let lossy = patience((0..100).map(|turn| if turn % 10 == 0 { 100 } else { 50 })).unwrap();
        assert!(lossy > ms(115), "{lossy}");
        let just_lost = patience([50; 50].into_iter().chain([100])).unwrap();
        assert!(just_lost > ms(150), "{just_lost}");
        let recovered = patience([50; 20].into_iter().chain([900]).chain([50; 40])).unwrap();
        assert!(recovered < ms(130), "one pause is not remembered for ever: {recovered}");
    }

    /// A thousand words a second, and a stall now and then.
    #[test]
    fn many_words_do_not_hide_how_late_one_can_be() {
        let busy = (0..2_000).map(|turn| if turn % 60 == 59 { 120 } else { 1 });
        let patience = patience(busy).unwrap();
        assert!(patience > ms(160), "{patience}");
    }

    #[test]
    fn another_leader_is_measured_anew_and_the_same_one_is_not() {
        let (one, other) = (NodeId::new(1).unwrap(), NodeId::new(2).unwrap());
        let mut heartbeats = Heartbeats::default();
        let mut now = Instant::ORIGIN;
        for _ in 0..20 {
            now += HEARTBEAT;
            heartbeats.note_word(one, HEARTBEAT, now);
        }
        heartbeats.is_told = true;
        assert_eq!(heartbeats.due(HEARTBEAT), None, "it is said once");
        heartbeats.note_word(one, HEARTBEAT, now + ms(120));
        assert!(heartbeats.due(HEARTBEAT).is_some_and(|due| due > now + ms(120 + 150)));
        heartbeats.wait_anew(now + ms(500));
        assert!(heartbeats.due(HEARTBEAT).is_some_and(|due| due > now + ms(500 + 110)));
        heartbeats.note_word(other, HEARTBEAT, now + ms(501));
        assert_eq!(heartbeats.due(HEARTBEAT), None);
    }
}
