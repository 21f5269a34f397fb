//! Segments that others wrote go in; what comes out is compared byte for byte, or checked by `smoltcp`.

mod unsummed;

use std::vec::Vec;

use pool::PAGE_BYTES;
use proptest::prelude::*;
use smoltcp::wire::{IpAddress, TcpPacket};

use super::*;
use crate::limits::{IP_LENGTH_MAX_BYTES, MERGE_BUFFER_BYTES, MERGE_WITHIN_NS, MERGED_FLOWS_MAX};
use crate::testing::{ACK, CWR, FIN, PSH, RST, SYN, Segment, URG};

const MSS: u16 = 1_000;

/// Buffers of 12 KiB for segments, long ones for what is merged and for input.
struct Bench {
    engine: OffloadEngine,
    segments: Pool,
    long: Pool,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_card(OffloadSet::default())
    }

    fn with_card(offered: OffloadSet) -> Bench {
        let segments = Pool::on_heap(400, 3 * PAGE_BYTES);
        let long = Pool::on_heap(MERGED_FLOWS_MAX + 2, MERGE_BUFFER_BYTES);
        let engine = OffloadEngine::new(offered, offered, segments.clone(), long.clone());
        Bench { engine, segments, long }
    }

    fn frame(&self, bytes: &[u8]) -> Frame {
        let pool = if bytes.len() > 3 * PAGE_BYTES - 128 { &self.long } else { &self.segments };
        let mut frame = pool.allocate_frame().expect("the pool suffices");
        frame.append_copy(bytes);
        frame
    }

    fn cut(&mut self, segment: &Segment, segment_bytes: u16) -> Result<Vec<Vec<u8>>, SegmentError> {
        let frame = self.frame(&segment.frame());
        let mut sent = Vec::new();
        let send = |outgoing: Outgoing| sent.push(outgoing.frame.to_vec());
        let count = self.engine.transmit(frame, segment_bytes, send)?;
        assert_eq!(sent.len(), count);
        Ok(sent)
    }

    fn receive(&mut self, bytes: &[u8], now_ns: u64) -> Vec<Vec<u8>> {
        let frame = self.frame(bytes);
        let mut given = Vec::new();
        self.engine.receive(frame, now_ns, |frame| given.push(frame.to_vec()));
        given
    }

    fn flush(&mut self) -> Vec<Vec<u8>> {
        let mut given = Vec::new();
        self.engine.flush(|frame| given.push(frame.to_vec()));
        given
    }
}

/// The segment `index` (at most 65) of a stream, as long as a segment may be.
fn nth(is_ipv6: bool, index: u16) -> Segment {
    let payload: Vec<u8> = (0..MSS).map(|byte| (byte ^ index) as u8).collect();
    let first = Segment::new(is_ipv6, &payload);
    Segment {
        sequence: first.sequence + u32::from(index * MSS),
        identification: first.identification + index,
        ..first
    }
}

/// Segments 0, 1, … as one.
fn whole(is_ipv6: bool, count: u16) -> Segment {
    let payload = (0..count).flat_map(|index| nth(is_ipv6, index).payload).collect();
    Segment { payload, ..nth(is_ipv6, 0) }
}

#[test]
fn a_large_segment_becomes_the_segments_that_a_sender_would_have_made() {
    for is_ipv6 in [false, true] {
        let mut bench = Bench::new();
        let flags = ACK | PSH | FIN | CWR;
        let large = Segment { flags, sequence: 0xffff_ff00, ..whole(is_ipv6, 3) };
        let sent = bench.cut(&large, MSS).expect("it can be cut");
        let expected: Vec<Vec<u8>> = (0..3)
            .map(|index| {
                let flags = [ACK | CWR, ACK, ACK | PSH | FIN][usize::from(index)];
                let sequence = 0xffff_ff00_u32.wrapping_add(u32::from(index * MSS));
                Segment { flags, sequence, ..nth(is_ipv6, index) }.frame()
            })
            .collect();
        assert_eq!(sent, expected);
        let used = bench.engine.status().used;
        assert_eq!((used.cut_here, used.cut_into, used.sent_whole), (1, 3, 0));
    }
}

