//! The node: what came in, which service it concerns, and what follows from it.

use alloc::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant, Prng};
use block::BlockCompletion;
use kv::KvService;
use kv::service::{self, ClientId, InfoFacts};
use net::links::Links;
use pool::{Frame, Pool};
use raft::{RaftNode, RaftState};
use shell::{Console, Source};
use store::Store;

use crate::budget::Budget;
use crate::clients::{ClientCounts, Clients, Place, RESP_PORT};
use crate::commands::COMMANDS;
use crate::journal::Journal;
use crate::members::Members;
use crate::notary::{Identity, Notary, Region};
use crate::output::{Output, Port, RequestId, Stop};
use crate::replica::{self, Replica, SnapshotCounts};
use crate::settings::Settings;
use crate::traffic::Traffic;
use crate::web;

mod cards;
mod console;
mod dispatch;
mod leaving;
mod snapshots;
#[cfg(test)]
mod tests;
mod time;

use leaving::Leaving;

/// What `INFO` shows is at most this old while somebody asks.
const FACTS_EVERY: Duration = Duration::from_millis(100);

/// What the node finds in its machine.
#[derive(Debug)]
pub struct Hardware {
    /// Buffers for frames.
    pub packets: Pool,
    /// Buffers for the disk.
    pub blocks: Pool,
    /// The size of the disk.
    pub disk_sectors: u64,
    /// The clock is known to go on while the machine stands still, whatever makes it stand still.
    pub has_continuous_clock: bool,
}

/// Why reads by lease are refused.
const CLOCK_MAY_STOP: &str = "coterie.reads=lease needs a clock that goes on while the machine is paused, \
    and this machine's is not known to: say coterie.reads=index, or coterie.clock=continuous if this \
    hypervisor never stops a guest's clock";

/// Who made a request within the node.
#[derive(Debug)]
enum Asker {
    /// Whoever calls [`Node::execute`].
    Caller(RequestId),
    /// An HTTP client, by its place.
    Page(Place),
    /// The console: who there, and whether the answer is for a program.
    Console { source: Source, is_json: bool },
}

/// One node of the cluster.
#[derive(Debug)]
pub struct Node {
    about: About,
    replica: Replica,
    /// Present when the disk is read.
    kv: Option<KvService>,
    /// Present if the node has a part in the ledger.
    notary: Option<Notary>,
    clients: Clients,
    traffic: Traffic,
    journal: Journal,
    outputs: VecDeque<Output>,
    console: Console,
    /// Requests that were made within the node, by the client that was opened for each.
    requests: BTreeMap<ClientId, Asker>,
    next_client: u64,
    /// The key-value service may have moved since clients were served.
    has_moved: bool,
    facts_due: Instant,
    /// When it was last called.
    called: Instant,
    /// Who waits for the end of a removal.
    removing: Option<Source>,
    /// The node was told to stop.
    leaving: Option<Leaving>,
    is_stopped: bool,
    /// Nothing has come in since nothing was left to do.
    is_settled: bool,
    #[cfg(feature = "mutants")]
    kv_mutant: Option<kv::Mutant>,
}

/// What pages show of the node beside consensus and connections.
#[derive(Debug)]
struct About {
    settings: Settings,
    packets: Pool,
    /// As old as the facts.
    kv: Option<service::Status>,
    machine: MachineReport,
}

/// What a machine tells of itself, for pages to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MachineReport {
    /// What the heap holds.
    pub heap_bytes: u64,
    /// How many interrupts of devices it had …
    pub device_interrupts: u64,
    /// … and of its timer.
    pub timer_interrupts: u64,
}

/// The node as its pages show it, at one moment.
pub(crate) struct View<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) raft: Option<&'a RaftNode>,
    pub(crate) links: Option<&'a Links>,
    pub(crate) members: Option<&'a Members>,
    pub(crate) kv: Option<&'a service::Status>,
    pub(crate) notary: Option<&'a Notary>,
    pub(crate) store: &'a Store,
    pub(crate) clients: &'a ClientCounts,
    pub(crate) packets: &'a Pool,
    pub(crate) traffic: &'a Traffic,
    pub(crate) snapshots: SnapshotCounts,
    pub(crate) messages_refused: u64,
    pub(crate) machine: MachineReport,
    pub(crate) now: Instant,
}

