//! Frames of a real pool on their way to cards that take what they are told.

mod saturation;

use std::vec::Vec;

use base::limits::{BULK_FRAMES_MAX, REDIS_FRAMES_MAX, URGENT_FRAMES_MAX};
use base::{Duration, Instant, NodeId};
use net::addresses::{cluster_ip, cluster_mac};
use net::host;
use netio::limits::CLASSES;
use netio::{FlowKey, NetStatistics, ZeroCopyPath};
use pool::{Frame, PAGE_BYTES, Pool};
use shell::Report;

use super::views::{self, FIGURES, FlowOrder};
use super::*;
use crate::clients::ClientCounts;
use crate::node::MachineReport;

const NOW: Instant = Instant::ORIGIN;

const NOBODY: ClientCounts = ClientCounts {
    connections: 0,
    http_answered: 0,
    http_refused: 0,
    stacks: [(Port::Cluster, None), (Port::Outside, None)],
};

fn id(number: u16) -> NodeId {
    NodeId::new(number).expect("it is a number")
}

fn traffic() -> Traffic {
    Traffic::new(id(1), [1, 2], NOW)
}

/// A frame from node 1 to node `to`: IPv4, of `protocol` and between these ports.
fn frame(pool: &Pool, to: u16, protocol: u8, ports: (u16, u16), bytes: usize) -> Frame {
    let mut frame = pool.allocate_frame().expect("the pool suffices");
    let at = frame.append(bytes);
    at.fill(0);
    at[..6].copy_from_slice(&cluster_mac(id(to)).0);
    at[6..12].copy_from_slice(&cluster_mac(id(1)).0);
    at[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    at[16..18].copy_from_slice(&(bytes as u16 - 14).to_be_bytes());
    at[22..24].copy_from_slice(&[64, protocol]);
    at[26..30].copy_from_slice(&cluster_ip(id(1)).octets());
    at[30..34].copy_from_slice(&cluster_ip(id(to)).octets());
    at[34..36].copy_from_slice(&ports.0.to_be_bytes());
    at[36..38].copy_from_slice(&ports.1.to_be_bytes());
    // The length of a datagram, or of a segment's header behind its numbers.
    match protocol {
        17 => at[38..40].copy_from_slice(&(bytes as u16 - 34).to_be_bytes()),
        _ => at[46] = 0x50,
    }
    frame
}

/// A full-sized segment of a reply to a Redis client on machine 9.
fn reply(pool: &Pool) -> Frame {
    frame(pool, 9, 6, (6379, 50_000), 1514)
}

fn link_frame(pool: &Pool, bytes: usize) -> Frame {
    frame(pool, 2, 17, (7077, 7077), bytes)
}

fn json(report: shell::Record) -> serde_json::Value {
    serde_json::from_str(&Report::Record(report).to_json()).expect("it is JSON")
}

#[test]
fn services_and_lanes_have_the_classes_of_the_table() {
    let urgencies = [Urgency::Datagram, Urgency::Urgent, Urgency::Acknowledgement, Urgency::Bulk];
    let of_links = urgencies.map(|urgency| plan::class_of_link(urgency).number());
    assert_eq!(of_links, [0, 1, 2, 4]);
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let class = |protocol, port| {
        let frame = frame(&pool, 2, protocol, (port, 50_000), 100);
        plan::class_of_client(FlowKey::of_frame(&frame).as_ref()).number()
    };
    assert_eq!([class(6, 6379), class(6, 80), class(6, 5_201), class(17, 53)], [5, 6, 7, 7]);
    assert_eq!([class(1, 0), class(58, 0), plan::class_of_client(None).number()], [3, 3, 3]);
    let names: Vec<&str> = plan::CLASS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), CLASSES);
}

#[test]
fn a_heartbeat_leaves_before_everything_that_waits() {
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let mut traffic = traffic();
    traffic.set_room(Port::Cluster, 0);
    for _ in 0..10 {
        traffic.send_of_stack(Port::Cluster, reply(&pool), NOW);
    }
    let mut frames = [(Urgency::Bulk, 1_000), (Urgency::Datagram, 150), (Urgency::Urgent, 200)]
        .map(|(urgency, bytes)| Some((urgency, link_frame(&pool, bytes))))
        .into_iter();
    traffic.fetch_from_links(|_| frames.next().flatten(), NOW);
    assert!(traffic.is_congested(Port::Cluster) && !traffic.is_congested(Port::Outside));
    assert!(traffic.poll_transmit(NOW).is_none() && traffic.poll_timeout().is_none());

    traffic.set_room(Port::Cluster, 4);
    let sent = core::iter::from_fn(|| traffic.poll_transmit(NOW));
    let lengths: Vec<usize> = sent.map(|(_, frame)| frame.len()).collect();
    assert_eq!(lengths, [150, 200, 1_000, 1_514], "and no more than the card takes");
    assert!(traffic.is_congested(Port::Cluster));
    traffic.set_room(Port::Cluster, usize::MAX);
    assert_eq!(core::iter::from_fn(|| traffic.poll_transmit(NOW)).count(), 9);
    assert!(!traffic.is_congested(Port::Cluster) && pool.free() == 64);
}

