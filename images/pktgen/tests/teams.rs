//! Two cards with two pairs of queues each, a station for each pair, and a network that steers flows as our
//! switch does: to the pair that the other half of the conversation is sent from.
#![allow(missing_docs, reason = "a test")]

use std::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant};
use net::device::FrameDevice;
use netio::{Core, FlowKey, MICROSOFT_KEY, NetStatistics, Steering, SteeringStatistics, Toeplitz};
use pktgen::card;
use pktgen::probe::{Kind, Probe};
use pktgen::station::{Finished, Role, Seed};
use pktgen::tcp::{Ending, PORT, Tcp, WINDOW_BYTES};
use pktgen::team::Member;
use pktgen::trial::{Outcome, Plan};
use pktgen::{BURST, Station};
use pool::{Frame, PAGE_BYTES, Pool};

const STEP: Duration = Duration::from_micros(10);
const PAIRS: usize = 2;
const MACS: [[u8; 6]; 2] = [[2, 0x77, 0, 0, 0, 1], [2, 0x77, 0, 0, 0, 2]];

/// A card: a ring for each pair, with frames that wait in it, and what decides which of them a frame goes to.
struct Card {
    steering: Steering,
    rings: [VecDeque<Frame>; PAIRS],
    stations: Vec<Station>,
    pools: Vec<Pool>,
}

impl Card {
    fn new(mac: [u8; 6], now: Instant) -> Card {
        let mut pools = Vec::new();
        let stations = Member::team(PAIRS).into_iter().map(|member| {
            let [pool, templates] = [(); 2].map(|()| Pool::on_heap(256, PAGE_BYTES));
            pools.extend([pool.clone(), templates.clone()]);
            let device = FrameDevice::new(pool.clone(), 1500, None);
            let (tcp, seed) = (Tcp::new(mac, device, 1, now), Seed { run: 0, hash_key: [1, 2] });
            Station::of_team(mac, pool, templates, tcp, seed, member)
        });
        let stations = stations.collect();
        Card { steering: Steering::new(PAIRS as u8), rings: Default::default(), stations, pools }
    }
}

struct World {
    now: Instant,
    hash: Toeplitz,
    cards: [Card; 2],
    /// How many frames each station of the second card handles in a step.
    per_step: [usize; PAIRS],
    /// The numbers of frames that have reached the second card, of each flow (its hash) and lane, in their
    /// order.
    heard: BTreeMap<(u32, u8), Vec<u64>>,
    /// Frames that were sent to the second card and are not the generator's.
    foreign: u64,
}