fn view<'a>(
    about: &'a About,
    replica: &'a Replica,
    notary: Option<&'a Notary>,
    (clients, traffic): (&'a ClientCounts, &'a Traffic),
    now: Instant,
) -> View<'a> {
    let member = replica.member();
    View {
        settings: &about.settings,
        raft: member.map(|member| &member.raft),
        links: member.map(|member| &member.links),
        members: member.map(|member| &member.members),
        kv: about.kv.as_ref(),
        notary,
        store: replica.store(),
        clients,
        packets: &about.packets,
        traffic,
        snapshots: replica.snapshots().counts(),
        messages_refused: replica.messages_refused(),
        machine: about.machine,
        now,
    }
}

/// An image whose nodes can be made to lie says so, whatever else it says.
#[cfg(feature = "adversary")]
fn note_purpose(journal: &mut Journal, now: Instant) {
    let text =
        "THIS IMAGE IS FOR TESTS: its shell makes the node lie ('bft adversary'). Do not use it.";
    journal.note(now, crate::journal::Level::Warn, "adversary", format_args!("{text}"));
}

#[cfg(not(feature = "adversary"))]
fn note_purpose(_: &mut Journal, _: Instant) {}

impl Node {
    /// A node that has just been switched on: it begins to read its disk. Everything random follows from
    /// `seed`, which must differ from node to node and from start to start. `raft` is the configuration of
    /// consensus, usually [`Settings::consensus`].
    ///
    /// # Errors
    /// If the settings cannot work: the reason.
    pub fn new(
        settings: Settings,
        raft: raft::Config,
        hardware: Hardware,
        seed: u64,
        now: Instant,
    ) -> Result<Node, Stop> {
        if raft.lease_reads && !(hardware.has_continuous_clock || settings.has_continuous_clock) {
            return Err(Stop::Settings(CLOCK_MAY_STOP.into()));
        }
        let mut prng = Prng::new(seed);
        let snapshot_entries = settings.snapshot_entries;
        let config = store::Config {
            cluster: settings.cluster,
            node: settings.id,
            capacity_sectors: hardware.disk_sectors,
            wanted_kinds: &[raft::Payload::CONFIGURATION],
            may_format: settings.may_format,
            has_snapshots: true,
        };
        let store = Store::new(config, hardware.blocks)
            .map_err(|error| Stop::Disk(alloc::format!("{error}")))?;
        raft.validate().map_err(|error| Stop::Settings(alloc::format!("{error}")))?;
        let config = replica::Config {
            raft,
            beginning: settings.beginning.clone(),
            cluster: settings.cluster,
            seed: prng.next_u64(),
            nonce: u32::try_from(prng.between(1, u64::from(u32::MAX))).expect("it is below that"),
            snapshot_entries,
        };
        let mut journal = Journal::default();
        note_purpose(&mut journal, now);
        let clients = Clients::new(&settings, &hardware.packets, prng.next_u64(), now);
        let prompt = alloc::format!("node{}> ", settings.id);
        let traffic = Traffic::new(settings.id, [prng.next_u64(), prng.next_u64()], now);
        Ok(Node {
            console: Console::new(prompt, |line| COMMANDS.complete(line)),
            replica: Replica::new(config, store, hardware.packets.clone(), now),
            kv: None,
            notary: None,
            clients,
            traffic,
            about: About {
                settings,
                packets: hardware.packets,
                kv: None,
                machine: MachineReport::default(),
            },
            journal,
            outputs: VecDeque::new(),
            requests: BTreeMap::new(),
            next_client: 0,
            has_moved: false,
            facts_due: now,
            called: now,
            removing: None,
            leaving: None,
            is_stopped: false,
            is_settled: false,
            #[cfg(feature = "mutants")]
            kv_mutant: None,
        })
    }

    /// The node takes part in the ledger, with this identity, on this part of the disk, which is behind the
    /// sectors that it was told of: to be called before anything else. `blocks` are for its requests alone.
    ///
    /// # Errors
    /// If it cannot: the reason.
    pub fn join_ledger(
        &mut self,
        identity: Identity,
        region: Region,
        blocks: [Pool; 2],
        seed: u64,
    ) -> Result<(), Stop> {
        let Settings { id, cluster, may_format, .. } = self.about.settings;
        let disk = (region, blocks, may_format);
        let notary = Notary::new((id, cluster), identity, disk, seed);
        self.notary = Some(notary.map_err(Stop::Settings)?);
        Ok(())
    }

