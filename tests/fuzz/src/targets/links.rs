//! The links of a node: frames from peers, guests and nobody, in any order, peers that come and go, and time.

use base::{ClusterId, Duration, Instant, NodeId, limits};
use net::links::{Config, Disposition, Links};
use pool::{Frame, PAGE_BYTES, Pool};
use wire::{HEADER_BYTES, Kind, Lane, Packet, Repr, ServiceId, TraceContext};

use crate::input::Input;
use crate::ip;

const CLUSTER: ClusterId = ClusterId(9);
const BUFFERS: usize = 16;
const STEPS_MAX: usize = 200;
/// The port of links.
const PORT: u16 = 7077;

fn node(number: u8) -> NodeId {
    NodeId::new(number.into()).expect("small numbers but 0 are numbers of nodes")
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let peers = vec![node(1), node(2), node(3)];
    let config = Config { id: node(1), cluster: CLUSTER, peers, epoch: 2, nonce: 7, mtu: 1500 };
    let mut links = Links::new(config, pool.clone());
    let mut now = Instant::ORIGIN;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.below(9) {
            8 => {
                let bits = input.u8();
                let peers = (0..8).filter(|bit| bits >> bit & 1 == 1).map(|bit| node(1 + bit));
                links.set_peers(&peers.collect(), now);
            }
            0 => {
                let length = usize::from(input.u8());
                deliver(&mut links, &pool, input.take(length), now);
            }
            1 => {
                now += Duration::from_millis(u64::from(input.u8()));
                links.handle_timeout(now);
            }
            2 => {
                let content = vec![7; usize::from(input.u16())];
                let (to, lane) = (node(2 + input.below(3)), lane(&mut input));
                let trace = TraceContext::default();
                // Too long, too much or nobody: all refused without harm.
                let _ = links.send(to, ServiceId::Kv, lane, trace, content.into(), now);
            }
            _ => {
                let frame = frame(&mut input);
                deliver(&mut links, &pool, &frame, now);
            }
        }
        drain(&mut links, now);
        assert_eq!(pool.free(), BUFFERS, "no buffer is lost");
    }
}

fn lane(input: &mut Input<'_>) -> Lane {
    if input.u8() & 1 == 0 { Lane::Urgent } else { Lane::Bulk }
}

fn deliver(links: &mut Links, pool: &Pool, bytes: &[u8], now: Instant) {
    let mut frame: Frame = pool.allocate_frame().expect("all buffers are free");
    frame.append_copy(bytes);
    match links.handle_frame(frame, now) {
        Disposition::Foreign(frame) => assert_eq!(&frame[..], bytes, "given back as it was"),
        Disposition::Taken | Disposition::Unreachable(_) | Disposition::Refused(_) => {}
    }
}

fn drain(links: &mut Links, now: Instant) {
    links.check_invariants();
    while let Some(message) = links.poll_message() {
        assert!((1..=limits::MESSAGE_MAX_BYTES).contains(&message.content.len()));
    }
    let mut sent = 0;
    while let Some((_, frame)) = links.poll_transmit(now) {
        sent += 1;
        assert!(sent < 10_000, "it never stops sending");
        let packet = Packet::new_checked(&frame[ip::HEADERS_BYTES..]).expect("it is whole");
        let repr = Repr::parse(&packet).expect("it is well-formed");
        assert_eq!((repr.cluster, repr.source), (CLUSTER, node(1)));
    }
    links.check_invariants();
}

/// A frame that a peer might send if it were out of its mind.
fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.u8();
    let content = vec![choice; usize::from(input.u8())];
    let service = ServiceId::Raft;
    let trace = TraceContext::default();
    let (first, message_length) = (input.u8(), usize::from(input.u8()));
    let kind = match choice % 8 {
        0 => Kind::Acknowledgement,
        1 => Kind::Datagram { service, trace },
        _ => Kind::Data {
            service,
            sequence: sequence(input),
            is_first: first & 1 != 0,
            is_last: first & 2 != 0,
            message_length: match first >> 6 {
                0 => content.len() as u32,
                1 => message_length as u32,
                2 => u32::from(first) << 16,
                _ => u32::MAX - message_length as u32,
            },
            place: if first & 4 != 0 { 0 } else { u32::from(input.u8()) },
            trace,
        },
    };
    let is_bare = matches!(kind, Kind::Acknowledgement);
    let content = if is_bare { Vec::new() } else { content };
    let repr = Repr {
        cluster: CLUSTER,
        source: node(2 + (choice >> 7) + 2 * (first >> 3 & 1)),
        destination: node(1),
        epoch: 1 + u32::from(choice >> 6 & 1),
        stream: 1 + u32::from(choice >> 5 & 1),
        peer_epoch: if choice & 16 == 0 { 2 } else { u32::from(input.below(4)) },
        nonce: 1 + u32::from(first >> 6 & 1),
        peer_nonce: if first & 16 == 0 { 7 } else { u32::from(first) },
        lane: if choice & 8 == 0 { Lane::Urgent } else { Lane::Bulk },
        acknowledged_stream: 1 + u32::from(first >> 5 & 1),
        wanted: sequence(input),
        selective: input.u32(),
        length: content.len() as u16,
        kind,
    };
    let mut bytes = vec![0; HEADER_BYTES + content.len()];
    let mut packet = Packet::new_unchecked(&mut bytes);
    repr.emit(&mut packet);
    packet.content_mut().copy_from_slice(&content);
    packet.fill_checksum();
    ip::udp(PORT, &bytes)
}

/// Near the start, near the end, or anywhere.
fn sequence(input: &mut Input<'_>) -> u32 {
    match input.u8() {
        small @ 0..128 => u32::from(small),
        large @ 128..192 => u32::MAX - u32::from(large - 128),
        _ => input.u32(),
    }
}
