//! A source and a sink on a wire that the test plays, with cards that do more or less of the work.
#![allow(missing_docs, reason = "a test")]

use std::net::Ipv4Addr;

use base::{Duration, Instant, Prng};
use net::device::{FrameDevice, Offloads};
use netio::{CardTask, OffloadSet, Outgoing};
use pktgen::settings::Offloading;
use pktgen::tcp::{Ending, Outcome, PORT, SILENT_MAX, SINKS_MAX, Tcp, WINDOW_BYTES};
use pool::{Frame, FrameChain, LARGE_BUFFER_BYTES, PAGE_BYTES, Pool};

const STEP: Duration = Duration::from_micros(50);
const NOTHING: OffloadSet = OffloadSet {
    transmit_checksum: false,
    receive_checksum: false,
    transmit_tso_ipv4: false,
    transmit_tso_ipv6: false,
    receive_tso_ipv4: false,
    receive_tso_ipv6: false,
    mergeable_buffers: false,
};

struct End {
    tcp: Tcp,
    offloading: Offloading,
    pool: Pool,
    large: Pool,
}

impl End {
    /// The stack of a machine whose card offers this, and is asked for that.
    fn new(number: u8, offered: OffloadSet, offloading: Offloading, now: Instant) -> End {
        let pool = Pool::on_heap(512, PAGE_BYTES);
        let large = Pool::on_heap(24, LARGE_BUFFER_BYTES);
        let is_large = offloading == Offloading::All;
        let offloads = (offloading != Offloading::None).then(|| {
            Offloads::new(offered, offloading.wanted(), pool.clone(), large.clone(), is_large)
        });
        let device = FrameDevice::new(pool.clone(), 1500, offloads);
        let tcp = Tcp::new([2, 0x77, 0, 0, 0, number], device, u64::from(number), now);
        End { tcp, offloading, pool, large }
    }

    /// What the card brings to the other end: in buffers of a page each, unless it fits one.
    fn receive(&mut self, bytes: &[u8], is_vouched_for: bool) {
        let mut chain: Option<FrameChain> = None;
        for part in bytes.chunks(PAGE_BYTES - pool::HEADROOM_BYTES) {
            let mut frame = self.pool.allocate_frame().expect("the pool suffices");
            frame.append(part.len()).copy_from_slice(part);
            match &mut chain {
                None => chain = Some(FrameChain::new(frame)),
                Some(chain) => chain.push(frame).expect("64 KiB are 17 parts"),
            }
        }
        let Some(frame) = chain.and_then(|chain| self.tcp.gather(chain)) else { return };
        self.tcp.handle_frame(frame, is_vouched_for);
    }
}

struct World {
    now: Instant,
    ends: [End; 2],
    prng: Prng,
    /// So many of 1000 frames are lost.
    loss: u64,
    largest: usize,
}

impl World {
    fn new(offered: OffloadSet, offloading: Offloading) -> World {
        let now = Instant::from_millis(1);
        let ends = [1, 2].map(|number| End::new(number, offered, offloading, now));
        World { now, ends, prng: Prng::new(7), loss: 0, largest: 0 }
    }

    fn step(&mut self) {
        self.now += STEP;
        for from in 0..2 {
            self.ends[from].tcp.poll(self.now);
            while let Some(Outgoing { frame, task }) = self.ends[from].tcp.poll_transmit() {
                self.largest = self.largest.max(frame.len());
                assert!(frame.len() <= 1514 || matches!(task, CardTask::Segment(..)));
                if !self.prng.chance(self.loss, 1000) {
                    self.deliver(1 - from, &frame, task);
                }
            }
        }
    }

    /// As a switch does: what is partial stays so for who takes it.
    fn deliver(&mut self, to: usize, frame: &Frame, task: CardTask) {
        let is_vouched_for = task != CardTask::None;
        let end = &mut self.ends[to];
        assert!(!is_vouched_for || end.offloading != Offloading::None);
        end.receive(frame, is_vouched_for);
    }

    /// Lets the first send to the second for so long.
    fn measure(&mut self, duration: Duration) -> Outcome {
        let to = self.ends[1].tcp.address();
        self.ends[1].tcp.listen(PORT);
        self.ends[0].tcp.connect(to, PORT, duration, self.now);
        self.outcome()
    }

