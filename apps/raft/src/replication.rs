//! How the followers' logs become the leader's (section 5.3): batched, pipelined, and corrected by terms.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId, Term};

use crate::config::{Config, Mutant};
use crate::followers::Followers;
use crate::lease::Lease;
use crate::log::Log;
use crate::message::{LogEntry, Message, Payload};
use crate::node::{FetchPurpose, RaftNode, Role};
use crate::output::{FetchId, FetchRequest, Output, StepDown};
use crate::progress::{Progress, ProgressState, Window};
use crate::reads::LeaderReads;
use crate::transfer::Transfer;

/// What only a leader has.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    pub(crate) followers: Followers,
    /// The first entry of its own term: once that is committed, so is everything before it.
    pub(crate) first_own: LogIndex,
    /// The number of the latest heartbeat.
    pub(crate) round: u64,
    heartbeat_due: Instant,
    /// When it counts whom it has heard.
    quorum_due: Instant,
    pub(crate) reads: LeaderReads,
    pub(crate) lease: Lease,
    /// Weights of its own entries that are not committed.
    uncommitted: VecDeque<(LogIndex, usize)>,
    uncommitted_bytes: usize,
    pub(crate) transfer: Option<Transfer>,
    /// Somebody is fed who does not belong to the group any more.
    pub(crate) has_departing: bool,
}

impl Leadership {
    pub(crate) fn new(
        config: &Config,
        peers: impl Iterator<Item = NodeId>,
        log: &Log,
        now: Instant,
    ) -> Leadership {
        let last = log.last_index();
        Leadership {
            followers: Followers::new(peers, || Progress::new(last)),
            first_own: last.next(),
            round: 0,
            heartbeat_due: now,
            quorum_due: now + config.election_timeout_max,
            reads: LeaderReads::default(),
            lease: Lease::default(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            transfer: None,
            has_departing: false,
        }
    }

    pub(crate) fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let is_alone = self.followers.is_empty();
        let due = self.heartbeat_due.min(self.quorum_due);
        let transfer = self.transfer.as_ref().map(|transfer| transfer.deadline);
        (!is_alone).then(|| transfer.map_or(due, |deadline| due.min(deadline)))
    }

    /// To whom it hands over.
    pub(crate) fn transferring_to(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }

    pub(crate) fn note_committed(&mut self, commit: LogIndex) {
        while let Some((_, length)) = self.uncommitted.pop_front_if(|(index, _)| *index <= commit) {
            self.uncommitted_bytes -= length;
        }
    }

    pub(crate) fn check_invariants(&self, last: LogIndex) {
        self.followers.check_invariants();
        self.followers.iter().for_each(|(_, progress)| progress.check_invariants(last));
        let bytes: usize = self.uncommitted.iter().map(|(_, length)| length).sum();
        assert_eq!(bytes, self.uncommitted_bytes);
    }
}

impl RaftNode {
    /// The first acts of a leader: an entry of its own term, and word to everybody.
    pub(crate) fn start_leading(&mut self, now: Instant) {
        self.append_own(Payload::Noop);
        self.lead(now);
    }

    /// Appends an entry of this leader's.
    pub(crate) fn append_own(&mut self, payload: Payload) -> LogIndex {
        let Role::Leader(leadership) = &mut self.role else {
            unreachable!("only a leader makes entries")
        };
        let index = self.log.last_index().next();
        let entry = LogEntry { index, term: self.hard_state.term, payload };
        leadership.uncommitted.push_back((index, entry.weight()));
        leadership.uncommitted_bytes += entry.weight();
        leadership.followers.iter_mut().for_each(|(_, progress)| progress.wants_append = true);
        self.log.append(entry);
        index
    }

    /// A leader's deadlines: heartbeats, the count of those that it has heard (CheckQuorum), its disk, and
    /// the end of a transfer. The disk is looked at as often as a heartbeat is due.
    pub(crate) fn lead(&mut self, now: Instant) {
        self.expire_transfer(now);
        if self.is_disk_stalled(now) {
            self.resign(StepDown::DiskStalled, now);
            return;
        }
        let own = self.config.id;
        let quorum = self.membership.current().quorum();
        let Role::Leader(leadership) = &mut self.role else { return };
        if now >= leadership.quorum_due {
            leadership.quorum_due = now + self.config.election_timeout_max;
            let is_active = |id| leadership.followers.get(id).is_some_and(|peer| peer.is_active);
            let has_quorum = quorum.has(|id| id == own || is_active(id));
            self.abandon_removed();
            let Role::Leader(leadership) = &mut self.role else { return };
            for (_, peer) in leadership.followers.iter_mut() {
                // Who is silent is not fed: it would only fill the links.
                if !core::mem::take(&mut peer.is_active) {
                    peer.note_unreachable();
                }
            }
            if !has_quorum {
                self.step_down(StepDown::NoQuorum, now);
                return;
            }
        }
        let Role::Leader(leadership) = &mut self.role else { return };
        if now >= leadership.heartbeat_due {
            leadership.heartbeat_due = now + self.config.heartbeat;
            self.send_heartbeats();
        }
    }

