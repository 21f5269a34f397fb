//! The store: what it is asked, and in which state it is.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::{Instant, LogIndex, Term};
use block::BlockCompletion;
use pool::Pool;

use crate::error::{
    CompactError, Failure, PersistError, ReadError, RepairError, ResetError, SnapshotError,
};
use crate::hard_state::HardState;
use crate::layout::{Config, ConfigError, Layout};
use crate::output::{Output, Record, Status};
use crate::reading::Reader;
use crate::recovery::Recovery;
use crate::snapshot::{SnapshotMeta, SnapshotReader, SnapshotWriter, StoredSnapshot};
use crate::transfer::Io;
use crate::writing::Writer;

/// See the crate.
#[derive(Debug)]
pub struct Store {
    pub(crate) config: Config,
    pub(crate) io: Io,
    state: State,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Recovering(Box<Recovery>),
    Ready(Box<Ready>),
    Failed,
}

/// The parts of a store whose disk is read.
#[derive(Debug)]
struct Ready {
    writer: Writer,
    reader: Reader,
    snapshot_writer: SnapshotWriter,
    snapshot_reader: SnapshotReader,
}

impl Ready {
    /// The log comes first: whoever comes first takes the buffers that are free.
    fn pump(&mut self, io: &mut Io, outputs: &mut VecDeque<Output>) {
        self.writer.pump(io, self.reader.is_busy());
        while let Some(ticket) = self.writer.take_persisted() {
            outputs.push_back(Output::Persisted(ticket));
        }
        self.reader.pump(io, &self.writer);
        outputs.extend(core::iter::from_fn(|| self.reader.take_output()));
        let is_writing = self.writer.is_writing();
        self.snapshot_writer.pump(io, self.snapshot_reader.place(), is_writing);
        outputs.extend(core::iter::from_fn(|| self.snapshot_writer.take_output()));
        self.snapshot_reader.pump(io, &self.snapshot_writer, is_writing);
        outputs.extend(core::iter::from_fn(|| self.snapshot_reader.take_output()));
    }

    fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        now: Instant,
    ) -> Result<(), Failure> {
        let layout = self.writer.layout();
        let result = self.writer.handle_completion(completion, now);
        let result = result.or_else(|| self.reader.handle_completion(completion, layout));
        if let Some(result) = result {
            return result;
        }
        let taken = self.snapshot_writer.handle_completion(completion);
        taken.or_else(|| self.snapshot_reader.handle_completion(completion));
        Ok(())
    }

    fn status(&self) -> Status {
        let installed = self.snapshot_writer.installed();
        Status {
            snapshot_index: installed.map_or(LogIndex(0), |installed| installed.head.meta.index),
            snapshot_bytes: installed.map_or(0, |installed| installed.head.total_bytes),
            snapshot_max_bytes: self.snapshot_writer.data_max_bytes(),
            damaged: self.reader.counts.damaged,
            repaired: self.reader.counts.repaired,
            scrubbed: self.reader.counts.scrubbed,
            ..self.writer.status()
        }
    }
}

impl Store {
    /// A store on a disk of which nothing is known yet: it starts by reading. `pool` is for its requests
    /// alone; the larger its buffers, the fewer requests.
    ///
    /// # Errors
    /// If the disk is too small.
    pub fn new(config: Config, pool: Pool) -> Result<Store, ConfigError> {
        let layout = Layout::new(config.capacity_sectors, config.has_snapshots)?;
        let mut io = Io::new(pool);
        let recovery = Recovery::start(layout, &config, &mut io);
        Ok(Store {
            config,
            io,
            state: State::Recovering(Box::new(recovery)),
            outputs: VecDeque::new(),
        })
    }

