//! What a leader knows of one follower's log, and how it feeds it.

use alloc::collections::VecDeque;

use base::{Instant, LogIndex};

use crate::sending::Sending;

/// How a follower is fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProgressState {
    /// It is not known where its log agrees: one message at a time, until one is accepted.
    Probe,
    /// Its log agrees up to what was sent: messages follow each other without waiting.
    Replicate,
    /// It needs entries that are gone: it is sent a snapshot.
    Snapshot,
}

/// An append message on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct InFlight {
    last: LogIndex,
    bytes: usize,
}

/// How much may be on its way to a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    /// So many messages.
    pub(crate) messages: usize,
    /// So many bytes of entries; a single message may have more.
    pub(crate) bytes: usize,
}

/// The leader's view of one follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) state: ProgressState,
    /// In `Snapshot`: how far that has come.
    sending: Option<Sending>,
    /// The follower's log is durable and equal to the leader's up to here. It never decreases.
    ///
    /// Invariant: `match_index < next_index`.
    pub(crate) match_index: LogIndex,
    /// The next entry to send; in `Snapshot`, the one that was wanted and is gone.
    pub(crate) next_index: LogIndex,
    /// Messages with entries that were sent and not answered; in `Probe` at most one, with or without
    /// entries.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// In `Probe`: a message is on its way, and nothing else is sent before a later heartbeat is answered.
    probe_sent: bool,
    /// The heartbeat round in which that message was sent.
    probe_round: u64,
    /// The commit index that the follower was last told.
    pub(crate) told_commit: LogIndex,
    /// When it last said anything.
    pub(crate) last_heard: Option<Instant>,
    /// It said something since the last time the leader counted its majority.
    pub(crate) is_active: bool,
    /// The latest heartbeat round that it answered.
    pub(crate) acknowledged_round: u64,
    /// The latest of those that it answered with a promise not to elect anybody else for a while.
    pub(crate) bound_round: u64,
    /// Entries are being read from the disk for it.
    pub(crate) is_fetching: bool,
    /// There may be something to send.
    pub(crate) wants_append: bool,
    /// What it had when it last answered a heartbeat.
    pub(crate) stalled_at: Option<LogIndex>,
}