    /// A heartbeat to everybody, under a new number.
    pub(crate) fn send_heartbeats(&mut self) {
        let (term, commit) = (self.hard_state.term, self.commit);
        let tells_all = self.config.has_bug(Mutant::CommitBeyondMatch);
        let Role::Leader(leadership) = &mut self.role else { return };
        leadership.round += 1;
        let round = leadership.round;
        // Not later than it leaves: the caller is at work since then.
        leadership.lease.note_sent(round, self.now);
        for (to, progress) in leadership.followers.iter_mut() {
            let commit = if tells_all { commit } else { commit.min(progress.match_index) };
            progress.told_commit = progress.told_commit.max(commit);
            let message = Message::Heartbeat { term, commit, round };
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    /// Everything that the followers may be sent now: one message to each in turn, and those who are at the
    /// same place are served next to each other, so that they share what is sent.
    pub(crate) fn prepare_appends(&mut self) {
        let mut shared = None;
        let mut turn = core::mem::take(&mut self.turn);
        loop {
            let Role::Leader(leadership) = &self.role else { return };
            let wanting = leadership.followers.iter().filter(|(_, progress)| progress.wants_append);
            turn.extend(wanting.map(|(peer, progress)| (progress.next_index, peer)));
            if turn.is_empty() {
                break;
            }
            turn.sort_unstable();
            for (_, peer) in turn.drain(..) {
                self.feed(peer, &mut shared);
            }
        }
        self.turn = turn;
        self.spread_commit();
    }

    fn window(&self) -> Window {
        Window {
            messages: self.config.append_in_flight_max,
            bytes: self.config.append_in_flight_max_bytes,
        }
    }

    /// Sends `peer` one message, or notes that there is nothing to send now. `shared` is what was sent last,
    /// and where it begins.
    fn feed(&mut self, peer: NodeId, shared: &mut Option<(LogIndex, Arc<Vec<LogEntry>>)>) {
        let (last, window) = (self.log.last_index(), self.window());
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(peer) else { return };
        if progress.state != ProgressState::Snapshot && progress.next_index <= self.log.base() {
            progress.start_snapshot();
        }
        if progress.state == ProgressState::Snapshot {
            self.feed_snapshot(peer);
            return;
        }
        let has_news = progress.next_index <= last || progress.state == ProgressState::Probe;
        if !has_news || !progress.has_window(window) || progress.is_fetching {
            progress.wants_append = false;
            return;
        }
        let from = progress.next_index;
        let last = match self.damage.first_from(from) {
            // It waits until that is repaired.
            Some(damaged) if damaged == from && self.log.entry_in_memory(from).is_none() => {
                progress.wants_append = false;
                return;
            }
            Some(damaged) if damaged > from => last.min(LogIndex(damaged.0 - 1)),
            Some(_) | None => last,
        };
        if let Some((_, entries)) = shared.as_ref().filter(|(first, _)| *first == from) {
            return self.send_append(peer, entries.clone());
        }
        let bytes = self.config.append_batch_max_bytes;
        let count = self.config.append_batch_max_entries;
        let Some(entries) = self.log.recent(from, last, bytes, count) else {
            progress.is_fetching = true;
            progress.wants_append = false;
            self.fetch(from, last, bytes, count, FetchPurpose::Append(peer));
            return;
        };
        let entries = Arc::new(entries);
        *shared = Some((from, entries.clone()));
        self.send_append(peer, entries);
    }

    /// Sends `peer` these entries, which begin at its `next_index`.
    fn send_append(&mut self, peer: NodeId, entries: Arc<Vec<LogEntry>>) {
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(peer) else { return };
        let prev_index = progress.next_index.previous().expect("entries start at 1");
        let Some(prev_term) = self.log.term_at(prev_index) else {
            // The log was given up that far in the meantime.
            progress.wants_append = true;
            return;
        };
        let last = entries.last().map_or(prev_index, |entry| entry.index);
        let bytes = entries.iter().map(LogEntry::weight).sum();
        progress.note_sent(last, bytes, leadership.round);
        progress.told_commit = progress.told_commit.max(self.commit.min(last));
        self.counters.appends_sent += 1;
        let (term, commit) = (self.hard_state.term, self.commit);
        let message = Message::Append { term, prev_index, prev_term, commit, entries };
        self.send(peer, message);
    }

    /// Tells followers of commitments that no append has told them of: they answer their clients then. Those
    /// that are silent will hear of it from a heartbeat.
    fn spread_commit(&mut self) {
        let (term, commit) = (self.hard_state.term, self.commit);
        let Role::Leader(leadership) = &mut self.role else { return };
        for (to, progress) in leadership.followers.iter_mut() {
            let commit = commit.min(progress.match_index);
            if progress.told_commit < commit && progress.state == ProgressState::Replicate {
                progress.told_commit = commit;
                let message = Message::Commit { term, commit };
                self.outputs.push_back(Output::Send { to, message });
            }
        }
    }

    /// Asks the disk for consecutive entries from `from` to at most `to`: as many as are of use at once.
    pub(crate) fn fetch(
        &mut self,
        from: LogIndex,
        to: LogIndex,
        max_bytes: usize,
        max_entries: usize,
        purpose: FetchPurpose,
    ) {
        let to = to.min(LogIndex(from.0.saturating_add(max_entries as u64) - 1));
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.fetches.insert(id, purpose);
        self.counters.fetches += 1;
        self.outputs.push_back(Output::Fetch(FetchRequest { id, from, to, max_bytes }));
    }

    /// Old entries have come from the disk. They are of use if nothing has changed since.
    pub(crate) fn append_fetched(&mut self, peer: NodeId, mut entries: Vec<LogEntry>) {
        let window = self.window();
        let Role::Leader(leadership) = &mut self.role else { return };
        let Some(progress) = leadership.followers.get_mut(peer) else { return };
        progress.is_fetching = false;
        if entries.is_empty() {
            // The disk has nothing to give now; to ask again at once would not change that.
            progress.note_unreachable();
            return;
        }
        progress.wants_append = true;
        let is_next = entries.first().is_some_and(|entry| entry.index == progress.next_index);
        let has_window = progress.has_window(window);
        let is_current =
            entries.iter().all(|entry| self.log.term_at(entry.index) == Some(entry.term));
        if is_next && is_current && has_window {
            entries.truncate(self.config.append_batch_max_entries);
            self.send_append(peer, Arc::new(entries));
        }
    }

    /// Any word of a follower's of this term.
    pub(crate) fn hear(&mut self, from: NodeId, now: Instant) -> Option<&mut Progress> {
        let Role::Leader(leadership) = &mut self.role else { return None };
        let progress = leadership.followers.get_mut(from)?;
        progress.last_heard = Some(now);
        progress.is_active = true;
        Some(progress)
    }

    pub(crate) fn handle_accepted(&mut self, from: NodeId, match_index: LogIndex, now: Instant) {
        let (base, last) = (self.log.base(), self.log.last_index());
        let Some(progress) = self.hear(from, now) else { return };
        if match_index > last {
            self.counters.malformed += 1;
            return;
        }
        if progress.state == ProgressState::Snapshot && match_index < base {
            // It has what it says, and needs the snapshot nevertheless.
            return;
        }
        if progress.note_accepted(match_index) {
            self.advance_commit();
            self.dismiss_removed();
        }
        self.push_transfer(from);
    }

    pub(crate) fn handle_rejected(
        &mut self,
        from: NodeId,
        prev_index: LogIndex,
        hint_index: LogIndex,
        hint_term: Term,
        now: Instant,
    ) {
        // Where the follower's hint is of a term that this log does not have there, both skip that term.
        let (agreed, _) = self.log.agreement(hint_index, hint_term);
        let Some(progress) = self.hear(from, now) else { return };
        if progress.note_rejected(prev_index, agreed) {
            self.counters.appends_corrected += 1;
        }
    }

    pub(crate) fn handle_heartbeat_reply(
        &mut self,
        from: NodeId,
        round: u64,
        is_bound: bool,
        now: Instant,
    ) {
        let last = self.log.last_index();
        let Some(progress) = self.hear(from, now) else { return };
        progress.note_heard(round, last);
        if is_bound {
            progress.bound_round = progress.bound_round.max(round);
        }
        // Nothing that was on its way has been answered since the last heartbeat: perhaps it was lost. The
        // follower rejects an empty append behind a gap, and the leader starts over from there.
        let is_stalled =
            progress.in_flight() > 0 && progress.stalled_at == Some(progress.match_index);
        progress.stalled_at = Some(progress.match_index);
        if is_stalled && progress.state == ProgressState::Replicate {
            self.counters.stalls += 1;
            self.send_append(from, Arc::default());
        }
        self.extend_lease();
        self.confirm_reads();
        self.push_transfer(from);
    }
}
