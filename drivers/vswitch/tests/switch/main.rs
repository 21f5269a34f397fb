//! A whole switch, with machines that are played by the test.
#![allow(missing_docs, reason = "a test")]

mod bells;
mod captures;
mod guest;
mod hostile;
mod offloads;
mod stations;
mod stream;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use guest::Guest;
use serde_json::Value;
use vhost::VhostBackend;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vswitch::client::Client;
use vswitch::control::Request;
use vswitch::port::PortKind;
use vswitch::switch::{Config, PortConfig, Switch};

/// Waits, at most two seconds, until something is so.
pub fn patience(mut is_so: impl FnMut() -> bool) -> bool {
    for _ in 0..2_000 {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// A frame between stations that are known by one byte each.
pub fn frame(to: u8, from: u8, content: &[u8]) -> Vec<u8> {
    let station = |last| [2, 0, 0, 0, 0, last];
    let mut frame = [station(to).as_slice(), &station(from), &[0x88, 0xb5], content].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A switch that runs on a thread, in a folder of its own.
pub struct Running {
    pub folder: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// With ports "1", "2", … of these kinds.
    pub fn new(name: &str, kinds: &[PortKind]) -> Running {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let port = |(number, kind): (usize, &PortKind)| {
            let name = (number + 1).to_string();
            let path = folder.join(format!("{name}.sock"));
            PortConfig { name, kind: *kind, path, station: None }
        };
        let ports = kinds.iter().enumerate().map(port).collect();
        let config = Config { control: folder.join("control"), ports, seed: 1, stop: None };
        let mut switch = Switch::new(&config).unwrap();
        let thread = std::thread::spawn(move || switch.run().unwrap());
        Running { folder, thread: Some(thread) }
    }

    pub fn port(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.sock"))
    }

    pub fn plug_in(&self, number: usize) -> Guest {
        let mut guest = Guest::plug_in(&self.port(number));
        guest.offer_buffers(guest::RING);
        guest
    }

    pub fn ask(&self, request: Request) -> anyhow::Result<Value> {
        Client::connect(&self.folder.join("control"))?.request(&request)
    }

    /// What a port has counted, or otherwise says of itself.
    pub fn of_port(&self, number: usize, pointer: &str) -> Value {
        let ports = self.ask(Request::Ports).unwrap();
        ports["ports"][number - 1].pointer(pointer).unwrap().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ask(Request::Shutdown).unwrap();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.port(1).exists() && !self.folder.join("control").exists());
    }
}

const RINGS: [PortKind; 3] = [PortKind::VhostUser; 3];

fn link(from: &str, to: &str) -> Request {
    Request::Link {
        from: from.into(),
        to: to.into(),
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        delay_ms: 0,
        jitter_ms: 0,
        one_way: true,
    }
}

#[test]
fn frames_are_flooded_then_learnt() {
    let switch = Running::new("learns", &RINGS);
    let mut guests = [1, 2, 3].map(|number| switch.plug_in(number));
    guests[0].send(&frame(2, 1, b"hello"));
    assert_eq!(guests[1].receive().unwrap(), frame(2, 1, b"hello"));
    assert_eq!(guests[2].receive().unwrap(), frame(2, 1, b"hello"));
    guests[1].send(&frame(1, 2, b"answer"));
    assert_eq!(guests[0].receive().unwrap(), frame(1, 2, b"answer"));
    assert!(guests[2].receives_nothing() && guests[1].receives_nothing());
    let macs = switch.ask(Request::Macs).unwrap();
    assert_eq!(macs["macs"].as_array().unwrap().len(), 2);
    assert_eq!(switch.of_port(1, "/statistics/frames_in"), 1);
    assert_eq!(switch.of_port(1, "/statistics/frames_out"), 1);
    // Each was copied once for each receiver, and nowhere else.
    assert!((1..=3).all(|port| switch.of_port(port, "/statistics/copied") == 0));
}

#[test]
fn thousands_of_frames_in_order() {
    let switch = Running::new("order", &RINGS[..2]);
    let (mut sender, mut receiver) = (switch.plug_in(1), switch.plug_in(2));
    for number in 0..5_000u32 {
        sender.send(&frame(2, 1, &number.to_be_bytes()));
        assert_eq!(receiver.receive().unwrap(), frame(2, 1, &number.to_be_bytes()));
        receiver.offer_buffers(1);
    }
}

/// Rings of any size up to 1024, the longest of QEMU's card, all of whose descriptors are used at once.
#[test]
fn rings_of_every_size_are_served() {
    for size in [1, 2, 256, 512, 1024] {
        let switch = Running::new(&format!("size-{size}"), &RINGS[..2]);
        let mut guests =
            [1, 2].map(|number| Guest::plug_in_sized(&switch.port(number), 0, 1, size));
        for round in 0..3_u32 {
            guests[1].offer_buffers(size);
            let frames = (0..size)
                .map(|number| frame(2, 1, &(round << 16 | u32::from(number)).to_be_bytes()));
            let frames: Vec<_> = frames.collect();
            frames.iter().for_each(|frame| guests[0].put_in_silence(frame));
            guests[0].ring(guest::TRANSMIT);
            assert!(guests[0].is_taken(), "a ring of {size} is emptied");
            for frame in frames {
                assert_eq!(guests[1].receive(), Some(frame));
            }
        }
    }
}

/// Longer ones are refused, and so is what is no power of two: the hypervisor is told.
#[test]
fn a_ring_that_is_too_long_is_refused() {
    let switch = Running::new("long", &RINGS[..1]);
    for size in [2048_u16, 32_768, 1000] {
        let mut frontend = Frontend::connect(switch.port(1), 2).unwrap();
        frontend.set_owner().unwrap();
        let offered = frontend.get_features().unwrap();
        frontend.set_features(offered).unwrap();
        frontend.get_protocol_features().unwrap();
        frontend.set_protocol_features(VhostUserProtocolFeatures::REPLY_ACK).unwrap();
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        frontend.set_vring_num(0, 1024).unwrap();
        frontend.set_vring_num(0, size).unwrap_err();
        assert!(frontend.get_features().is_ok(), "the switch is still there");
    }
    assert!(switch.plug_in(1).is_plugged(), "the port is free for a machine that does better");
}

#[test]
fn a_machine_without_buffers_loses_only_what_is_too_much() {
    let switch = Running::new("backlog", &RINGS[..2]);
    let mut sender = switch.plug_in(1);
    let mut receiver = Guest::plug_in(&switch.port(2));
    // The longest frames: so many that their bytes are what is too much.
    let long = |number: usize| {
        let mut frame = frame(2, 1, &(number as u32).to_be_bytes());
        frame.resize(1514, 0);
        frame
    };
    let kept = vswitch::BACKLOG_BYTES / 1514;
    assert!(kept < vswitch::BACKLOG_FRAMES);
    for number in 0..kept + 10 {
        sender.send(&long(number));
    }
    assert_eq!(switch.of_port(2, "/statistics/dropped/backlog"), 10);
    assert_eq!(switch.of_port(2, "/statistics/copied"), kept * 1514);
    assert_eq!(switch.of_port(1, "/statistics/copied"), 0);
    for number in 0..kept {
        receiver.offer_buffers(1);
        assert_eq!(receiver.receive().unwrap(), long(number));
    }
    receiver.offer_buffers(1);
    assert!(receiver.receives_nothing());
}

#[test]
fn a_machine_dies_and_comes_back() {
    let switch = Running::new("returns", &RINGS);
    let (mut first, mut second) = (switch.plug_in(1), switch.plug_in(2));
    let third = switch.plug_in(3);
    first.send(&frame(2, 1, b"one"));
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"one"));
    second.send(&frame(1, 2, b"here"));
    assert_eq!(first.receive().unwrap(), frame(1, 2, b"here"));
    drop(third);
    drop(second);
    assert!(patience(|| switch.of_port(2, "/plugged") == false));
    let mut bystander = switch.plug_in(3);
    first.send(&frame(2, 1, b"lost"));
    assert!(bystander.receives_nothing(), "what is for the lost one bothers nobody else");
    let mut second = switch.plug_in(2);
    first.send(&frame(2, 1, b"two"));
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"two"));
    assert_eq!(switch.of_port(2, "/statistics/connections"), 2);
    assert_eq!(switch.of_port(2, "/statistics/faults"), 0);
    assert!(switch.of_port(2, "/statistics/dropped/unplugged").as_u64().unwrap() >= 1);
}