#[test]
fn what_cannot_be_cut_is_refused_as_a_whole() {
    let mut bench = Bench::new();
    for flag in [SYN, RST, URG] {
        let segment = Segment { flags: ACK | flag, ..whole(false, 2) };
        assert_eq!(bench.cut(&segment, MSS), Err(SegmentError::Control));
    }
    assert_eq!(bench.cut(&whole(false, 2), 0), Err(SegmentError::NoLength));
    assert_eq!(bench.cut(&whole(false, 20), 15_000), Err(SegmentError::BufferTooShort));
    assert_eq!(bench.cut(&whole(false, 20), 40), Err(SegmentError::PoolEmpty));
    assert_eq!(bench.engine.status().used.refused, 6);
    assert_eq!((bench.segments.free(), bench.long.free()), (400, MERGED_FLOWS_MAX + 2));
}

#[test]
fn what_is_short_or_no_tcp_is_sent_as_it_is() {
    let mut bench = Bench::new();
    let short = nth(false, 0);
    assert_eq!(bench.cut(&short, MSS), Ok(std::vec![short.frame()]));
    let mut sent = Vec::new();
    let other = bench.frame(&[7; 1_400]);
    let count = bench.engine.transmit(other, MSS, |outgoing| sent.push(outgoing.frame.to_vec()));
    assert_eq!((count, &sent[..]), (Ok(1), &[std::vec![7; 1_400]][..]));
    assert_eq!(bench.engine.status().used.sent_whole, 2);
}

#[test]
fn a_card_that_cuts_gets_the_whole_and_a_partial_checksum() {
    let everything = OffloadSet {
        transmit_checksum: true,
        transmit_tso_ipv4: true,
        transmit_tso_ipv6: true,
        ..OffloadSet::default()
    };
    for (is_ipv6, tcp) in [(false, 34), (true, 54)] {
        let mut bench = Bench::with_card(everything);
        let large = whole(is_ipv6, 60);
        let frame = bench.frame(&large.frame());
        let mut sent = Vec::new();
        bench.engine.transmit(frame, MSS, |outgoing| sent.push(outgoing)).expect("it is sent");
        let [Outgoing { frame, task: CardTask::Segment(segmentation, checksum) }] = &sent[..]
        else {
            panic!("the card is told what to do: {sent:?}");
        };
        let expected = CardSegmentation { is_ipv6, header_bytes: tcp + 20, segment_bytes: MSS };
        assert_eq!(*segmentation, expected);
        assert_eq!(*checksum, CardChecksum { start: tcp, offset: 16 });
        let segment = TcpPacket::new_checked(&frame[usize::from(tcp)..]).expect("it is whole");
        let address = |last| match is_ipv6 {
            false => IpAddress::v4(10, 77, 0, last),
            true => IpAddress::v6(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(last)),
        };
        assert!(segment.verify_partial_checksum(&address(2), &address(1)));
        assert_eq!(segment.payload(), &large.payload[..]);
        assert_eq!(bench.engine.status().used.cut_by_card, 1);
    }
}

#[test]
fn a_card_is_not_given_what_it_might_cut_wrongly() {
    let card =
        OffloadSet { transmit_checksum: true, transmit_tso_ipv4: true, ..OffloadSet::default() };
    let mut bench = Bench::with_card(card);
    let congested = Segment { flags: ACK | CWR, ..whole(false, 2) };
    let second = nth(false, 1);
    let first = Segment { flags: ACK | CWR, ..nth(false, 0) };
    assert_eq!(bench.cut(&congested, MSS), Ok(std::vec![first.frame(), second.frame()]));
    let reset = Segment { flags: ACK | RST, ..whole(false, 2) };
    assert_eq!(bench.cut(&reset, MSS), Err(SegmentError::Control));
    assert_eq!(bench.engine.status().used.cut_by_card, 0);
}

#[test]
fn what_rests_on_something_else_is_not_negotiated_without_it() {
    let all = OffloadSet {
        transmit_checksum: true,
        receive_checksum: true,
        transmit_tso_ipv4: true,
        transmit_tso_ipv6: true,
        receive_tso_ipv4: true,
        receive_tso_ipv6: true,
        mergeable_buffers: true,
    };
    assert_eq!(OffloadSet::negotiate(all, all), all);
    assert_eq!(OffloadSet::negotiate(all, OffloadSet::default()), OffloadSet::default());

    let no_sums = OffloadSet { transmit_checksum: false, receive_checksum: false, ..all };
    let only_buffers = OffloadSet { mergeable_buffers: true, ..OffloadSet::default() };
    assert_eq!(OffloadSet::negotiate(no_sums, all), only_buffers);

    let no_merging = OffloadSet { mergeable_buffers: false, ..all };
    let negotiated = OffloadSet::negotiate(no_merging, all);
    assert_eq!(
        negotiated,
        OffloadSet { receive_tso_ipv4: false, receive_tso_ipv6: false, ..no_merging }
    );
}