impl Progress {
    /// A follower of which nothing is known, at the start of a term whose log ends at `last`.
    pub(crate) fn new(last: LogIndex) -> Progress {
        Progress {
            state: ProgressState::Probe,
            sending: None,
            match_index: LogIndex(0),
            next_index: last.next(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            probe_sent: false,
            probe_round: 0,
            told_commit: LogIndex(0),
            last_heard: None,
            is_active: true,
            acknowledged_round: 0,
            bound_round: 0,
            is_fetching: false,
            wants_append: true,
            stalled_at: None,
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many bytes of entries are on their way to it.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Whether a message may be sent now.
    pub(crate) fn has_window(&self, window: Window) -> bool {
        match self.state {
            ProgressState::Probe => !self.probe_sent,
            ProgressState::Replicate => {
                self.in_flight.len() < window.messages
                    && (self.in_flight.is_empty() || self.in_flight_bytes < window.bytes)
            }
            ProgressState::Snapshot => false,
        }
    }

    /// Entries from `next_index` to `last`, which measure `bytes`, are on their way since this heartbeat
    /// round; none if `last` precedes `next_index`.
    pub(crate) fn note_sent(&mut self, last: LogIndex, bytes: usize, round: u64) {
        match self.state {
            ProgressState::Probe => {
                self.probe_sent = true;
                self.probe_round = round;
            }
            ProgressState::Replicate => {
                if last >= self.next_index {
                    self.in_flight.push_back(InFlight { last, bytes });
                    self.in_flight_bytes += bytes;
                    self.next_index = last.next();
                }
            }
            ProgressState::Snapshot => {}
        }
    }

    /// The follower's log agrees up to `index`. Answers whether that is news.
    pub(crate) fn note_accepted(&mut self, index: LogIndex) -> bool {
        let news = index > self.match_index;
        self.match_index = self.match_index.max(index);
        self.next_index = self.next_index.max(self.match_index.next());
        while let Some(sent) = self.in_flight.pop_front_if(|message| message.last <= index) {
            self.in_flight_bytes -= sent.bytes;
        }
        match self.state {
            ProgressState::Replicate => {}
            ProgressState::Probe | ProgressState::Snapshot => {
                self.state = ProgressState::Replicate;
                self.sending = None;
                self.probe_sent = false;
                self.next_index = self.match_index.next();
            }
        }
        self.wants_append = true;
        news
    }

    /// The follower lacks `rejected`, and may agree at `hint`. Answers whether that changed anything: an
    /// answer to an earlier message does not.
    pub(crate) fn note_rejected(&mut self, rejected: LogIndex, hint: LogIndex) -> bool {
        match self.state {
            ProgressState::Replicate if rejected <= self.match_index => return false,
            ProgressState::Replicate => {}
            ProgressState::Probe if self.next_index.previous() != Some(rejected) => return false,
            ProgressState::Probe => {}
            // Its log is to be replaced.
            ProgressState::Snapshot => return false,
        }
        let next = rejected.min(hint.next()).max(self.match_index.next());
        self.probe_from(next);
        true
    }

    /// Starts over at `next`, one message at a time.
    pub(crate) fn probe_from(&mut self, next: LogIndex) {
        self.state = ProgressState::Probe;
        self.next_index = next;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.probe_sent = false;
        self.wants_append = true;
    }

    /// It is out of reach, or seems so: nothing is sent until it answers a heartbeat.
    pub(crate) fn note_unreachable(&mut self) {
        match self.state {
            ProgressState::Replicate => self.probe_from(self.match_index.next()),
            ProgressState::Probe => {}
            ProgressState::Snapshot => self.sending.iter_mut().for_each(Sending::pause),
        }
        self.probe_sent = true;
        self.probe_round = 0;
    }

    /// It has answered the heartbeat of this round. A message sent before that heartbeat is either answered
    /// by now, or lost.
    pub(crate) fn note_heard(&mut self, round: u64, last: LogIndex) {
        self.acknowledged_round = self.acknowledged_round.max(round);
        self.probe_sent &= round <= self.probe_round;
        self.wants_append |= self.match_index < last;
        self.sending.iter_mut().for_each(Sending::note_heard);
    }

    /// What it needs is gone from the log: it is sent a snapshot.
    pub(crate) fn start_snapshot(&mut self) {
        self.probe_from(self.next_index);
        self.state = ProgressState::Snapshot;
        self.sending = Some(Sending::default());
    }

    pub(crate) fn sending(&self) -> Option<&Sending> {
        self.sending.as_ref()
    }

    pub(crate) fn sending_mut(&mut self) -> Option<&mut Sending> {
        self.sending.as_mut()
    }

    pub(crate) fn check_invariants(&self, last: LogIndex) {
        assert!(self.match_index < self.next_index);
        assert_eq!(self.state == ProgressState::Snapshot, self.sending.is_some());
        self.sending.iter().for_each(Sending::check_invariants);
        assert!(self.next_index <= last.next(), "nothing is sent that is not there");
        assert!(self.in_flight.iter().is_sorted_by(|a, b| a.last < b.last));
        let bytes: usize = self.in_flight.iter().map(|message| message.bytes).sum();
        assert_eq!(bytes, self.in_flight_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { messages: 3, bytes: 1_000 };

    #[test]
    fn probing_sends_one_message_and_waits() {
        let mut progress = Progress::new(LogIndex(10));
        assert!(progress.has_window(WINDOW));
        progress.note_sent(LogIndex(10), 0, 7);
        assert!(!progress.has_window(WINDOW));
        progress.note_heard(7, LogIndex(10));
        assert!(!progress.has_window(WINDOW), "that heartbeat was sent before");
        progress.note_heard(8, LogIndex(10));
        assert!(progress.has_window(WINDOW), "the message was lost");
        assert!(progress.note_rejected(LogIndex(10), LogIndex(3)));
        assert_eq!(progress.next_index, LogIndex(4));
        assert!(!progress.note_rejected(LogIndex(10), LogIndex(1)), "an old answer");
        assert!(progress.note_accepted(LogIndex(3)));
        assert_eq!(progress.state, ProgressState::Replicate);
    }

    #[test]
    fn replicating_fills_the_window_and_frees_it() {
        let mut progress = Progress::new(LogIndex(0));
        progress.note_accepted(LogIndex(0));
        for last in [3, 5, 9] {
            progress.note_sent(LogIndex(last), 10, 1);
        }
        assert!(!progress.has_window(WINDOW));
        assert!(progress.note_accepted(LogIndex(5)));
        assert_eq!((progress.in_flight(), progress.next_index), (1, LogIndex(10)));
        assert!(!progress.note_accepted(LogIndex(3)), "it never goes back");
        assert_eq!(progress.match_index, LogIndex(5));
        assert!(!progress.note_rejected(LogIndex(4), LogIndex(1)), "known to be there");
        assert!(progress.note_rejected(LogIndex(9), LogIndex(1)), "a message was lost");
        assert_eq!(progress.next_index, LogIndex(6), "but what was accepted stays so");
        progress.check_invariants(LogIndex(9));
    }

    #[test]
    fn the_window_is_full_by_bytes_too_but_a_large_message_may_travel_alone() {
        let mut progress = Progress::new(LogIndex(0));
        progress.note_accepted(LogIndex(0));
        progress.note_sent(LogIndex(1), 5_000, 1);
        assert_eq!((progress.in_flight(), progress.in_flight_bytes()), (1, 5_000));
        assert!(!progress.has_window(WINDOW));
        progress.note_accepted(LogIndex(1));
        assert!(progress.has_window(WINDOW));
        progress.check_invariants(LogIndex(1));
    }

    #[test]
    fn nothing_is_sent_to_who_does_not_answer() {
        let mut progress = Progress::new(LogIndex(0));
        progress.note_accepted(LogIndex(0));
        progress.note_sent(LogIndex(1), 10, 1);
        progress.note_unreachable();
        assert!(!progress.has_window(WINDOW));
        assert_eq!(progress.next_index, LogIndex(1), "what was on its way counts as lost");
        progress.note_heard(2, LogIndex(1));
        assert!(progress.has_window(WINDOW) && progress.wants_append);
        progress.check_invariants(LogIndex(1));
    }
}