#[test]
fn the_others_are_told_when_a_machine_is_gone_unless_they_are_cut_off() {
    let switch = Running::new("notice", &RINGS);
    let mut guests = [1, 2, 3].map(|number| switch.plug_in(number));
    guests[0].send(&frame(9, 1, b"here I am"));
    assert!(guests[1].receive().is_some() && guests[2].receive().is_some());
    let groups = vec![vec!["1".to_string(), "2".to_string()], vec!["3".to_string()]];
    switch.ask(Request::Partition { groups }).unwrap();
    let [first, mut second, mut third] = guests;
    drop(first);
    let told = second.receive().expect("a notice");
    assert_eq!(notice::parse(&told), Some([2, 0, 0, 0, 0, 1]));
    assert!(second.receives_nothing() && third.receives_nothing());
}

#[test]
fn partitions_delay_and_loss_on_command() {
    let switch = Running::new("faults", &RINGS[..2]);
    let (mut first, mut second) = (switch.plug_in(1), switch.plug_in(2));
    let groups = vec![vec!["1".to_string()], vec!["2".to_string()]];
    switch.ask(Request::Partition { groups }).unwrap();
    first.send(&frame(2, 1, b"cut"));
    assert!(second.receives_nothing());
    assert_eq!(switch.of_port(2, "/statistics/dropped/cut"), 1);
    switch.ask(Request::Heal).unwrap();
    first.send(&frame(2, 1, b"healed"));
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"healed"));
    let Request::Link { from, to, .. } = link("1", "2") else { unreachable!() };
    let delayed = Request::Link {
        from: from.clone(),
        to: to.clone(),
        loss_per_mille: 0,
        duplicate_per_mille: 1_000,
        delay_ms: 120,
        jitter_ms: 0,
        one_way: true,
    };
    switch.ask(delayed).unwrap();
    first.send(&frame(2, 1, b"late"));
    assert!(second.receives_nothing());
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"late"));
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"late"));
    assert_eq!(switch.of_port(2, "/statistics/copied"), 2 * 60, "two that were late");
    // The other way is as it was.
    second.send(&frame(1, 2, b"soon"));
    assert_eq!(first.receive().unwrap(), frame(1, 2, b"soon"));
    let lossy = Request::Link {
        from,
        to,
        loss_per_mille: 1_000,
        duplicate_per_mille: 0,
        delay_ms: 0,
        jitter_ms: 0,
        one_way: true,
    };
    switch.ask(lossy).unwrap();
    first.send(&frame(2, 1, b"lost"));
    assert!(second.receives_nothing());
    assert_eq!(switch.of_port(2, "/statistics/dropped/lost"), 1);
}

