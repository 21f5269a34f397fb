//! The driver of the network card, with a card that lies.

use std::collections::VecDeque;

use pool::{PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::{EVENT_INDEX, FakeNetwork, allocate};
use virtio::net::{NetConfig, RECEIVE_QUEUE, TRANSMIT_QUEUE};

use crate::input::Input;
use crate::liar::Liar;

const BUFFERS: usize = 24;
const STEPS_MAX: usize = 1_000;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let mut options = FakeNetwork::options();
    options.features &= if input.u8() & 1 == 0 { !EVENT_INDEX } else { u64::MAX };
    let (transport, network) = FakeNetwork::new(options);
    let config = NetConfig { queue_size_max: 16, receive_buffers: 12, ..NetConfig::DEFAULT };
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
        card.receive_burst(4, |frame| assert!((14..=PAGE_BYTES).contains(&frame.len())));
        if let Some(mut frame) = pool.allocate_frame().filter(|_| waiting.len() < 8) {
            frame.append(60).fill(choice);
            waiting.push_back(frame);
        }
        card.send_burst(&mut waiting);
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
