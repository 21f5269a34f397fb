//! Which stations are behind a port: how many, and whose addresses they may use.

use vswitch::ADDRESSES_PER_PORT_MAX;
use vswitch::control::Request;
use vswitch::port::PortKind;

use crate::{RINGS, Running, frame};

/// A switch with ports of rings, each with the station of its number pinned to it.
fn pinned(name: &str, ports: u8) -> Running {
    let switch = Running::new(name, &RINGS[..1]);
    switch.ask(Request::RemovePort { name: "1".into() }).unwrap();
    for number in 1..=ports {
        let path = switch.port(number.into());
        let mac = Some(format!("02:00:00:00:00:{number:02x}"));
        let kind = PortKind::VhostUser.name().into();
        switch.ask(Request::AddPort { name: number.to_string(), kind, path, mac }).unwrap();
    }
    switch
}

#[test]
fn frames_with_a_pinned_address_come_from_its_port_only() {
    let switch = pinned("pinned", 3);
    assert_eq!(switch.of_port(1, "/mac"), "02:00:00:00:00:01");
    let [mut thief, mut victim, mut third] = [1, 2, 3].map(|number| switch.plug_in(number));
    thief.send(&frame(3, 2, b"I am the second"));
    thief.send(&frame(3, 9, b"and somebody else"));
    // Before the victim has said a word, what is for it goes to it, and to nobody else.
    third.send(&frame(2, 3, b"for the second"));
    assert_eq!(victim.receive().unwrap(), frame(2, 3, b"for the second"));
    assert!(thief.receives_nothing() && third.receives_nothing());
    assert_eq!(switch.of_port(1, "/statistics/refused/spoofed"), 2);
    victim.send(&frame(3, 2, b"and I can answer"));
    assert_eq!(third.receive().unwrap(), frame(3, 2, b"and I can answer"));
    assert_eq!(switch.of_port(2, "/statistics/refused/spoofed"), 0);
}

#[test]
fn who_is_not_pinned_any_longer_is_free() {
    let switch = pinned("unpinned", 2);
    let [mut first, mut second] = [1, 2].map(|number| switch.plug_in(number));
    for port in ["1", "2"] {
        switch.ask(Request::Unpin { port: port.into() }).unwrap();
    }
    assert!(switch.ask(Request::Unpin { port: "3".into() }).is_err());
    assert_eq!(switch.of_port(1, "/mac"), serde_json::Value::Null);
    first.send(&frame(9, 2, b"I am the second"));
    assert_eq!(second.receive().unwrap(), frame(9, 2, b"I am the second"));
}

#[test]
fn an_address_is_pinned_to_one_port() {
    let switch = pinned("pinned-once", 2);
    let add = |mac: &str| {
        let (name, kind) = ("3".into(), "vhost-user".into());
        let mac = Some(mac.into());
        switch.ask(Request::AddPort { name, kind, path: switch.port(3), mac })
    };
    for wrong in ["02:00:00:00:00:02", "03:00:00:00:00:03", "02:00:00:00:00", "2"] {
        add(wrong).unwrap_err();
        assert!(!switch.port(3).exists(), "a port that is refused listens nowhere");
    }
    add("02:00:00:00:00:03").unwrap();
}

#[test]
fn made_up_addresses_keep_nobody_from_being_learnt() {
    let switch = Running::new("made-up", &RINGS);
    let mut flooder = switch.plug_in(1);
    let flood = ADDRESSES_PER_PORT_MAX as u64 + 3;
    for number in 0..flood {
        let mut made_up = frame(9, 1, b"");
        made_up[6] = 4;
        made_up[8..12].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        flooder.send(&made_up);
    }
    assert_eq!(switch.of_port(1, "/statistics/unlearnt"), 3);
    assert_eq!(switch.of_port(1, "/statistics/frames_in"), flood, "they are switched all the same");
    let (mut newcomer, mut third) = (switch.plug_in(2), switch.plug_in(3));
    newcomer.send(&frame(9, 2, b"hello"));
    for guest in [&mut flooder, &mut third] {
        assert_eq!(guest.receive().unwrap(), frame(9, 2, b"hello"));
    }
    third.send(&frame(2, 3, b"for the newcomer"));
    assert_eq!(newcomer.receive().unwrap(), frame(2, 3, b"for the newcomer"));
    assert!(flooder.receives_nothing(), "it is known where the newcomer is");
}
