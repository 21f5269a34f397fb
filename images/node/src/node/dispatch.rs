//! Which output of one service is which input of another.

use alloc::vec::Vec;

use base::{Instant, LogIndex};
use bytes::Bytes;
use kv::service::{self, Proposal, Question, Refusal};
use kv::{KvService, Reply};
use raft::{LogEntry, Payload, ProposeError};

use super::Node;
use crate::journal::Level;
use crate::notary::NotaryOutput;
use crate::output::{Output, Stop};
use crate::replica::ReplicaOutput;

const NO_LEDGER: Reply = Reply::error(
    "ERR this node has no part in the ledger: it has no keys; ask a node that founded the cluster",
);

impl Node {
    pub(super) fn take_from_kv(&mut self, output: service::Output, now: Instant) {
        self.has_moved = true;
        match output {
            service::Output::Propose { payload, proposal } => self.propose(payload, proposal, now),
            service::Output::Forward { to, bytes } => {
                self.replica.send_kv(to, bytes.into(), now);
            }
            service::Output::ReadIndex { context } => {
                if let (Err(_), Some(kv)) = (self.replica.read_index(context, now), &mut self.kv) {
                    kv.handle_read_failed(context, now);
                }
            }
            service::Output::Ledger { question, command } => match &mut self.notary {
                Some(notary) => notary.handle_question(question, command, now),
                None => self.answer_question(question, NO_LEDGER, now),
            },
            service::Output::Reply { client, reply } => {
                let Some(asker) = self.requests.remove(&client) else {
                    return self.clients.deliver(client, &reply);
                };
                if let Some(kv) = &mut self.kv {
                    kv.close(client, now);
                }
                self.reply_to(asker, reply);
            }
            service::Output::Close { client } => self.clients.close(client),
            service::Output::Abort { client } => self.clients.abort(client),
        }
    }

    fn propose(&mut self, payload: Bytes, proposal: Proposal, now: Instant) {
        let refusal = match self.replica.propose(payload) {
            Ok(()) => return,
            Err(ProposeError::NotLeader { .. }) => Refusal::NotLeader,
            Err(ProposeError::Busy | ProposeError::Transferring { .. }) => Refusal::Busy,
            Err(ProposeError::LogFull) => Refusal::LogFull,
            Err(ProposeError::TooLarge) => Refusal::TooLarge,
        };
        if let Some(kv) = &mut self.kv {
            kv.handle_propose_failed(proposal, refusal, now);
        }
    }

    pub(super) fn take_from_replica(&mut self, output: ReplicaOutput, now: Instant) {
        self.has_moved = true;
        match output {
            ReplicaOutput::Disk(request) => self.outputs.push_back(Output::Disk(request)),
            ReplicaOutput::Ready { epoch, machine } => {
                let config = service::Config { id: self.about.settings.id, epoch };
                let kv = KvService::new(config, self.about.settings.wall_ms, now);
                #[cfg(feature = "mutants")]
                let kv = kv.with(self.kv_mutant);
                let kv = self.kv.insert(kv);
                if let Some(machine) = machine {
                    kv.handle_restored(machine, now);
                }
            }
            ReplicaOutput::Restore(machine) => {
                if let Some(kv) = &mut self.kv {
                    kv.handle_restored(machine, now);
                }
            }
            ReplicaOutput::SnapshotAbandoned => {
                if let Some(kv) = &mut self.kv {
                    kv.abandon_snapshot();
                }
            }
            ReplicaOutput::Apply(entries) => self.apply(entries, now),
            ReplicaOutput::ReadReady { context, index } => {
                if let Some(kv) = &mut self.kv {
                    kv.handle_read_ready(context, index, now);
                }
            }
            ReplicaOutput::ReadFailed { context } => {
                if let Some(kv) = &mut self.kv {
                    kv.handle_read_failed(context, now);
                }
            }
            ReplicaOutput::LeaderChanged => {
                if let (Some(kv), Some(member)) = (&mut self.kv, self.replica.member()) {
                    kv.handle_leader(member.raft.leader(), member.raft.term(), now);
                }
            }
            ReplicaOutput::Contacts(nodes) => self.clients.set_peers(nodes.into_iter()),
            ReplicaOutput::Message { from, content } => {
                if let Some(kv) = &mut self.kv {
                    kv.handle_forward(from, &content, now);
                }
            }
            ReplicaOutput::NotaryMessage { from, content } => {
                if let Some(notary) = &mut self.notary {
                    notary.handle_message(from, content);
                }
            }
            ReplicaOutput::Unreachable(peer) => {
                if let Some(notary) = &mut self.notary {
                    notary.handle_peer_unreachable(peer, now);
                }
            }
            ReplicaOutput::Note(level, service, text) => {
                self.journal.note(now, level, service, format_args!("{text}"));
            }
            ReplicaOutput::Trace(line) => self.console.print_log(&line),
            ReplicaOutput::RemovalEnded(node, result) => self.answer_removal(node, result),
            ReplicaOutput::Failed(reason) => {
                self.journal.note(now, Level::Error, "disk", format_args!("{reason}"));
                self.is_stopped = true;
                self.outputs.push_back(Output::Stop(Stop::Disk(reason)));
            }
            ReplicaOutput::Refused(reason) => {
                self.journal.note(now, Level::Error, "members", format_args!("{reason}"));
                self.is_stopped = true;
                self.outputs.push_back(Output::Stop(Stop::Settings(reason)));
            }
        }
    }

    pub(super) fn take_from_notary(&mut self, output: NotaryOutput, now: Instant) {
        match output {
            NotaryOutput::Disk(request) => self.outputs.push_back(Output::Disk(request)),
            NotaryOutput::Send { to, content } => self.replica.send_notary(to, content, now),
            #[cfg(feature = "adversary")]
            NotaryOutput::SendUnbidden { to, content } => self.replica.send_unbidden(to, content),
            NotaryOutput::Reply(question, reply) => self.answer_question(question, reply, now),
            NotaryOutput::Note(level, text) => {
                self.journal.note(now, level, "bft", format_args!("{text}"));
            }
        }
    }

    fn answer_question(&mut self, question: Question, reply: Reply, now: Instant) {
        self.has_moved = true;
        if let Some(kv) = &mut self.kv {
            kv.handle_ledger_reply(question, reply, now);
        }
    }

    fn apply(&mut self, entries: Vec<LogEntry>, now: Instant) {
        let Some(kv) = &mut self.kv else { return };
        let mut last = LogIndex(0);
        for entry in entries {
            last = entry.index;
            match entry.payload {
                Payload::Noop | Payload::Configuration(_) => kv.handle_skipped(entry.index, now),
                Payload::Command(command) => kv.handle_applied(entry.index, &command, now),
            }
        }
        self.replica.applied(last);
    }
}
