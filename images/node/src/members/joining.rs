//! A node that is told to join, until it is a member.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base::{Duration, Instant, NodeId, limits};

use super::message::{Delay, Verdict};

const ASK_EVERY: Duration = Duration::from_millis(limits::MEMBERS_ASK_EVERY_MS);
/// Without an answer to so many questions in a row, an operator would want to know.
const UNANSWERED_MAX: u32 = 8;

/// A node on its way in.
#[derive(Debug)]
pub(super) struct Joining {
    id: NodeId,
    /// The member that the node was told of, and those that members have told it of since.
    contacts: BTreeSet<NodeId>,
    /// How often they have become others.
    version: u64,
    /// Who was asked last.
    asked: NodeId,
    number: u64,
    ask_at: Instant,
    unanswered: u32,
    /// Who was asked last knows of no leader: it may be one that was removed.
    is_other_better: bool,
    /// What keeps it out, if anything does.
    trouble: Option<String>,
}

impl Joining {
    pub(super) fn new(id: NodeId, member: NodeId, now: Instant) -> Joining {
        Joining {
            id,
            contacts: [member].into_iter().collect(),
            version: 0,
            asked: member,
            number: 0,
            ask_at: now,
            unanswered: 0,
            is_other_better: false,
            trouble: None,
        }
    }

    /// Who may be asked, and may feed this node.
    pub(super) fn contacts(&self) -> &BTreeSet<NodeId> {
        &self.contacts
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The name of the last question.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    pub(super) fn trouble(&self) -> String {
        let waits = || format!("node {} is asked", self.asked);
        self.trouble.clone().unwrap_or_else(waits)
    }

    /// A question is asked, under this name: whom, and what is to be said of it. Whoever did not answer is
    /// not asked again at once, if there is anybody else.
    pub(super) fn ask(&mut self, number: u64, now: Instant) -> (NodeId, Option<String>) {
        if self.unanswered > 0 || self.is_other_better {
            let behind = self.contacts.iter().find(|id| **id > self.asked);
            let next = behind.or_else(|| self.contacts.first());
            self.asked = next.copied().unwrap_or(self.asked);
        }
        (self.number, self.ask_at) = (number, now + ASK_EVERY);
        self.unanswered += 1;
        let news = (self.unanswered > UNANSWERED_MAX).then(|| self.note(self.silence())).flatten();
        (self.asked, news)
    }

    fn silence(&self) -> String {
        let asked: Vec<String> = self.contacts.iter().map(NodeId::to_string).collect();
        let asked = asked.join(", ");
        format!("no answer from node {asked}: is it running, in this cluster, and a member?")
    }

    /// A member has answered; what is to be said of it.
    pub(super) fn take_verdict(
        &mut self,
        from: NodeId,
        verdict: Verdict,
        members: Vec<NodeId>,
        now: Instant,
    ) -> Option<String> {
        self.unanswered = 0;
        self.ask_at = now + ASK_EVERY;
        self.is_other_better = verdict == Verdict::NotYet(Delay::NoLeader);
        self.learn_contacts(from, members);
        match verdict {
            Verdict::Accepted => {
                self.note(String::from("the leader lets this node in, and begins to feed it"))
            }
            Verdict::NotYet(delay) => self.note(format!("not yet: {delay}")),
            Verdict::Refused(reason) => self.note(format!("refused: {reason}")),
        }
    }

    /// These may be asked too: they are the members, if what this node has in its log holds.
    pub(super) fn learn_of(&mut self, members: impl Iterator<Item = NodeId>) {
        let before = self.contacts.len();
        self.contacts.extend(members.filter(|id| *id != self.id));
        self.version += u64::from(self.contacts.len() > before);
    }

    /// Whoever answers is a member, or was one, and says who else is.
    fn learn_contacts(&mut self, from: NodeId, members: Vec<NodeId>) {
        let members = members.into_iter().chain([from]).filter(|id| *id != self.id);
        let contacts: BTreeSet<NodeId> = members.collect();
        if contacts != self.contacts {
            self.contacts = contacts;
            self.version += 1;
        }
    }

    /// Notes how things are; answers it if that is news.
    fn note(&mut self, text: String) -> Option<String> {
        let is_news = self.trouble.as_ref() != Some(&text);
        self.trouble = Some(text.clone());
        is_news.then_some(text)
    }
}
