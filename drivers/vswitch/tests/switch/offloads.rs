//! Large segments, checksums that are not computed yet, and several pairs of rings.

use crate::guest::{Guest, HEADER_BYTES, RECEIVE, RING, TRANSMIT};
use crate::{RINGS, Running, patience};
use vswitch::port::PortKind;

const CSUM: u64 = 1;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const HOST_TSO4: u64 = 1 << 11;
const MRG_RXBUF: u64 = 1 << 15;
const MQ: u64 = 1 << 22;
pub const ALL: u64 = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF;

const SEGMENT_BYTES: u16 = 1448;

/// The header of a large segment over IPv4, or of a frame that lacks its checksum only.
pub fn header(gso_type: u8) -> [u8; HEADER_BYTES] {
    let mut header = [1, gso_type, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    if gso_type != 0 {
        header[4..6].copy_from_slice(&SEGMENT_BYTES.to_le_bytes());
    }
    header
}

/// Ethernet, IPv4, TCP between stations, with so much payload; its checksum is that of the pseudo-header.
pub fn segment(to: u8, from: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0, 0x45, 0];
    frame.extend(u16::try_from(40 + payload).unwrap().to_be_bytes());
    frame.extend([0, 7, 0, 0, 64, 6, 0, 0, 10, 77, 0, from, 10, 77, 0, to]);
    frame.extend([0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
    let mut sum = 2 * 0x0a4d + u32::from(from) + u32::from(to) + 6;
    sum += u32::try_from(20 + payload).unwrap();
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    frame.extend((0..payload).map(|index| (index % 251) as u8));
    frame
}

/// The sum over pseudo-header and segment, the checksum in its place, is all ones.
fn is_right(frame: &[u8]) -> bool {
    let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let tcp = &frame[34..14 + length];
    let mut covered = frame[26..34].to_vec();
    covered.extend([0, 6]);
    covered.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
    covered.extend(tcp);
    covered.resize(covered.len().next_multiple_of(2), 0);
    let words = covered.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

pub fn plug_in(switch: &Running, number: usize, features: u64) -> Guest {
    let mut guest = Guest::plug_in_with(&switch.port(number), features, 1);
    guest.offer_buffers(RING);
    guest
}

#[test]
fn a_large_segment_goes_untouched_to_who_takes_it() {
    let switch = Running::new("untouched", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = plug_in(&switch, 2, ALL);
    let sent = segment(2, 1, 20_000);
    sender.send_with(TRANSMIT, header(1), &sent);
    let (got, frame) = receiver.receive_in(RECEIVE).unwrap();
    assert_eq!(frame, sent);
    assert_eq!((&got[..10], got[10]), (&header(1)[..10], 10), "20,066 bytes in buffers of 2048");
    assert_eq!(switch.of_port(2, "/statistics/completed"), 0);
    assert_eq!(switch.of_port(2, "/statistics/frames_out"), 1);
}

#[test]
fn a_large_segment_is_cut_for_who_does_not() {
    let switch = Running::new("cut", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = plug_in(&switch, 2, 0);
    let sent = segment(2, 1, 20_000);
    sender.send_with(TRANSMIT, header(1), &sent);
    let mut payload = Vec::<u8>::new();
    for _ in 0..20_000_usize.div_ceil(SEGMENT_BYTES.into()) {
        let frame = receiver.receive().expect("all its pieces come");
        assert!(is_right(&frame) && frame.len() <= 1514);
        payload.extend(&frame[54..]);
    }
    assert_eq!(payload, sent[54..]);
    assert_eq!(switch.of_port(2, "/statistics/completed"), 1);
}

#[test]
fn a_checksum_is_computed_for_who_does_not_trust_it() {
    let switch = Running::new("checksum", &[PortKind::VhostUser, PortKind::VhostUser]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = plug_in(&switch, 2, MRG_RXBUF);
    let sent = segment(2, 1, 77);
    assert!(!is_right(&sent));
    sender.send_with(TRANSMIT, header(0), &sent);
    let frame = receiver.receive().unwrap();
    assert!(is_right(&frame) && frame[54..] == sent[54..]);
}

#[test]
fn a_frame_waits_until_there_are_buffers_for_all_of_it() {
    let switch = Running::new("merges", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = Guest::plug_in_with(&switch.port(2), ALL, 1);
    receiver.offer_buffers(9);
    let sent = segment(2, 1, 20_000);
    sender.send_with(TRANSMIT, header(1), &sent);
    assert!(receiver.receives_nothing());
    receiver.offer_buffers(1);
    assert_eq!(receiver.receive_in(RECEIVE).unwrap().1, sent);
}

#[test]
fn headers_that_make_no_sense_cost_their_frame() {
    let switch = Running::new("headers", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = plug_in(&switch, 2, 0);
    let frame = segment(2, 1, 100);
    let mut without_length = header(1);
    without_length[4..6].fill(0);
    for nonsense in [header(9), without_length] {
        sender.send_with(TRANSMIT, nonsense, &frame);
    }
    assert!(patience(|| switch.of_port(1, "/statistics/refused/malformed") == 2));
    let mut far_away = header(0);
    far_away[6..8].fill(0xff);
    sender.send_with(TRANSMIT, far_away, &frame);
    assert!(patience(|| switch.of_port(2, "/statistics/dropped/senseless") == 1));
    sender.send(&frame);
    assert_eq!(receiver.receive().unwrap(), frame);
}

/// A machine with two pairs at port 2, all of whose buffers are offered, and another at port 1.
fn plug_in_pairs(switch: &Running) -> (Guest, Guest) {
    let one = plug_in(switch, 1, 0);
    let mut two = Guest::plug_in_with(&switch.port(2), MQ, 2);
    [RECEIVE, RECEIVE + 2].into_iter().for_each(|ring| two.offer_buffers_in(ring, RING));
    (one, two)
}

/// The first half of a conversation, from this pair of the second machine.
fn speak(two: &mut Guest, one: &mut Guest, pair: usize) {
    two.send_with(TRANSMIT + 2 * pair, [0; HEADER_BYTES], &segment(1, 2, 10));
    one.receive().expect("both pairs are served");
    one.offer_buffers(1);
}

/// The other half: the ports are exchanged.
fn answer(one: &mut Guest, payload: usize) -> Vec<u8> {
    let mut answer = segment(2, 1, payload);
    answer[34..38].rotate_left(2);
    one.send(&answer);
    answer
}

#[test]
fn a_flow_comes_back_to_the_pair_that_it_is_sent_from() {
    let switch = Running::new("pairs", &RINGS[..2]);
    let (mut one, mut two) = plug_in_pairs(&switch);
    for pair in [1, 0, 1] {
        speak(&mut two, &mut one, pair);
        let sent = answer(&mut one, 10);
        let (_, frame) = two.receive_in(RECEIVE + 2 * pair).expect("it comes where it is awaited");
        assert_eq!(frame, sent);
        // Whose buffer is offered again was taken.
        two.offer_buffers_in(RECEIVE + 2 * pair, 1);
    }
}

/// Nobody works on the pair that a flow comes to, so it stays there: its frames come in order, be they all in
/// the ring, or more than there are buffers, so that the last ones wait for some.
#[test]
fn a_flow_stays_where_earlier_frames_of_it_lie() {
    for count in [3, usize::from(RING) + 4] {
        let switch = Running::new(&format!("idle-pair-{count}"), &RINGS[..2]);
        let (mut one, mut two) = plug_in_pairs(&switch);
        speak(&mut two, &mut one, 0);
        let sent: Vec<_> = (10..10 + count).map(|payload| answer(&mut one, payload)).collect();
        speak(&mut two, &mut one, 1);
        let sent = [sent, vec![answer(&mut one, 100)]].concat();
        for frame in &sent {
            let (_, got) = two.receive_in(RECEIVE).expect("it lies where the flow was");
            assert_eq!(&got, frame);
            two.offer_buffers_in(RECEIVE, 1);
        }
        // Now that all is taken, it goes to where the machine speaks.
        let last = answer(&mut one, 101);
        assert_eq!(two.receive_in(RECEIVE + 2).expect("it has moved").1, last);
    }
}
