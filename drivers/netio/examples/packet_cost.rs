//! What each step costs per packet, in this machine's memory: no ring, no card, no stack.
//!
//! Run with `cargo run --release -p netio --example packet_cost`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use netio::limits::{CLASSES, FLOW_IDLE_NS, FLOWS_MAX, MERGE_BUFFER_BYTES};
use netio::{
    Class, ClassConfig, Classes, FlowKey, FlowTable, MICROSOFT_KEY, NetworkPacket, OffloadEngine,
    OffloadSet, Outgoing, Steering, Toeplitz,
};
use pool::{Frame, PAGE_BYTES, Pool};

const PACKETS: usize = 4_000_000;
const LARGE_SEGMENTS: usize = 2_000;
const SEGMENT_BYTES: u16 = 1_460;

/// Runs `work`, and tells what it took for each of `count`.
fn report<R>(what: &str, count: usize, work: impl FnOnce() -> R) -> R {
    #[allow(clippy::disallowed_methods)] // A measurement has to read a clock.
    let start = Instant::now();
    let result = work();
    let took: Duration = start.elapsed();
    let tenths = took.as_nanos() * 10 / count as u128;
    println!("{what:40} {:4}.{} ns", tenths / 10, tenths % 10);
    result
}

/// A TCP segment over IPv4 from port `port`, without checksum of TCP.
fn segment(port: u16, payload_bytes: u16) -> Vec<u8> {
    let mut bytes = vec![0; 54 + usize::from(payload_bytes)];
    bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    bytes[16..18].copy_from_slice(&(40 + payload_bytes).to_be_bytes());
    bytes[22..24].copy_from_slice(&[64, 6]);
    bytes[26..34].copy_from_slice(&[10, 77, 0, 2, 10, 77, 0, 1]);
    bytes[34..36].copy_from_slice(&port.to_be_bytes());
    bytes[46..48].copy_from_slice(&[0x50, 0x10]);
    bytes
}

fn measure_flows(flows: usize) {
    println!("{PACKETS} packets of {flows} flow(s):");
    let frames: Vec<Vec<u8>> = (0..flows).map(|flow| segment(flow as u16, 10)).collect();
    let frames = || frames.iter().cycle().take(PACKETS);
    let key = |frame: &[u8]| FlowKey::of_frame(frame).expect("it is TCP");
    report("parse", PACKETS, || frames().for_each(|frame| _ = black_box(key(frame))));

    let toeplitz = Toeplitz::new(&MICROSOFT_KEY);
    let mut steering = Steering::new(4);
    report("parse, hash, steer", PACKETS, || {
        for frame in frames() {
            let core = steering.steer(toeplitz.hash_flow(&key(frame)));
            steering.handled(core, 1);
        }
    });
    let mut table = FlowTable::new([1, 2], FLOW_IDLE_NS);
    report("parse, record with latency", PACKETS, || {
        for (now, frame) in (0..).zip(frames()) {
            table.record(&key(frame), frame.len(), now).latency.record(now & 0xffff);
        }
    });
    let keys: Vec<FlowKey> = frames().take(flows).map(|frame| key(frame)).collect();
    let mut table = FlowTable::new([1, 2], FLOW_IDLE_NS);
    report("record", PACKETS, || record(&mut table, &keys, PACKETS));
    // As on a node: each frame is counted for its flow, and answers those of the other direction.
    let ways = keys.iter().take(keys.len().div_ceil(2)).flat_map(|key| [*key, key.reversed()]);
    let ways: Vec<FlowKey> = ways.collect();
    let mut table = FlowTable::new([1, 2], FLOW_IDLE_NS);
    report("record, note answer", PACKETS, || record_and_answer(&mut table, &ways, PACKETS));
}

/// Apart, so that `callgrind --toggle-collect` can count its instructions.
#[inline(never)]
fn record(table: &mut FlowTable, keys: &[FlowKey], packets: usize) {
    for (now, key) in (0..).zip(keys.iter().cycle().take(packets)) {
        table.record(key, 60, now);
    }
}

/// As [`record`].
#[inline(never)]
fn record_and_answer(table: &mut FlowTable, keys: &[FlowKey], packets: usize) {
    for (now, key) in (0..).zip(keys.iter().cycle().take(packets)) {
        table.record(key, 60, now);
        table.note_answer(key, now);
    }
}

fn measure_classes(waiting: usize) {
    let pool = Pool::on_heap(CLASSES, PAGE_BYTES);
    let mut classes = Classes::new([ClassConfig::default(); CLASSES], 0);
    for number in 0..waiting {
        let class = Class::new(number as u8).expect("there is such a class");
        let frame = pool.allocate_frame().expect("the pool suffices");
        let packet = NetworkPacket::new(frame, class, 0);
        classes.enqueue(packet).expect("there is room");
    }
    report("dequeue, enqueue", PACKETS, || {
        for now in 0..PACKETS as u64 {
            let packet = classes.dequeue(now).expect("packets wait");
            classes.enqueue(NetworkPacket { since_ns: now, ..packet }).expect("one has left");
        }
    });
}

fn measure_offloads() {
    let (segments, long) = (Pool::on_heap(512, PAGE_BYTES), Pool::on_heap(16, MERGE_BUFFER_BYTES));
    let none = OffloadSet::default();
    let mut engine = OffloadEngine::new(none, none, segments, long.clone());
    let large = segment(1, 44 * SEGMENT_BYTES);
    let mut parts: Vec<Frame> = Vec::with_capacity(64);
    let (mut cutting, mut merging) = (Duration::ZERO, Duration::ZERO);
    let mut count = 0;
    for _ in 0..LARGE_SEGMENTS {
        let mut frame = long.allocate_frame().expect("the pool suffices");
        frame.append_copy(&large);
        #[allow(clippy::disallowed_methods)] // A measurement has to read a clock.
        let start = Instant::now();
        let send = |outgoing: Outgoing| parts.push(outgoing.frame);
        count += engine.transmit(frame, SEGMENT_BYTES, send).expect("it can be cut");
        cutting += start.elapsed();
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        parts.drain(..).for_each(|frame| engine.receive(frame, 0, drop));
        engine.flush(drop);
        merging += start.elapsed();
    }
    assert_eq!(engine.status().used.merge.merged, LARGE_SEGMENTS as u64);
    for (what, took) in [("cut", cutting), ("merge", merging)] {
        println!("{what:40} {:6} ns", took.as_nanos() / count as u128);
    }
}

fn main() {
    measure_flows(1);
    measure_flows(FLOWS_MAX);
    for waiting in [1, CLASSES] {
        println!("{PACKETS} packets, frames of {waiting} class(es) wait:");
        measure_classes(waiting);
    }
    println!("{LARGE_SEGMENTS} large segments, for each of their parts of {SEGMENT_BYTES} bytes:");
    measure_offloads();
}
