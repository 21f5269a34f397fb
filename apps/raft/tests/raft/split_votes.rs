//! How often 32 voters split their votes (pitfall 12): a crashed leader is replaced, thousands of times.
//!
//! The network here is simpler than `cluster`, because nothing but time matters: every message takes
//! between half and all of the delay, every write the same time, nothing is lost. The machines may share
//! processors: then whatever happens waits for one, and takes its time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use base::{Duration, Instant, NodeId, Prng, Term};
use raft::{Config, Event, HardState, Message, Output, RaftNode, Restored, Ticket};

const VOTERS: u16 = 32;
const FLUSH: Duration = Duration::from_micros(500);

enum What {
    Arrives(NodeId, Message),
    Written(Ticket),
    Unreachable(NodeId),
    Wakes,
}

/// What all machines share: how long each event keeps one of so many processors busy.
#[derive(Default)]
struct Host {
    work: Duration,
    /// When each is free.
    processors: Vec<Instant>,
}

impl Host {
    /// When an event that is due now is worked on.
    fn take(&mut self, now: Instant) -> Instant {
        let Some(processor) = self.processors.iter_mut().min() else { return now };
        let start = now.max(*processor);
        *processor = start + self.work;
        start
    }
}

struct Election {
    members: BTreeMap<NodeId, RaftNode>,
    queue: BinaryHeap<Reverse<(Instant, u64, u16)>>,
    events: Vec<Option<What>>,
    prng: Prng,
    delay: Duration,
    host: Host,
    /// Who led.
    leader: NodeId,
    stood: BTreeMap<NodeId, (Term, Instant)>,
    /// The first term in which anybody stood.
    first_term: Option<Term>,
}

impl Election {
    /// All voters but one, who have heard its last heartbeat a moment ago.
    fn new(seed: u64, delay: Duration) -> Election {
        let mut prng = Prng::new(seed);
        let voters: Vec<NodeId> = (1..=VOTERS).filter_map(NodeId::new).collect();
        let term = Term(1 + prng.below(1_000));
        let leader = voters[prng.below(u64::from(VOTERS)) as usize];
        let mut election = Election {
            members: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: Vec::new(),
            prng,
            delay,
            host: Host::default(),
            leader,
            stood: BTreeMap::new(),
            first_term: None,
        };
        for id in voters.iter().copied().filter(|id| *id != leader) {
            let hard_state = HardState { term, vote: Some(leader) };
            let restored = Restored { hard_state, ..Restored::default() };
            let config = Config::new(id, voters.clone());
            let seed = election.prng.next_u64();
            let raft = RaftNode::new(config, seed, restored, Instant::ORIGIN).unwrap();
            election.members.insert(id, raft);
            let commit = Default::default();
            let heartbeat = Message::Heartbeat { term, commit, round: 1 };
            election.transmit(id, leader, heartbeat, Instant::ORIGIN);
        }
        election
    }

