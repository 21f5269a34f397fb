//! What Raft allows, in terms of the trace alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use crate::event::{Event, Message, Node, Role};

/// How much there was to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub lives: u64,
    pub leaders: u64,
    pub commits: u64,
    pub votes: u64,
    pub appends: u64,
    pub snapshots: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Totals) {
        self.lives += more.lives;
        self.leaders += more.leaders;
        self.commits += more.commits;
        self.votes += more.votes;
        self.appends += more.appends;
        self.snapshots += more.snapshots;
    }
}

/// What is known of a node from its trace. A restart ends all but what it has revealed.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its last line; `None` before the first.
    last: Option<Event>,
    /// The latest term in which it has told anybody anything that binds it.
    revealed: u64,
    /// Whom it has voted for, by term, as others were told.
    votes: BTreeMap<u64, Node>,
    /// Of the present term: who has answered its candidacy with yes.
    granted: BTreeSet<Node>,
    /// Of the present term, for a leader: how far the followers have confirmed its log.
    matched: BTreeMap<Node, u64>,
    /// The greatest commit index that it was told, by term; none of terms that have passed.
    told: BTreeMap<u64, u64>,
    /// The terms in which a leader's entries came.
    fed: BTreeSet<u64>,
}

impl Known {
    /// It is in this term now: what was said in earlier ones does not count.
    fn enter(&mut self, term: u64) {
        self.granted.clear();
        self.matched.clear();
        self.told.retain(|at, _| *at >= term);
        self.fed.retain(|at| *at >= term);
    }
}

/// The specification, and where a run is in it.
#[derive(Debug, Default)]
pub struct Specification {
    nodes: BTreeMap<Node, Known>,
    leaders: BTreeMap<u64, Node>,
    sent: BTreeSet<Message>,
    totals: Totals,
}

type Verdict = Result<(), &'static str>;

fn require(condition: bool, otherwise: &'static str) -> Verdict {
    if condition { Ok(()) } else { Err(otherwise) }
}

impl Specification {
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next line.
    pub fn take(&mut self, event: &Event) -> Verdict {
        let mut known = self.nodes.remove(&event.node).unwrap_or_default();
        let verdict = self.judge(event, &mut known);
        known.last = Some(event.clone());
        self.nodes.insert(event.node.clone(), known);
        verdict
    }

    fn judge(&mut self, event: &Event, known: &mut Known) -> Verdict {
        require(event.commit <= event.log, "more is committed than there is")?;
        if event.name == "InitState" {
            return self.begin(event, known);
        }
        let last = known.last.clone().ok_or("a node begins with what it has")?;
        require(event.term >= last.term, "a term never decreases")?;
        require(event.commit >= last.commit, "what is committed stays so")?;
        let is_same_term = event.term == last.term;
        require(
            !is_same_term || last.vote.is_none() || event.vote == last.vote,
            "a vote is given once in a term",
        )?;
        if !is_same_term {
            known.enter(event.term);
        }
        match event.name.as_str() {
            "BecomeFollower" => require(event.role == Role::Follower, "it follows"),
            "BecomePreCandidate" => require(event.role == Role::PreCandidate, "it asks"),
            "BecomeCandidate" => candidate(event, &last),
            "BecomeLeader" => self.leader(event, &last, known),
            "Replicate" => replicate(event, &last),
            "AppendEntries" => {
                require(event.role == Role::Follower, "only a follower takes entries")?;
                require(event.log >= event.commit.max(last.commit), "what is committed stays")?;
                require(known.fed.contains(&event.term), "entries come from a leader")
            }
            "Commit" => {
                self.totals.commits += 1;
                commit(event, &last, known)
            }
            "ApplyConfChange" => require(event.voters != last.voters, "the configuration changes"),
            "InstallSnapshot" => {
                self.totals.snapshots += 1;
                require(event.role == Role::Follower, "only a follower takes a snapshot")?;
                require(event.log > last.log, "a snapshot is ahead of the log")
            }
            name if name.starts_with("Send") => self.sent(event, &last, known),
            name if name.starts_with("Receive") => self.received(event, &last, known),
            _ => Err("there is no such event"),
        }
    }

    /// A node starts, perhaps again: what it has revealed it must still know.
    fn begin(&mut self, event: &Event, known: &mut Known) -> Verdict {
        self.totals.lives += 1;
        require(event.role == Role::Follower, "a node starts as a follower")?;
        require(event.term >= known.revealed, "a node has forgotten its term")?;
        let vote = known.votes.get(&event.term);
        require(vote.is_none_or(|vote| event.vote.as_ref() == Some(vote)), "a vote is forgotten")?;
        known.enter(u64::MAX);
        Ok(())
    }

    fn leader(&mut self, event: &Event, last: &Event, known: &Known) -> Verdict {
        self.totals.leaders += 1;
        let was_candidate = last.role == Role::Candidate && last.term == event.term;
        require(was_candidate && event.role == Role::Leader, "a candidate becomes leader")?;
        let votes = |node: &Node| *node == event.node || known.granted.contains(node);
        require(is_quorum(event, votes), "a leader has a majority of votes")?;
        let first = self.leaders.insert(event.term, event.node.clone());
        require(first.is_none(), "a term has one leader at most")
    }

