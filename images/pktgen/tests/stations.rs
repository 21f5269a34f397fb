//! Two stations on a wire that the test plays.
#![allow(missing_docs, reason = "a test")]

use std::collections::VecDeque;

use base::{Duration, Instant};
use net::device::FrameDevice;
use pktgen::station::{Finished, Role, Seed};
use pktgen::tcp::Tcp;
use pktgen::trial::Plan;
use pktgen::{BURST, SIZES_RFC2544, Station};
use pool::{Frame, PAGE_BYTES, Pool};

const FROM: [u8; 6] = [2, 0x77, 0, 0, 0, 1];
const TO: [u8; 6] = [2, 0x77, 0, 0, 0, 2];

/// A wire that carries so many frames in 10 microseconds, and loses those that are too many.
struct World {
    now: Instant,
    stations: [Station; 2],
    per_step: usize,
    delay: VecDeque<(usize, Frame)>,
    lost: u64,
}

impl World {
    fn new(per_step: usize) -> World {
        let pool = || Pool::on_heap(256, PAGE_BYTES);
        let now = Instant::from_millis(1);
        let station = |mac| {
            let pool = pool();
            let device = FrameDevice::new(pool.clone(), 1500, None);
            Station::new(
                mac,
                pool.clone(),
                Pool::on_heap(256, PAGE_BYTES),
                Tcp::new(mac, device, 1, now),
                Seed { run: 0, hash_key: [1, 2] },
            )
        };
        let stations = [station(FROM), station(TO)];
        World { now, stations, per_step, delay: VecDeque::new(), lost: 0 }
    }

    fn step(&mut self) {
        self.now += Duration::from_micros(10);
        for (to, frame) in std::mem::take(&mut self.delay) {
            self.stations[to].handle_frame(frame, self.now);
        }
        for from in 0..2 {
            let station = &mut self.stations[from];
            station.poll(self.now);
            assert!(station.outgoing().len() <= BURST + 1);
            let sent: Vec<_> = station.outgoing().drain(..).collect();
            for (count, frame) in sent.into_iter().enumerate() {
                if count < self.per_step {
                    self.delay.push_back((1 - from, frame));
                } else {
                    self.lost += 1;
                }
            }
        }
    }

    fn run(&mut self) -> Finished {
        for _ in 0..10_000_000 {
            self.step();
            if !self.stations[0].is_busy() {
                return *self.stations[0].finished().expect("something was measured");
            }
        }
        panic!("it does not end");
    }
}

fn plan(rate: Option<u64>) -> Plan {
    let duration = Duration::from_millis(100);
    Plan { to: TO, size: 64, duration, per_second: rate, flows: 16, first_flow: 0, lane: 0 }
}

#[test]
fn what_arrives_is_what_was_sent_less_what_was_lost() {
    let mut world = World::new(20);
    world.stations[1].set_role(Role::FlowSink).unwrap();
    world.stations[0].start_trial(&plan(None), world.now);
    let Finished::Trial(outcome) = world.run() else { panic!("a trial was begun") };
    let arrivals = outcome.arrivals.expect("the receiver answered");
    assert_eq!(outcome.sent, arrivals.frames + world.lost);
    assert_eq!((outcome.lost(), arrivals.reordered), (Some(world.lost), 0));
    assert!(world.lost > 0, "the wire carries 20 of 32");
    assert_eq!(world.stations[1].flows(), Some(16));
    let pool = world.stations[0].pool().statistics();
    assert_eq!((pool.free, pool.copied_bytes), (pool.buffers, 0));
}

#[test]
fn flows_that_are_silent_are_forgotten() {
    let mut world = World::new(20);
    world.stations[1].set_role(Role::FlowSink).unwrap();
    world.stations[0].start_trial(&plan(Some(100_000)), world.now);
    world.run();
    assert_eq!(world.stations[1].flows(), Some(16));
    let sink = &mut world.stations[1];
    // No frame comes any more: the station says itself when it wants to be called.
    let mut calls = 0;
    while sink.flows() != Some(0) {
        let due = sink.poll_timeout(world.now).expect("flows grow old");
        assert!(due > world.now, "it has nothing to do");
        world.now = due;
        sink.poll(world.now);
        calls += 1;
    }
    assert!((1..=32).contains(&calls), "{calls} calls");
    assert_eq!(sink.poll_timeout(world.now), None);
}

