//! Who finds somebody listening, and who counts as a client.

use super::*;

#[test]
fn the_first_client_of_all_may_come_by_ipv6() {
    let mut world = World::new(64);
    let handle = world.connect_to((NODE_IPV6.into(), 6379), 50_000);
    world.echo(handle, 1_000);
    let remote = world.stack.remote(world.accepted[0]).expect("it is connected");
    assert_eq!(remote.ip(), std::net::IpAddr::V6(CLIENT_IPV6));
}

fn is_tcp(frame: &[u8]) -> bool {
    is_of(frame, [0x08, 0x00]) && frame[23] == 6
}

/// Its first segment has arrived, and nothing more will.
fn fall_silent(world: &mut World) {
    while !world.wire.to_client.iter().any(|frame| is_tcp(frame)) {
        world.step();
    }
    world.wire.to_client.clear();
    world.loss = 1_000;
}

#[test]
fn who_falls_silent_before_he_is_connected_was_no_client() {
    let mut world = World::new(64);
    world.connect(50_000);
    fall_silent(&mut world);
    for _ in 0..400 {
        world.now += Duration::from_millis(100);
        world.step();
    }
    assert_eq!((world.accepted.len(), world.closed, world.stack.counters().accepted), (0, 0, 0));
    assert_eq!(world.stack.poll_timeout(world.now), None, "nobody waits for it any more");
    world.loss = 0;
    let handle = world.connect(50_001);
    world.echo(handle, 1_000);
    assert_eq!(world.stack.counters().accepted, 1);
}
