//! Members that come and go, as an operator makes them.

use base::{Duration, LogIndex, NodeId};
use node::{Beginning, Node};
use raft::{Change, ChangeError, Configuration, RaftNode};

use super::World;
use crate::machine::Machine;
use crate::plan::{Who, node};

/// No more machines than this are there at once when nodes join by chance …
const PRESENT_MAX: usize = 8;
/// … and no more than this ever.
const EVER_MAX: u16 = 24;
/// Nobody is removed by chance if not more than this vote.
const LEFT_MIN: usize = 2;
/// An order at the console is answered within this time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

impl World {
    /// See [`crate::plan::Trouble::Join`].
    pub(super) fn join_somebody(&mut self) {
        if self.ids().count() < PRESENT_MAX && self.plan.nodes < EVER_MAX {
            let contact = self.anyone();
            self.add(contact);
        }
    }

    /// See [`crate::plan::Trouble::Remove`].
    pub(super) fn remove_somebody(&mut self, who: Who) {
        let (leaving, asked) = (self.choose(who), self.anyone());
        let now = self.now;
        let Some(node) = self.node_mut(asked) else { return };
        let voters = node.raft().map_or(0, |raft| raft.configuration().voters.len());
        if voters > LEFT_MIN {
            self.orders_end = now + ANSWERED_WITHIN;
            let node = self.node_mut(asked).expect("it was on just now");
            node.handle_console(format!("\u{1e}sim raft remove {leaving}\n").as_bytes(), now);
            self.drain(asked);
        }
    }

    /// See [`crate::plan::Trouble::Exchange`].
    pub(super) fn exchange_some(&mut self) {
        let Some(leader) = self.leaders().next() else { return };
        let voters = self.configuration(leader).voters;
        let mut others = voters.iter().copied().filter(|id| *id != leader);
        let (Some(one), Some(two)) = (others.next_back(), others.next_back()) else { return };
        let changes = match voters.len() > LEFT_MIN + 2 && self.prng.chance(1, 3) {
            true => [Change::Remove(one), Change::Remove(two)],
            false => [Change::Demote(one), Change::Demote(two)],
        };
        // If it is refused, nothing is exchanged this time.
        let _ = self.change(leader, &changes);
    }

    /// Whether a node was removed, and that is final.
    pub(super) fn is_retired(&self, id: NodeId) -> bool {
        let knows = |raft: &RaftNode| raft.final_configuration().retired.contains(&id);
        self.present().any(|machine| machine.node.as_ref().and_then(Node::raft).is_some_and(knows))
    }

    /// Whether no change is under way, and every machine's node is a voter, or was removed.
    pub(super) fn are_members_settled(&self) -> bool {
        let Some(leader) = self.leaders().max_by_key(|id| self.term(*id)) else { return false };
        let raft = self.machine(leader).node.as_ref().and_then(Node::raft);
        raft.is_some_and(|raft| {
            let members = raft.final_configuration();
            members == raft.configuration()
                && !members.is_joint()
                && self
                    .ids()
                    .all(|id| members.voters.contains(&id) || members.retired.contains(&id))
        })
    }

    /// What each node believes of the members.
    pub(super) fn describe_members(&self) -> String {
        let one = |machine: &Machine| {
            let raft = machine.node.as_ref().and_then(Node::raft)?;
            let (id, term, leads) = (machine.id, raft.term(), raft.is_leader());
            let (is_final, c) =
                (raft.final_configuration() == raft.configuration(), raft.configuration());
            let (voters, learners, retired) = (&c.voters, &c.learners, &c.retired);
            Some(format!(
                "node {id} in term {term}, leads: {leads}, voters {voters:?} before {:?}, \
                 learners {learners:?}, retired {retired:?}, final: {is_final}",
                c.voters_outgoing
            ))
        };
        self.present().filter_map(one).collect::<Vec<_>>().join("; ")
    }

    /// Machines of nodes that were removed are not needed any more.
    pub(super) fn retire_removed(&mut self) {
        let removed: Vec<NodeId> = self.ids().filter(|id| self.is_retired(*id)).collect();
        removed.into_iter().for_each(|id| self.retire(id));
    }