#[test]
fn segments_in_order_are_merged_until_one_is_pushed_or_ends_the_stream() {
    for (is_ipv6, last) in [(false, PSH), (true, FIN)] {
        let mut bench = Bench::new();
        for index in 0..3 {
            assert!(bench.receive(&nth(is_ipv6, index).frame(), 0).is_empty());
        }
        let end = Segment { flags: ACK | last, ..nth(is_ipv6, 3) };
        let expected = Segment { flags: ACK | last, ..whole(is_ipv6, 4) };
        assert_eq!(bench.receive(&end.frame(), 0), [expected.frame()]);
        let merge = bench.engine.status().used.merge;
        assert_eq!((merge.received, merge.appended, merge.merged), (4, 3, 1));
        assert_eq!(bench.engine.poll_timeout(), None);
    }
}

#[test]
fn a_segment_out_of_order_ends_the_merging_and_overtakes_nothing() {
    let mut bench = Bench::new();
    let given: Vec<_> = [0, 1, 3, 2]
        .iter()
        .flat_map(|&index| bench.receive(&nth(false, index).frame(), 0))
        .collect();
    assert_eq!(given, [whole(false, 2).frame(), nth(false, 3).frame()]);
    assert_eq!(bench.flush(), [nth(false, 2).frame()]);
}

#[test]
fn a_segment_that_differs_in_its_headers_is_not_merged() {
    let next = || nth(false, 1);
    let timestamps = |value| std::vec![1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 1];
    let others = [
        Segment { acknowledgement: 78, ..next() },
        Segment { window: 513, ..next() },
        Segment { identification: 99, ..next() },
        Segment { options: timestamps(1), ..next() },
        Segment { flags: ACK | CWR, ..next() },
        Segment { flags: ACK | RST, ..next() },
        Segment { payload: Vec::new(), ..next() },
        Segment { payload: std::vec![1; usize::from(MSS) + 1], ..next() },
    ];
    for other in others {
        let mut bench = Bench::new();
        assert!(bench.receive(&nth(false, 0).frame(), 0).is_empty());
        let mut given = bench.receive(&other.frame(), 0);
        given.extend(bench.flush());
        assert_eq!(given, [nth(false, 0).frame(), other.frame()], "{other:?}");
    }
}

#[test]
fn a_shorter_segment_is_the_last() {
    let mut bench = Bench::new();
    let short = Segment { payload: std::vec![5; 10], ..nth(true, 1) };
    assert!(bench.receive(&nth(true, 0).frame(), 0).is_empty());
    let mut expected = nth(true, 0);
    expected.payload.extend([5; 10]);
    assert_eq!(bench.receive(&short.frame(), 0), [expected.frame()]);
}

#[test]
fn identifications_may_stand_still_where_fragmentation_is_forbidden() {
    let without_fragments = |mut frame: Vec<u8>| {
        frame[20] |= 0x40;
        let header: Vec<u8> = [&frame[14..24], &[0, 0], &frame[26..34]].concat();
        frame[24..26].copy_from_slice(&crate::testing::checksum(&header).to_be_bytes());
        frame
    };
    let second = Segment { identification: nth(false, 0).identification, ..nth(false, 1) };
    let mut bench = Bench::new();
    bench.receive(&without_fragments(nth(false, 0).frame()), 0);
    assert!(bench.receive(&without_fragments(second.frame()), 0).is_empty());
    assert_eq!(bench.flush(), [without_fragments(whole(false, 2).frame())]);

    bench.receive(&nth(false, 0).frame(), 0);
    assert_eq!(bench.receive(&second.frame(), 0), [nth(false, 0).frame()]);
}

#[test]
fn a_segment_does_not_wait_for_ever() {
    let mut bench = Bench::new();
    bench.receive(&nth(false, 0).frame(), 7);
    bench.receive(&nth(false, 1).frame(), 30);
    assert_eq!(bench.engine.poll_timeout(), Some(7 + MERGE_WITHIN_NS));
    let mut given = Vec::new();
    bench.engine.handle_timeout(6 + MERGE_WITHIN_NS, |frame| given.push(frame.to_vec()));
    assert!(given.is_empty());
    bench.engine.handle_timeout(7 + MERGE_WITHIN_NS, |frame| given.push(frame.to_vec()));
    assert_eq!(given, [whole(false, 2).frame()]);
}

