//! The start: what the store has found becomes a member, and the state that it goes on from. A snapshot is
//! read whole, and so are the configurations behind it, before the node takes part.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base::{Instant, LogIndex};
use bytes::Bytes;
use kv::KvMachine;
use kv::machine::Restore;
use net::links::{self, Links};
use raft::{Configuration, Encoder, Payload, RaftNode, Restored, SnapshotMeta, TermRuns};
use store::{Damage, Record, Recovered, SNAPSHOT_BLOCK_BYTES};

use super::{MTU, Member, Replica, ReplicaOutput};
use crate::journal::Level;
use crate::members::Members;

/// The name of the questions of a start. Raft's own count from 1.
const QUESTION: u64 = u64::MAX;
/// A configuration is short; one record is read at a time.
const CONFIGURATION_READ_BYTES: usize = 1;

/// A start under way.
#[derive(Debug)]
pub(super) struct Loading {
    recovered: Recovered,
    /// The snapshot, as far as it is read.
    restore: Restore,
    /// The state of the snapshot, when all of it is read.
    machine: Option<KvMachine>,
    /// Records that hold configurations and are still to be read.
    wanted: VecDeque<LogIndex>,
    configurations: Vec<(LogIndex, Configuration)>,
    /// The snapshot cannot be read, and the log does not reach back to the one before.
    lacks_state: bool,
    /// What was found damaged meanwhile.
    pub(super) damaged: Vec<Damage>,
}

impl Replica {
    /// The store is ready.
    pub(super) fn load(&mut self, recovered: Recovered, now: Instant) {
        let covered = recovered.snapshot.as_ref().map_or(LogIndex(0), |stored| stored.meta.index);
        let wanted = wanted_behind(&recovered, covered);
        let has_snapshot = recovered.snapshot.is_some();
        let (restore, configurations) = (Restore::default(), Vec::new());
        self.loading = Some(Loading {
            recovered,
            restore,
            machine: None,
            wanted,
            configurations,
            lacks_state: false,
            damaged: Vec::new(),
        });
        if has_snapshot { self.read_snapshot_from(0) } else { self.load_configurations(now) }
    }

    /// The newest snapshot is damaged: the one before it and the log will do, if the log reaches back to it.
    /// If it does not, this node begins without a state, and has it from another.
    pub(super) fn load_older_snapshot(&mut self, damage: String, now: Instant) {
        let older = self.store.fall_back();
        let Some(loading) = &mut self.loading else { return };
        self.snapshots.set_damaged();
        let Ok(older) = older else {
            // What it is of is known, and so is the log behind it: the state comes from another node.
            let text = format!("{damage}: another node is asked for one");
            self.outputs.push_back(ReplicaOutput::Note(Level::Error, "disk", text));
            loading.lacks_state = true;
            self.store.doubt_snapshot();
            return self.load_configurations(now);
        };
        let covered = older.as_ref().map_or(LogIndex(0), |stored| stored.meta.index);
        let text = format!("{damage}: going on from entry {covered}");
        self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
        loading.restore = Restore::default();
        loading.wanted = wanted_behind(&loading.recovered, covered);
        loading.recovered.snapshot = older;
        let has_snapshot = loading.recovered.snapshot.is_some();
        if has_snapshot { self.read_snapshot_from(0) } else { self.load_configurations(now) }
    }

    fn read_snapshot_from(&mut self, offset: u64) {
        if let Err(error) = self.store.read_snapshot(QUESTION, offset, SNAPSHOT_BLOCK_BYTES) {
            self.fail(format!("the snapshot cannot be read: {error}"));
        }
    }

    /// A part of the snapshot, if this is a start; else it is given back.
    pub(super) fn load_part(
        &mut self,
        id: u64,
        end: u64,
        total: u64,
        bytes: &Bytes,
        now: Instant,
    ) -> bool {
        let Some(loading) = self.loading.as_mut().filter(|_| id == QUESTION) else { return false };
        if let Err(error) = loading.restore.take(bytes) {
            self.fail(format!("{error}"));
        } else if end < total {
            self.read_snapshot_from(end);
        } else {
            match core::mem::take(&mut loading.restore).finish() {
                Ok(machine) => {
                    loading.machine = Some(machine);
                    self.load_configurations(now);
                }
                Err(error) => self.fail(format!("{error}")),
            }
        }
        true
    }

    /// Reads the next configuration; when there is none left, the member begins.
    fn load_configurations(&mut self, now: Instant) {
        let Some(loading) = &self.loading else { return };
        match loading.wanted.front().copied() {
            Some(index) => {
                let asked = self.store.read(QUESTION, index, index, CONFIGURATION_READ_BYTES);
                if let Err(error) = asked {
                    self.fail(format!("entry {index} cannot be read: {error}"));
                }
            }
            None => self.finish_loading(now),
        }
    }

