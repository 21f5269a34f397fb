//! A log on a part of the disk: a store, and the end of what was given to it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base::{ClusterId, Instant, LogIndex, NodeId, Term};
use block::{BlockCompletion, BlockRequest};
use bytes::Bytes;
use pool::Pool;
use store::{Record, Recovered, Store};

use super::region::Part;

/// All records are of one term: nobody replaces any.
const TERM: Term = Term(1);
/// What a record takes besides its bytes: a header, and at most a sector to begin and one to end with.
const RECORD_MAX_BYTES: u64 = 64 + 2 * block::SECTOR_BYTES as u64;

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    part: Part,
    pub(super) store: Store,
    /// What was found on the disk, until it was read.
    pub(super) found: Option<Recovered>,
    next: LogIndex,
    issued: u64,
    durable: u64,
}

/// There is no room for the records: nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

impl Log {
    /// A log that begins to read its part of the disk. `blocks` is for its requests alone.
    pub(super) fn new(
        (node, cluster): (NodeId, ClusterId),
        part: Part,
        blocks: Pool,
        may_format: bool,
    ) -> Result<Log, String> {
        let config = store::Config {
            cluster,
            node,
            capacity_sectors: part.sectors(),
            wanted_kinds: &[],
            may_format,
            has_snapshots: false,
        };
        let store = Store::new(config, blocks).map_err(|error| format!("{error}"))?;
        Ok(Log { part, store, found: None, next: LogIndex(1), issued: 0, durable: 0 })
    }

    /// The disk is read: what is appended goes behind it.
    pub(super) fn note_found(&mut self, recovered: Recovered) {
        self.next = recovered.last_index.next();
        self.found = Some(recovered);
    }

    pub(super) fn outward(&self, request: BlockRequest) -> BlockRequest {
        self.part.outward(request)
    }

    /// A request has ended; it comes back if it is not one of this log's.
    pub(super) fn handle_completion(
        &mut self,
        completion: BlockCompletion,
        now: Instant,
    ) -> Result<(), BlockCompletion> {
        let completion = self.part.inward(completion)?;
        self.store.handle_completion(completion, now);
        Ok(())
    }

    /// Appends records in one write, and answers the index of the first.
    pub(super) fn append(&mut self, records: Vec<(u8, Bytes)>) -> Result<LogIndex, Full> {
        let indices = (self.next.0..).map(LogIndex);
        let records: Vec<Record> = indices
            .zip(records)
            .map(|(index, (kind, payload))| Record { index, term: TERM, kind, payload })
            .collect();
        let (first, count) = (self.next, records.len() as u64);
        self.store.persist(self.issued + 1, None, records).map_err(|_| Full)?;
        self.issued += 1;
        self.next = LogIndex(first.0 + count);
        Ok(first)
    }

    /// Everything up to this write is on the disk.
    pub(super) fn note_durable(&mut self, ticket: u64) {
        self.durable = self.durable.max(ticket);
    }

    /// The last write that was asked for.
    pub(super) fn issued(&self) -> u64 {
        self.issued
    }

    /// The last write that is on the disk.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// How many bytes of records there is room for, if they are one record.
    pub(super) fn room(&self) -> u64 {
        let (slots, bytes) = self.store.room();
        if slots == 0 { 0 } else { bytes.saturating_sub(RECORD_MAX_BYTES) }
    }

    pub(super) fn check_invariants(&self) {
        self.store.check_invariants();
        assert!(self.durable <= self.issued);
    }
}
