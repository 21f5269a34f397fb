//! What a card takes over, against a card that does it as the standard says, and one that does not.

use std::collections::VecDeque;

use netio::{OffloadEngine, OffloadSet};
use pool::{HEADROOM_BYTES, LARGE_BUFFER_BYTES, PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{FakeNetwork, FakeTransport, allocate};
use virtio::net::{
    Checksum, HEADER_BYTES, NetConfig, Packet, PartialChecksum, SegmentKind, Segmentation,
    TransmitOffload,
};

const BUFFERS: usize = 64;
const ETHERNET: usize = 14;
const TCP: usize = ETHERNET + 20;
const PAYLOAD: usize = TCP + 20;
const CHECKSUM: PartialChecksum = PartialChecksum { start: TCP as u16, offset: 16 };

const ALL: OffloadSet = OffloadSet {
    transmit_checksum: true,
    receive_checksum: true,
    transmit_tso_ipv4: true,
    transmit_tso_ipv6: true,
    receive_tso_ipv4: true,
    receive_tso_ipv6: true,
    mergeable_buffers: true,
};
/// Bits 0, 1, 7 to 9, 11 to 13 and 15 of section 5.1.3: all that is about offloads of TCP.
const ALL_BITS: u64 = 0b1011_1011_1000_0011;

struct Bench {
    card: VirtioNet<FakeTransport>,
    network: FakeNetwork,
    pool: Pool,
    large: Pool,
}

/// A card that offers `bits`, of which `wanted` is wanted.
fn start(bits: u64, wanted: OffloadSet) -> Bench {
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let large = Pool::on_heap(4, LARGE_BUFFER_BYTES);
    let mut options = FakeNetwork::options();
    options.features |= bits;
    let (transport, network) = FakeNetwork::new(options);
    let config = NetConfig { queue_size_max: 64, receive_buffers: 32, offloads: wanted };
    let card = VirtioNet::new(transport, config, pool.clone(), allocate).unwrap();
    Bench { card, network, pool, large }
}

/// A TCP segment over IPv4, without checksum.
fn segment(payload_bytes: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..PAYLOAD + payload_bytes).map(|at| (at * 7) as u8).collect();
    bytes[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    bytes[16..18].copy_from_slice(&((40 + payload_bytes) as u16).to_be_bytes());
    bytes[20..26].copy_from_slice(&[0, 0, 64, 6, 0, 0]);
    bytes[26..34].copy_from_slice(&[10, 77, 0, 2, 10, 77, 0, 1]);
    bytes[46..54].copy_from_slice(&[0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    bytes
}

/// The sum of one's complement of the words of `bytes` (RFC 1071), carried on from `sum`.
fn ones_complement(sum: u32, bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

fn pseudo_header(frame: &[u8]) -> u16 {
    ones_complement(6 + (frame.len() - TCP) as u32, &frame[26..34])
}

/// What a card does that was asked for a checksum (section 5.1.6.2, step 1).
fn complete_checksum(frame: &mut [u8], checksum: PartialChecksum) {
    let sum = !ones_complement(0, &frame[usize::from(checksum.start)..]);
    let field = checksum.field_end() - 2;
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

fn is_checksum_right(frame: &[u8]) -> bool {
    ones_complement(pseudo_header(frame).into(), &frame[TCP..]) == 0xffff
}

fn in_pool(pool: &Pool, bytes: &[u8]) -> pool::Frame {
    let mut frame = pool.allocate_frame().unwrap();
    frame.append(bytes.len()).copy_from_slice(bytes);
    frame
}

/// A header as a card writes it.
fn header(flags: u8, gso_type: u8, gso_size: u16, buffers: u16) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    (bytes[0], bytes[1]) = (flags, gso_type);
    bytes[4..6].copy_from_slice(&gso_size.to_le_bytes());
    bytes[6..8].copy_from_slice(&CHECKSUM.start.to_le_bytes());
    bytes[8..10].copy_from_slice(&CHECKSUM.offset.to_le_bytes());
    bytes[10..12].copy_from_slice(&buffers.to_le_bytes());
    bytes
}

#[test]
fn nothing_is_negotiated_that_nobody_asked_for() {
    let Bench { card, network, .. } = start(ALL_BITS, OffloadSet::default());
    assert_eq!(network.device().accepted_features() & ALL_BITS, 0);
    assert_eq!(card.offloads().offered, ALL);
    assert_eq!(card.offloads().negotiated, OffloadSet::default());
    let names = "CSUM GUEST_CSUM HOST_TSO4 HOST_TSO6 GUEST_TSO4 GUEST_TSO6 MRG_RXBUF";
    let said = format!("offloads offered: {names}; negotiated: none");
    assert_eq!(card.offloads().to_string(), said);

    let Bench { card, network, .. } = start(ALL_BITS, ALL);
    assert_eq!(network.device().accepted_features() & ALL_BITS, ALL_BITS);
    assert_eq!(card.offloads().negotiated, ALL);
}

#[test]
fn p12_large_arrivals_are_not_accepted_without_mergeable_buffers() {
    let Bench { card, network, .. } = start(ALL_BITS & !(1 << 15), ALL);
    assert_eq!(network.device().accepted_features() & (0b111 << 7), 0);
    let negotiated = card.offloads().negotiated;
    assert!(negotiated.receive_checksum && !negotiated.receive_tso_ipv4);
    // What rests on a checksum that is not offered (section 5.1.3.1) is not taken either.
    let Bench { card, .. } = start(ALL_BITS & !1, ALL);
    assert!(!card.offloads().negotiated.transmit_tso_ipv4);
}

#[test]
fn p18_the_card_computes_a_checksum_from_the_sum_of_the_pseudo_header() {
    let Bench { mut card, network, pool, .. } = start(ALL_BITS, ALL);
    let mut bytes = segment(100);
    let sum = pseudo_header(&bytes);
    bytes[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
    let offload = TransmitOffload::Checksum(CHECKSUM);
    let mut packets = VecDeque::from([Packet { frame: in_pool(&pool, &bytes), offload }]);
    assert_eq!(card.send_packets(&mut packets), 1);
    let sent = network.take_packets(1).remove(0);
    let (sent_header, frame) = sent.split_at(HEADER_BYTES);
    assert_eq!(sent_header, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    assert_eq!(frame, bytes, "the rest is as it was");
    let mut frame = frame.to_vec();
    complete_checksum(&mut frame, CHECKSUM);
    assert!(is_checksum_right(&frame));
    assert_eq!((card.offloads().used.sent_partial, card.offloads().used.sent_large), (1, 0));
}

#[test]
fn p19_a_large_segment_is_one_descriptor_and_says_how_it_is_cut() {
    let Bench { mut card, network, pool, large } = start(ALL_BITS, ALL);
    let mut engine = OffloadEngine::new(card.offloads().offered, ALL, pool.clone(), large.clone());
    let bytes = segment(60_000);
    let mut packets = VecDeque::new();
    let send = |outgoing| packets.push_back(Packet::from(outgoing));
    assert_eq!(engine.transmit(in_pool(&large, &bytes), 1460, send), Ok(1));
    assert_eq!(card.send_packets(&mut packets), 1);
    assert_eq!(card.statistics().transmit_buffers, 1);
    let sent = network.take_packets(1).remove(0);
    let (sent_header, frame) = sent.split_at(HEADER_BYTES);
    assert_eq!(sent_header, [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);
    assert_eq!(frame.len(), PAYLOAD + 60_000);
    assert_eq!(frame[PAYLOAD..], bytes[PAYLOAD..]);
    assert_eq!(frame[TCP + 16..TCP + 18], pseudo_header(frame).to_be_bytes());
    assert_eq!(card.offloads().used.sent_large, 1);
    assert_eq!(card.reclaim(), 1);
    assert_eq!((large.free(), pool.statistics().copied_bytes), (4, 0));
}

#[test]
fn the_longest_packet_fits_behind_the_headroom() {
    let Bench { mut card, network, large, .. } = start(ALL_BITS, ALL);
    let bytes = segment(65_535 - 40);
    let segmentation = Segmentation {
        kind: SegmentKind::Tcp4,
        has_ecn: true,
        header_bytes: PAYLOAD as u16,
        segment_bytes: 1460,
    };
    let offload = TransmitOffload::Segment(segmentation, CHECKSUM);
    let mut packets = VecDeque::from([Packet { frame: in_pool(&large, &bytes), offload }]);
    card.send_packets(&mut packets);
    let sent = network.take_packets(1).remove(0);
    assert_eq!((sent.len(), sent[1]), (HEADER_BYTES + ETHERNET + 65_535, 0x81));
}

#[test]
fn what_the_card_was_not_asked_to_do_is_dropped_and_counted() {
    let plain = Segmentation {
        kind: SegmentKind::Tcp4,
        has_ecn: false,
        header_bytes: PAYLOAD as u16,
        segment_bytes: 100,
    };
    let segment_with = |change: fn(&mut Segmentation)| {
        let mut changed = plain;
        change(&mut changed);
        TransmitOffload::Segment(changed, CHECKSUM)
    };
    let beyond = PartialChecksum { start: 1000, offset: 1000 };
    // Against a card that only computes checksums, and one that cuts IPv4 as well.
    let cases = [
        (1, TransmitOffload::Checksum(CHECKSUM), 0),
        (0, TransmitOffload::Checksum(CHECKSUM), 1),
        (1, TransmitOffload::Checksum(beyond), 1),
        (1, TransmitOffload::Segment(plain, CHECKSUM), 1),
        (1 | 1 << 11, TransmitOffload::Segment(plain, CHECKSUM), 0),
        (1 | 1 << 11, TransmitOffload::Segment(plain, beyond), 1),
        (1 | 1 << 11, segment_with(|it| it.kind = SegmentKind::Tcp6), 1),
        (1 | 1 << 11, segment_with(|it| it.has_ecn = true), 1),
        (1 | 1 << 11 | 1 << 13, segment_with(|it| it.has_ecn = true), 0),
        (1 | 1 << 11, segment_with(|it| it.segment_bytes = 0), 1),
        (1 | 1 << 11, segment_with(|it| it.segment_bytes = 1500), 1),
        (1 | 1 << 11, segment_with(|it| it.header_bytes = 600), 1),
    ];
    for (index, (bits, offload, refused)) in cases.into_iter().enumerate() {
        let Bench { mut card, pool, .. } = start(bits, ALL);
        let mut packets =
            VecDeque::from([Packet { frame: in_pool(&pool, &segment(500)), offload }]);
        assert_eq!(card.send_packets(&mut packets), 1);
        assert_eq!(card.statistics().send_refused, refused, "case {index}");
    }
    // Without a word about cutting a frame is not longer than the network carries.
    let Bench { mut card, large, .. } = start(ALL_BITS, ALL);
    for offload in [TransmitOffload::None, TransmitOffload::Checksum(CHECKSUM)] {
        let frame = in_pool(&large, &segment(1600));
        card.send_packets(&mut VecDeque::from([Packet { frame, offload }]));
    }
    assert_eq!(card.statistics().send_refused, 2);
}

#[test]
fn p12_a_large_arrival_lies_in_several_buffers_and_is_not_copied() {
    let Bench { mut card, network, pool, large } = start(ALL_BITS, ALL);
    let frame = segment(64_000);
    let bytes = [&header(1, 1, 1460, 17)[..], &frame].concat();
    assert_eq!(network.deliver_packet(&bytes), 17);
    let mut packets = Vec::new();
    assert_eq!(card.receive_packets(8, |packet| packets.push(packet)), 1);
    let packet = packets.pop().unwrap();
    assert_eq!(packet.frames.frames().len(), 17);
    assert_eq!(packet.frames.bytes(), frame.len());
    let segmentation = packet.segmentation.unwrap();
    assert_eq!((segmentation.kind, segmentation.segment_bytes), (SegmentKind::Tcp4, 1460));
    assert_eq!(packet.checksum, Checksum::Partial(CHECKSUM));
    assert_eq!(pool.statistics().copied_bytes + large.statistics().copied_bytes, 0);
    assert_eq!(pool.free(), BUFFERS - 32 - 17, "each was replaced");

    let whole = packet.frames.into_contiguous(&large).unwrap();
    assert_eq!(*whole, *frame);
    assert_eq!(whole.headroom(), HEADROOM_BYTES);
    assert_eq!(large.statistics().copied_bytes, frame.len() as u64);
    assert_eq!(pool.free(), BUFFERS - 32);
    let used = card.offloads().used;
    assert_eq!((used.received_large, used.received_in_several, used.received_partial), (1, 1, 1));
    assert_eq!(card.statistics().received_bytes, frame.len() as u64);
}

#[test]
fn p13_the_number_of_buffers_means_nothing_where_they_are_not_mergeable() {
    let wanted = OffloadSet { receive_checksum: true, ..OffloadSet::default() };
    for buffers in [0, 1, 2, u16::MAX] {
        let Bench { mut card, network, .. } = start(ALL_BITS, wanted);
        network.deliver_packet(&[&header(2, 0, 0, buffers)[..], &segment(10)].concat());
        network.deliver_packet(&[&header(0, 0, 0, buffers)[..], &segment(20)].concat());
        let mut packets = Vec::new();
        let take =
            |packet: virtio::net::Received| packets.push((packet.frames.bytes(), packet.checksum));
        assert_eq!(card.receive_packets(8, take), 2);
        assert_eq!(packets, [(PAYLOAD + 10, Checksum::Valid), (PAYLOAD + 20, Checksum::Unknown)]);
    }
}

#[test]
fn p17_a_checksum_that_nobody_computed_is_handed_up_as_such() {
    let Bench { mut card, network, .. } = start(ALL_BITS, ALL);
    let mut bytes = segment(300);
    let sum = pseudo_header(&bytes);
    bytes[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
    network.deliver_packet(&[&header(1, 0, 0, 1)[..], &bytes].concat());
    let mut packets = Vec::new();
    card.receive_packets(8, |packet| packets.push(packet));
    let packet = packets.pop().unwrap();
    assert_eq!(packet.checksum, Checksum::Partial(CHECKSUM));
    let frame = packet.frames.into_single().unwrap();
    assert!(!is_checksum_right(&frame), "who verifies it drops a good packet");
    let mut frame = frame.to_vec();
    complete_checksum(&mut frame, CHECKSUM);
    assert!(is_checksum_right(&frame), "who completes it does not");
}

#[test]
fn what_a_card_may_not_say_is_dropped_and_counted() {
    let tcp4 = OffloadSet { receive_tso_ipv6: false, ..ALL };
    let only_checksum = OffloadSet { receive_checksum: true, ..OffloadSet::default() };
    let only_merged = OffloadSet { mergeable_buffers: true, ..OffloadSet::default() };
    let cases = [
        ("no such kind", ALL, header(1, 3, 100, 1)),
        ("segments without bytes", ALL, header(1, 1, 0, 1)),
        ("IPv6 was not asked for", tcp4, header(1, 4, 100, 1)),
        ("nothing large was asked for", only_checksum, header(1, 1, 100, 1)),
        ("no checksums were asked for", only_merged, header(1, 0, 0, 1)),
        ("nor to be verified", only_merged, header(2, 0, 0, 1)),
        ("in no buffer", ALL, header(0, 0, 0, 0)),
    ];
    for (what, wanted, header) in cases {
        let Bench { mut card, network, pool, .. } = start(ALL_BITS, wanted);
        network.deliver_packet(&[&header[..], &segment(100)].concat());
        assert_eq!(card.receive_packets(8, drop), 0, "{what}");
        assert_eq!(card.statistics().receive_bad_header, 1, "{what}");
        assert_eq!((card.fault(), pool.free()), (None, BUFFERS - 32), "{what}");
    }
    // A checksum behind the end of the frame, by one byte.
    for (bytes, dropped) in [(52, 0), (51, 1)] {
        let Bench { mut card, network, .. } = start(ALL_BITS, ALL);
        network.deliver_packet(&[&header(1, 0, 0, 1)[..], &segment(0)[..bytes]].concat());
        card.receive_packets(8, drop);
        assert_eq!(card.statistics().receive_bad_header, dropped);
    }
}

#[test]
fn a_packet_whose_buffers_are_not_all_there_is_dropped() {
    for (announced, bytes) in [(2, 100), (20, 64_000), (u16::MAX, 64_000)] {
        let Bench { mut card, network, pool, .. } = start(ALL_BITS, ALL);
        network.deliver_packet(&[&header(0, 0, 0, announced)[..], &segment(bytes)].concat());
        assert_eq!(card.receive_packets(8, drop), 0);
        assert_eq!(card.statistics().receive_bad_chain, 1);
        assert_eq!((card.fault(), pool.free()), (None, BUFFERS - 32), "every buffer came back");
    }
    // More buffers than a chain has, all there: they are skipped, and what follows arrives.
    let Bench { mut card, network, pool, .. } = start(ALL_BITS, ALL);
    let frame: Vec<u8> = segment(65_000).into_iter().chain([0; 8_000]).collect();
    assert_eq!(network.deliver_packet(&[&header(0, 0, 0, 19)[..], &frame].concat()), 19);
    network.deliver_packet(&[&header(0, 0, 0, 1)[..], &segment(6)].concat());
    let mut bytes = Vec::new();
    assert_eq!(card.receive_packets(8, |packet| bytes.push(packet.frames.bytes())), 1);
    assert_eq!((bytes, card.statistics().receive_bad_chain), (vec![PAYLOAD + 6], 1));
    assert_eq!(pool.free(), BUFFERS - 32);
}

#[test]
#[should_panic(expected = "headers of arrivals say nothing")]
fn who_asks_for_more_than_frames_does_not_take_frames() {
    start(ALL_BITS, ALL).card.receive_burst(1, drop);
}

#[test]
fn p14_buffers_that_have_left_are_not_stranded() {
    let Bench { mut card, network, pool, .. } = start(0, OffloadSet::default());
    let free = pool.free();
    card.send_burst(&mut (0..5).map(|_| in_pool(&pool, &[1; 60])).collect());
    assert_eq!(network.take_sent(usize::MAX).len(), 5);
    card.send_burst(&mut VecDeque::from([in_pool(&pool, &[1; 60])]));
    assert_eq!(pool.free(), free - 6, "few are not looked for at every burst");

    // Nobody asks for them, and the card is checked once in a while.
    card.check_link();
    assert_eq!(pool.free(), free - 1, "one has not left yet");
    network.take_sent(1);
    assert_eq!((card.reclaim(), pool.free()), (1, free), "who wants it asks");
}