#[test]
fn only_what_there_is_room_for_is_fetched_and_bulk_stays_before_votes_do() {
    let pool = Pool::on_heap(256, PAGE_BYTES);
    let mut traffic = traffic();
    traffic.set_room(Port::Cluster, 0);
    // Links that have as much of everything as is asked for.
    let (mut bulk, mut urgent) = (0, 0);
    let next = |has_room_for_bulk: bool| {
        let urgency = if has_room_for_bulk { Urgency::Bulk } else { Urgency::Urgent };
        *if has_room_for_bulk { &mut bulk } else { &mut urgent } += 1;
        Some((urgency, link_frame(&pool, 500)))
    };
    traffic.fetch_from_links(next, NOW);
    assert_eq!((bulk, urgent), (BULK_FRAMES_MAX, URGENT_FRAMES_MAX));
    assert_eq!(traffic.room(Port::Cluster, Origin::Redis), REDIS_FRAMES_MAX);

    let refused = |traffic: &Traffic| {
        traffic.class_counts().map(|(_, [_, refused, ..])| refused).sum::<u64>()
    };
    for _ in 0..REDIS_FRAMES_MAX {
        traffic.send_of_stack(Port::Outside, reply(&pool), NOW);
    }
    assert_eq!((traffic.room(Port::Outside, Origin::Redis), refused(&traffic)), (0, 0));
    traffic.send_of_stack(Port::Outside, reply(&pool), NOW);
    assert_eq!(refused(&traffic), 1, "who does not ask for room is counted");
}

#[test]
fn a_shape_keeps_a_class_back_and_says_when_it_goes_on() {
    let pool = Pool::on_heap(256, PAGE_BYTES);
    let mut traffic = traffic();
    assert!(traffic.shape(8, Some(1), NOW).is_err() && traffic.shape(5, Some(0), NOW).is_err());
    assert!(traffic.shape(5, Some(100_001), NOW).is_err());
    traffic.shape(5, Some(8), NOW).expect("eight megabits, a million bytes a second");
    let (mut now, mut bytes) = (NOW, 0);
    traffic.send_of_stack(Port::Outside, reply(&pool), now);
    while now < NOW + Duration::from_secs(2) {
        while let Some((_, frame)) = traffic.poll_transmit(now) {
            bytes += frame.len();
            traffic.send_of_stack(Port::Outside, reply(&pool), now);
        }
        assert!(traffic.room(Port::Outside, Origin::Redis) > 0);
        now = now.max(traffic.poll_timeout().expect("frames wait for their time"));
    }
    let burst = base::limits::SHAPE_BURST_MIN_BYTES as usize;
    assert!((2_000_000 - 2_000..=2_000_000 + burst).contains(&bytes), "{bytes}");
    assert_eq!(json(views::shape(&traffic, Class::new(5).unwrap()))["shape_mbit"], 8);
    traffic.shape(5, None, now).expect("it may be let go");
    assert!(core::iter::from_fn(|| traffic.poll_transmit(now)).count() > 0);
    assert!(traffic.poll_timeout().is_none());
}

#[test]
fn a_class_that_is_kept_back_takes_the_room_of_no_other() {
    let pool = Pool::on_heap(256, PAGE_BYTES);
    let mut traffic = traffic();
    traffic.shape(5, Some(1), NOW).expect("it is a rate");
    while traffic.room(Port::Outside, Origin::Redis) > 0 {
        traffic.send_of_stack(Port::Outside, reply(&pool), NOW);
        // What the shape lets through at once.
        while traffic.poll_transmit(NOW).is_some() {}
    }
    for origin in [Origin::Neighbours, Origin::Http, Origin::Other] {
        assert_eq!(traffic.room(Port::Outside, origin), origin.frames_max());
    }
    assert_eq!(Origin::of_service(80), Origin::Http);
    let ping = frame(&pool, 9, 1, (0, 0), 98);
    traffic.send_of_stack(Port::Outside, ping, NOW);
    let (_, sent) = traffic.poll_transmit(NOW).expect("ping does not wait");
    assert_eq!(sent.len(), 98);
}

#[test]
fn flows_are_listed_in_the_order_that_is_asked_for() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut traffic = traffic();
    for (to, frames, bytes) in [(1, 3, 100), (2, 1, 1_000), (3, 2, 200)] {
        for _ in 0..frames {
            let mut frame = frame(&pool, to, 17, (7077, 7077), bytes);
            frame[..6].copy_from_slice(&cluster_mac(id(1)).0);
            assert!(traffic.receive(Port::Cluster, frame, NOW).is_some());
        }
    }
    let listed = |count, order| {
        let shown = json(views::flows(&traffic, count, order, NOW.as_nanos()));
        let rows = shown["flows"].as_array().expect("rows").clone();
        let last = |row: &serde_json::Value| {
            row["destination"].as_str().expect("an address")[8..9].parse::<u16>().expect("a node")
        };
        rows.iter().map(last).collect::<Vec<_>>()
    };
    assert_eq!(listed(32, FlowOrder::Recent), [3, 2, 1]);
    assert_eq!(listed(32, FlowOrder::Bytes), [2, 3, 1]);
    assert_eq!(listed(2, FlowOrder::Packets), [1, 3]);
}

