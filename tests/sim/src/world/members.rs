//! Members that come and go, as an operator makes them.

use base::{Duration, LogIndex, NodeId};
use node::Beginning;
use raft::{Change, ChangeError, Configuration};

use super::World;
use crate::machine::Machine;
use crate::plan::node;

/// An order at the console is answered within this time.
const ANSWERED_WITHIN: Duration = Duration::from_secs(4);

impl World {
    /// A machine more, with an empty disk: its node asks `member` to be let in.
    pub fn add(&mut self, member: NodeId) -> NodeId {
        self.plan.nodes += 1;
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
