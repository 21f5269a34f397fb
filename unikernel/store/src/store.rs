//! The store: what it is asked, what it answers, and in which state it is.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base::{Instant, LogIndex, Term, limits};
use block::{BlockCompletion, BlockError, BlockRequest};
use bytes::Bytes;
use pool::Pool;

use crate::batch::Writer;
use crate::hard_state::HardState;
use crate::layout::{Config, ConfigError, Layout};
use crate::reading::Reader;
use crate::recovery::Recovery;
use crate::transfer::Io;

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its position, counted from 1.
    pub index: LogIndex,
    /// The term that it was made in.
    pub term: Term,
    /// What it is: the caller's number.
    pub kind: u8,
    /// What it holds.
    pub payload: Bytes,
}

/// What was found on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// How often the node has started with this disk, this time included. Durable.
    pub epoch: u64,
    /// The hard state.
    pub hard_state: HardState,
    /// The end of the log, 0 if it is empty.
    pub last_index: LogIndex,
    /// The terms of all records: for each run its first index.
    pub terms: Vec<(LogIndex, Term)>,
    /// How many records of a torn batch were dropped: nobody was told that they were durable.
    pub torn: u64,
    /// How many headers were taken from their copies.
    pub repaired: usize,
    /// The disk was empty, and has been formatted.
    pub is_fresh: bool,
}

/// What of a record is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// Its header, and the copy of it.
    Header,
    /// Its payload.
    Body,
}

/// Something on the disk that was acknowledged and cannot be read any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Which record.
    pub index: LogIndex,
    /// What of it.
    pub what: Where,
    /// The sector, as far as it is known.
    pub sector: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Where::Header => "header",
            Where::Body => "body",
        };
        write!(f, "the {what} of entry {} is damaged (sector {})", self.index, self.sector)
    }
}

/// Why the store has given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The disk is neither empty nor one of ours.
    NotOurs,
    /// The disk belongs to another node, or another cluster: what it says it is.
    WrongOwner(String),
    /// The disk has another size than when it was formatted.
    Resized,
    /// Both places of the hard state are unreadable: the node does not know what it has promised.
    HardStateLost,
    /// A record that may have been acknowledged is damaged.
    Damaged(Damage),
    /// The disk reported an error. What of the last writes is durable is not known.
    Io(BlockError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotOurs => {
                f.write_str("the disk holds something else; give the node an empty one")
            }
            Failure::WrongOwner(owner) => write!(f, "the disk belongs to {owner}"),
            Failure::Resized => {
                f.write_str("the size of the disk has changed since it was formatted")
            }
            Failure::HardStateLost => {
                f.write_str("the hard state is damaged: this node cannot know whom it voted for")
            }
            Failure::Damaged(damage) => {
                write!(f, "{damage}; this node may have acknowledged it and must not forget it")
            }
            Failure::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Why something cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PersistError {
    /// There is no room on the disk.
    Full,
    /// The store is not ready, or has given up.
    NotReady,
}

/// Why something cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// There is no such durable record.
    Absent,
    /// The store is not ready, or has given up.
    NotReady,
}

/// What the store wants done, or has done.
#[derive(Debug)]
pub enum Output {
    /// Hand this to the disk.
    Request(BlockRequest),
    /// The disk is read: the store is ready.
    Recovered(Recovered),
    /// Everything up to this ticket is durable.
    Persisted(u64),
    /// Records that were asked for: consecutive, at least one.
    Read(u64, Vec<Record>),
    /// The store has given up; nothing more comes from it.
    Failed(Failure),
}

/// How the store is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The last record that is durable.
    pub durable_last: LogIndex,
    /// How many records there is a place for.
    pub slots: u64,
    /// Bytes of bodies in use, padding and what was cut off included.
    pub body_bytes_used: u64,
    /// Bytes of bodies that there is room for.
    pub body_bytes: u64,
    /// Batches written since the start.
    pub batches: u64,
    /// Records written since the start.
    pub records: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// How often the node has started with this disk.
    pub epoch: u64,
}

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
    Ready { writer: Box<Writer>, reader: Reader },
    Failed,
}

impl Store {
    /// A store on a disk of which nothing is known yet: it starts by reading. `pool` is for its requests
    /// alone; the larger its buffers, the fewer requests.
    ///
    /// # Errors
    /// If the disk is too small.
    pub fn new(config: Config, pool: Pool) -> Result<Store, ConfigError> {
        let layout = Layout::new(config.capacity_sectors)?;
        let mut io = Io::new(pool);
        let recovery = Recovery::start(layout, &mut io);
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
    /// If the records are not consecutive, or leave a gap behind the log.
    pub fn persist(
        &mut self,
        ticket: u64,
        hard_state: Option<HardState>,
        records: Vec<Record>,
    ) -> Result<(), PersistError> {
        let State::Ready { writer, .. } = &mut self.state else {
            return Err(PersistError::NotReady);
        };
        writer.enqueue(ticket, hard_state, records)?;
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
        let State::Ready { writer, reader } = &mut self.state else {
            return Err(ReadError::NotReady);
        };
        let to = to.min(writer.durable_last());
        if from == LogIndex(0) || from > to {
            return Err(ReadError::Absent);
        }
        reader.enqueue(id, from, to, max_bytes);
        self.pump();
        Ok(())
    }

    /// A request has ended.
    pub fn handle_completion(&mut self, completion: BlockCompletion, now: Instant) {
        let result = match &mut self.state {
            State::Recovering(recovery) => {
                recovery.handle_completion(&completion, &self.config, &mut self.io)
            }
            State::Ready { writer, reader } => match writer.handle_completion(&completion, now) {
                Some(result) => result,
                None => reader.handle_completion(&completion, writer),
            },
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
        if let State::Ready { writer, .. } = &mut self.state {
            writer.handle_timeout(now);
            self.pump();
        }
    }

    /// When [`Store::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Ready { writer, .. } => writer.poll_timeout(),
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
            State::Ready { writer, .. } => writer.room(),
            State::Recovering(_) | State::Failed => (0, 0),
        }
    }

    /// How the store is doing.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Ready { writer, .. } => writer.status(),
            State::Recovering(_) | State::Failed => Status::default(),
        }
    }

    /// Does whatever can be done now.
    fn pump(&mut self) {
        match &mut self.state {
            State::Recovering(recovery) => {
                recovery.pump(&mut self.io);
                if let Some((recovered, writer)) = recovery.take_result() {
                    self.outputs.push_back(Output::Recovered(recovered));
                    let writer = Box::new(writer);
                    self.state = State::Ready { writer, reader: Reader::default() };
                }
            }
            State::Ready { writer, reader } => {
                writer.pump(&mut self.io, reader.is_busy());
                while let Some(ticket) = writer.take_persisted() {
                    self.outputs.push_back(Output::Persisted(ticket));
                }
                reader.pump(&mut self.io, writer);
                while let Some((id, records)) = reader.take_answer() {
                    self.outputs.push_back(Output::Read(id, records));
                }
            }
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
        if let State::Ready { writer, .. } = &self.state {
            writer.check_invariants();
        }
    }
}

/// How many payload bytes go into one batch at most, if they come in more than one piece.
pub(crate) const BATCH_MAX_BYTES: usize = limits::ENTRY_PAYLOAD_MAX_BYTES;