    /// Puts a bug into the key-value service, on purpose: to be called before anything else. Consensus takes
    /// its own from its configuration.
    #[cfg(feature = "mutants")]
    pub fn put_in(&mut self, mutant: Option<kv::Mutant>) {
        self.kv_mutant = mutant;
    }

    /// A frame has arrived.
    pub fn handle_frame(&mut self, port: Port, frame: Frame, now: Instant) {
        self.note_time(now);
        if self.kv.is_none() {
            return self.traffic.drop_early(port);
        }
        let Some(frame) = self.traffic.receive(port, frame, now) else { return };
        self.is_settled = false;
        match port {
            Port::Cluster => {
                if let Some(frame) = self.replica.handle_frame(frame, now) {
                    self.clients.handle_frame(port, frame, now);
                }
            }
            Port::Outside => self.clients.handle_frame(port, frame, now),
        }
    }

    /// The disk has finished a request.
    pub fn handle_completion(&mut self, completion: BlockCompletion, now: Instant) {
        self.note_time(now);
        self.is_settled = false;
        let completion = match &mut self.notary {
            Some(notary) => notary.handle_completion(completion, now),
            None => Err(completion),
        };
        if let Err(completion) = completion {
            self.replica.handle_completion(completion, now);
        }
    }

    /// The machine tells of itself.
    pub fn handle_machine(&mut self, report: MachineReport) {
        self.about.machine = report;
    }

