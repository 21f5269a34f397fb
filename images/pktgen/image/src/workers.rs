//! Several processors: each has a pair of the queues of the card, a pool and a station of its own, and the
//! first the console as well. A frame meets no lock that another processor takes while it works.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::Instant;
use base::limits::{PACKET_BUFFERS, RING_SIZE};
use net::device::FrameDevice;
use netio::NetStatistics;
use pktgen::card::{Card, Polls};
use pktgen::recall::Recall;
use pktgen::tcp::Tcp;
use pktgen::team::{Member, STATIONS_MAX};
use pktgen::{BURST, Station};
use platform::clock::Clock;
use platform::idle::Idle;
use platform::processors::{PROCESSORS_MAX, Processors};
use platform::{devices, entropy, memory};
use pool::{PAGE_BYTES, Region};
use virtio::net::{CardConfig, CardPair, LinkState, NetConfig, Packet, Rss, VirtioCard};
use virtio::transport::{PciDevice, PciDoorbell};

use crate::terminal::Terminal;
use crate::{CHECK_EVERY, TURNS_BETWEEN_KEYS, cut_pool, refuse, seed};

const _: () = assert!(PROCESSORS_MAX <= STATIONS_MAX);

/// What the buffers of all pairs take of the memory that devices reach; the rest is for rings.
const PACKETS_BYTES: usize = memory::ARENA_MIN_BYTES as usize / 32 * 31;
/// What the two rings of a pair take: they are of the usual size at most.
const RINGS_BYTES: usize = 2 * 2 * PAGE_BYTES;
const _: () = assert!(
    PACKETS_BYTES + (PROCESSORS_MAX + 1) * RINGS_BYTES <= memory::ARENA_MIN_BYTES as usize,
    "rings have a place, too"
);

/// How many buffers each of so many pairs has; half of them are for templates.
const fn buffers_each(pairs: usize) -> usize {
    let part = PACKETS_BYTES / PAGE_BYTES / pairs / 2;
    if part < PACKET_BUFFERS { part } else { PACKET_BUFFERS }
}

const _: () = assert!(buffers_each(PROCESSORS_MAX) >= 2 * BURST);

/// Starts a worker for each processor, for good, if there are several processors and the card can interrupt
/// them; if not, leaves the card where it is, and the other processors halted.
pub(crate) fn start_several(
    card: &mut Option<PciDevice>,
    ring_size: u16,
    arena: &mut Option<Region>,
) {
    let processors = Processors::start();
    if let Some(mut card) = card.take_if(|card| pairs(processors, card) > 1) {
        if ring_size > RING_SIZE {
            refuse(&format_args!("with several processors rings have {RING_SIZE} places at most"));
        }
        let pairs = pairs(processors, &mut card);
        start(processors, card, (pairs, ring_size), arena)
    }
}

/// How many pairs the card may use: one for each processor that it can interrupt. What comes by a line the
/// first passes on.
fn pairs(processors: Processors, card: &mut PciDevice) -> usize {
    if card.has_line() {
        return processors.count();
    }
    let further = 1..processors.count();
    1 + further
        .take_while(|pair| devices::send_pair_to(card, *pair as u16, processors.message(*pair)))
        .count()
}

