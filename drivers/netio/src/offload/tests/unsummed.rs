//! A stack that leaves the checksums of TCP to others.

use super::*;

const CHECKSUMS: OffloadSet = OffloadSet {
    transmit_checksum: true,
    receive_checksum: false,
    transmit_tso_ipv4: false,
    transmit_tso_ipv6: false,
    receive_tso_ipv4: false,
    receive_tso_ipv6: false,
    mergeable_buffers: false,
};

/// What such a stack makes of a segment: the field is zero.
fn unsummed(segment: &Segment) -> Vec<u8> {
    let mut frame = segment.frame();
    let checksum = if segment.is_ipv6 { 54 } else { 34 } + CHECKSUM;
    frame[checksum..checksum + 2].fill(0);
    frame
}

fn send(bench: &mut Bench, frame: &[u8], segment_bytes: u16) -> Vec<Outgoing> {
    let frame = bench.frame(frame);
    let mut sent = Vec::new();
    let segment_bytes = NonZeroU16::new(segment_bytes);
    let count = bench.engine.transmit_unsummed(frame, segment_bytes, |outgoing| {
        sent.push(outgoing);
    });
    assert_eq!(count, Ok(sent.len()));
    sent
}

#[test]
fn the_processor_computes_checksums_that_the_card_does_not() {
    for is_ipv6 in [false, true] {
        let mut bench = Bench::new();
        let syn = Segment { flags: SYN, ..Segment::new(is_ipv6, &[]) };
        for segment in [syn, nth(is_ipv6, 3)] {
            let sent = send(&mut bench, &unsummed(&segment), 0);
            assert_eq!((&sent[0].frame[..], sent[0].task), (&segment.frame()[..], CardTask::None));
        }
        let used = bench.engine.status().used;
        assert_eq!((used.summed_here, used.summed_by_card, used.sent_whole), (2, 0, 2));
    }
}

#[test]
fn the_card_is_told_where_the_checksum_goes() {
    for (is_ipv6, tcp) in [(false, 34_u16), (true, 54)] {
        let mut bench = Bench::with_card(CHECKSUMS);
        let segment = nth(is_ipv6, 3);
        let sent = send(&mut bench, &unsummed(&segment), MSS);
        assert_eq!(sent[0].task, CardTask::Checksum(CardChecksum { start: tcp, offset: 16 }));
        // The card's part (virtio 1.2, 5.1.6.2): the sum over all that follows, the field included.
        let mut frame = sent[0].frame.to_vec();
        let sum = crate::testing::checksum(&frame[usize::from(tcp)..]);
        let field = usize::from(tcp) + CHECKSUM;
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(frame, segment.frame());
        assert_eq!(bench.engine.status().used.summed_by_card, 1);
    }
}

#[test]
fn it_is_cut_into_what_the_stack_says_and_otherwise_not_at_all() {
    let mut bench = Bench::new();
    let large = unsummed(&whole(false, 3));
    let sent = send(&mut bench, &large, MSS);
    let frames: Vec<_> = sent.iter().map(|outgoing| outgoing.frame.to_vec()).collect();
    assert_eq!(frames, [0, 1, 2].map(|index| nth(false, index).frame()));
    assert_eq!(send(&mut bench, &large, 0)[0].frame[..], whole(false, 3).frame());
    let used = bench.engine.status().used;
    assert_eq!((used.cut_here, used.cut_into, used.summed_here), (1, 3, 1));

    let card = OffloadSet { transmit_tso_ipv4: true, ..CHECKSUMS };
    let mut bench = Bench::with_card(card);
    let sent = send(&mut bench, &large, MSS);
    assert!(matches!(sent[..], [Outgoing { task: CardTask::Segment(..), .. }]), "{sent:?}");
    assert_eq!(bench.segments.statistics().copied_bytes, large.len() as u64, "the test's own");
}

#[test]
fn what_is_no_tcp_is_left_alone() {
    let mut bench = Bench::with_card(CHECKSUMS);
    let sent = send(&mut bench, &[7; 900], MSS);
    assert_eq!((&sent[0].frame[..], sent[0].task), (&[7; 900][..], CardTask::None));
}

#[test]
fn arrivals_are_believed_if_the_card_or_their_checksum_says_so() {
    let mut bench = Bench::new();
    for is_ipv6 in [false, true] {
        let right = nth(is_ipv6, 1).frame();
        let mut wrong = right.clone();
        *wrong.last_mut().expect("it has payload") ^= 1;
        assert!(bench.engine.accepts(&right, false));
        assert!(!bench.engine.accepts(&wrong, false));
        // What another machine here has left to do is not there yet, and cannot be verified.
        assert!(bench.engine.accepts(&unsummed(&nth(is_ipv6, 1)), true));
    }
    let mut fragment = nth(false, 1).frame();
    fragment[20] |= 0x20;
    assert!(!bench.engine.accepts(&fragment, true), "nobody can verify a part");
    assert!(bench.engine.accepts(&[7; 60], false), "what is no TCP is the stack's concern");
    let used = bench.engine.status().used;
    assert_eq!((used.verified_here, used.verified_by_card, used.bad_checksum), (4, 2, 3));
}

#[test]
fn a_stack_that_verifies_nothing_gets_segments_without_sums() {
    for is_ipv6 in [false, true] {
        let mut bench = Bench::new();
        let mut given = Vec::new();
        let mut receive = |bench: &mut Bench, bytes: &[u8]| {
            let is_accepted = bench.engine.accepts(bytes, false);
            if is_accepted {
                let frame = bench.frame(bytes);
                bench.engine.receive_accepted(frame, 0, |frame| given.push(frame.to_vec()));
            }
            is_accepted
        };
        let mut wrong = nth(is_ipv6, 2).frame();
        *wrong.last_mut().expect("it has payload") ^= 1;
        assert!(receive(&mut bench, &nth(is_ipv6, 0).frame()));
        assert!(receive(&mut bench, &nth(is_ipv6, 1).frame()));
        assert!(!receive(&mut bench, &wrong), "nobody else would notice");
        bench.engine.flush(|frame| given.push(frame.to_vec()));
        let [merged] = &given[..] else { panic!("{} frames", given.len()) };
        let tcp = if is_ipv6 { 54 } else { 34 };
        let payload: Vec<u8> = [0, 1].map(|index| nth(is_ipv6, index).payload).concat();
        assert_eq!(merged[tcp + 20..], payload);
        let used = bench.engine.status().used;
        assert_eq!((used.verified_here, used.bad_checksum, used.merge.merged), (3, 1, 1));
    }
}

proptest! {
    /// Whatever a frame claims, it is sent once, cut at most, and no buffer is lost.
    #[test]
    fn frames_that_lie_do_no_harm(
        is_ipv6 in any::<bool>(),
        changes in proptest::collection::vec((0..90_usize, any::<u8>()), 0..4),
        length in 0..=1_100_usize,
        segment_bytes in any::<u16>(),
        card in any::<bool>(),
    ) {
        let mut bench = if card { Bench::with_card(CHECKSUMS) } else { Bench::new() };
        let mut bytes = nth(is_ipv6, 1).frame();
        changes.into_iter().for_each(|(place, byte)| bytes[place] = byte);
        bytes.truncate(length);
        bench.engine.accepts(&bytes, card);
        let frame = bench.frame(&bytes);
        let mut sent = 0;
        let segment_bytes = NonZeroU16::new(segment_bytes);
        let result = bench.engine.transmit_unsummed(frame, segment_bytes, |_| sent += 1);
        prop_assert_eq!(result.unwrap_or(0), sent);
        prop_assert_eq!(bench.segments.free(), 400);
    }
}