#[test]
fn a_wrong_checksum_is_given_on_and_disturbs_nothing() {
    let mut bench = Bench::new();
    bench.receive(&nth(false, 0).frame(), 0);
    for place in [22, 60] {
        let mut wrong = nth(false, 1).frame();
        wrong[place] ^= 1;
        assert_eq!(bench.receive(&wrong, 0), [wrong]);
    }
    bench.receive(&nth(false, 1).frame(), 0);
    assert_eq!(bench.flush(), [whole(false, 2).frame()]);
    assert_eq!(bench.engine.status().used.merge.bad_checksum, 2);
}

#[test]
fn padding_is_no_payload() {
    let mut bench = Bench::new();
    let tiny = |index: u32| Segment {
        payload: std::vec![index as u8],
        sequence: index,
        identification: index as u16,
        ..Segment::new(false, &[])
    };
    let padded = |index| {
        let mut frame = tiny(index).frame();
        frame.resize(60, 0xee);
        frame
    };
    assert!(bench.receive(&padded(0), 0).is_empty());
    assert_eq!(bench.flush(), [padded(0)], "what was not merged is not touched");
    for index in 0..2 {
        assert!(bench.receive(&padded(index), 0).is_empty());
    }
    assert_eq!(bench.flush(), [Segment { payload: std::vec![0, 1], ..tiny(0) }.frame()]);
}

#[test]
fn a_packet_never_grows_beyond_what_ip_can_say() {
    for (is_ipv6, headers) in [(false, 40), (true, 20)] {
        let mut bench = Bench::new();
        let fit = ((IP_LENGTH_MAX_BYTES - headers) / usize::from(MSS)) as u16;
        let mut given = Vec::new();
        for index in 0..=fit {
            given.extend(bench.receive(&nth(is_ipv6, index).frame(), 0));
        }
        assert_eq!(given, [whole(is_ipv6, fit).frame()]);
        assert_eq!(bench.flush(), [nth(is_ipv6, fit).frame()]);
    }
}

#[test]
fn without_a_buffer_to_merge_in_nothing_is_lost() {
    let mut bench = Bench::new();
    let held: Vec<_> = (0..bench.long.free()).map(|_| bench.long.allocate()).collect();
    bench.receive(&nth(false, 0).frame(), 0);
    assert_eq!(bench.receive(&nth(false, 1).frame(), 0), [nth(false, 0).frame()]);
    assert_eq!(bench.flush(), [nth(false, 1).frame()]);
    assert_eq!(bench.engine.status().used.merge.no_buffer, 1);
    drop(held);
}

#[test]
fn of_too_many_flows_the_one_that_waits_longest_is_given_on() {
    let mut bench = Bench::new();
    let flow = |index: usize| Segment { source_port: index as u16, ..nth(false, 0) };
    for index in 0..MERGED_FLOWS_MAX {
        // The second flow is the oldest.
        let now = if index == 1 { 0 } else { 5 };
        assert!(bench.receive(&flow(index).frame(), now).is_empty());
    }
    let given = bench.receive(&flow(MERGED_FLOWS_MAX).frame(), 6);
    assert_eq!(given, [flow(1).frame()]);
    assert_eq!(bench.flush().len(), MERGED_FLOWS_MAX);
    assert_eq!(bench.segments.free(), 400);
}