/// Starts the card with so many pairs of rings of this size, and a worker for each that it has.
fn start(
    processors: Processors,
    card: PciDevice,
    (pairs, queue_size_max): (usize, u16),
    arena: &mut Option<Region>,
) -> ! {
    let buffers = buffers_each(pairs);
    let mut pools = || (0..pairs).map(|_| cut_pool(arena, buffers, PAGE_BYTES)).collect::<Vec<_>>();
    let (packets, templates) = (pools(), pools());
    let receive_buffers = queue_size_max.min(buffers as u16 / 2);
    let pair = NetConfig { receive_buffers, queue_size_max, ..NetConfig::DEFAULT };
    let has_line = card.has_line();
    let table = *netio::Steering::new(pairs as u8).indirection();
    let rss = Some(Rss { key: netio::MICROSOFT_KEY, table });
    let started = VirtioCard::start(card, CardConfig { pair, rss }, &packets, |bytes| {
        devices::cut(arena, bytes)
    });
    let (card, card_pairs) = match started {
        Ok(started) => started,
        Err(error) => refuse(&error),
    };
    let (mac, mtu) = (card.mac().0, usize::from(card.mtu()));
    let (seed, members) = (seed(), Member::team(card_pairs.len()).into_iter());
    let stations = members.zip(packets.into_iter().zip(templates)).map(|(member, pools)| {
        let (packets, templates) = pools;
        let device = FrameDevice::new(packets.clone(), mtu, None);
        let tcp = Tcp::new(mac, device, entropy::random_u64(), Clock::new().now());
        Station::of_team(mac, packets, templates, tcp, seed, member)
    });
    let recall = Recall::new(card_pairs.len());
    let workers = card_pairs.into_iter().zip(stations);
    let mut workers =
        workers.map(|(pair, station)| Worker::new(processors, pair, station, recall.clone()));
    let first = workers.next().expect("a card has a pair");
    for (processor, worker) in (1..).zip(workers) {
        processors.run(processor, move |idle| worker.run(idle));
    }
    lead(card, has_line, first)
}

type Pair = CardPair<PciDoorbell>;

/// What one processor works with.
struct Worker {
    processors: Processors,
    pair: Pair,
    station: Station,
    recall: Recall<Pair>,
    /// Frames of the stack that are to be sent.
    waiting: VecDeque<Packet>,
    clock: Clock,
    turns: u32,
    polls: Polls,
    check_at: Instant,
    /// What the first counts of the card as a whole.
    card: NetStatistics,
    /// Whether the card has a link, if it is the first.
    is_link_up: Option<bool>,
}

impl Worker {
    fn new(processors: Processors, pair: Pair, station: Station, recall: Recall<Pair>) -> Worker {
        let (clock, waiting) = (Clock::new(), VecDeque::with_capacity(BURST));
        let check_at = clock.now() + CHECK_EVERY;
        let (card, is_link_up) = (NetStatistics::default(), None);
        let (turns, polls) = (0, Polls::default());
        Worker {
            processors,
            pair,
            station,
            recall,
            waiting,
            clock,
            turns,
            polls,
            check_at,
            card,
            is_link_up,
        }
    }

    /// Takes a burst, does what is to be done, gives a burst. True if there is time for what is rare.
    fn turn(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        let now = self.clock.now();
        let station = &mut self.station;
        let received = self.pair.receive_burst(BURST, |frame| station.handle_frame(frame, now));
        self.polls.note(received);
        if station.is_short_of_buffers() {
            self.pair.reclaim();
        }
        station.poll(now);
        let sent = self.send();
        let moved = received.max(sent);
        if moved > 0 {
            let end = self.clock.now();
            self.station.note_turn(moved, end.since(now), end);
        }
        !self.station.is_awake(now) || self.turns.is_multiple_of(TURNS_BETWEEN_KEYS)
    }

    /// Sends what the station has: first its own frames, then those of TCP.
    fn send(&mut self) -> usize {
        let sent = self.pair.send_burst(self.station.outgoing());
        while self.waiting.len() < BURST {
            let Some(outgoing) = self.station.poll_tcp() else { break };
            self.waiting.push_back(outgoing.into());
        }
        if self.waiting.is_empty() {
            sent
        } else {
            sent + self.pair.send_packets(&mut self.waiting)
        }
    }

    /// What is rare. True if a quarter of a second has passed.
    fn look_around(&mut self) -> bool {
        let now = self.clock.now();
        self.station.note_card(self.told());
        self.station.confer(now);
        if self.station.take_call() {
            self.call_others();
        }
        if now < self.check_at {
            return false;
        }
        self.check_at = now + CHECK_EVERY;
        if self.station.is_awake(now) {
            memory::flush_translations();
        }
        self.pair.remind();
        if let Some(fault) = self.pair.fault() {
            refuse(&fault);
        }
        true
    }

