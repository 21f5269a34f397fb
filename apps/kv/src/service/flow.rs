//! How a client's commands start, become answered, and leave in order.

use alloc::vec::Vec;

use base::{Duration, Instant, LogIndex, limits};
use bytes::Bytes;

use super::client::{Answerable, Client, Phase, Slot, State};
use super::{ClientId, KvService, Output, Question, SubmitError};
use crate::Mutant;
use crate::command::{Command, Ledger, Write};
use crate::machine::OUT_OF_MEMORY;
use crate::resp::Reply;

/// To a write that no try of which can be in a log.
pub(super) const NOT_EXECUTED: Reply =
    Reply::error("CLUSTERDOWN no leader could be reached: the command was not executed");
/// To a write of which some try may be in a log.
pub(super) const UNKNOWN_OUTCOME: Reply = Reply::error(
    "CLUSTERDOWN no majority answered in time: the command may or may not have been executed",
);
/// To a read.
pub(super) const NOT_READ: Reply =
    Reply::error("CLUSTERDOWN no majority answered in time: nothing was read");

impl KvService {
    /// The next command of a client. Its reply comes by [`Output::Reply`], after those of the
    /// commands before.
    ///
    /// # Errors
    /// If there is no such client, or it does not want input now. Nothing changed then.
    pub fn submit(
        &mut self,
        client: ClientId,
        command: Command,
        now: Instant,
    ) -> Result<(), SubmitError> {
        let known = self.clients.get_mut(&client).ok_or(SubmitError::UnknownClient)?;
        if !known.wants_input() {
            return Err(SubmitError::NotNow);
        }
        known.active_at = now;
        self.counters.commands += 1;
        self.now = self.now.max(now);
        let state = match command {
            Command::Local(local) => State::Answered(self.execute_local(client, local)),
            Command::Read(read) => State::ReadToStart(read),
            Command::Write(write) => self.admit_write(client, &write),
            Command::Ledger(command) => self.pass_on(client, command),
        };
        self.enqueue(client, state);
        self.settle_down(now);
        Ok(())
    }

    /// Answers a client without a command: its bytes were none.
    ///
    /// # Errors
    /// As of [`submit`](Self::submit).
    pub fn refuse(
        &mut self,
        client: ClientId,
        reply: Reply,
        now: Instant,
    ) -> Result<(), SubmitError> {
        if !self.clients.contains_key(&client) {
            return Err(SubmitError::UnknownClient);
        }
        if !self.wants_input(client) {
            return Err(SubmitError::NotNow);
        }
        self.counters.refused += 1;
        self.enqueue(client, State::Answered(reply));
        self.settle_down(now);
        Ok(())
    }

    /// Passes a command on to the ledger. The client's later commands do not wait for it; their replies do.
    fn pass_on(&mut self, client: ClientId, command: Ledger) -> State {
        let number = self.clients.get(&client).map_or(0, Client::next_slot);
        let is_write = matches!(command, Ledger::Append(_) | Ledger::AppendSigned(_));
        let question = Question::new(client, number);
        self.outputs.push_back(Output::Ledger { question, command });
        State::Elsewhere { is_write }
    }

    /// The ledger's answer to a command that was passed on. It is too late if the client is gone, or was told
    /// that there is none.
    pub fn handle_ledger_reply(&mut self, question: Question, reply: Reply, now: Instant) {
        let Question { client, number } = question;
        let slot = self.clients.get_mut(&client).and_then(|client| client.slot(number));
        if let Some(Slot { deadline, state: State::Elsewhere { .. } }) = slot {
            self.deadlines.remove(&(*deadline, client, number));
            self.answer(client, number, reply);
        }
        self.settle_down(now);
    }

    /// A write that certainly finds no room is refused before it reaches the log. With writes of
    /// the same client under way nothing is certain: they may be about to make room.
    fn admit_write(&self, client: ClientId, write: &Write) -> State {
        let alone = self.clients.get(&client).is_some_and(|client| client.slots.is_empty());
        if alone && self.machine.lacks_room_for(write) {
            return State::Answered(OUT_OF_MEMORY);
        }
        let mut encoded = Vec::new();
        write.encode(&mut encoded);
        State::WriteToStart(Bytes::from(encoded))
    }

    fn enqueue(&mut self, client: ClientId, state: State) {
        let deadline = self.now + Duration::from_millis(limits::KV_ANSWER_WITHIN_MS);
        let answered = matches!(state, State::Answered(_));
        let known = self.clients.get_mut(&client).expect("the caller has found the client");
        self.buffered_bytes -= known.buffered_bytes();
        let number = known.push(Slot { deadline, state });
        self.buffered_bytes += known.buffered_bytes();
        if !answered {
            self.deadlines.insert((deadline, client, number));
        }
        self.list(client);
    }

    /// Notes that something may be sent to a client, or started for it.
    pub(super) fn list(&mut self, client: ClientId) {
        if let Some(known) = self.clients.get_mut(&client)
            && !known.is_listed
        {
            known.is_listed = true;
            self.listed.push_back(client);
        }
    }

    /// Serves the listed clients, until the work of one call is done.
    pub(super) fn serve_clients(&mut self) {
        let mut budget = limits::KV_KEYS_LISTED_MAX;
        while budget > 0
            && let Some(client) = self.listed.pop_front()
        {
            let Some(known) = self.clients.get_mut(&client) else {
                continue;
            };
            known.is_listed = false;
            budget = budget.saturating_sub(1);
            self.send_replies(client, &mut budget);
            self.start_next(client);
        }
    }