    fn sent(&mut self, event: &Event, last: &Event, known: &mut Known) -> Verdict {
        let message = event.message.as_ref().ok_or("it says what was sent")?;
        require(message.from == event.node, "a node speaks for itself")?;
        require(is_unchanged(event, last), "a message that leaves changes nothing")?;
        let is_about_future = message.kind.starts_with("MsgPreVote");
        require(message.term <= event.term || is_about_future, "it knows the term it speaks of")?;
        // A question about a read binds its sender to nothing.
        if !is_about_future && message.kind != "MsgReadIndex" {
            known.revealed = known.revealed.max(message.term);
        }
        match message.kind.as_str() {
            "MsgApp" | "MsgHeartbeat" | "MsgCommit" | "MsgSnap" => {
                self.totals.appends += 1;
                let leader = self.leaders.get(&message.term);
                require(leader == Some(&event.node), "the leader of that term says so")?;
                require(
                    message.term < event.term || event.role == Role::Leader,
                    "who says so leads, unless its term has passed",
                )?;
            }
            "MsgVote" => {
                let own = message.from.clone();
                require(vote(known, message.term, own), "a candidate has voted for itself")?;
            }
            "MsgVoteResp" if !message.reject => {
                self.totals.votes += 1;
                require(vote(known, message.term, message.to.clone()), "two votes in a term")?;
                let is_vote = event.vote.as_ref() == Some(&message.to);
                require(message.term < event.term || is_vote, "the vote is on record")?;
            }
            "MsgVoteResp" => require(
                message.term < event.term || event.vote.as_ref() != Some(&message.to),
                "who was voted for is told so",
            )?,
            "MsgAppResp" if !message.reject && message.term == event.term => {
                require(message.index <= event.log, "it has what it confirms")?;
            }
            _ => {}
        }
        self.sent.insert(message.clone());
        Ok(())
    }

    fn received(&mut self, event: &Event, last: &Event, known: &mut Known) -> Verdict {
        let message = event.message.as_ref().ok_or("it says what was received")?;
        require(message.to == event.node, "a message is for its receiver")?;
        require(is_unchanged(event, last), "the state is that before the message")?;
        require(self.sent.contains(message), "what is received was sent")?;
        let (is_current, is_later) = (message.term == event.term, message.term > event.term);
        match message.kind.as_str() {
            "MsgVoteResp" if is_current && !message.reject => {
                known.granted.insert(message.from.clone());
            }
            "MsgAppResp" if is_current && !message.reject => {
                let matched = known.matched.entry(message.from.clone()).or_default();
                *matched = message.index.max(*matched);
            }
            "MsgSnapResp" if is_current => {
                // All of it, perhaps: the leader knows how long it is.
                let matched = known.matched.entry(message.from.clone()).or_default();
                *matched = message.entries.max(*matched);
            }
            "MsgApp" | "MsgHeartbeat" | "MsgCommit" | "MsgSnap" if is_current || is_later => {
                let told = known.told.entry(message.term).or_default();
                *told = message.commit.max(*told);
                if message.kind == "MsgApp" {
                    known.fed.insert(message.term);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn candidate(event: &Event, last: &Event) -> Verdict {
    require(event.role == Role::Candidate, "it stands")?;
    require(event.term > last.term, "a candidacy begins a term")?;
    require(event.vote.as_ref() == Some(&event.node), "a candidate votes for itself")
}

fn replicate(event: &Event, last: &Event) -> Verdict {
    require(event.role == Role::Leader, "only a leader makes entries")?;
    require(event.log == last.log + 1, "entries are made one by one")
}

/// A leader counts; anybody else was told, in this term.
fn commit(event: &Event, last: &Event, known: &Known) -> Verdict {
    require(event.commit > last.commit, "more is committed than before")?;
    if event.role != Role::Leader {
        let told = known.told.get(&event.term).copied().unwrap_or(0);
        return require(event.commit <= told, "a follower commits what it was told");
    }
    let has = |node: &Node| {
        *node == event.node
            || known.matched.get(node).is_some_and(|matched| *matched >= event.commit)
    };
    require(is_quorum(event, has), "a majority has what is committed")
}

/// Notes a vote that others were told of; false if there was another in that term.
fn vote(known: &mut Known, term: u64, candidate: Node) -> bool {
    *known.votes.entry(term).or_insert_with(|| candidate.clone()) == candidate
}

fn is_unchanged(event: &Event, last: &Event) -> bool {
    (event.term, event.commit, event.role, event.log)
        == (last.term, last.commit, last.role, last.log)
}

/// Whether a majority of the voters does, and in a joint configuration also one of those before.
fn is_quorum(event: &Event, does: impl Fn(&Node) -> bool) -> bool {
    event.voters.iter().filter(|voters| !voters.is_empty()).all(|voters| {
        let count = voters.iter().filter(|voter| does(voter)).count();
        count > voters.len() / 2
    })
}