    fn outcome(&mut self) -> Outcome {
        for _ in 0..2_000_000 {
            self.step();
            if let Some(outcome) = self.ends[0].tcp.take_outcome() {
                return outcome;
            }
        }
        panic!("it does not end");
    }

    fn assert_nothing_is_held(&mut self) {
        (0..1_000).for_each(|_| self.step());
        for End { pool, large, .. } in &self.ends {
            let (pool, large) = (pool.statistics(), large.statistics());
            assert_eq!((pool.free, large.free), (pool.buffers, large.buffers));
        }
    }
}

/// What has arrived is what was sent, in its place.
fn assert_whole(outcome: &Outcome) {
    let Ending::Reported(report) = outcome.ending else { panic!("{outcome:?}") };
    assert!(report.bytes > 4 * WINDOW_BYTES as u64 && report.span_ns > 0);
    assert_eq!((report.bytes, report.misplaced), (outcome.sent, 0));
}

#[test]
fn without_a_card_that_helps_the_stack_does_everything() {
    let mut world = World::new(NOTHING, Offloading::None);
    let outcome = world.measure(Duration::from_millis(100));
    assert_whole(&outcome);
    assert_eq!((outcome.repeats.segments, world.largest), (0, 1514));
    assert_eq!(outcome.used.summed_here, 0, "smoltcp does it");
    let sink = world.ends[1].tcp.sink_statistics();
    assert_eq!((sink.finished, sink.bytes, sink.port), (1, outcome.sent, Some(PORT)));
    world.assert_nothing_is_held();
}

#[test]
fn a_card_that_computes_checksums_gets_all_of_them() {
    let offered = Offloading::Checksums.wanted();
    let mut world = World::new(offered, Offloading::Checksums);
    let outcome = world.measure(Duration::from_millis(50));
    assert_whole(&outcome);
    let used = outcome.used;
    assert!(used.summed_by_card > 100 && used.verified_by_card > 10);
    assert_eq!((used.summed_here, used.verified_here, used.cut_by_card), (0, 0, 0));
    assert_eq!(world.largest, 1514);
    world.assert_nothing_is_held();
}

#[test]
fn a_card_that_cuts_gets_segments_of_64_kib() {
    let mut world = World::new(Offloading::All.wanted(), Offloading::All);
    let outcome = world.measure(Duration::from_millis(50));
    assert_whole(&outcome);
    assert!(outcome.used.cut_by_card > 10);
    assert_eq!(outcome.used.cut_here, 0);
    assert!((60_000..=14 + 65_535).contains(&world.largest), "{}", world.largest);
    let copied = [0, 1].map(|end: usize| world.ends[end].tcp.copied_bytes());
    let merge = world.ends[1].tcp.offload_status().used.merge;
    assert_eq!((merge.received, merge.merged), (0, 0), "the card of the other end merges");
    assert_eq!(copied[0], 0, "from TCP's window to the card in one buffer");
    assert!(copied[1] > 0, "put together, where the card has buffers of a page only");
    world.assert_nothing_is_held();
}

#[test]
fn where_the_card_cuts_nothing_the_processor_does() {
    let mut world = World::new(NOTHING, Offloading::All);
    let outcome = world.measure(Duration::from_millis(50));
    assert_whole(&outcome);
    let used = outcome.used;
    assert!(used.cut_here > 10 && used.cut_into > 10 * used.cut_here, "{used:?}");
    assert!(used.verified_here > 10 && used.bad_checksum == 0);
    assert_eq!((used.cut_by_card, used.refused, world.largest), (0, 0, 1514));
    assert!(world.ends[0].tcp.copied_bytes() > 1_000_000);
    // The other end merges what has come in one burst, and its stack sees fewer and longer segments.
    let merge = world.ends[1].tcp.offload_status().used.merge;
    assert!(merge.merged > 10 && merge.appended > 5 * merge.merged, "{merge:?}");
    world.assert_nothing_is_held();
}

#[test]
fn what_is_lost_is_sent_again_and_counted() {
    for offloading in [Offloading::None, Offloading::All] {
        let mut world = World::new(Offloading::All.wanted(), offloading);
        world.loss = 20;
        let outcome = world.measure(Duration::from_secs(2));
        assert_whole(&outcome);
        assert!(outcome.repeats.segments > 0 && outcome.repeats.bytes > 0, "{outcome:?}");
        world.loss = 0;
        world.assert_nothing_is_held();
    }
}