    /// A deadline of [`Node::poll_timeout`] has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.note_time(now);
        self.is_settled = false;
        self.replica.handle_timeout(now);
        self.traffic.handle_timeout(now);
        if let Some(notary) = &mut self.notary {
            notary.handle_timeout(now);
        }
        if let Some(kv) = &mut self.kv
            && kv.poll_timeout().is_some_and(|at| at <= now)
        {
            kv.handle_timeout(now);
            self.has_moved = true;
        }
    }

    /// When [`Node::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_stopped {
            return None;
        }
        let kv = self.kv.as_ref().and_then(KvService::poll_timeout);
        // Nobody is served before the disk is read, and no card has more to send than it takes.
        let is_open = |port: &Port| !self.traffic.is_congested(*port);
        let clients = self.kv.is_some().then(|| self.clients.poll_timeout(is_open, now)).flatten();
        let leaving = self.leaving.as_ref().map(Leaving::until);
        let notary = self.notary.as_ref().and_then(Notary::poll_timeout);
        let traffic = self.traffic.poll_timeout();
        Instant::earliest([self.replica.poll_timeout(), kv, notary, clients, leaving, traffic])
    }

    /// The next thing to do. Call it until there is none, after every burst of other calls: what came in
    /// together is worked on together.
    pub fn poll_output(&mut self, now: Instant) -> Option<Output> {
        if let Some(output) = self.next_output(now) {
            return Some(output);
        }
        if !self.is_stopped && !self.is_settled {
            self.work(now);
        }
        self.next_output(now)
    }

    /// The next thing to do of those that are known.
    fn next_output(&mut self, now: Instant) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let (port, frame) = self.traffic.poll_transmit(now)?;
        // There is room now for what a stack may have kept back.
        self.is_settled &= !self.clients.are_short_of_room();
        Some(Output::Transmit(port, frame))
    }

    /// Turns everything that has come in into outputs: what one service puts out goes into another, until
    /// nothing moves any more.
    fn work(&mut self, now: Instant) {
        self.serve_clients(now);
        self.advance_snapshot(now);
        self.hand_over_if_leaving(now);
        let mut budget = Budget::new();
        loop {
            while let Some(output) = self.kv.as_mut().and_then(KvService::poll_output) {
                budget.spend();
                self.take_from_kv(output, now);
            }
            budget.spend();
            if let Some(output) = self.replica.poll_output(now) {
                self.take_from_replica(output, now);
            } else if let Some(output) =
                self.notary.as_mut().and_then(|notary| notary.poll_output(now))
            {
                self.take_from_notary(output, now);
            } else {
                break;
            }
        }
        let is_idle = !self.has_moved && self.clients.are_at_rest(now);
        self.serve_clients(now);
        self.fetch_from_links(now);
        self.is_settled = is_idle
            && !self.has_moved
            && self.leaving.is_none()
            && !self.replica.is_starved()
            && !self.has_snapshot_to_advance(now);
        // Answers may have let keys through that waited.
        while let Some(line) = self.console.poll_line() {
            self.execute_line(line, now);
            self.is_settled = false;
        }
        self.show_console();
        self.stop_if_left(now);
    }

    /// Makes what is shown of the node new enough, for somebody may ask now.
    fn renew_facts(&mut self, now: Instant) {
        if now >= self.facts_due {
            self.facts_due = now + FACTS_EVERY;
            self.tell_facts(now);
        }
    }

    /// Tells the key-value service what it shows of the node in `INFO`.
    fn tell_facts(&mut self, now: Instant) {
        let (Some(kv), Some(member)) = (&mut self.kv, self.replica.member()) else { return };
        let raft = member.raft.status(now);
        let disk = self.replica.store().status();
        kv.handle_facts(InfoFacts {
            version: env!("CARGO_PKG_VERSION"),
            port: RESP_PORT,
            role: match raft.state {
                RaftState::Follower => service::Role::Follower,
                RaftState::Candidate => service::Role::Candidate,
                RaftState::Leader => service::Role::Leader,
            },
            voters: raft.voters.len(),
            last_index: raft.last_index,
            persisted_index: raft.persisted_index,
            commit_index: raft.commit_index.0,
            log_bytes: disk.body_bytes_used,
            log_bytes_max: disk.body_bytes,
            heap_bytes: self.about.machine.heap_bytes,
        });
        self.about.kv = Some(kv.status());
    }

    /// Commands of clients go to the key-value service, replies to them, pages to browsers.
    fn serve_clients(&mut self, now: Instant) {
        // Most of what nodes say to each other is no news for clients.
        if !self.has_moved && self.clients.are_at_rest(now) && !self.clients.are_short_of_room() {
            return;
        }
        self.renew_facts(now);
        self.tell_stacks_of_room();
        let counts = self.clients.counts();
        let Some(kv) = &mut self.kv else { return };
        self.has_moved = false;
        let others = (&counts, &self.traffic);
        let view = view(&self.about, &self.replica, self.notary.as_ref(), others, now);
        self.clients.work(kv, &mut self.next_client, |request| web::answer(request, &view), now);
        self.fetch_from_stacks(now);
        while let Some((place, words)) = self.clients.poll_asked() {
            self.ask(Asker::Page(place), &words, now);
            self.has_moved = true;
        }
    }

    /// Begins or ends the trace of consensus: lines on the console, each a JSON object whose `tag` is `trace`
    /// (`transitions` describes them).
    pub fn set_trace(&mut self, is_on: bool, now: Instant) {
        self.replica.set_trace(is_on, now);
    }

    /// Consensus, when the disk is read.
    pub fn raft(&self) -> Option<&raft::RaftNode> {
        self.replica.member().map(|member| &member.raft)
    }

    /// The key-value service, when the disk is read.
    pub fn kv(&self) -> Option<&KvService> {
        self.kv.as_ref()
    }

    /// Consensus on the ledger, if the node has a part in it and that part of the disk is read.
    pub fn bft(&self) -> Option<&bft::BftNode> {
        self.notary.as_ref().and_then(Notary::bft)
    }

    /// The disk.
    pub fn store(&self) -> &Store {
        self.replica.store()
    }

    /// What has become of snapshots.
    pub fn snapshots(&self) -> SnapshotCounts {
        self.replica.snapshots().counts()
    }

    /// What has happened.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Messages of peers that were whole and made no sense.
    pub fn messages_refused(&self) -> u64 {
        self.replica.messages_refused()
    }

    /// Asserts what must hold between calls.
    ///
    /// # Panics
    /// If something does not: a bug.
    pub fn check_invariants(&self) {
        self.replica.check_invariants();
        if let Some(kv) = &self.kv {
            kv.check_invariants();
        }
        if let Some(notary) = &self.notary {
            notary.check_invariants();
        }
    }
}
