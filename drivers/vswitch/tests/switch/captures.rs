//! What is captured, read by a parser that is not ours and that accepts nothing half-right.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use vswitch::control::Request;

use crate::guest::{RECEIVE, TRANSMIT};
use crate::offloads::{ALL, header, plug_in, segment};
use crate::{RINGS, Running, frame};

/// The frames of a capture, and how long they were on the wire.
fn frames(file: &[u8]) -> Vec<(Vec<u8>, usize)> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
    let (head, mut rest) = file.split_at(24);
    let longest = word(&head[16..20]);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        assert!(word(&rest[4..8]) < 1_000_000_000, "nanoseconds");
        let (captured, length) = (word(&rest[8..12]), word(&rest[12..16]));
        assert!(captured <= longest, "a reader may refuse what is longer than the head says");
        frames.push((rest[16..16 + captured].to_vec(), length));
        rest = &rest[16 + captured..];
    }
    frames
}

/// A segment is whole, with both checksums right, and nothing behind it.
fn assert_well_formed(bytes: &[u8]) {
    let packet = SlicedPacket::from_ethernet(bytes).expect("it is well-formed");
    let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("it is IPv4") };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("it is TCP") };
    let ip = ip.header();
    assert_eq!(usize::from(ip.total_len()), bytes.len() - 14);
    assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
    let (source, destination) = (ip.source(), ip.destination());
    let checksum = tcp.calc_checksum_ipv4(source, destination).expect("it is short enough");
    assert_eq!(tcp.checksum(), checksum);
}

#[test]
fn what_machines_leave_to_their_cards_is_complete_in_a_capture() {
    let switch = Running::new("captures", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let mut receiver = plug_in(&switch, 2, ALL);
    let file = |port: &str| switch.folder.join(port).with_extension("pcap");
    for port in ["1", "2"] {
        switch.ask(Request::Capture { port: port.into(), file: file(port) }).unwrap();
    }
    let sent: Vec<_> = [0, 1, 77, 1_460, 20_000]
        .map(|payload| {
            let mut frame = segment(2, 1, payload);
            let sum = !checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        })
        .into();
    for bytes in &sent {
        sender.send_with(TRANSMIT, header(u8::from(bytes.len() > 1514)), bytes);
        let (got, _) = receiver.receive_in(RECEIVE).expect("it arrives");
        receiver.offer_buffers(u16::from(got[10]));
    }
    for port in ["1", "2"] {
        switch.ask(Request::CaptureStop { port: port.into() }).unwrap();
        let captured = frames(&std::fs::read(file(port)).unwrap());
        assert_eq!(captured.len(), sent.len());
        for ((bytes, length), sent) in captured.iter().zip(&sent) {
            assert_eq!((bytes.len(), *length), (sent.len(), sent.len()));
            assert_well_formed(bytes);
            assert_eq!(bytes[54..], sent[54..]);
        }
    }
}

/// The sum of RFC 1071, not yet inverted.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

#[test]
fn what_makes_no_sense_is_captured_as_it_is() {
    let switch = Running::new("senseless", &RINGS[..2]);
    let mut sender = plug_in(&switch, 1, ALL);
    let file = switch.folder.join("1.pcap");
    switch.ask(Request::Capture { port: "1".into(), file: file.clone() }).unwrap();
    let mut beyond = header(0);
    beyond[6..8].fill(0xff);
    let sent = frame(2, 1, b"no checksum has room there");
    sender.send_with(TRANSMIT, beyond, &sent);
    assert!(crate::patience(|| switch.of_port(1, "/captured_frames") == 1));
    switch.ask(Request::CaptureStop { port: "1".into() }).unwrap();
    assert_eq!(frames(&std::fs::read(file).unwrap())[0].0, sent);
}
