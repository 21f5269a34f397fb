//! Rings of every size.

use std::collections::VecDeque;

use pool::{Frame, PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{FakeNetwork, allocate};
use virtio::net::NetConfig;

use crate::RINGS;

/// P15: rings from one descriptor to 1024, whatever the card allows: each is filled and emptied as a whole,
/// both ways, until its indices have wrapped.
#[test]
fn rings_of_every_size_are_filled_and_emptied() {
    for (allowed, size) in [
        (1, 1),
        (2, 2),
        (256, 256),
        (512, 512),
        (1000, 512),
        (1024, 1024),
        (2048, 1024),
        (32_768, 1024),
    ] {
        let mut options = FakeNetwork::options();
        options.features |= RINGS;
        options.queue_sizes = vec![allowed; 2];
        let pool = Pool::on_heap(2 * usize::from(size), PAGE_BYTES);
        let (transport, network) = FakeNetwork::new(options);
        let config =
            NetConfig { queue_size_max: u16::MAX, receive_buffers: u16::MAX, ..NetConfig::DEFAULT };
        let mut card = VirtioNet::new(transport, config, pool.clone(), allocate).unwrap();
        let counts = card.statistics();
        assert_eq!((counts.receive_ring, counts.transmit_ring), (size, size), "of {allowed}");
        assert_eq!(counts.receive_buffers, size);
        let mut sequence = 0_u32;
        while sequence <= 0x1_0000 {
            let mut waiting: VecDeque<Frame> = (sequence..sequence + u32::from(size))
                .map(|number| {
                    let mut frame = pool.allocate_frame().unwrap();
                    frame.append_copy(&[&number.to_le_bytes()[..], &[0; 56]].concat());
                    frame
                })
                .collect();
            assert_eq!(card.send_burst(&mut waiting), usize::from(size));
            assert_eq!(card.in_flight(), size, "the ring is full");
            assert_eq!(network.echo(), usize::from(size));
            // What has left makes room for the next.
            assert_eq!(card.reclaim(), usize::from(size));
            let received = card.receive_burst(usize::MAX, |frame| {
                assert_eq!(frame[..4], sequence.to_le_bytes());
                sequence += 1;
            });
            assert_eq!(received, usize::from(size));
        }
        drop(card);
        assert_eq!(pool.free(), 2 * usize::from(size));
    }
}