#[test]
fn frames_for_others_are_dropped_and_flows_are_known_with_what_their_answers_took() {
    let pool = Pool::on_heap(8, PAGE_BYTES);
    let mut second = Traffic::new(id(2), [1, 2], NOW);
    let mut third = Traffic::new(id(3), [1, 2], NOW);
    assert!(third.receive(Port::Cluster, link_frame(&pool, 100), NOW).is_none());
    assert!(second.receive(Port::Cluster, link_frame(&pool, 100), NOW).is_some());
    let mut broadcast = link_frame(&pool, 100);
    broadcast[..6].fill(0xff);
    assert!(third.receive(Port::Cluster, broadcast, NOW).is_some());
    third.drop_early(Port::Cluster);
    let dropped = |traffic: &Traffic, cause| {
        let causes = views::drops(traffic, &NOBODY, None);
        causes.iter().find(|(name, _)| *name == cause).expect("it is a cause").1[0]
    };
    let filtered = |traffic| dropped(traffic, "dropped_filter");
    assert_eq!((filtered(&second), filtered(&third)), (Some(0), Some(1)));
    assert_eq!(dropped(&third, "dropped_starting"), Some(1));

    // Node 1 answers itself, so to speak: the flow in the other direction.
    let mut answer = link_frame(&pool, 100);
    answer[26..30].copy_from_slice(&cluster_ip(id(2)).octets());
    answer[30..34].copy_from_slice(&cluster_ip(id(1)).octets());
    let later = NOW + Duration::from_millis(3);
    second.fetch_from_links(
        {
            let mut answer = Some((Urgency::Datagram, answer));
            move |_| answer.take()
        },
        later,
    );
    assert!(second.poll_transmit(later).is_some());
    let shown = json(views::flows(&second, 32, FlowOrder::Recent, later.as_nanos()));
    assert_eq!((shown["active"].as_u64(), shown["new"].as_u64()), (Some(2), Some(2)));
    let asked = &shown["flows"][1];
    assert_eq!(asked["source"], "10.77.0.1:7077");
    let answer_us = asked["answer_us_p50"].as_u64().expect("it was answered");
    assert!((3_000..=3_750).contains(&answer_us), "{answer_us}");
}

#[test]
fn what_cards_tell_is_shown_with_its_rates() {
    let mut traffic = traffic();
    let statistics = |frames: u64| NetStatistics {
        received_frames: frames,
        received_bytes: 125 * frames,
        receive_polls_empty: 7,
        link_up: true,
        ..NetStatistics::default()
    };
    let report = |frames| CardReport { statistics: statistics(frames), ..CardReport::default() };
    traffic.handle_card(Port::Cluster, report(0), NOW);
    let half = NOW + Duration::from_millis(500);
    traffic.handle_card(Port::Cluster, report(500_000), half);
    // Too soon for other rates, but the counts are new.
    traffic.handle_card(Port::Cluster, report(500_001), half + Duration::from_millis(1));
    traffic.handle_turn(4, Duration::from_micros(4));
    traffic.handle_turn(0, Duration::from_micros(4));

    let machine = MachineReport { device_interrupts: 11, timer_interrupts: 13, heap_bytes: 0 };
    let shown = json(views::status(&traffic, Some(ZeroCopyPath::Dpdk), machine));
    assert_eq!(shown["path"], "dpdk");
    assert_eq!([&shown["device_interrupts"], &shown["timer_interrupts"]], [11, 13]);
    assert_eq!(shown["cards"][0]["link"], "up");
    assert_eq!(shown["packet_ns_p50"], 1_000);
    let card = &shown["cards"][0];
    assert_eq!(
        (&card["received_per_second"], &card["received_gbit"]),
        (&1_000_000.into(), &1.0.into())
    );
    let counters = host::Counters { bad_checksum: 3, overrun: 5, ..host::Counters::default() };
    let stacks = [(Port::Cluster, Some(counters)), (Port::Outside, None)];
    let clients = ClientCounts { stacks, ..NOBODY };
    let stats = Report::Listing(views::stats(&traffic, &clients, None)).to_json();
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("it is JSON");
    let of = |figure: &str| {
        let rows = stats.as_array().expect("rows");
        let row = rows.iter().find(|row| row["figure"] == figure).expect("it is there");
        (row["cluster"].as_u64(), row["outside"].as_u64())
    };
    assert_eq!(of("received_frames"), (Some(500_001), None), "there is no other card");
    assert_eq!([of("polls_empty").0, of("dropped_bad_checksum").0], [Some(7), Some(3)]);
    assert_eq!(of("dropped_stack_full"), (Some(5), None));
    assert!(FIGURES.iter().all(|(name, _)| of(name).0.is_some()));
}
