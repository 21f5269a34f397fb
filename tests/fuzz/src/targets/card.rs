//! The driver of the network card, with a card that lies: on rings of either format, with and without all
//! that it could take over.

use std::collections::VecDeque;

use pool::{PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{EVENT_INDEX, FakeNetwork, PACKED, allocate};
use virtio::net::{
    NetConfig, OffloadSet, Packet, PartialChecksum, RECEIVE_QUEUE, SegmentKind, Segmentation,
    TRANSMIT_QUEUE, TransmitOffload,
};

use crate::input::Input;
use crate::liar::Liar;

const BUFFERS: usize = 24;
const STEPS_MAX: usize = 1_000;

/// Bits 0, 1, 7 to 9, 11 to 13 and 15 of the features of a card: its offloads.
const OFFLOADS: u64 = 0b1011_1011_1000_0011;
const ALL: OffloadSet = OffloadSet {
    transmit_checksum: true,
    receive_checksum: true,
    transmit_tso_ipv4: true,
    transmit_tso_ipv6: true,
    receive_tso_ipv4: true,
    receive_tso_ipv6: true,
    mergeable_buffers: true,
};

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let kind = input.u8();
    let mut options = FakeNetwork::options();
    options.features &= if kind & 1 == 0 { !EVENT_INDEX } else { u64::MAX };
    options.features |= if kind & 2 == 0 { 0 } else { PACKED };
    options.features |= if kind & 4 == 0 { 0 } else { OFFLOADS };
    let (transport, network) = FakeNetwork::new(options);
    let config = NetConfig { queue_size_max: 16, receive_buffers: 12, offloads: ALL };
    let mut card = VirtioNet::new(transport, config, pool.clone(), allocate).expect("it starts");
    let mut liars =
        [RECEIVE_QUEUE, TRANSMIT_QUEUE].map(|queue| Liar::new(network.device().clone(), queue));
    let mut waiting = VecDeque::new();
    for step in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let choice = input.u8();
        liars[step % 2].step(choice, &mut input);
        card.receive_packets(4, |packet| {
            assert!(packet.frames.bytes() >= 14);
            let room = packet.frames.frames().len() * PAGE_BYTES;
            assert!(packet.frames.bytes() <= room);
        });
        if let Some(mut frame) = pool.allocate_frame().filter(|_| waiting.len() < 8) {
            frame.append(60).fill(choice);
            waiting.push_back(Packet { frame, offload: offload(choice, &mut input) });
        }
        card.send_packets(&mut waiting);
        if step.is_multiple_of(4) {
            card.reclaim();
        }
        // Whether something has come already does not matter here: it is looked at anyway.
        let _ = card.arm_interrupts();
        card.disarm_interrupts();
        if choice == 0 {
            card.check_link();
        }
        let is_accused = card.fault().is_some();
        assert!(
            !is_accused || liars.iter().any(|liar| liar.has_lied),
            "an honest card was accused"
        );
    }
    drop((card, waiting));
    assert_eq!(pool.free(), BUFFERS, "no buffer is lost");
}

/// Nothing most of the time, and else what a caller may ask by mistake.
fn offload(choice: u8, input: &mut Input<'_>) -> TransmitOffload {
    if !choice.is_multiple_of(8) {
        return TransmitOffload::None;
    }
    let checksum = PartialChecksum { start: input.u16(), offset: u16::from(input.u8()) };
    let kind = if choice & 16 == 0 { SegmentKind::Tcp4 } else { SegmentKind::Tcp6 };
    let (header_bytes, segment_bytes) = (u16::from(input.u8()), u16::from(input.u8()));
    let segmentation =
        Segmentation { kind, has_ecn: choice & 32 != 0, header_bytes, segment_bytes };
    if choice & 64 == 0 {
        TransmitOffload::Checksum(checksum)
    } else {
        TransmitOffload::Segment(segmentation, checksum)
    }
}