    /// Whoever is on its way in, and was told to ask one that is gone, is told of another.
    pub(super) fn help_in(&mut self, id: NodeId) {
        let gone = |contact: &NodeId| self.gone.contains(contact) || self.is_retired(*contact);
        let Beginning::Joins(contact) = self.machine(id).beginning else { return };
        let other = self.ids().find(|other| *other != id && !gone(other));
        if let Some(other) = other.filter(|_| gone(&contact)) {
            self.machine_mut(id).beginning = Beginning::Joins(other);
            self.crash(id);
            self.start(id);
        }
    }

    /// A machine more, with an empty disk: its node asks `member` to be let in.
    pub fn add(&mut self, member: NodeId) -> NodeId {
        self.plan.nodes += 1;
        self.changes.joins += 1;
        let (id, seed) = (node(self.plan.nodes), self.prng.next_u64());
        let beginning = Beginning::Joins(member);
        self.machines.push(Machine::beginning(id, beginning, &self.plan, self.bug, seed));
        self.start(id);
        id
    }

    /// A machine less, for good: that of a node that was removed.
    pub fn retire(&mut self, id: NodeId) {
        self.crash(id);
        self.gone.insert(id);
        self.changes.removals += 1;
    }

    /// All machines lose power, and have it back.
    pub fn blackout(&mut self) {
        self.ids().for_each(|id| self.crash(id));
        self.ids().for_each(|id| self.start(id));
    }

    /// Switches a machine on.
    pub fn power_on(&mut self, id: NodeId) {
        self.start(id);
    }

    /// Parts these nodes from the others.
    pub fn part(&mut self, group: &[NodeId]) {
        self.cut_off(group);
    }

    /// Mends the wires.
    pub fn mend(&mut self) {
        self.network.heal();
    }

    /// What is committed of who belongs to the cluster, as a node knows it.
    ///
    /// # Panics
    /// If it is off.
    pub fn configuration(&self, id: NodeId) -> Configuration {
        let raft = self.machine(id).node.as_ref().and_then(node::Node::raft);
        raft.expect("the node has read its disk").final_configuration().clone()
    }

    /// Changes the members at a node that leads: several at once, which no command of the shell does.
    ///
    /// # Errors
    /// If the node refuses.
    pub fn change(&mut self, id: NodeId, changes: &[Change]) -> Result<LogIndex, ChangeError> {
        let node = self.node_mut(id).expect("the machine is on");
        let result = node.change_members(changes);
        let is_joint =
            |node: &Node| node.raft().is_some_and(|raft| raft.configuration().is_joint());
        self.changes.joint += u64::from(result.is_ok() && is_joint(node));
        self.drain(id);
        result
    }

    /// Types a command at a node's console, as a program does; what it answers, and its status.
    ///
    /// # Panics
    /// If there is no answer in time.
    pub fn order(&mut self, id: NodeId, command: &str) -> (String, u8) {
        let (local, end) = (self.machine(id).local(self.now), self.now + ANSWERED_WITHIN);
        self.heard = Some((id, Vec::new()));
        let node = self.node_mut(id).expect("the machine is on");
        node.handle_console(format!("\u{1e}sim {command}\n").as_bytes(), local);
        self.drain(id);
        loop {
            let heard = self.heard.as_ref().map(|(_, bytes)| bytes.as_slice());
            if let Some(answer) = heard.and_then(answer_in) {
                self.heard = None;
                return answer;
            }
            assert!(self.step_until(end), "node {id} does not answer '{command}'");
        }
    }
}

/// The answer in what came over a console: `STX tag LF output ETX status LF`.
fn answer_in(heard: &[u8]) -> Option<(String, u8)> {
    let text = String::from_utf8_lossy(heard);
    let (_, rest) = text.split_once("\u{2}sim")?;
    let (output, rest) = rest.split_once('\u{3}')?;
    let (status, _) = rest.split_once('\n')?;
    Some((output.trim().to_string(), status.trim().parse().ok()?))
}
