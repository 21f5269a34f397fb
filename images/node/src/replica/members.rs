//! The members of the cluster: messages about them, and links to all of them.

use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId};
use raft::{Change, ChangeError};
use wire::{ServiceId, TraceContext};

use super::{Member, Replica, ReplicaOutput};
use crate::members::{Message, Output, RemovalError};

impl Replica {
    /// Asks for a member to be removed; what comes of it is an output.
    pub(crate) fn remove(&mut self, node: NodeId, now: Instant) -> Result<(), RemovalError> {
        match &mut self.member {
            Some(member) => member.members.remove(node, &mut member.raft, now),
            None => Err(RemovalError::NotAMember),
        }
    }

    /// Changes who belongs to the cluster, if this node leads.
    pub(crate) fn change_members(&mut self, changes: &[Change]) -> Result<LogIndex, ChangeError> {
        match &mut self.member {
            Some(member) => member.raft.change_membership(changes),
            None => Err(ChangeError::NotLeader { leader: None }),
        }
    }

    pub(super) fn take_word_of_members(&mut self, from: NodeId, content: &[u8], now: Instant) {
        match (Message::decode(content), &mut self.member) {
            (Ok(message), Some(member)) => {
                member.members.handle_message(from, message, &mut member.raft, now);
            }
            (Ok(_), None) => {}
            (Err(_), _) => self.messages_refused += 1,
        }
    }

    /// Does what follows for the members from what consensus has done. False if nothing does.
    pub(super) fn advance_members(&mut self, now: Instant) -> bool {
        self.follow_configuration(now);
        let Some(member) = &mut self.member else { return false };
        member.members.look(&mut member.raft, now);
        let mut has_moved = false;
        while let Some(output) = member.members.poll_output() {
            has_moved = true;
            match output {
                Output::Send { to, message } => member.send_word(to, &message),
                Output::RemovalEnded { node, result } => {
                    self.outputs.push_back(ReplicaOutput::RemovalEnded(node, result));
                }
                Output::Note(level, text) => {
                    self.outputs.push_back(ReplicaOutput::Note(level, "members", text));
                }
                Output::Stop(reason) => self.outputs.push_back(ReplicaOutput::Refused(reason)),
            }
        }
        has_moved
    }

    /// Everybody with whom this node has to do has a link.
    pub(super) fn follow_configuration(&mut self, now: Instant) {
        let Some(member) = &mut self.member else { return };
        let version = (member.raft.contacts_version(), member.members.contacts_version());
        if member.linked == Some(version) {
            return;
        }
        member.linked = Some(version);
        let mut contacts = member.raft.contacts();
        contacts.extend(member.members.contacts(&member.raft));
        member.links.set_peers(&contacts, now);
        self.outputs.push_back(ReplicaOutput::Contacts(contacts));
    }
}

impl Member {
    fn send_word(&mut self, to: NodeId, message: &Message) {
        let mut content = Vec::new();
        message.encode(&mut content);
        // It is asked again, or said again, if it is lost.
        let trace = TraceContext::default();
        let _ = self.links.send_datagram(to, ServiceId::Members, trace, content.into());
    }
}
