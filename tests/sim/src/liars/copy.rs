//! A running copy of a replica.

use std::collections::BTreeMap;

use bft::{Adversary, BftNode, Event, Record, Restored, Sequence, SigningRecord, ViewNumber};
use bytes::Bytes;

use super::cluster::signing_key;
use super::counts::{Counts, Kind};
use super::machine::Machine;

/// A running copy of a replica, and what it has of a machine. Twins are two copies of one replica.
#[derive(Debug)]
pub struct Copy {
    /// Which replica it is.
    pub slot: usize,
    /// The replica, while it is on.
    pub node: Option<BftNode>,
    /// The state that its decisions make.
    pub machine: Machine,
    /// Its signing record.
    pub disk: Vec<Record>,
    /// Copies of the state at checkpoints.
    pub snapshots: BTreeMap<Sequence, Bytes>,
    /// It lies.
    pub adversary: Option<Adversary>,
    /// It runs the code of all, and is a liar all the same: it has a twin.
    pub is_twin: bool,
    /// Its signing record was damaged, and is when it starts again.
    pub is_damaged: bool,
    /// What it has told of.
    pub events: Vec<Event>,
    pub(super) incoming: Vec<u8>,
    /// Which life of the copy it is: writes of earlier ones are lost.
    pub(super) life: u64,
    /// The records of this life that are being written.
    pub(super) writing: usize,
}

impl Copy {
    /// A copy of the replica with this slot that is off, and has an empty disk.
    pub(super) fn new(slot: usize) -> Copy {
        Copy {
            slot,
            node: None,
            machine: Machine::default(),
            disk: Vec::new(),
            snapshots: BTreeMap::new(),
            adversary: None,
            is_twin: false,
            is_damaged: false,
            events: Vec::new(),
            incoming: Vec::new(),
            life: 0,
            writing: 0,
        }
    }

    /// Whether it neither lies nor has a twin.
    pub fn is_honest(&self) -> bool {
        self.adversary.is_none() && !self.is_twin
    }

    /// The latest view that it moved to, by its record.
    pub fn recorded_view(&self) -> ViewNumber {
        let view = |record: &Record| match record {
            Record::Left(change) => Some(change.view),
            Record::Entered(new_view) => Some(new_view.view),
            _ => None,
        };
        self.disk.iter().filter_map(view).max().unwrap_or(ViewNumber(0))
    }

    /// It loses power.
    pub(super) fn crash(&mut self, counts: &mut Counts) {
        if self.node.is_none() {
            return;
        }
        counts.note(Kind::Crashes);
        counts.add(Kind::RecordsLost, self.writing as u64);
        self.count_node(counts);
        (self.node, self.writing) = (None, 0);
        self.life += 1;
    }

    /// What it finds when it starts again; with `record` in place of what it has.
    pub(super) fn restored(&mut self, record: Option<SigningRecord>) -> Restored {
        let latest = self.snapshots.last_key_value().map(|(_, bytes)| bytes.clone());
        let latest = latest.map(|bytes| Machine::restore(&bytes).expect("it is a snapshot"));
        self.machine = latest.unwrap_or_default();
        let record = record.unwrap_or_else(|| match self.is_damaged {
            true => SigningRecord::Damaged { view: None },
            false => SigningRecord::Intact(self.disk.clone()),
        });
        self.is_damaged |= matches!(record, SigningRecord::Damaged { .. });
        Restored { applied: self.machine.applied, record }
    }

    pub(super) fn start(
        &mut self,
        config: bft::Config,
        restored: Restored,
        seed: u64,
        now: base::Instant,
    ) {
        let node = BftNode::restore(config, signing_key(self.slot), restored, seed, now);
        self.node = Some(node.expect("the configuration is good"));
    }

    /// Takes over what its replica has counted, which ends.
    pub(super) fn count_node(&self, counts: &mut Counts) {
        let Some(status) = self.node.as_ref().map(BftNode::status) else { return };
        if self.is_honest() {
            counts.add(Kind::DecidedFast, status.counters.decided_fast);
            counts.add(Kind::ViewsLeft, status.counters.views_left);
            counts.add(Kind::StatesInstalled, status.counters.states_installed);
            counts.add(Kind::BadSignatures, status.counters.bad_signatures);
            let liars = self.node.as_ref().map(BftNode::liars).unwrap_or_default();
            counts.add(Kind::Convicted, liars.proven.len() as u64);
        }
    }
}