impl World {
    fn new(now: Instant) -> World {
        World {
            now,
            hash: Toeplitz::new(&MICROSOFT_KEY),
            cards: MACS.map(|mac| Card::new(mac, now)),
            per_step: [BURST; PAIRS],
            heard: BTreeMap::new(),
            foreign: 0,
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        for card in 0..2 {
            for pair in 0..PAIRS {
                self.receive(card, pair);
                let station = &mut self.cards[card].stations[pair];
                station.poll(self.now);
                let mut sent: Vec<_> = station.outgoing().drain(..).collect();
                sent.extend(std::iter::from_fn(|| station.poll_tcp()).map(|it| it.frame));
                station.confer(self.now);
                sent.into_iter().for_each(|frame| self.carry(card, pair, frame));
            }
        }
    }

    fn receive(&mut self, card: usize, pair: usize) {
        let Card { steering, rings, stations, .. } = &mut self.cards[card];
        let count = rings[pair].len().min(if card == 1 { self.per_step[pair] } else { BURST });
        for frame in rings[pair].drain(..count) {
            let probe = Probe::parse(&frame).filter(|it| card == 1 && it.kind == Kind::Data);
            if let Some((probe, key)) = probe.zip(FlowKey::of_frame(&frame)) {
                let flow = (self.hash.hash_flow(&key), probe.lane);
                self.heard.entry(flow).or_default().push(probe.sequence);
            }
            stations[pair].handle_frame(frame, self.now);
        }
        steering.handled(Core(pair as u8), count as u64);
    }

    fn carry(&mut self, from: usize, pair: usize, frame: Frame) {
        let key = FlowKey::of_frame(&frame);
        let to = 1 - from;
        self.foreign += u64::from(to == 1 && Probe::parse(&frame).is_none());
        if let Some(key) = &key {
            let hash = self.hash.hash_flow(&key.reversed());
            self.cards[from].steering.consumed_on(hash, Core(pair as u8));
        }
        // What has no flow goes to the first pair, behind whatever is there.
        let hash = key.map_or(0, |key| self.hash.hash_flow(&key));
        let core = self.cards[to].steering.steer(hash);
        self.cards[to].rings[usize::from(core.0)].push_back(frame);
    }

    /// Runs until the first card's job is over, and says what came of it.
    fn run(&mut self, mut each_step: impl FnMut(&mut World, u32)) -> Finished {
        for step in 0..1_000_000 {
            self.step();
            each_step(self, step);
            let station = &self.cards[0].stations[0];
            if !station.is_any_busy() {
                return *station.finished().expect("something was measured");
            }
        }
        panic!("it does not end");
    }

    fn trial(
        &mut self,
        per_second: u64,
        flows: u16,
        each_step: impl FnMut(&mut World, u32),
    ) -> Outcome {
        let (to, duration) = (MACS[1], Duration::from_millis(100));
        let per_second = Some(per_second);
        let plan = Plan { to, size: 64, duration, per_second, flows, first_flow: 0, lane: 0 };
        self.cards[0].stations[0].start_trial(&plan, self.now);
        let Finished::Trial(own) = self.run(each_step) else { panic!("a trial was begun") };
        self.cards[0].stations[0].whole(own)
    }

    fn steering(&self) -> SteeringStatistics {
        self.cards[1].steering.statistics()
    }

    /// Every frame that was sent has been heard once.
    fn assert_all_were_heard_once(&self, outcome: &Outcome) {
        let mut lanes: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        for ((_, lane), numbers) in &self.heard {
            lanes.entry(*lane).or_default().extend(numbers);
        }
        let mut sent = 0;
        for numbers in lanes.values_mut() {
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
            sent += numbers.len() as u64;
        }
        assert_eq!(sent, outcome.sent);
        assert_eq!(outcome.arrivals.map(|arrivals| arrivals.frames), Some(sent));
    }

    fn assert_nothing_is_held(&mut self) {
        (0..1_000).for_each(|_| self.step());
        for pool in self.cards.iter().flat_map(|card| &card.pools) {
            assert_eq!(pool.free(), pool.statistics().buffers);
        }
    }
}

#[test]
fn two_stations_share_a_trial_and_each_hears_its_flows() {
    let mut world = World::new(Instant::from_millis(1));
    world.cards[1].stations[0].set_role(Role::FlowSink).unwrap();
    let outcome = world.trial(1_000_000, 64, |_, _| ());
    world.assert_all_were_heard_once(&outcome);
    assert!((99_900..=100_100).contains(&outcome.sent), "{}", outcome.sent);
    assert_eq!(outcome.arrivals.map(|arrivals| arrivals.reordered), Some(0));
    let reports = world.cards[1].stations[0].reports();
    assert!(reports.iter().all(|report| report.meters.latest().arrivals().frames > 30_000));
    let flows: usize = reports.iter().map(|report| report.flows.expect("it counts them")).sum();
    assert_eq!(flows, 64, "a flow in two places would count twice");
    assert_eq!(world.steering().moved, 0);
    world.assert_nothing_is_held();
}

#[test]
fn a_flow_that_moves_while_frames_of_it_wait_is_whole_and_in_order() {
    let mut world = World::new(Instant::from_millis(1));
    let outcome = world.trial(400_000, 8, |world, step| {
        // The second pair's core has no time now and then, so that frames wait there.
        world.per_step[1] = if step % 64 < 48 { 0 } else { BURST };
        if step.is_multiple_of(16) {
            // A service on one of the cores has begun to read one of the flows.
            let flow = world.heard.keys().nth(step as usize / 16 % 8);
            let Some((hash, _)) = flow.copied() else { return };
            let core = Core((step / 128 % 2) as u8);
            world.cards[1].steering.consumed_on(hash, core);
        }
    });
    world.assert_all_were_heard_once(&outcome);
    for numbers in world.heard.values() {
        assert!(numbers.is_sorted(), "a flow has overtaken itself");
    }
    let SteeringStatistics { moved, held_back, .. } = world.steering();
    assert!(moved > 50 && held_back > 50, "{moved} moved, {held_back} held back");
    world.assert_nothing_is_held();
}

#[test]
fn a_connection_that_begins_at_another_pair_moves_to_the_one_that_serves_it() {
    let mut handed_over = 0;
    for round in 1..=8 {
        // The source's port, and with it the pair that its first frame comes to, follows from the time.
        let mut world = World::new(Instant::from_nanos((1_000 + round) * 1_000));
        world.cards[1].stations[0].listen(PORT);
        let to = world.cards[1].stations[0].tcp().address();
        let (now, duration) = (world.now, Duration::from_millis(100));
        world.cards[0].stations[0].start_tcp(to, PORT, duration, now);
        let Finished::Tcp(outcome) = world.run(|_, _| ()) else { panic!("a source was begun") };
        let Ending::Reported(report) = outcome.ending else { panic!("{outcome:?}") };
        assert!(report.bytes > 4 * WINDOW_BYTES as u64);
        assert_eq!((report.bytes, report.misplaced), (outcome.sent, 0));
        assert_eq!(outcome.repeats.segments, 0, "nothing is lost on the way");
        (0..100).for_each(|_| world.step());
        let reports = world.cards[1].stations[0].reports();
        let foreign: Vec<u64> = reports.iter().map(|report| report.counters.foreign).collect();
        assert_eq!(foreign.iter().sum::<u64>(), world.foreign, "each frame is handled once");
        assert!(foreign[1] <= 1, "from the first answer on it comes to where it is served");
        assert_eq!(reports[1].counters.overrun, 0);
        handed_over += foreign[1];
        world.assert_nothing_is_held();
    }
    assert!((1..8).contains(&handed_over), "some begin there, some elsewhere: {handed_over}");
}

#[test]
fn another_job_ends_that_of_all_stations() {
    let whole = |duration| {
        let to = MACS[1];
        Plan { to, size: 64, duration, per_second: Some(1), flows: 64, first_flow: 0, lane: 0 }
    };
    let others: [fn(&mut Station, Instant, Plan); 4] = [
        |station, now, plan| station.start_search(&plan, now),
        |station, now, _| station.start_echo(MACS[1], 64, 10, now),
        |station, now, _| {
            let to = station.tcp().address();
            station.start_tcp(to, PORT, Duration::from_secs(1), now);
        },
        // One flow is for one station.
        |station, now, plan| station.start_trial(&Plan { flows: 1, ..plan }, now),
    ];
    for start in others {
        let mut world = World::new(Instant::from_millis(1));
        let now = world.now;
        world.cards[0].stations[0].start_trial(&whole(Duration::from_secs(100)), now);
        (0..10).for_each(|_| world.step());
        assert!(world.cards[0].stations[1].is_busy(), "it has a share");
        start(&mut world.cards[0].stations[0], world.now, whole(Duration::from_millis(1)));
        (0..10).for_each(|_| world.step());
        assert!(!world.cards[0].stations[1].is_busy());
        assert!(world.cards[0].stations[0].is_busy());
    }
}

#[test]
fn a_trial_ends_what_is_sent_by_tcp() {
    let mut world = World::new(Instant::from_millis(1));
    world.cards[1].stations[0].listen(PORT);
    let to = world.cards[1].stations[0].tcp().address();
    let (now, duration) = (world.now, Duration::from_secs(100));
    world.cards[0].stations[0].start_tcp(to, PORT, duration, now);
    (0..10).for_each(|_| world.step());
    assert!(world.cards[0].stations[0].tcp().is_busy());
    world.trial(100_000, 2, |_, _| ());
    assert!(!world.cards[0].stations[0].tcp().is_busy());
}

#[test]
fn what_the_card_tells_each_station_is_told_together() {
    let mut world = World::new(Instant::from_millis(1));
    let told = |kicks, is_link_up| {
        let statistics = NetStatistics { kicks, receive_ring: 256, ..NetStatistics::default() };
        card::Card { statistics, is_link_up, is_packed: None }
    };
    let [first, second] = &mut world.cards[0].stations[..] else { panic!("there are two") };
    first.note_card(told(3, Some(true)));
    second.note_card(told(4, None));
    world.step();
    let reports = world.cards[0].stations[0].reports();
    let whole = card::Card::whole(reports.iter().map(|report| report.card));
    assert_eq!(whole, told(7, Some(true)));
}
