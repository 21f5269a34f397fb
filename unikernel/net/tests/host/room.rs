//! Frames and buffers that there is no room for.

use super::*;

/// A node had taken frames until no buffer was free, before it could look at any of them; then each
/// waited for a buffer for its answer.
#[test]
fn frames_that_hold_all_buffers_do_not_wait_for_one() {
    let mut world = World::new(8);
    while let Some(mut frame) = world.pool.allocate_frame() {
        frame.append_copy(&[0; 60]);
        world.stack.handle_frame(frame, world.now);
    }
    world.stack.poll(world.now);
    world.stack.flush(world.now);
    assert_eq!(world.pool.free(), 8);
    assert_eq!(world.stack.counters().overrun, 1, "one was given up for its buffer");
    assert_eq!(world.stack.poll_timeout(world.now), None);
}

#[test]
fn what_there_is_no_room_for_stays_in_tcp() {
    let mut world = World::new(64);
    let handle = world.connect(50_000);
    world.echo(handle, 100_000);
    let connection = world.accepted[0];
    assert_eq!(world.stack.send(connection, &[7; 15_000]), 15_000);
    world.stack.set_room(|_| 0);
    world.stack.flush(world.now);
    assert!(world.stack.poll_transmit().is_none());
    assert!(world.stack.is_short_of_room(), "it would go on if it could");
    let due = world.stack.poll_timeout(world.now);
    assert!(due.is_none_or(|due| due > world.now), "and time alone does not help");
    world.stack.set_room(|_| 3);
    // One frame of each connection at a time.
    (0..5).for_each(|_| world.stack.flush(world.now));
    assert_eq!(std::iter::from_fn(|| world.stack.poll_transmit()).count(), 3);
    let mut read = 0;
    for _ in 0..30_000 {
        world.step();
        let socket = world.sockets.get_mut::<Socket>(handle);
        if socket.can_recv() {
            read += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
        }
    }
    // The three that were taken out here are lost, and sent again.
    assert_eq!(read, 15_000);
}

#[test]
fn a_port_that_may_not_send_keeps_no_other_from_it_and_no_answer() {
    let mut world = World::new(64);
    let redis = world.connect(50_000);
    world.echo(redis, 1_000);
    assert_eq!(world.stack.send(world.accepted[0], &[7; 15_000]), 15_000);
    world.shaped = Some(6379);
    let http = world.connect_to((NODE.into(), 80), 50_001);
    world.echo(http, 100_000);
    assert!(world.stack.is_short_of_room());
    let mut ping = echo_request([2, 0, 0, 0, 0, 9], false);
    // From the client's own address, which the stack knows.
    ping[26..30].copy_from_slice(&[10, 0, 2, 2]);
    ping[24..26].fill(0);
    let mut header = Ipv4Packet::new_unchecked(&mut ping[14..34]);
    header.fill_checksum();
    assert_eq!(world.answers(&[ping]).len(), 1, "ping is answered");

    world.shaped = None;
    let mut read = 0;
    for _ in 0..30_000 {
        world.step();
        let socket = world.sockets.get_mut::<Socket>(redis);
        if socket.can_recv() {
            read += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
        }
    }
    assert_eq!(read, 15_000);
}

#[test]
fn a_stack_keeps_few_buffers_however_much_arrives() {
    const MOST: usize = limits::STACK_FRAMES_MAX;
    let mut world = World::new(limits::PACKET_BUFFERS);
    world.stack.set_neighbours(
        [(Ipv4Address::new(10, 0, 2, 9), EthernetAddress([2, 0, 0, 0, 0, 9]))].into_iter(),
    );
    world.stack.set_room(|_| 0);
    for _ in 0..200 {
        let mut frame = world.pool.allocate_frame().expect("what is dropped is free again");
        frame.append_copy(&echo_request([2, 0, 0, 0, 0, 9], false));
        world.stack.handle_frame(frame, world.now);
        assert!(limits::PACKET_BUFFERS - world.pool.free() <= MOST);
    }
    world.stack.flush(world.now);
    assert_eq!(world.stack.counters().overrun, 200 - MOST as u64);
    assert_eq!(world.sent().len(), MOST, "as many are answered as may wait");
    assert_eq!(world.pool.free(), limits::PACKET_BUFFERS);
}

#[test]
fn wrong_checksums_are_counted_and_nothing_else_is() {
    let mut world = World::new(64);
    for (node, local) in [(NODE.into(), 50_000), (NODE_IPV6.into(), 50_001)] {
        let handle = world.connect_to((node, 6379), local);
        world.echo(handle, 1_000);
        world.sockets.get_mut::<Socket>(handle).send_slice(b"wrong").unwrap();
        world.client.poll(smol(world.now), &mut world.wire, &mut world.sockets);
        let mut segment = world.wire.to_node.pop_back().expect("it is sent");
        *segment.last_mut().expect("it is not empty") ^= 1;
        let before = world.stack.counters().bad_checksum;
        world.answers(&[segment]);
        assert_eq!(world.stack.counters().bad_checksum, before + 1);
        assert!(world.stack.with_news().next().is_none());
    }
    let mut ping = echo_request([2, 0, 0, 0, 0, 9], false);
    ping[22] ^= 1; // The packet's time to live.
    assert!(world.answers(&[ping]).is_empty());
    assert_eq!(world.stack.counters().bad_checksum, 3);
}

/// How many segments leave for a client that acknowledges nothing.
fn segments_in_flight(world: &mut World) -> usize {
    let connection = world.accepted[0];
    world.stack.send(connection, &[7; 15_000]);
    (0..20).for_each(|_| world.stack.flush(world.now));
    let sent = std::iter::from_fn(|| world.stack.poll_transmit());
    sent.filter(|frame| frame.len() > 60).count()
}

#[test]
fn a_connection_begins_slowly_and_speeds_up_where_nothing_is_lost() {
    let mut world = World::new(64);
    let handle = world.connect(50_000);
    world.echo(handle, 100);
    assert!(segments_in_flight(&mut world) <= 3, "nobody knows yet what the way carries");
    let mut world = World::new(64);
    let handle = world.connect(50_000);
    world.echo(handle, 100_000);
    assert!(segments_in_flight(&mut world) >= 10);
}
