//! A member's disk: a hard state, a log, and perhaps a snapshot before it.

use std::collections::BTreeSet;

use base::{LogIndex, Term};
use bytes::Bytes;
use raft::{
    Configuration, HardState, LogEntry, Payload, Persist, RaftNode, Restored, SnapshotMeta,
    TermRuns,
};

/// How long every snapshot is: ten parts.
pub const SNAPSHOT_BYTES: usize = 600_000;

#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    /// The log begins behind this entry.
    pub base: LogIndex,
    pub entries: Vec<LogEntry>,
    pub snapshot: Option<(SnapshotMeta, Bytes)>,
    /// Entries that cannot be read any more.
    pub damaged: BTreeSet<LogIndex>,
    /// The snapshot cannot be read any more.
    pub is_snapshot_lost: bool,
    /// What has come in of another snapshot.
    partial: Vec<u8>,
}

/// What a snapshot looks like: every member makes the same.
fn content(index: LogIndex) -> Bytes {
    (0..SNAPSHOT_BYTES as u64).map(|at| (at * 31 + index.0) as u8).collect::<Vec<u8>>().into()
}

impl Disk {
    pub fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        let fresh: Vec<LogEntry> =
            persist.entries.iter().filter(|entry| entry.index > self.base).cloned().collect();
        if let Some(first) = fresh.first() {
            let kept = (first.index.0 - self.base.0 - 1) as usize;
            assert!(kept <= self.entries.len(), "writes leave no gap");
            self.damaged.split_off(&first.index);
            self.entries.truncate(kept);
            self.entries.extend(fresh);
        }
    }

    /// The entries from `from` to `to`, or none if the first is gone.
    pub fn read(&self, from: LogIndex, to: LogIndex) -> Vec<LogEntry> {
        if from <= self.base {
            return Vec::new();
        }
        let end = self.damaged.range(from..).next().copied().unwrap_or(to.next());
        let wanted = |entry: &&LogEntry| (from..=to).contains(&entry.index) && entry.index < end;
        self.entries.iter().filter(wanted).cloned().collect()
    }

    /// The first damaged entry from `from` to `to`, and its term.
    pub fn damage(&self, from: LogIndex, to: LogIndex) -> Option<(LogIndex, Term)> {
        let index = *self.damaged.range(from..=to.max(from)).next()?;
        let entry = self.entries.iter().find(|entry| entry.index == index)?;
        Some((index, entry.term))
    }

    /// Writes an entry again; false if it is not what was there.
    pub fn repair(&mut self, entry: &LogEntry) -> bool {
        let is_it = self.entries.iter().any(|known| known == entry);
        is_it && self.damaged.remove(&entry.index)
    }

    pub fn take_snapshot(&mut self, raft: &RaftNode) {
        let index = raft.last_applied();
        let term = raft.term_at(index).expect("what is applied has a term");
        let configuration = raft.configuration_at(index).expect("it is remembered").clone();
        self.snapshot = Some((SnapshotMeta { index, term, configuration }, content(index)));
    }

    /// Forgets the entries up to `index`.
    pub fn give_up(&mut self, index: LogIndex) {
        self.entries.retain(|entry| entry.index > index);
        self.base = self.base.max(index);
        self.damaged = self.damaged.split_off(&index.next());
    }

    /// A part of the snapshot, and how long all of it is.
    pub fn part(&self, offset: u64, max_bytes: usize) -> (SnapshotMeta, u64, Bytes) {
        let snapshot = self.snapshot.as_ref().filter(|_| !self.is_snapshot_lost);
        let Some((meta, bytes)) = snapshot else { return Default::default() };
        let from = (offset as usize).min(bytes.len());
        let to = (from + max_bytes).min(bytes.len());
        (meta.clone(), bytes.len() as u64, bytes.slice(from..to))
    }

    pub fn store_part(&mut self, offset: u64, bytes: &[u8], is_damaged: bool) {
        assert!(offset <= self.partial.len() as u64, "parts leave no gap");
        self.partial.truncate(offset as usize);
        self.partial.extend_from_slice(bytes);
        if is_damaged {
            self.partial[offset as usize] ^= 1;
        }
    }

    /// Puts what has come in into its place, if it is what it should be.
    pub fn install(&mut self, meta: &SnapshotMeta) -> bool {
        let bytes = Bytes::from(std::mem::take(&mut self.partial));
        if bytes != content(meta.index) {
            return false;
        }
        let same = |entry: &LogEntry| (entry.index, entry.term) == (meta.index, meta.term);
        if meta.index == self.base || self.entries.iter().any(same) {
            self.give_up(meta.index);
        } else {
            self.entries.clear();
            self.damaged.clear();
            self.base = meta.index;
        }
        self.snapshot = Some((meta.clone(), bytes));
        self.is_snapshot_lost = false;
        true
    }

    /// What was half done is forgotten.
    pub fn crash(&mut self) {
        self.partial.clear();
    }

    pub fn restored(&self) -> Restored {
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|(_, term)| *term < entry.term) {
                runs.push((entry.index, entry.term));
            }
        }
        let configuration = |entry: &LogEntry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.index, (**configuration).clone())),
            Payload::Noop | Payload::Command(_) => None,
        };
        Restored {
            hard_state: self.hard_state,
            snapshot: self.snapshot.as_ref().map(|(meta, _)| meta.clone()),
            terms: TermRuns::new(runs).expect("terms ascend"),
            last_index: LogIndex(self.base.0 + self.entries.len() as u64),
            configurations: self
                .entries
                .iter()
                .filter_map(configuration)
                .collect::<Vec<(LogIndex, Configuration)>>(),
            recent: self.recent(),
            lacks_state: self.is_snapshot_lost,
        }
    }

    /// The end of the log, as much as a member finds at once.
    fn recent(&self) -> Vec<LogEntry> {
        let count = self.entries.len().min(3);
        let recent = &self.entries[self.entries.len() - count..];
        let is_damaged = |entry: &LogEntry| self.damaged.contains(&entry.index);
        if recent.iter().any(is_damaged) { Vec::new() } else { recent.to_vec() }
    }
}
