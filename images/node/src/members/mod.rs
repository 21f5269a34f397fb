//! Who belongs to the cluster, as far as that is the node's business and not that of consensus alone: how it
//! gets in, whom it lets in, and how a member is removed.
//!
//! Whoever wants a change asks the leader, by way of any member, and asks again until it sees in its own log
//! that the change has happened: so no answer needs to be kept, and a lost message costs a quarter of a
//! second. A leader makes a node that asks a learner, and a learner that has caught up a voter.

mod joining;
mod message;
mod removal;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId};
use raft::{Change, ChangeError, RaftNode};

use crate::journal::Level;
use crate::settings::Beginning;
use joining::Joining;
pub use message::{Delay, Message, Reason, Request, Verdict, Wish};
use removal::Removal;
pub use removal::RemovalError;

/// What a node is to its cluster, as far as it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Its vote counts.
    Voter,
    /// It receives the log, and will vote when it has caught up.
    Learner,
    /// It is no member yet.
    Joining,
    /// It was removed, and that is final.
    Removed,
}

impl Standing {
    /// One word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Standing::Voter => "voter",
            Standing::Learner => "learner",
            Standing::Joining => "joining",
            Standing::Removed => "removed",
        }
    }
}

/// What the service wants done, or tells.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send this, once.
    Send { to: NodeId, message: Message },
    /// A removal that was asked for here has happened, or has not.
    RemovalEnded { node: NodeId, result: Result<(), RemovalError> },
    /// An operator would want to know.
    Note(Level, String),
    /// This node can never become a member: why.
    Stop(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Members {
    id: NodeId,
    /// Present if the node was told to join.
    joining: Option<Joining>,
    /// A removal that somebody asked for here.
    removal: Option<Removal>,
    /// A member has said that this node was removed. That is believed as long as nobody leads.
    is_told_removed: bool,
    /// It was noted that this node is removed.
    is_removal_noted: bool,
    /// The name of the next question.
    next_number: u64,
    outputs: VecDeque<Output>,
}

impl Members {
    /// `epoch` is how often the node has started: questions of different lives have different names.
    pub(crate) fn new(id: NodeId, beginning: &Beginning, epoch: u64, now: Instant) -> Members {
        let joining = match beginning {
            Beginning::Founds(_) => None,
            Beginning::Joins(member) => Some(Joining::new(id, *member, now)),
        };
        Members {
            id,
            joining,
            removal: None,
            is_told_removed: false,
            is_removal_noted: false,
            next_number: epoch << 32,
            outputs: VecDeque::new(),
        }
    }

    /// What this node is.
    pub(crate) fn standing(&self, raft: &RaftNode) -> Standing {
        let current = raft.configuration();
        // Nobody may be there to say that it is final.
        let seems_removed = self.is_told_removed || current.retired.contains(&self.id);
        let is_final = raft.final_configuration().retired.contains(&self.id);
        if is_final || (seems_removed && raft.leader().is_none()) {
            Standing::Removed
        } else if current.is_voter(self.id) {
            Standing::Voter
        } else if current.learners.contains(&self.id) {
            Standing::Learner
        } else {
            Standing::Joining
        }
    }

    /// Whether this node has to ask to be let in. What is in its log does not count before it is known to be
    /// committed: a leader that let it in may be gone, and nobody else may know of it.
    fn must_ask(&self, raft: &RaftNode) -> bool {
        let is_in = raft.final_configuration().contains(self.id);
        self.joining.is_some() && !is_in && self.standing(raft) != Standing::Removed
    }

    /// Why this node is not a member yet, in a sentence.
    pub(crate) fn trouble(&self, raft: &RaftNode) -> Option<String> {
        let joining = self.joining.as_ref()?;
        match self.standing(raft) {
            Standing::Joining => Some(joining.trouble()),
            Standing::Voter | Standing::Learner | Standing::Removed => None,
        }
    }

    /// With whom this node has to do beside those of whom consensus knows.
    pub(crate) fn contacts(&self, raft: &RaftNode) -> BTreeSet<NodeId> {
        match &self.joining {
            Some(joining) if self.must_ask(raft) => joining.contacts().clone(),
            Some(_) | None => BTreeSet::new(),
        }
    }

    /// Something that grows when [`Members::contacts`] may be others, if consensus did not change.
    pub(crate) fn contacts_version(&self) -> u64 {
        self.joining.as_ref().map_or(0, Joining::version)
    }

    /// Asks for a member to be removed; what comes of it is an output. That is tried for a few seconds.
    ///
    /// # Errors
    /// If it cannot be asked for.
    pub(crate) fn remove(
        &mut self,
        node: NodeId,
        raft: &mut RaftNode,
        now: Instant,
    ) -> Result<(), RemovalError> {
        if self.removal.is_some() {
            return Err(RemovalError::Busy);
        }
        if !raft.configuration().contains(self.id) {
            return Err(RemovalError::NotAMember);
        }
        self.next_number += 1;
        let number = self.next_number;
        self.removal = Some(Removal::new(node, number, now));
        self.ask(raft, now);
        Ok(())
    }

    /// A message has come from another node.
    pub(crate) fn handle_message(
        &mut self,
        from: NodeId,
        message: Message,
        raft: &mut RaftNode,
        now: Instant,
    ) {
        match message {
            Message::Ask(request) => self.take_request(from, request, raft),
            Message::Answer { asker, number, verdict, members } if asker == self.id => {
                self.take_answer(from, number, (verdict, members), raft, now);
            }
            Message::Answer { asker, .. } => {
                // It came by way of this node. Whoever asks is a member, or a guest.
                if raft.configuration().contains(from) {
                    self.outputs.push_back(Output::Send { to: asker, message });
                }
            }
            Message::Removed => self.is_told_removed |= raft.configuration().contains(from),
        }
    }

    /// Somebody wants a change: the leader decides.
    fn take_request(&mut self, from: NodeId, request: Request, raft: &mut RaftNode) {
        let is_member = |id: NodeId, raft: &RaftNode| raft.configuration().contains(id);
        let is_own = from == request.asker;
        let may_ask = match request.wish {
            Wish::Join(_) => true,
            Wish::Remove(_) => is_member(request.asker, raft),
        };
        if !may_ask || (!is_own && !is_member(from, raft)) {
            return;
        }
        let verdict = match raft.leader() {
            Some(leader) if leader == self.id => decide(request, raft),
            Some(leader) if is_own && leader != from => {
                let message = Message::Ask(request);
                return self.outputs.push_back(Output::Send { to: leader, message });
            }
            Some(_) | None => Verdict::NotYet(Delay::NoLeader),
        };
        let Request { asker, number, .. } = request;
        let members = raft.configuration().members().collect();
        let message = Message::Answer { asker, number, verdict, members };
        self.outputs.push_back(Output::Send { to: from, message });
    }

    fn take_answer(
        &mut self,
        from: NodeId,
        number: u64,
        (verdict, members): (Verdict, Vec<NodeId>),
        raft: &RaftNode,
        now: Instant,
    ) {
        if let Some(removal) = self.removal.take_if(|removal| removal.number() == number) {
            return match removal.take_verdict(verdict) {
                Ok(removal) => self.removal = Some(removal),
                Err((node, error)) => {
                    self.outputs.push_back(Output::RemovalEnded { node, result: Err(error) });
                }
            };
        }
        let is_outside = self.standing(raft) == Standing::Joining;
        let (must_ask, has_log) = (self.must_ask(raft), raft.last_index() > LogIndex(0));
        let Some(joining) = self.joining.as_mut().filter(|_| must_ask) else { return };
        if !joining.contacts().contains(&from) || joining.number() != number {
            return;
        }
        match verdict {
            // The question has overtaken itself: what this node has since, it has from the leader.
            Verdict::Refused(Reason::InUse) if has_log => {}
            Verdict::Refused(Reason::Retired) if has_log => self.is_told_removed = true,
            Verdict::Refused(Reason::Retired) => {
                let text = format!("node {} cannot join: {}", self.id, Reason::Retired);
                self.outputs.push_back(Output::Stop(text));
            }
            verdict => {
                let news = joining.take_verdict(from, verdict, members, now);
                if let Some(text) = news.filter(|_| is_outside) {
                    self.outputs.push_back(Output::Note(Level::Warn, text));
                }
            }
        }
    }

    /// A node that was removed speaks as if it did not know.
    pub(crate) fn tell_removed(&mut self, to: NodeId) {
        self.outputs.push_back(Output::Send { to, message: Message::Removed });
    }

    /// A deadline of [`Members::poll_timeout`] has come.
    pub(crate) fn handle_timeout(&mut self, raft: &mut RaftNode, now: Instant) {
        self.ask(raft, now);
    }

    /// When [`Members::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self, raft: &RaftNode) -> Option<Instant> {
        let joining = self.joining.as_ref().map(Joining::ask_at);
        let joining = joining.filter(|_| self.must_ask(raft));
        Instant::earliest([joining, self.removal.as_ref().map(Removal::due)])
    }

    /// Asks what is due to be asked, and gives up what has taken too long.
    fn ask(&mut self, raft: &mut RaftNode, now: Instant) {
        if let Some(removal) = self.removal.take() {
            self.pursue(removal, raft, now);
        }
        let must_ask = self.must_ask(raft);
        let Some(joining) = self.joining.as_mut().filter(|_| must_ask) else { return };
        if now < joining.ask_at() {
            return;
        }
        self.next_number += 1;
        let number = self.next_number;
        joining.learn_of(raft.configuration().members());
        let (to, news) = joining.ask(number, now);
        let wish = Wish::Join(raft.last_index());
        let message = Message::Ask(Request { asker: self.id, number, wish });
        self.outputs.push_back(Output::Send { to, message });
        if let Some(text) = news {
            self.outputs.push_back(Output::Note(Level::Warn, text));
        }
    }

    fn pursue(&mut self, mut removal: Removal, raft: &mut RaftNode, now: Instant) {
        let node = removal.node();
        if raft.final_configuration().retired.contains(&node) {
            return self.outputs.push_back(Output::RemovalEnded { node, result: Ok(()) });
        }
        if removal.is_late(now) {
            let result = Err(removal.late());
            return self.outputs.push_back(Output::RemovalEnded { node, result });
        }
        if now < removal.ask_at() {
            self.removal = Some(removal);
            return;
        }
        removal.note_asked(now);
        let request =
            Request { asker: self.id, number: removal.number(), wish: Wish::Remove(node) };
        let verdict = match raft.leader() {
            Some(leader) if leader == self.id => decide(request, raft),
            Some(to) => {
                self.outputs.push_back(Output::Send { to, message: Message::Ask(request) });
                self.removal = Some(removal);
                return;
            }
            None => Verdict::NotYet(Delay::NoLeader),
        };
        match removal.take_verdict(verdict) {
            Ok(removal) => self.removal = Some(removal),
            Err((node, error)) => {
                self.outputs.push_back(Output::RemovalEnded { node, result: Err(error) });
            }
        }
    }

    /// Looks at what consensus has made of everything that came in: a learner may have caught up, a removal
    /// may have happened, and this node may be in, or out.
    pub(crate) fn look(&mut self, raft: &mut RaftNode, now: Instant) {
        if let Some(learner) = raft.promotable(now) {
            // What may be promoted can be; if not, it is tried again when something else has come in.
            let _ = raft.change_membership(&[Change::Promote(learner)]);
        }
        if let Some(node) = self.removal.as_ref().map(Removal::node)
            && raft.final_configuration().retired.contains(&node)
        {
            self.removal = None;
            self.outputs.push_back(Output::RemovalEnded { node, result: Ok(()) });
        }
        if !self.is_removal_noted && self.standing(raft) == Standing::Removed {
            self.is_removal_noted = true;
            let text = "this node was removed from the cluster, and takes no part in it any more";
            self.outputs.push_back(Output::Note(Level::Warn, text.into()));
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

/// What the leader makes of a wish.
fn decide(request: Request, raft: &mut RaftNode) -> Verdict {
    let result = match request.wish {
        Wish::Join(last) => decide_join(request.asker, last, raft),
        Wish::Remove(node) => decide_removal(node, raft),
    };
    result.err().unwrap_or(Verdict::Accepted)
}

fn decide_join(node: NodeId, last: LogIndex, raft: &mut RaftNode) -> Result<(), Verdict> {
    let current = raft.configuration();
    if raft.final_configuration().retired.contains(&node) {
        return Err(Verdict::Refused(Reason::Retired));
    }
    // A member whose log is known not to be empty, and a node that says that its own is: they are two, or one
    // that has forgotten.
    let has_log = current.is_voter(node) || raft.match_index(node) > Some(LogIndex(0));
    match current.contains(node) {
        true if last == LogIndex(0) && has_log => Err(Verdict::Refused(Reason::InUse)),
        true => Ok(()),
        false => change(Change::AddLearner(node), raft),
    }
}

fn decide_removal(node: NodeId, raft: &mut RaftNode) -> Result<(), Verdict> {
    if raft.configuration().retired.contains(&node) {
        return Ok(());
    }
    change(Change::Remove(node), raft)
}

fn change(change: Change, raft: &mut RaftNode) -> Result<(), Verdict> {
    let error = match raft.change_membership(&[change]) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    Err(match error {
        ChangeError::NotLeader { .. } => Verdict::NotYet(Delay::NoLeader),
        ChangeError::Transferring { .. } | ChangeError::TooEarly => {
            Verdict::NotYet(Delay::LeaderBusy)
        }
        ChangeError::InProgress
        | ChangeError::Nothing
        | ChangeError::NotCaughtUp(_)
        | ChangeError::AlreadyMember(_) => Verdict::NotYet(Delay::OtherChange),
        ChangeError::Unknown(_) => Verdict::Refused(Reason::Unknown),
        ChangeError::UsedBefore(_) => Verdict::Refused(Reason::Retired),
        ChangeError::LastVoter => Verdict::Refused(Reason::LastVoter),
        ChangeError::TooMany => Verdict::Refused(Reason::Full),
    })
}

#[cfg(test)]
mod tests;
