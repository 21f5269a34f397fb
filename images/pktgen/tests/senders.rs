//! What a sink says to several senders, one that was restarted, and one whose frames come more than once: it
//! never says that all has arrived if something was lost.
#![allow(missing_docs, reason = "a test")]

use std::collections::VecDeque;

use base::{Duration, Instant};
use net::device::FrameDevice;
use pktgen::Station;
use pktgen::probe::{Kind, Probe};
use pktgen::station::{Finished, Seed};
use pktgen::tcp::Tcp;
use pktgen::team::Member;
use pktgen::trial::{Outcome, Plan};
use pool::{Frame, PAGE_BYTES, Pool};

const SINK: u8 = 9;
const RATE: u64 = 200_000;

fn mac(number: u8) -> [u8; 6] {
    [2, 0x77, 0, 0, 0, number]
}

fn parts(number: u8, now: Instant) -> (Pool, Pool, Tcp) {
    let pool = Pool::on_heap(256, PAGE_BYTES);
    let device = FrameDevice::new(pool.clone(), 1500, None);
    (pool, Pool::on_heap(256, PAGE_BYTES), Tcp::new(mac(number), device, 1, now))
}

/// What the wire does with a frame to the sink.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    IsLost,
    ComesTwice,
}

/// Senders, and one card with a station for each of its pairs, among which frames are dealt in turn.
struct World {
    now: Instant,
    senders: Vec<Station>,
    sink: Vec<Station>,
    wire: VecDeque<Frame>,
    dealt: usize,
    fate: fn(&Probe) -> Fate,
}

impl World {
    fn new(pairs: usize, runs: &[u32]) -> World {
        let now = Instant::from_millis(1);
        let seed = Seed { run: 0, hash_key: [1, 2] };
        let sink = Member::team(pairs).into_iter().map(|member| {
            let (pool, templates, tcp) = parts(SINK, now);
            Station::of_team(mac(SINK), pool, templates, tcp, seed, member)
        });
        let sink = sink.collect();
        let (wire, fate) = (VecDeque::new(), |_: &Probe| Fate::Arrives);
        let mut world = World { now, senders: Vec::new(), sink, wire, dealt: 0, fate };
        for (number, run) in (1..).zip(runs) {
            let sender = world.sender(number, *run);
            world.senders.push(sender);
        }
        world
    }

    fn sender(&self, number: u8, run: u32) -> Station {
        let (pool, templates, tcp) = parts(number, self.now);
        Station::new(mac(number), pool, templates, tcp, Seed { run, hash_key: [1, 2] })
    }

    fn step(&mut self) {
        self.now += Duration::from_micros(10);
        for sender in &mut self.senders {
            sender.poll(self.now);
            self.wire.extend(sender.outgoing().drain(..));
        }
        for station in &mut self.sink {
            station.poll(self.now);
            station.confer(self.now);
            self.wire.extend(station.outgoing().drain(..));
        }
        for frame in std::mem::take(&mut self.wire) {
            let to = self.senders.iter_mut().find(|sender| frame[..6] == sender.mac());
            match to {
                Some(sender) => sender.handle_frame(frame, self.now),
                None => self.carry(frame),
            }
        }
    }

    fn carry(&mut self, frame: Frame) {
        let probe = Probe::parse(&frame).filter(|probe| probe.kind == Kind::Data);
        let fate = probe.map_or(Fate::Arrives, |probe| (self.fate)(&probe));
        let station = self.dealt % self.sink.len();
        self.dealt += 1;
        let station = &mut self.sink[station];
        if fate == Fate::ComesTwice {
            let mut copy = station.pool().allocate_frame().expect("the pool suffices");
            copy.append(frame.len()).copy_from_slice(&frame);
            station.handle_frame(copy, self.now);
        }
        if fate != Fate::IsLost {
            station.handle_frame(frame, self.now);
        }
    }

    fn start(&mut self, sender: usize, flows: u16) {
        let (to, duration) = (mac(SINK), Duration::from_millis(20));
        let per_second = Some(RATE);
        let plan = Plan { to, size: 64, duration, per_second, flows, first_flow: 0, lane: 0 };
        self.senders[sender].start_trial(&plan, self.now);
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        for _ in 0..1_000_000 {
            self.step();
            if self.senders.iter().all(|sender| !sender.is_busy()) {
                let finished = self.senders.iter().map(|sender| sender.finished());
                let outcome = |finished| match finished {
                    Some(&Finished::Trial(outcome)) => outcome,
                    other => panic!("trials were begun: {other:?}"),
                };
                return finished.map(outcome).collect();
            }
        }
        panic!("it does not end");
    }
}

fn is_third(probe: &Probe) -> bool {
    probe.sequence.is_multiple_of(3)
}

#[test]
fn two_senders_are_told_of_their_own_frames() {
    for (pairs, runs) in [(1, [7, 7]), (1, [7, 8]), (2, [7, 7]), (2, [7, 8])] {
        let mut world = World::new(pairs, &runs);
        world.fate = |probe| if is_third(probe) { Fate::IsLost } else { Fate::Arrives };
        world.start(0, 1);
        world.start(1, 1);
        for outcome in world.outcomes() {
            assert_eq!(outcome.lost(), Some(outcome.sent.div_ceil(3)), "{pairs} pairs, {runs:?}");
            assert!(outcome.sent > 3_900);
        }
    }
}

#[test]
fn a_sender_that_was_restarted_is_told_of_what_it_sent_since() {
    let mut world = World::new(1, &[7]);
    world.start(0, 1);
    assert_eq!(world.outcomes()[0].lost(), Some(0));
    // Its clock and its numbers begin anew; what it drew is another number.
    world.senders[0] = world.sender(1, 1_000_007);
    world.fate = |probe| if probe.sequence < 5 { Fate::IsLost } else { Fate::Arrives };
    world.start(0, 1);
    assert_eq!(world.outcomes()[0].lost(), Some(5));
}

#[test]
fn what_comes_twice_does_not_hide_what_was_lost() {
    let mut world = World::new(1, &[7]);
    world.fate = |probe| match probe.sequence % 3 {
        0 => Fate::IsLost,
        1 => Fate::ComesTwice,
        _ => Fate::Arrives,
    };
    world.start(0, 16);
    let outcome = world.outcomes()[0];
    let third = outcome.sent.div_ceil(3);
    assert_eq!(outcome.lost(), Some(third));
    let arrivals = outcome.arrivals.expect("the sink has answered");
    assert!((third - 1..=third).contains(&arrivals.duplicates), "{arrivals:?}");
    assert_eq!(arrivals.reordered, 0);
}

#[test]
fn numbers_of_runs_begin_again_behind_the_last() {
    let mut world = World::new(1, &[u32::MAX - 1]);
    for _ in 0..3 {
        world.start(0, 1);
        let outcome = world.outcomes()[0];
        assert_eq!(outcome.arrivals.map(|arrivals| arrivals.frames), Some(outcome.sent));
    }
}
