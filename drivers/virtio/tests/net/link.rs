//! What the network driver does when the link comes and goes.

use std::collections::VecDeque;

use virtio::Fault;
use virtio::fake::InterruptKind;
use virtio::net::LinkState;

use crate::cases::{BUFFERS, RING_RESET, card_options, frame, numbered, receive_all, start};

#[test]
fn a_card_with_a_line_says_by_it_that_its_link_has_gone() {
    let mut options = card_options();
    options.interrupts = InterruptKind::Line;
    let (mut card, network, _pool) = start(options);
    assert!(!card.arm_interrupts() && !card.is_changed());
    let interrupts = network.device().interrupted().count();
    network.device().announce_change(|it| it.configuration[6] = 0);
    assert_eq!(network.device().interrupted().count(), interrupts + 1);
    assert!(
        card.arm_interrupts() && card.is_changed(),
        "somebody should look before the next halt"
    );
    assert!(card.arm_interrupts(), "and has not yet");
    assert_eq!(card.check_link(), LinkState::Down);
    assert!(!card.is_changed() && !card.arm_interrupts(), "once");
    network.deliver(&numbered(1));
    assert!(card.arm_interrupts() && !card.is_changed(), "a frame is no change");
}

#[test]
fn frames_that_cannot_leave_come_back_when_the_link_goes() {
    // One that offers it where it cannot be done is not believed: it would still know the frames.
    for (feature, keeps_queues, comes_back) in
        [(RING_RESET, false, true), (0, false, false), (RING_RESET, true, false)]
    {
        let mut options = card_options();
        options.features |= feature;
        options.keeps_queues = keeps_queues;
        let (mut card, network, pool) = start(options);
        let mut queue: VecDeque<_> = (0..5).map(|_| frame(&pool, &[1; 60])).collect();
        card.send_burst(&mut queue);
        network.device().change(|it| it.configuration[6] = 0);
        assert_eq!(card.check_link(), LinkState::Down);
        let held = if comes_back { 0 } else { 5 };
        assert_eq!(usize::from(card.statistics().transmit_buffers), held);
        assert_eq!(pool.free(), BUFFERS - 16 - held);

        // Reception goes on, and so does sending on the new ring.
        assert_eq!(network.deliver(&numbered(2)), 2);
        assert_eq!(receive_all(&mut card).len(), 2);
        card.send_burst(&mut VecDeque::from([frame(&pool, &[2; 60])]));
        assert_eq!(network.take_sent(usize::MAX).len(), held + 1);
        assert_eq!((card.reclaim(), card.fault()), (held + 1, None));
    }
    // A queue that cannot be set up again costs the card.
    let mut options = card_options();
    options.features |= RING_RESET;
    let (mut card, network, pool) = start(options);
    card.send_burst(&mut VecDeque::from([frame(&pool, &[1; 60])]));
    network.device().change(|it| (it.configuration[6], it.refuses_queues) = (0, true));
    assert_eq!((card.check_link(), card.fault()), (LinkState::Down, Some(Fault::NeedsReset)));
    assert_eq!(pool.free(), BUFFERS);
}