    /// The machines share processors, and all are told that the leader is gone.
    fn on(mut self, host: Host, noticed: Instant) -> Election {
        self.host = host;
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.schedule(noticed, id, What::Unreachable(self.leader));
        }
        self
    }

    fn schedule(&mut self, at: Instant, node: NodeId, what: What) {
        self.queue.push(Reverse((at, self.events.len() as u64, node.get())));
        self.events.push(Some(what));
    }

    fn transmit(&mut self, to: NodeId, from: NodeId, message: Message, now: Instant) {
        let half = Duration::from_nanos(self.delay.as_nanos() / 2);
        let delay = self.prng.duration_between(half, self.delay);
        if self.members.contains_key(&to) {
            self.schedule(now + delay, to, What::Arrives(from, message));
        }
    }

    /// Runs until somebody leads. Answers whether the first term that anybody stood in found its leader,
    /// and how long that leader was a candidate.
    fn run(mut self) -> (bool, Duration) {
        let (term, stood, now) = self.run_until_led();
        (self.first_term == Some(term), now.since(stood))
    }

    /// Runs until somebody leads. Answers its term, when it stood, and the time.
    fn run_until_led(&mut self) -> (Term, Instant, Instant) {
        loop {
            let Reverse((due, number, node)) = self.queue.pop().expect("something is always due");
            let node = NodeId::new(node).unwrap();
            let what = self.events[number as usize].take().expect("it happens once");
            let raft = self.members.get_mut(&node).unwrap();
            if matches!(what, What::Wakes) && raft.poll_timeout().is_none_or(|at| at > due) {
                // Its timer was set anew.
                continue;
            }
            let now = self.host.take(due);
            match what {
                What::Arrives(from, message) => raft.handle_message(from, message, now),
                What::Written(ticket) => raft.handle_persisted(ticket, now),
                What::Unreachable(peer) => raft.handle_peer_unreachable(peer, now),
                What::Wakes => raft.handle_timeout(now),
            }
            if let Some((term, stood)) = self.drain(node, now) {
                return (term, stood, now);
            }
        }
    }

    /// How often anybody asked the others, and how often anybody stood.
    fn attempts(&self) -> (u64, u64) {
        let all = self.members.values().map(|member| member.status(Instant::ORIGIN).counters);
        all.fold((0, 0), |(asked, stood), each| {
            (asked + each.pre_candidacies, stood + each.candidacies)
        })
    }

    /// Does what the node wants. Answers its term and when it stood, if it leads now.
    fn drain(&mut self, node: NodeId, now: Instant) -> Option<(Term, Instant)> {
        while let Some(output) = self.members.get_mut(&node)?.poll_output() {
            match output {
                Output::Send { to, message } => self.transmit(to, node, message, now),
                Output::Persist(persist) => {
                    self.schedule(now + FLUSH, node, What::Written(persist.ticket));
                }
                Output::Event(Event::Standing { term }) => {
                    self.stood.insert(node, (term, now));
                    self.first_term.get_or_insert(term);
                }
                Output::Apply(_)
                | Output::Fetch(_)
                | Output::FetchSnapshot { .. }
                | Output::StoreSnapshot { .. }
                | Output::RestoreState { .. }
                | Output::ReadReady { .. }
                | Output::ReadFailed { .. }
                | Output::Repair(_)
                | Output::Event(_) => {}
            }
        }
        let raft = &self.members[&node];
        if raft.is_leader() {
            return self.stood.get(&node).copied();
        }
        let at = raft.poll_timeout()?;
        self.schedule(at, node, What::Wakes);
        None
    }
}

/// Splits per 10,000 elections, and the longest candidacy.
fn measure(delay: Duration, elections: u64) -> (u64, Duration) {
    let mut splits = 0;
    let mut longest = Duration::ZERO;
    for seed in 0..elections {
        let (is_first, candidacy) = Election::new(seed, delay).run();
        splits += u64::from(!is_first);
        longest = longest.max(candidacy);
    }
    println!("{delay}: {splits} of {elections} split, longest candidacy {longest}");
    (splits * 10_000 / elections, longest)
}

#[test]
fn votes_are_split_in_less_than_one_election_of_a_hundred_with_a_delay_of_1_ms() {
    let delay = Duration::from_millis(1);
    let (splits, longest) = measure(delay, 5_000);
    assert!(splits < 100, "{splits} of 10,000");
    assert!(longest <= delay.times(2) + FLUSH, "one round trip and one write: {longest}");
}

#[test]
fn and_in_less_than_five_with_a_delay_of_5_ms() {
    let delay = Duration::from_millis(5);
    let (splits, longest) = measure(delay, 5_000);
    assert!(splits < 500, "{splits} of 10,000");
    assert!(longest <= delay.times(2) + FLUSH, "one round trip and one write: {longest}");
}

/// When a message takes longer than all ranks are apart, votes are split: the measurement sees it.
#[test]
fn votes_are_split_when_messages_take_longer_than_the_whole_span() {
    let (splits, _) = measure(Duration::from_millis(100), 200);
    assert!(splits > 0);
}

/// A machine that wakes costs half a millisecond, and two processors serve all of them: messages take
/// longer than ranks are apart.
#[test]
fn on_a_crowded_host_few_ask_and_one_stands() {
    let elections = 500;
    let mut all = Vec::new();
    let (mut asked, mut stood) = (0, 0);
    for seed in 0..elections {
        let noticed = Instant::ORIGIN + Duration::from_millis(5);
        let host = Host { work: Duration::from_micros(500), processors: vec![Instant::ORIGIN; 2] };
        let mut election = Election::new(seed, Duration::from_micros(100)).on(host, noticed);
        let (.., now) = election.run_until_led();
        all.push(now.since(noticed));
        let attempts = election.attempts();
        (asked, stood) = (asked + attempts.0, stood + attempts.1);
    }
    all.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| all[all.len() * percent / 100]);
    println!("{asked} asked and {stood} stood in {elections} elections; p50 {p50}, p99 {p99}");
    assert!(asked <= 2 * elections, "{asked} asked");
    assert!(stood * 100 <= elections * 110, "{stood} stood");
    assert!(p50 <= Duration::from_millis(60) && p99 <= Duration::from_millis(100), "{p50} {p99}");
}