/// The byte of a stream at a sequence number.
fn byte_at(sequence: u32) -> u8 {
    (sequence.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

fn stream_segment(port: u16, sequence: u32, bytes: u32, flags: u8) -> Segment {
    let payload: Vec<u8> =
        (0..bytes).map(|offset| byte_at(sequence.wrapping_add(offset))).collect();
    let identification = sequence as u16;
    Segment { source_port: port, sequence, flags, identification, ..Segment::new(true, &payload) }
}

proptest! {
    #[test]
    fn what_was_cut_is_merged_into_what_it_was(
        is_ipv6 in any::<bool>(),
        sequence in any::<u32>(),
        identification in any::<u16>(),
        flags in prop_oneof![Just(ACK), Just(ACK | PSH), Just(ACK | FIN), Just(ACK | PSH | FIN)],
        has_options in any::<bool>(),
        bytes in 1..=65_483_usize,
        segment_bytes in 200..10_000_u16,
    ) {
        let options = if has_options { std::vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1] } else { Vec::new() };
        let payload: Vec<u8> = (0..bytes as u32).map(byte_at).collect();
        let segment = Segment {
            sequence, identification, flags, options, ..Segment::new(is_ipv6, &payload)
        };
        let mut bench = Bench::new();
        let cut = bench.cut(&segment, segment_bytes).expect("it can be cut");
        prop_assert_eq!(cut.len(), bytes.div_ceil(usize::from(segment_bytes)));
        let mut merged = Vec::new();
        for frame in &cut {
            prop_assert!(Layout::of(frame).is_some_and(|layout| layout.is_intact(frame)));
            merged.extend(bench.receive(frame, 0));
        }
        merged.extend(bench.flush());
        prop_assert_eq!(merged.len(), 1);
        prop_assert!(merged[0] == segment.frame(), "the merged segment differs");
        prop_assert_eq!((bench.segments.free(), bench.long.free()), (400, MERGED_FLOWS_MAX + 2));
    }

    /// Whatever arrives, in whatever order: of each flow the same bytes come out in the order in which they
    /// came in, at their sequence numbers, with right checksums.
    #[test]
    fn each_flow_comes_out_as_it_came_in(
        arrivals in proptest::collection::vec(
            (1..=10_u16, 0..6_u32, prop_oneof![4 => Just(100_u32), 1 => 0..130_u32], 0..12_u8),
            1..80,
        ),
    ) {
        let mut bench = Bench::new();
        let mut given = Vec::new();
        let mut came_in = std::collections::BTreeMap::<u16, Vec<u8>>::new();
        for (port, index, bytes, kind) in arrivals {
            let flags = match kind { 0 => ACK | PSH, 1 => ACK | FIN, 2 => ACK | RST, _ => ACK };
            let segment = stream_segment(port, index * 100, bytes, flags);
            came_in.entry(port).or_default().extend(&segment.payload);
            given.extend(bench.receive(&segment.frame(), 0));
        }
        given.extend(bench.flush());
        let mut came_out = std::collections::BTreeMap::<u16, Vec<u8>>::new();
        for frame in &given {
            let layout = Layout::of(frame).expect("it is TCP");
            prop_assert!(layout.is_intact(frame));
            let payload = &frame[layout.payload_range()];
            let sequence = layout.sequence(frame);
            let is_right = (sequence..).zip(payload).all(|(at, byte)| byte_at(at) == *byte);
            prop_assert!(is_right, "bytes moved");
            let port = u16::from_be_bytes([frame[layout.tcp], frame[layout.tcp + 1]]);
            came_out.entry(port).or_default().extend(payload);
        }
        prop_assert_eq!(came_out, came_in);
    }
}

proptest! {
    /// Whatever a stranger makes of a frame: nothing panics, no buffer is lost, and what cannot be merged
    /// comes out as it came in.
    #[test]
    fn frames_that_lie_do_no_harm(
        is_ipv6 in any::<bool>(),
        changes in proptest::collection::vec((0..90_usize, any::<u8>()), 0..4),
        length in 0..=1_100_usize,
        segment_bytes in any::<u16>(),
        cards in any::<bool>(),
    ) {
        let card = OffloadSet {
            transmit_checksum: cards,
            transmit_tso_ipv4: cards,
            transmit_tso_ipv6: cards,
            ..OffloadSet::default()
        };
        let mut bench = Bench::with_card(card);
        let mut bytes = nth(is_ipv6, 1).frame();
        changes.into_iter().for_each(|(place, byte)| {
            if let Some(at) = bytes.get_mut(place) {
                *at = byte;
            }
        });
        bytes.truncate(length);
        crate::FlowKey::of_frame(&bytes);

        let mut given = bench.receive(&nth(is_ipv6, 0).frame(), 0);
        given.extend(bench.receive(&bytes, 0));
        given.extend(bench.flush());
        let is_merged = given == [whole(is_ipv6, 2).frame()];
        let is_apart = given.len() == 2 && given.iter().any(|frame| bytes.starts_with(frame));
        prop_assert!(is_merged || is_apart, "{} came out", given.len());

        let frame = bench.frame(&bytes);
        let mut sent = 0;
        let result = bench.engine.transmit(frame, segment_bytes, |_| sent += 1);
        prop_assert_eq!(result.unwrap_or(0), sent);
        prop_assert_eq!((bench.segments.free(), bench.long.free()), (400, MERGED_FLOWS_MAX + 2));
    }
}