#[test]
fn a_rate_is_kept_and_nothing_is_lost() {
    let mut world = World::new(20);
    world.stations[0].start_trial(&plan(Some(1_000_000)), world.now);
    let Finished::Trial(outcome) = world.run() else { panic!("a trial was begun") };
    assert_eq!(outcome.lost(), Some(0));
    assert!((99_900..=100_100).contains(&outcome.sent), "{}", outcome.sent);
    assert!((outcome.per_second() - 1e6).abs() < 5e3, "{}", outcome.per_second());
}

#[test]
fn a_search_finds_what_the_wire_carries() {
    let mut world = World::new(20);
    world.stations[0].start_search(&plan(Some(1)), world.now);
    let Finished::Search(search, _) = world.run() else { panic!("a search was begun") };
    // 20 frames in 10 microseconds.
    assert!((1_900_000..=2_050_000).contains(&search.best()), "{}", search.best());
}

#[test]
fn all_sizes_of_rfc_2544_are_searched_and_timed_under_load() {
    let mut world = World::new(10);
    let plan = Plan { duration: Duration::from_millis(10), ..plan(None) };
    world.stations[0].start_survey(&plan, world.now);
    let mut seen = Vec::new();
    while world.stations[0].is_busy() {
        world.step();
        seen.extend(world.stations[0].progress());
        seen.dedup();
    }
    assert_eq!(seen, (1..=7).map(|place| (place, 7)).collect::<Vec<_>>());
    let Some(Finished::Survey(rows)) = world.stations[0].finished() else { panic!("it was begun") };
    for (row, size) in rows.iter().zip(SIZES_RFC2544) {
        let row = row.expect("the receiver has answered");
        // Ten frames in 10 microseconds, of whatever size.
        let best = row.best;
        assert!((950_000..=1_010_000).contains(&best), "{best} of {size} bytes");
        assert_eq!((usize::from(row.size), row.bits_per_second()), (size, best * size as u64 * 8));
        let latency = row.latency.expect("there is a rate");
        // One at a time, 20 microseconds there and back, for 10 ms.
        assert!((450..=500).contains(&latency.echoes), "{}", latency.echoes);
        assert_eq!((latency.p50_ns, latency.p99_ns, latency.lost), (20_000, 20_000, Some(0)));
    }
}

#[test]
fn sizes_that_nobody_counts_are_not_measured() {
    let mut world = World::new(0);
    world.stations[0].start_survey(&plan(None), world.now);
    assert_eq!(world.run(), Finished::Survey([None; 7]));
}

#[test]
fn echoes_take_their_time() {
    let mut world = World::new(20);
    world.stations[0].start_echo(TO, 128, 500, world.now);
    let Finished::Echo(spans) = world.run() else { panic!("echoes were begun") };
    // A step there, and one back.
    assert_eq!((spans.count, spans.lost), (500, 0));
    assert_eq!((spans.p50_ns, spans.max_ns), (20_000, 20_000));
}

#[test]
fn a_forwarder_returns_everything_in_its_own_buffers() {
    let mut world = World::new(BURST);
    world.stations[1].set_role(Role::Forwarder).unwrap();
    world.stations[0].start_trial(&plan(None), world.now);
    for _ in 0..1_000 {
        world.step();
    }
    let (sender, forwarder) = (world.stations[0].counters(), world.stations[1].counters());
    assert!(forwarder.returned > 10_000 && forwarder.received == forwarder.returned);
    assert!(sender.received >= forwarder.returned - BURST as u64);
    assert_eq!(world.stations[1].pool().statistics().copied_bytes, 0);
}

#[test]
fn a_silent_receiver_is_no_answer() {
    let mut world = World::new(0);
    world.stations[0].start_trial(&plan(None), world.now);
    let Finished::Trial(outcome) = world.run() else { panic!("a trial was begun") };
    assert!(outcome.sent > 0 && outcome.arrivals.is_none());
}

#[test]
fn other_frames_are_counted_apart() {
    let mut world = World::new(20);
    let pool = Pool::on_heap(1, PAGE_BYTES);
    for length in [0, 13, 14, 42, 57, 60, 1514] {
        let mut frame = pool.allocate_frame().unwrap();
        frame.append(length).fill(0xa5);
        world.stations[1].handle_frame(frame, world.now);
        // The stack looks at it, and gives the only buffer back.
        world.stations[1].poll(world.now);
    }
    assert_eq!(world.stations[1].counters().foreign, 7);
    world.stations[1].set_role(Role::Forwarder).unwrap();
    let mut short = pool.allocate_frame().unwrap();
    short.append(11).fill(1);
    world.stations[1].handle_frame(short, world.now);
    assert_eq!(world.stations[1].counters().returned, 0);
}
