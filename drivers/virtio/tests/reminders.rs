//! A card that may have missed that it was notified is notified again, and one that works is not.
#![allow(missing_docs, reason = "a test")]

use std::collections::VecDeque;

use pool::{PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{FakeNetwork, PACKED, allocate};
use virtio::net::{NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE};

#[test]
fn a_card_that_has_not_moved_is_notified_again() {
    for rings in [0, PACKED] {
        let pool = Pool::on_heap(64, PAGE_BYTES);
        let mut options = FakeNetwork::options();
        options.features |= rings;
        let (transport, network) = FakeNetwork::new(options);
        let config = NetConfig { receive_buffers: 16, ..NetConfig::DEFAULT };
        let mut card = VirtioNet::new(transport, config, pool.clone(), allocate).unwrap();
        let kicks = || [RECEIVE_QUEUE, TRANSMIT_QUEUE].map(|queue| network.device().kicks(queue));
        let start = kicks();
        let more = |receive: u64, transmit: u64| [start[0] + receive, start[1] + transmit];

        // Nothing was sent, so there is nothing to take; but buffers to fill may have been overlooked.
        card.check_link();
        assert_eq!(kicks(), more(1, 0));

        let mut frame = pool.allocate_frame().unwrap();
        frame.append_copy(&[1; 60]);
        assert_eq!(card.send_burst(&mut VecDeque::from([frame])), 1);
        assert_eq!(kicks(), more(1, 1));
        card.check_link();
        assert_eq!(kicks(), more(2, 2), "the frame is still there");

        // The card works: what it took came back, and what it brought arrived.
        assert_eq!(network.take_sent(usize::MAX).len(), 1);
        assert_eq!(network.deliver(&[vec![2; 60]]), 1);
        let before = card.receive_burst(8, drop);
        let kicked = kicks();
        card.check_link();
        assert_eq!((before, kicks()), (1, kicked));
        assert_eq!(card.in_flight(), 0);
        assert_eq!(card.fault(), None);
    }
}