    /// A configuration, if this is a start; else it is given back.
    pub(super) fn load_record(&mut self, id: u64, records: &[Record], now: Instant) -> bool {
        let Some(loading) = self.loading.as_mut().filter(|_| id == QUESTION) else { return false };
        let record = records.first();
        let payload = record.map(|r| Payload::from_parts(r.kind, r.payload.clone()));
        match (record, payload, loading.wanted.pop_front()) {
            (Some(record), Some(Ok(Payload::Configuration(configuration))), Some(_)) => {
                loading.configurations.push((record.index, *configuration));
                self.load_configurations(now);
            }
            // It is damaged: it comes from another node, and until then this one does not lead.
            (None, None, Some(_)) => self.load_configurations(now),
            _ => self.fail("an entry on the disk should be a configuration, and is none".into()),
        }
        true
    }

    fn finish_loading(&mut self, now: Instant) {
        let Some(loading) = self.loading.take() else { return };
        let Loading { recovered, machine, configurations, damaged, lacks_state, .. } = loading;
        let Some(terms) = TermRuns::new(recovered.terms.clone()) else {
            return self.fail("the terms on the disk go backwards".into());
        };
        let snapshot = match &recovered.snapshot {
            Some(stored) => match meta_of(&stored.meta) {
                Some(meta) => Some(meta),
                None => return self.fail("the configuration of the snapshot is none".into()),
            },
            None => None,
        };
        let hard_state = recovered.hard_state;
        let restored = Restored {
            hard_state: raft::HardState { term: hard_state.term, vote: hard_state.vote },
            snapshot,
            terms,
            last_index: recovered.last_index,
            configurations,
            recent: Vec::new(),
            lacks_state,
        };
        self.begin(&recovered, restored, machine, now);
        damaged.into_iter().for_each(|damage| self.tell_damage(damage, now));
    }

    /// The disk is read and loaded: this node may take part.
    fn begin(
        &mut self,
        recovered: &Recovered,
        restored: Restored,
        machine: Option<KvMachine>,
        now: Instant,
    ) {
        self.note_recovery(recovered);
        let newest = restored.snapshot.as_ref().map_or(LogIndex(0), |meta| meta.index);
        self.snapshots.restored(newest, recovered.first_index, now.since(self.started));
        let config = self.config.raft.clone();
        let links = links::Config {
            id: config.id,
            cluster: self.config.cluster,
            peers: Vec::new(),
            epoch: u32::try_from(recovered.epoch).unwrap_or(u32::MAX),
            nonce: self.config.nonce,
            mtu: MTU,
        };
        match RaftNode::new(config, self.config.seed, restored, now) {
            Ok(raft) => {
                let links = Links::new(links, self.packets.clone());
                let beginning = &self.config.beginning;
                let members = Members::new(self.config.raft.id, beginning, recovered.epoch, now);
                let (linked, encoder, leader) = (None, Encoder::default(), None);
                self.member = Some(Member { raft, links, members, linked, encoder, leader });
                self.note_room();
                let epoch = recovered.epoch;
                self.outputs.push_back(ReplicaOutput::Ready { epoch, machine });
            }
            Err(error) => self.fail(format!("{error}")),
        }
    }

    fn note_recovery(&mut self, recovered: &Recovered) {
        let Recovered { epoch, last_index, torn, repaired, is_fresh, .. } = recovered;
        let text = if *is_fresh {
            String::from("formatted an empty disk")
        } else {
            format!("start {epoch}: log up to {last_index}, term {}", recovered.hard_state.term)
        };
        self.outputs.push_back(ReplicaOutput::Note(Level::Info, "disk", text));
        if *torn > 0 {
            let text = format!("dropped {torn} entries of a torn write: never acknowledged");
            self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
        }
        if *repaired > 0 {
            let text = format!("repaired {repaired} headers from their copies");
            self.outputs.push_back(ReplicaOutput::Note(Level::Warn, "disk", text));
        }
    }
}

/// The records that hold configurations behind what a snapshot stands for.
fn wanted_behind(recovered: &Recovered, covered: LogIndex) -> VecDeque<LogIndex> {
    recovered.wanted.iter().copied().filter(|index| *index > covered).collect()
}

/// The store's word for what a snapshot is of, as Raft's; `None` if its configuration is none.
pub(super) fn meta_of(meta: &store::SnapshotMeta) -> Option<SnapshotMeta> {
    let configuration = Configuration::decode(&meta.configuration).ok()?;
    Some(SnapshotMeta { index: meta.index, term: meta.term, configuration })
}

/// Raft's word for what a snapshot is of, as the store's.
pub(super) fn stored_meta_of(meta: &SnapshotMeta) -> store::SnapshotMeta {
    let mut configuration = Vec::new();
    meta.configuration.encode(&mut configuration);
    store::SnapshotMeta { index: meta.index, term: meta.term, configuration: configuration.into() }
}