#[test]
fn a_wrong_checksum_costs_its_frame() {
    let mut world = World::new(NOTHING, Offloading::Checksums);
    let to = world.ends[1].tcp.address();
    world.ends[1].tcp.listen(PORT);
    world.ends[0].tcp.connect(to, PORT, Duration::from_secs(1), world.now);
    world.ends[0].tcp.poll(world.now);
    for _ in 0..10 {
        world.step();
    }
    // Everything that comes now has a bit too many.
    for _ in 0..10 {
        world.now += Duration::from_secs(1);
        world.ends[0].tcp.poll(world.now);
        while let Some(outgoing) = world.ends[0].tcp.poll_transmit() {
            let mut bytes = outgoing.frame.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            world.ends[1].receive(&bytes, false);
        }
    }
    let bytes = world.ends[1].tcp.sink_statistics().bytes;
    world.ends[1].tcp.poll(world.now);
    assert_eq!(world.ends[1].tcp.sink_statistics().bytes, bytes);
    assert!(world.ends[1].tcp.offload_status().used.bad_checksum > 0);
}

#[test]
fn who_is_not_there_or_does_not_listen_is_no_sink() {
    let mut world = World::new(NOTHING, Offloading::None);
    let second = Duration::from_secs(1);
    for to in [Ipv4Addr::new(198, 18, 0, 77), world.ends[1].tcp.address()] {
        world.ends[0].tcp.connect(to, 80, second, world.now);
        assert_eq!(world.outcome().ending, Ending::Unanswered);
    }
    world.assert_nothing_is_held();
}

#[test]
fn a_source_that_is_stopped_leaves_a_sink_that_listens() {
    let mut world = World::new(Offloading::All.wanted(), Offloading::All);
    let to = world.ends[1].tcp.address();
    world.ends[1].tcp.listen(PORT);
    for _ in 0..3 * SINKS_MAX {
        world.ends[0].tcp.connect(to, PORT, Duration::from_secs(9), world.now);
        (0..200).for_each(|_| world.step());
        assert_eq!(world.ends[1].tcp.sink_statistics().connections, 1);
        world.ends[0].tcp.stop(world.now);
        (0..200).for_each(|_| world.step());
    }
    assert_eq!(world.ends[1].tcp.sink_statistics().connections, 0);
    assert_whole(&world.measure(Duration::from_millis(50)));
    world.assert_nothing_is_held();
}

#[test]
fn who_is_silent_is_disconnected() {
    let mut world = World::new(NOTHING, Offloading::None);
    let to = world.ends[1].tcp.address();
    world.ends[1].tcp.listen(PORT);
    world.ends[0].tcp.connect(to, PORT, Duration::from_secs(3_600), world.now);
    (0..100).for_each(|_| world.step());
    // From now on nothing arrives.
    world.loss = 1000;
    world.now += SILENT_MAX;
    (0..10).for_each(|_| world.step());
    assert_eq!(world.ends[1].tcp.sink_statistics().connections, 0);
    world.loss = 0;
    assert!(matches!(world.outcome().ending, Ending::Broken));
    assert_whole(&world.measure(Duration::from_millis(50)));
}

#[test]
fn frames_of_strangers_do_no_harm() {
    let mut world = World::new(Offloading::All.wanted(), Offloading::All);
    let to = world.ends[1].tcp.address();
    world.ends[1].tcp.listen(PORT);
    world.ends[0].tcp.connect(to, PORT, Duration::from_millis(300), world.now);
    for _ in 0..3_000 {
        world.now += STEP;
        for from in 0..2 {
            world.ends[from].tcp.poll(world.now);
            while let Some(Outgoing { frame, task }) = world.ends[from].tcp.poll_transmit() {
                if world.prng.chance(1, 5) {
                    // A neighbour repeats what it heard, a bit or a length changed, and the card is fooled.
                    let mut bytes = frame.to_vec();
                    let headers = bytes.len().min(80) as u64;
                    bytes[world.prng.below(headers) as usize] ^= 1 << world.prng.below(8);
                    bytes.truncate(1 + world.prng.below(bytes.len() as u64) as usize);
                    world.ends[1 - from].receive(&bytes, true);
                }
                world.deliver(1 - from, &frame, task);
            }
        }
    }
    // Whatever came of that connection: the next one is served.
    world.ends[0].tcp.stop(world.now);
    (0..100).for_each(|_| world.step());
    assert_whole(&world.measure(Duration::from_millis(50)));
}