    /// What the station is told of the card.
    fn told(&self) -> Card {
        let NetStatistics { link_changes, restarts, .. } = self.card;
        let statistics = NetStatistics { link_changes, restarts, ..self.pair.statistics() };
        let statistics = self.polls.within(statistics);
        Card { statistics, is_link_up: self.is_link_up, is_packed: None }
    }

    /// The first sees whether the card has a link.
    fn note_link(&mut self, link: LinkState) {
        let is_up = link == LinkState::Up;
        let has_changed = self.is_link_up.replace(is_up).is_some_and(|was_up| was_up != is_up);
        self.card.link_changes += u64::from(has_changed);
    }

    /// Wakes the other workers.
    fn call_others(&self) {
        let own = usize::from(self.pair.number());
        let pairs = usize::from(self.station.team().map_or(1, Member::lanes));
        (0..pairs).filter(|other| *other != own).for_each(|other| self.processors.call(other));
    }

    /// Sleeps, unless there is something to do, or `is_called`. An order that came since the last look has a
    /// call with it, which ends the sleep.
    fn rest(
        &mut self,
        idle: &mut Idle,
        serve_at: Option<Instant>,
        is_called: impl FnOnce(&Worker) -> bool,
    ) {
        let now = self.clock.now();
        if self.station.is_awake(now) {
            return;
        }
        if !self.pair.arm_interrupts() && !is_called(self) {
            let due = [self.station.poll_timeout(now), serve_at, Some(self.check_at)];
            idle.wait(Instant::earliest(due));
        }
        self.pair.disarm_interrupts();
    }

    fn run(mut self, mut idle: Idle) {
        loop {
            if !self.turn() {
                continue;
            }
            if self.recall.is_on() {
                self = self.lend();
            }
            self.look_around();
            self.rest(&mut idle, None, |worker| worker.recall.is_on());
        }
    }

    /// Lends its pair to the first.
    fn lend(self) -> Worker {
        let pair = self.recall.lend(self.pair.number().into(), self.pair);
        Worker { pair, ..self }
    }

    /// Starts the card again, with the pairs of all.
    fn restart(mut self, card: &mut VirtioCard<PciDevice>) -> Worker {
        self.card.restarts += 1;
        let (processors, pair) = (self.processors, self.pair);
        let wake = || (1..self.recall.workers()).for_each(|other| processors.call(other));
        let pair = self.recall.with_all(pair, wake, |pairs| {
            if card.restart(pairs).is_err() {
                refuse(&"the card needs a reset");
            }
        });
        Worker { pair, ..self }
    }
}

/// The first processor: a worker, with the console and the card.
///
/// Of a card with a line the processor that acknowledges it tells the others. It never sleeps while the line
/// is high, so that nobody waits for a line that cannot rise any more.
fn lead(mut card: VirtioCard<PciDevice>, has_line: bool, mut worker: Worker) -> ! {
    let mut terminal = Terminal::new(&format_args!(
        "the card is {}, with {} pairs of queues for {} processors",
        card.mac(),
        worker.station.team().map_or(1, Member::lanes),
        worker.processors.count(),
    ));
    worker.note_link(card.link());
    let mut idle = Idle::new(worker.clock);
    loop {
        if !worker.turn() {
            continue;
        }
        let is_console_quiet = terminal.serve(&mut worker.station, worker.clock);
        if worker.look_around() {
            if card.needs_reset() {
                worker = worker.restart(&mut card);
            }
            worker.note_link(card.link());
        }
        if has_line {
            pass_on(&mut card, &worker);
        }
        if is_console_quiet {
            let serve_at = terminal.poll_timeout(worker.clock.now());
            worker.rest(&mut idle, serve_at, |worker| has_line && pass_on(&mut card, worker));
        }
    }
}

/// Lets the card's line fall, and wakes the other workers if it was high.
fn pass_on(card: &mut VirtioCard<PciDevice>, worker: &Worker) -> bool {
    let is_called = card.acknowledge_interrupt();
    if is_called {
        worker.call_others();
    }
    is_called
}
