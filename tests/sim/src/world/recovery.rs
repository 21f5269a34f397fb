//! The second phase: all is well, and so must be the cluster, within a bound.

use base::{Duration, NodeId, Term};
use bytes::Bytes;
use node::Node;

use super::World;
use super::queue::Event;
use super::steps::is_up;
use crate::disk::DiskTemper;
use crate::machine::Machine;
use crate::network::Weather;

/// After trouble has ended there must be a leader, and every client must have its answer, within this time.
pub const RECOVERY: Duration = Duration::from_secs(5);
/// Then all nodes must have caught up within this time and as long as what they lack takes at the most.
pub const CATCH_UP: Duration = Duration::from_secs(1);
/// Then any node that is asked must answer within this time.
pub const ANSWER: Duration = Duration::from_secs(1);
/// And all nodes must have applied everything within this time.
pub const AGREEMENT: Duration = Duration::from_secs(3);
/// From then on nothing may change for this long: more than the longest election timeout.
pub const CALM: Duration = Duration::from_millis(500);
/// How often it is looked whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl World {
    pub(super) fn recover(&mut self) {
        self.trace.tell(self.now, || "everything is mended".into());
        self.end_trouble();
        self.check_liveness();
        self.clients.check();
    }

    /// From now on everything must come right.
    fn check_liveness(&mut self) {
        // Whoever still tries to have a member removed gives that up, or succeeds.
        self.run_until(self.now.max(self.orders_end));
        let start = self.now;
        self.run_while(RECOVERY, |world| world.leaders().next().is_none());
        assert!(self.leaders().next().is_some(), "liveness: no leader within {RECOVERY:?}");
        self.ids().for_each(|id| self.help_in(id));
        self.run_while(RECOVERY, |world| !world.are_members_settled());
        let is_settled = self.are_members_settled();
        assert!(is_settled, "liveness: the members are not settled: {}", self.describe_members());
        self.retire_removed();
        self.run_while(RECOVERY, |world| !world.clients.are_all_idle());
        assert!(self.clients.are_all_idle(), "liveness: a client was never answered");
        self.run_while(RECOVERY, |world| !world.are_all_up());
        self.catch_up();
        self.ids().for_each(|id| self.ask(id));
        self.run_while(AGREEMENT, |world| !world.is_agreed());
        assert!(self.is_agreed(), "liveness: no agreement: {:?}", self.states());
        self.recovery = self.now.since(start);
        let terms = self.checkers.leaders().len();
        self.run_until(self.now + CALM);
        assert!(self.checkers.leaders().len() == terms, "liveness: an election for no reason");
        assert!(self.is_agreed(), "states differ after agreement: {:?}", self.states());
    }

    /// Whoever was off or cut off may be thousands of entries behind, and answers nobody before it has
    /// applied them. How long that takes depends on how many they are, and not on how soon it answers then.
    fn catch_up(&mut self) {
        let lag = self.lag_max();
        let bound = CATCH_UP + self.transfer_max(lag);
        self.run_while(bound, |world| !world.is_agreed());
        let (is_agreed, states) = (self.is_agreed(), self.states());
        assert!(is_agreed, "liveness: {lag} entries not caught up within {bound:?}: {states:?}");
    }

    /// How many committed entries whoever is furthest behind has not applied.
    fn lag_max(&self) -> u64 {
        let applied = |machine: &Machine| Some(machine.node.as_ref()?.kv()?.applied().0);
        let least = self.present().map(|machine| applied(machine).unwrap_or(0)).min();
        self.checkers.committed().0.saturating_sub(least.unwrap_or(0))
    }

    /// How long it takes at the most to bring so many entries to a follower when all is well and none of
    /// them is in the leader's memory.
    ///
    /// N appends on their way pass at least as fast as N in a round trip and N times the work on each (E.
    /// Lazowska et al., "Quantitative system performance", 1984, chapter 5: X >= N / (Z + N D)). The work:
    /// the leader reads headers, then bodies; the follower writes, then flushes.
    fn transfer_max(&self, entries: u64) -> Duration {
        let (wire, disk) = (Weather::calm(), DiskTemper::calm());
        let entries_max = self.plan.tuning.append_entries_max as u64;
        let in_flight = self.plan.tuning.append_in_flight_max as u64;
        let work = disk.access_max.times(3) + disk.flush_max;
        let window = wire.delay_max.times(2) + work.times(in_flight);
        window.times(entries.div_ceil(entries_max * in_flight))
    }

    fn end_trouble(&mut self) {
        (self.is_troubled, self.are_clients_busy) = (false, false);
        self.network.set_weather(Weather::calm());
        self.machines.iter_mut().for_each(|machine| machine.disk.set_temper(DiskTemper::calm()));
        self.end_stops();
        self.restore();
    }

    /// Lets time pass while something is not as it should be, up to a bound.
    fn run_while(&mut self, bound: Duration, is_wrong: impl Fn(&World) -> bool) {
        let end = self.now + bound;
        while self.now < end && is_wrong(self) {
            self.run_until((self.now + LOOK_EVERY).min(end));
        }
    }

    pub(super) fn present(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| !self.gone.contains(&machine.id))
    }

    fn are_all_up(&self) -> bool {
        self.present().all(|machine| machine.node.as_ref().is_some_and(is_up))
    }

    /// Asks a node to write, and insists on an answer.
    ///
    /// # Panics
    /// If there is none in time, or another than `OK`.
    pub fn ask(&mut self, id: NodeId) {
        let end = self.now + ANSWER;
        self.begin_write(id);
        while self.found.is_none() && self.step_until(end) {}
        let answer = self.found.take();
        let answer = answer.unwrap_or_else(|| panic!("liveness: node {id} does not answer"));
        assert_eq!(answer, kv::Reply::Ok, "liveness: node {id} does not serve");
    }

    /// Asks a node to write.
    ///
    /// # Panics
    /// If it is off.
    pub fn begin_write(&mut self, id: NodeId) {
        let local = self.machine(id).local(self.now);
        let words = [&b"SET"[..], b"probe", b"alive"].map(Bytes::from_static);
        let node = self.node_mut(id).expect("the machine is on");
        let request = node.execute(words.to_vec(), local);
        (self.awaited, self.found) = (Some((id, request)), None);
        self.drain(id);
    }

    /// What each node has applied, and a fingerprint of what came of it.
    fn states(&self) -> Vec<(base::LogIndex, u64)> {
        let kv = self.present().filter_map(|machine| machine.node.as_ref()?.kv());
        kv.map(|kv| (kv.applied(), kv.machine().digest())).collect()
    }

    /// Whether all nodes have applied the same, and all that is committed.
    fn is_agreed(&self) -> bool {
        let committed = self.checkers.committed();
        let is_there = |node: &Node| node.kv().is_some_and(|kv| kv.applied() == committed);
        let are_there = self.present().all(|machine| machine.node.as_ref().is_some_and(is_there));
        are_there && self.states().windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Everything that tests of larger scenes need: they make their own trouble.
impl World {
    /// Runs for a while.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// The clients begin to ask.
    pub fn start_clients(&mut self) {
        for client in 0..self.clients.len() {
            self.queue.push(self.now, Event::Client { client });
        }
    }

    /// The term of a node, or 0 if it is off.
    pub fn term(&self, id: NodeId) -> Term {
        let raft = self.machine(id).node.as_ref().and_then(Node::raft);
        raft.map_or(Term(0), raft::RaftNode::term)
    }

    /// A machine loses power, and stays off.
    pub fn power_off(&mut self, id: NodeId) {
        self.crash(id);
    }

    /// Ends the trouble of the plan, and insists on recovery.
    pub fn insist_on_recovery(&mut self) -> super::Summary {
        self.recover();
        self.summary()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::plan::{Plan, Profile, Tuning, node};
    use crate::trace::Trace;

    /// Three nodes after half a second without trouble, which `spoil` then puts in a bad state. Entries
    /// travel one by one.
    fn verdict(spoil: impl FnOnce(&mut World)) -> Option<String> {
        let plan = Plan::with_profile(1, Some(Profile::Calm));
        let tuning = Tuning {
            append_entries_max: 1,
            append_in_flight_max: 1,
            entry_cache_max_bytes: 64,
            snapshot_entries: 100_000,
            ..plan.tuning
        };
        let plan = Plan {
            nodes: 3,
            clients: 16,
            think_max: Duration::from_millis(1),
            weather: Weather::calm(),
            temper: DiskTemper::calm(),
            troubles: Vec::new(),
            tuning,
            ..plan
        };
        let mut world = World::new(plan, None, 1, Trace::new(false));
        world.run_for(Duration::from_millis(500));
        world.end_trouble();
        spoil(&mut world);
        let checked = catch_unwind(AssertUnwindSafe(|| world.check_liveness()));
        checked.err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast_ref::<&str>().expect("panics are texts").to_string(),
        })
    }

    fn follower(world: &World) -> NodeId {
        world.ids().find(|id| !world.machine(*id).is_leader()).expect("one of three leads")
    }

    /// Switches a follower off while clients write, and on again.
    fn leave_behind(world: &mut World) -> NodeId {
        let behind = follower(world);
        world.power_off(behind);
        world.are_clients_busy = true;
        world.start_clients();
        world.run_for(Duration::from_secs(4));
        world.end_trouble();
        // At their fastest they do not come, one by one, within the time in which a node answers.
        let (wire, disk, lag) = (Weather::calm(), DiskTemper::calm(), world.lag_max());
        let append = wire.delay_min.times(2) + disk.access_min.times(3) + disk.flush_min;
        assert!(append.times(lag) > ANSWER, "{lag} entries");
        behind
    }

    #[test]
    fn a_cluster_that_recovers_passes() {
        assert_eq!(verdict(|_| ()), None);
    }

    #[test]
    fn a_cluster_without_a_leader_is_not_alive() {
        let text = verdict(|world| {
            world.network.partition(&[vec![node(1)], vec![node(2)], vec![node(3)]]);
            world.run_for(Duration::from_secs(1));
        });
        assert!(text.is_some_and(|text| text.starts_with("liveness: no leader")));
    }

    #[test]
    fn a_node_that_does_not_answer_is_not_alive() {
        let text = verdict(|world| {
            let follower = follower(world);
            world.cut_off(&[follower]);
        });
        assert!(text.is_some_and(|text| text.contains("does not answer")));
    }

    #[test]
    fn a_node_that_is_far_behind_has_the_time_that_the_way_up_takes() {
        let text = verdict(|world| {
            leave_behind(world);
        });
        assert_eq!(text, None);
    }

    #[test]
    fn a_node_that_does_not_get_on_is_not_alive() {
        let text = verdict(|world| {
            let behind = leave_behind(world);
            let leader = world.leaders().next().expect("there was no trouble");
            world.network.slow_down(leader, behind, Duration::from_millis(5));
        });
        assert!(text.is_some_and(|text| text.contains("not caught up")));
    }
}