    /// Hands out the replies that are next in line, and executes the reads that are.
    fn send_replies(&mut self, client: ClientId, budget: &mut usize) {
        let Some(known) = self.clients.get_mut(&client) else {
            return;
        };
        self.buffered_bytes -= known.buffered_bytes();
        while *budget > 0
            && known.wants_output()
            && let Some(state) = known.pop_if_answerable()
        {
            let reply = match state {
                Answerable::Reply(reply) => reply,
                Answerable::Read(read) => {
                    *budget = budget.saturating_sub(read.cost());
                    self.counters.reads += 1;
                    self.machine.read(&read, self.clock.now_ms(self.now))
                }
            };
            known.expect_output(reply.wire_bytes());
            self.outputs.push_back(Output::Reply { client, reply });
        }
        if known.slots.is_empty() && known.phase == Phase::Finishing {
            known.phase = Phase::Finished;
            self.outputs.push_back(Output::Close { client });
        }
        self.buffered_bytes += known.buffered_bytes();
        if *budget == 0 {
            self.list(client);
        }
    }

    /// Starts the client's last command, if it waits to start and may.
    fn start_next(&mut self, client: ClientId) {
        let Some(known) = self.clients.get_mut(&client).filter(|client| client.is_blocked()) else {
            return;
        };
        let number = known.next_slot() - 1;
        let slot = known.slots.back().expect("a client that is blocked has a command");
        let deadline = slot.deadline;
        match &slot.state {
            State::WriteToStart(_) if known.weight.reads > 0 => {}
            State::WriteToStart(encoded) if !self.writes.has_room(encoded.len()) => {
                if !known.is_starved {
                    known.is_starved = true;
                    self.starved.push_back(client);
                }
            }
            State::WriteToStart(encoded) => {
                let encoded = encoded.clone();
                let place = (client, number);
                self.writes.start(place, encoded, deadline, self.now);
                self.deadlines.remove(&(deadline, client, number));
                self.set_state(client, number, State::Writing);
                self.feed_starved();
            }
            State::ReadToStart(_) if known.weight.writes > 0 => {}
            State::ReadToStart(read) => {
                let read = read.clone();
                self.reads.add((client, number));
                self.set_state(client, number, State::Reading(read));
            }
            State::Writing
            | State::Reading(_)
            | State::Confirmed(_)
            | State::Elsewhere { .. }
            | State::Answered(_) => {
                unreachable!("a client that is blocked has a command that waits to start")
            }
        }
    }

    fn set_state(&mut self, client: ClientId, number: u64, state: State) -> Option<State> {
        let known = self.clients.get_mut(&client)?;
        self.buffered_bytes -= known.buffered_bytes();
        let before = known.advance(number, state);
        self.buffered_bytes += known.buffered_bytes();
        before
    }

    /// A command's reply is known. If the client is gone, nothing happens.
    pub(super) fn answer(&mut self, client: ClientId, number: u64, reply: Reply) {
        self.set_state(client, number, State::Answered(reply));
        self.list(client);
    }

    /// Marks the reads that may be answered. They are executed when they are first in their
    /// client's line.
    pub(super) fn answer_reads(&mut self) {
        let is_hasty = self.machine.has_bug(Mutant::ReadsDoNotWait);
        let applied = if is_hasty { LogIndex(u64::MAX) } else { self.machine.applied() };
        while let Some(tickets) = self.reads.take_answerable(applied) {
            for (client, number) in tickets {
                self.confirm(client, number);
            }
        }
    }

    fn confirm(&mut self, client: ClientId, number: u64) {
        let slot = self.clients.get_mut(&client).and_then(|client| client.slot(number));
        let Some(Slot { deadline, state: State::Reading(read) }) = slot else {
            return;
        };
        let (deadline, read) = (*deadline, read.clone());
        self.deadlines.remove(&(deadline, client, number));
        self.set_state(client, number, State::Confirmed(read));
        self.list(client);
    }

    /// Answers the commands whose time is over. (Those of writes under way are kept with the
    /// writes.)
    pub(super) fn expire_commands(&mut self) {
        while let Some(&(at, client, number)) = self.deadlines.first()
            && at <= self.now
        {
            self.deadlines.pop_first();
            self.counters.timed_out += 1;
            let slot = self.clients.get_mut(&client).and_then(|client| client.slot(number));
            let reply = match slot.map(|slot| &slot.state) {
                Some(State::WriteToStart(_)) => NOT_EXECUTED,
                Some(State::ReadToStart(_) | State::Reading(_)) => NOT_READ,
                Some(State::Elsewhere { is_write: true }) => UNKNOWN_OUTCOME,
                Some(State::Elsewhere { is_write: false }) => NOT_READ,
                Some(State::Writing | State::Confirmed(_) | State::Answered(_)) | None => {
                    unreachable!("deadlines are kept for commands that wait")
                }
            };
            self.reads.cancel((client, number));
            self.answer(client, number, reply);
        }
    }

    /// Lets the next starved client try again. If it finds room, it lets the one after it try.
    pub(super) fn feed_starved(&mut self) {
        while let Some(client) = self.starved.pop_front() {
            let Some(known) = self.clients.get_mut(&client) else {
                continue;
            };
            known.is_starved = false;
            if known.is_blocked() {
                return self.list(client);
            }
        }
    }

    /// Cuts off the client that holds most while all together hold too much.
    pub(super) fn evict(&mut self) {
        while self.buffered_bytes > limits::KV_CLIENT_BUFFERS_MAX_BYTES {
            let largest = self.clients.iter().max_by_key(|(_, client)| client.buffered_bytes());
            let Some((&client, _)) = largest else {
                return;
            };
            self.counters.evicted += 1;
            self.outputs.push_back(Output::Abort { client });
            self.forget(client);
        }
    }
}
