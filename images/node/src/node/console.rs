//! Requests from within: the lines of the console, and of whoever drives the node as a library.

use alloc::string::String;
use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId};
use bytes::Bytes;
use kv::service::ClientId;
use kv::{Command, Reply};
use raft::{Change, ChangeError};
use shell::{Match, Report, Source};

use super::{Asker, Node, view};
use crate::commands::{self, BftView, COMMANDS, CommandId, Outcome};
#[cfg(feature = "adversary")]
use crate::journal::Level;
use crate::members::RemovalError;
use crate::output::{Output, RequestId, Stop};
use crate::{traffic, web};

impl Node {
    /// Bytes have come over the serial line.
    pub fn handle_console(&mut self, bytes: &[u8], now: Instant) {
        self.note_time(now);
        self.is_settled = false;
        self.console.handle_bytes(bytes);
        while let Some(line) = self.console.poll_line() {
            self.execute_line(line, now);
        }
    }

    pub(super) fn execute_line(&mut self, line: shell::Line, now: Instant) {
        let shell::Line { source, text } = line;
        let (id, arguments, is_json) = match COMMANDS.find(&text) {
            Match::Blank => return self.console.answer(&source, "", 0),
            Match::Help(text) => return self.console.answer(&source, &text, 0),
            Match::Unknown(text) => {
                return self.console.answer(&source, &alloc::format!("error: {text}\n"), 2);
            }
            Match::Command { id, arguments, is_json } => (id, arguments, is_json),
        };
        self.renew_facts(now);
        if id == CommandId::Bft(BftView::Verify)
            && let Some(notary) = &mut self.notary
        {
            notary.verify(!arguments.is_empty(), now);
        }
        let counts = self.clients.counts();
        let others = (&counts, &self.traffic);
        let view = view(&self.about, &self.replica, self.notary.as_ref(), others, now);
        match commands::execute(id, arguments, &view, &self.journal) {
            Outcome::Report(report) if is_json => {
                self.console.answer(&source, &(report.to_json() + "\n"), 0);
            }
            Outcome::Report(report) => self.console.answer(&source, &report.to_text(), 0),
            Outcome::Ask(words) => self.ask(Asker::Console { source, is_json }, &words, now),
            Outcome::Transfer(to) => self.transfer(&source, to, now),
            Outcome::Trace(is_on) => {
                self.set_trace(is_on, now);
                let text = if is_on { "the trace begins\n" } else { "the trace ends\n" };
                self.console.answer(&source, text, 0);
            }
            Outcome::Shape(class, mbit) => {
                let (text, status) = match self.traffic.shape(class, mbit, now) {
                    Ok(class) if is_json => {
                        let shape = traffic::views::shape(&self.traffic, class);
                        (Report::Record(shape).to_json() + "\n", 0)
                    }
                    Ok(_) => (String::new(), 0),
                    Err(error) => (alloc::format!("error: {error}\n"), 1),
                };
                self.console.answer(&source, &text, status);
            }
            #[cfg(feature = "adversary")]
            Outcome::Lie(lie) => self.set_lie(&source, lie, now),
            Outcome::Remove(node) => self.remove(source, node, now),
            Outcome::Reboot => self.leave(&source, "the node starts afresh\n", Stop::Restart, now),
            Outcome::PowerOff => self.leave(&source, "the node stops\n", Stop::PowerOff, now),
            Outcome::Failed(text) => {
                self.console.answer(&source, &alloc::format!("error: {text}\n"), 1);
            }
            Outcome::Usage(text) => self.console.answer(&source, &(text + "\n"), 2),
        }
    }

    /// The node lies from now on, or does not any more.
    #[cfg(feature = "adversary")]
    fn set_lie(&mut self, source: &Source, lie: Option<bft::Lie>, now: Instant) {
        let Some(notary) = &mut self.notary else {
            return self.console.answer(source, "error: this node has no part in the ledger\n", 1);
        };
        notary.set_lie(lie, now);
        let name = lie.map_or("off", bft::Lie::name);
        self.journal.note(now, Level::Warn, "adversary", format_args!("lies: {name}"));
        self.console.answer(source, &alloc::format!("lies: {name}\n"), 0);
    }

    /// Removes a member; the answer comes when that has happened, or is given up.
    fn remove(&mut self, source: Source, node: NodeId, now: Instant) {
        match self.replica.remove(node, now) {
            Ok(()) => self.removing = Some(source),
            Err(error) => self.console.answer(&source, &alloc::format!("error: {error}\n"), 1),
        }
    }

    pub(super) fn answer_removal(&mut self, node: NodeId, result: Result<(), RemovalError>) {
        let Some(source) = self.removing.take() else { return };
        let (text, status) = match result {
            Ok(()) => (alloc::format!("node {node} is removed; its number is not used again\n"), 0),
            Err(error) => (alloc::format!("error: node {node} is not removed: {error}\n"), 1),
        };
        self.console.answer(&source, &text, status);
    }

    fn transfer(&mut self, source: &Source, to: Option<NodeId>, now: Instant) {
        let (text, status) = match self.replica.hand_over(to, now) {
            Ok(to) => (alloc::format!("leadership passes to node {to}\n"), 0),
            Err(error) => (alloc::format!("error: {error}\n"), 1),
        };
        self.console.answer(source, &text, status);
    }

    pub(super) fn show_console(&mut self) {
        while let Some(line) = self.journal.next_unprinted() {
            self.console.print_log(&alloc::format!("{line}"));
        }
        if let Some(bytes) = self.console.poll_output() {
            self.outputs.push_back(Output::Console(bytes));
        }
    }

    /// Changes who belongs to the cluster, if this node leads: several members at once too, for whoever knows
    /// what that means. What nodes want by themselves, and the shell offers, is one at a time.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn change_members(&mut self, changes: &[Change]) -> Result<LogIndex, ChangeError> {
        self.replica.change_members(changes)
    }

    /// Executes a command, as if a client had sent it; the answer is an output with the name that is
    /// returned.
    pub fn execute(&mut self, words: Vec<Bytes>, now: Instant) -> RequestId {
        self.note_time(now);
        self.is_settled = false;
        let request = RequestId(self.next_client + 1);
        self.ask(Asker::Caller(request), &words, now);
        request
    }

    /// Gives a command to the key-value service; the reply goes to `asker`.
    pub(super) fn ask(&mut self, asker: Asker, words: &[Bytes], now: Instant) {
        self.next_client += 1;
        let client = ClientId(self.next_client);
        self.renew_facts(now);
        let Some(kv) = &mut self.kv else {
            return self
                .reply_to(asker, Reply::error("CLUSTERDOWN this node is still reading its disk"));
        };
        match Command::parse(words) {
            Ok(command) => {
                kv.open_internal(client, now);
                self.requests.insert(client, asker);
                kv.submit(client, command, now).expect("a fresh client may submit a command");
            }
            Err(error) => self.reply_to(asker, error.reply()),
        }
    }

    pub(super) fn reply_to(&mut self, asker: Asker, reply: Reply) {
        match asker {
            Asker::Caller(request) => self.outputs.push_back(Output::Answer(request, reply)),
            Asker::Page(place) => {
                self.has_moved = true;
                self.clients.answer(place, &web::response_to(&reply));
            }
            Asker::Console { source, is_json } => {
                let (text, is_good) = commands::show_reply(&reply, is_json);
                self.console.answer(&source, &text, u8::from(!is_good));
            }
        }
    }
}