#[test]
fn a_capture_is_a_pcap_file() {
    let switch = Running::new("capture", &RINGS[..2]);
    let (mut first, mut second) = (switch.plug_in(1), switch.plug_in(2));
    let file = switch.folder.join("2.pcap");
    switch.ask(Request::Capture { port: "2".into(), file: file.clone() }).unwrap();
    first.send(&frame(2, 1, b"seen"));
    second.receive().unwrap();
    second.send(&frame(1, 2, b"seen too"));
    first.receive().unwrap();
    switch.ask(Request::CaptureStop { port: "2".into() }).unwrap();
    let bytes = std::fs::read(file).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(bytes.len(), 24 + 2 * (16 + 60));
    assert_eq!(bytes[24 + 16..24 + 16 + 60], frame(2, 1, b"seen"));
}

#[test]
fn ports_come_and_go() {
    let switch = Running::new("ports", &RINGS[..1]);
    let path = switch.folder.join("late.sock");
    let add = |kind: &str| Request::AddPort {
        name: "late".into(),
        kind: kind.into(),
        path: path.clone(),
        mac: None,
    };
    assert!(switch.ask(add("serial")).unwrap_err().to_string().contains("vhost-user or stream"));
    switch.ask(add("vhost-user")).unwrap();
    assert!(switch.ask(add("vhost-user")).unwrap_err().to_string().contains("already"));
    let mut first = switch.plug_in(1);
    let mut late = Guest::plug_in(&path);
    late.offer_buffers(4);
    first.send(&frame(9, 1, b"hello"));
    assert_eq!(late.receive().unwrap(), frame(9, 1, b"hello"));
    switch.ask(Request::RemovePort { name: "late".into() }).unwrap();
    assert!(!path.exists() && !late.is_plugged());
    assert!(switch.ask(Request::RemovePort { name: "late".into() }).is_err());
    first.send(&frame(9, 1, b"alone"));
}

/// What is said of all of them is longer than a socket holds.
#[test]
fn a_switch_has_a_thousand_ports() {
    let switch = Running::new("thousand", &[PortKind::Stream; vswitch::PORTS_MAX]);
    for _ in 0..3 {
        let answer = switch.ask(Request::Ports).unwrap();
        let ports = answer["ports"].as_array().unwrap();
        assert_eq!(ports.len(), vswitch::PORTS_MAX);
        assert_eq!(ports[1023]["name"], "1024");
    }
    let late = Request::AddPort {
        name: "late".into(),
        kind: "stream".into(),
        path: switch.folder.join("late"),
        mac: None,
    };
    assert!(switch.ask(late).unwrap_err().to_string().contains("at most 1024 ports"));
}

#[test]
fn a_switch_that_sleeps_does_not_look_for_events() {
    let switch = Running::new("waits", &RINGS[..2]);
    let (mut first, mut second) = (switch.plug_in(1), switch.plug_in(2));
    first.send(&frame(2, 1, b"once"));
    second.receive().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let waits = || switch.ask(Request::Ports).unwrap()["waits"].as_u64().unwrap();
    let before = waits();
    std::thread::sleep(Duration::from_millis(100));
    // The connections of both questions, their commands, and their ends.
    assert!((1..10).contains(&(waits() - before)), "{} after {before}", waits());
}

#[test]
fn a_second_switch_is_refused() {
    let switch = Running::new("twice", &RINGS[..1]);
    let control = switch.folder.join("control");
    let config = Config { control, ports: Vec::new(), seed: 1, stop: None };
    let error = Switch::new(&config).unwrap_err();
    assert!(error.to_string().contains("another switch"), "{error}");
}