    /// Writes a hard state, records, or both, after everything that was asked for before: all or nothing, if
    /// there are no more than 1024 records. Records are consecutive; what the log holds from the first of
    /// them on is replaced. What is asked for while the disk is busy is written together, with one flush.
    ///
    /// # Errors
    /// If there is no room, or the store has given up; then nothing has changed.
    ///
    /// # Panics
    /// If the records are not consecutive, leave a gap behind the log, or replace what was given up.
    pub fn persist(
        &mut self,
        ticket: u64,
        hard_state: Option<HardState>,
        records: Vec<Record>,
    ) -> Result<(), PersistError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(PersistError::NotReady);
        };
        ready.writer.enqueue(ticket, hard_state, records)?;
        self.pump();
        Ok(())
    }

    /// Reads records from `from` on, as many as have about `max_bytes`, one at the least. The answer is an
    /// output with this `id`.
    ///
    /// # Errors
    /// If there is no such durable record.
    pub fn read(
        &mut self,
        id: u64,
        from: LogIndex,
        to: LogIndex,
        max_bytes: usize,
    ) -> Result<(), ReadError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(ReadError::NotReady);
        };
        let to = to.min(ready.writer.durable_last());
        if from < ready.writer.first() || from > to {
            return Err(ReadError::Absent);
        }
        ready.reader.read(id, from, to, max_bytes);
        self.pump();
        Ok(())
    }

    /// Verifies records from `from` on, as many as have about `max_bytes`, one at the least, with everything
    /// that the disk has of them. [`Output::Scrubbed`] tells how far it has come.
    ///
    /// # Errors
    /// If there is no such durable record.
    pub fn scrub(&mut self, from: LogIndex, max_bytes: usize) -> Result<(), ReadError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(ReadError::NotReady);
        };
        let to = ready.writer.durable_last();
        if from < ready.writer.first() || from > to {
            return Err(ReadError::Absent);
        }
        ready.reader.scrub(from, to, max_bytes);
        self.pump();
        Ok(())
    }

    /// Writes an intact copy of a damaged record in its place: [`Output::Repaired`] comes when it is durable,
    /// or [`Output::NotRepaired`] if it is not the record that was written there.
    ///
    /// # Errors
    /// If there is no such durable record, or too many wait; then nothing has changed.
    pub fn repair(&mut self, record: Record) -> Result<(), RepairError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(RepairError::NotReady);
        };
        if record.index < ready.writer.first() || record.index > ready.writer.durable_last() {
            return Err(RepairError::Absent);
        }
        if !ready.reader.repair(record) {
            return Err(RepairError::Busy);
        }
        self.pump();
        Ok(())
    }

    /// Gives up the records before `first`, at once or soon: their room is free, and they cannot be read any
    /// more, when a mark that says so is durable. What is given up already is given up again without effect.
    ///
    /// A log that reaches back to the index of the snapshot before the newest survives the loss of the
    /// newest.
    ///
    /// # Errors
    /// If the durable snapshot does not stand for all that is before `first` (where there are snapshots), or
    /// that is not all durable, or is about to be replaced; then nothing has changed.
    pub fn compact(&mut self, first: LogIndex) -> Result<(), CompactError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(CompactError::NotReady);
        };
        let installed = ready.snapshot_writer.installed();
        let index = installed.map_or(LogIndex(0), |installed| installed.head.meta.index);
        if self.config.has_snapshots && first > index.next() {
            return Err(CompactError::BeyondSnapshot);
        }
        ready.writer.compact(first)?;
        self.pump();
        Ok(())
    }

    /// Empties the log, after everything that was asked for before: it ends at `index`, as if it had held a
    /// record of `term` there, and the next record is the one behind. That is for a snapshot that another
    /// node has made; the log that holds its record goes on as it is. The reset is durable when the next
    /// [`Store::persist`] is, even one of nothing.
    ///
    /// # Errors
    /// If that is not what the durable snapshot is of; then nothing has changed.
    pub fn reset_log(&mut self, index: LogIndex, term: Term) -> Result<(), ResetError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(ResetError::NotReady);
        };
        let installed = ready.snapshot_writer.installed();
        let is_its = |meta: &SnapshotMeta| meta.index == index && meta.term == term;
        if !installed.is_some_and(|installed| is_its(&installed.head.meta)) {
            return Err(ResetError::NoSuchSnapshot);
        }
        ready.writer.reset(index, term);
        self.pump();
        Ok(())
    }

    /// Begins to write a snapshot, beside the one that counts.
    ///
    /// # Errors
    /// If there is one at least as new, or another is being written, or the configuration is too long.
    pub fn begin_snapshot(&mut self, meta: SnapshotMeta) -> Result<(), SnapshotError> {
        self.change_snapshot(|writer| writer.begin(meta))
    }

    /// The next part of its data, of any length. [`Output::SnapshotStored`] tells how far it has come.
    ///
    /// # Errors
    /// If none is being written, or too much waits, or there is no room for it.
    pub fn append_snapshot(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.change_snapshot(|writer| writer.append(bytes))
    }

    /// All of its data is there. When it is durable it counts, and [`Output::SnapshotDurable`] says so.
    ///
    /// # Errors
    /// If none is being written.
    pub fn finish_snapshot(&mut self) -> Result<(), SnapshotError> {
        self.change_snapshot(SnapshotWriter::finish)
    }

    /// Forgets the snapshot that is being written.
    ///
    /// # Errors
    /// If none is being written, or it is too late: it is about to count, and will be heard of.
    pub fn abandon_snapshot(&mut self) -> Result<(), SnapshotError> {
        self.change_snapshot(SnapshotWriter::abandon)
    }

    /// The snapshot that counts is damaged: the one before it counts from now on, or none, if the log reaches
    /// back to there. Nothing is written; the next snapshot goes to the place of the damaged one.
    ///
    /// # Errors
    /// If the log does not, or another snapshot is being written; then nothing has changed.
    pub fn fall_back(&mut self) -> Result<Option<StoredSnapshot>, SnapshotError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(SnapshotError::NotReady);
        };
        let first = ready.writer.first();
        ready.snapshot_writer.fall_back(first)
    }

    /// The snapshot that counts is damaged, and [`Store::fall_back`] was of no help: one of the same record,
    /// from another node, may take its place.
    pub fn doubt_snapshot(&mut self) {
        if let State::Ready(ready) = &mut self.state {
            ready.snapshot_writer.doubt();
        }
    }

    fn change_snapshot(
        &mut self,
        change: impl FnOnce(&mut SnapshotWriter) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(SnapshotError::NotReady);
        };
        change(&mut ready.snapshot_writer)?;
        self.pump();
        Ok(())
    }

    /// Reads the snapshot that counts from `offset` on, one byte at the least, `max_bytes` at the most, and
    /// no further than the next multiple of [`crate::SNAPSHOT_BLOCK_BYTES`]. The answer is an output with
    /// this `id`.
    ///
    /// # Errors
    /// If there is no snapshot, or it ends before `offset`, or too many questions wait.
    pub fn read_snapshot(
        &mut self,
        id: u64,
        offset: u64,
        max_bytes: usize,
    ) -> Result<(), ReadError> {
        let State::Ready(ready) = &mut self.state else {
            return Err(ReadError::NotReady);
        };
        let installed = ready.snapshot_writer.installed();
        ready.snapshot_reader.enqueue(id, offset, max_bytes, installed)?;
        self.pump();
        Ok(())
    }

    /// A request has ended.
    pub fn handle_completion(&mut self, completion: BlockCompletion, now: Instant) {
        let result = match &mut self.state {
            State::Recovering(recovery) => {
                recovery.handle_completion(&completion, &self.config, &mut self.io)
            }
            // Also when nobody waits for it any more: a failed flush may have lost what the others wrote.
            State::Ready(_) if completion.result.is_err() => completion.result.map_err(Failure::Io),
            State::Ready(ready) => ready.handle_completion(&completion, now),
            State::Failed => Ok(()),
        };
        // The buffer goes back before anybody looks for one.
        drop(completion);
        match result {
            Ok(()) => self.pump(),
            Err(failure) => self.fail(failure),
        }
    }

    /// A deadline of [`Store::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Ready(ready) = &mut self.state {
            ready.writer.handle_timeout(now);
            self.pump();
        }
    }

    /// When [`Store::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Ready(ready) => ready.writer.poll_timeout(),
            State::Recovering(_) | State::Failed => None,
        }
    }

    /// The next thing that is wanted, or done.
    pub fn poll_output(&mut self) -> Option<Output> {
        let request = self.io.requests.pop_front().map(Output::Request);
        request.or_else(|| self.outputs.pop_front())
    }

    /// How much room there is for records with payload: how many records, and how many bytes of bodies.
    pub fn room(&self) -> (u64, u64) {
        match &self.state {
            State::Ready(ready) => ready.writer.room(),
            State::Recovering(_) | State::Failed => (0, 0),
        }
    }

    /// How the store is doing.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Ready(ready) => ready.status(),
            State::Recovering(_) | State::Failed => Status::default(),
        }
    }

    /// Does whatever can be done now.
    fn pump(&mut self) {
        match &mut self.state {
            State::Recovering(recovery) => {
                recovery.pump(&mut self.io);
                if let Some((recovered, writer, snapshot_writer)) = recovery.take_result() {
                    self.outputs.push_back(Output::Recovered(recovered));
                    self.state = State::Ready(Box::new(Ready {
                        writer,
                        reader: Reader::default(),
                        snapshot_writer,
                        snapshot_reader: SnapshotReader::default(),
                    }));
                }
            }
            State::Ready(ready) => ready.pump(&mut self.io, &mut self.outputs),
            State::Failed => {}
        }
    }

    /// Gives up: whatever was under way is forgotten (pitfall 18: a failed flush is not tried again).
    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed;
        self.io.requests.clear();
        self.outputs.push_back(Output::Failed(failure));
    }

    /// Asserts what must hold between calls.
    ///
    /// # Panics
    /// If something does not: a bug.
    pub fn check_invariants(&self) {
        if let State::Ready(ready) = &self.state {
            ready.writer.check_invariants();
            ready.snapshot_writer.check_invariants();
        }
    }
}
