//! Machines that send their frames over a Unix socket, and people who send nonsense over the control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vswitch::port::PortKind;

use crate::{Running, frame, patience};

fn plug_in(switch: &Running, number: usize) -> UnixStream {
    let socket = UnixStream::connect(switch.port(number)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert!(patience(|| switch.of_port(number, "/plugged") == true));
    socket
}

fn packed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap();
    [&length.to_be_bytes(), frame].concat()
}

fn receive(socket: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut frame).unwrap();
    frame
}

#[test]
fn frames_go_between_both_kinds_of_ports() {
    let switch = Running::new("mixed", &[PortKind::Stream, PortKind::VhostUser]);
    let mut first = plug_in(&switch, 1);
    let mut second = switch.plug_in(2);
    // In two pieces, and two at once.
    let bytes = packed(&frame(2, 1, b"pieces"));
    first.write_all(&bytes[..7]).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    first.write_all(&[&bytes[7..], &packed(&frame(2, 1, b"more"))].concat()).unwrap();
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"pieces"));
    assert_eq!(second.receive().unwrap(), frame(2, 1, b"more"));
    second.send(&frame(1, 2, b"back"));
    assert_eq!(receive(&mut first), frame(1, 2, b"back"));
    assert_eq!(switch.of_port(1, "/statistics/copied"), 3 * 60, "from the socket, and to it");
    assert_eq!(switch.of_port(2, "/statistics/copied"), 0);
}

#[test]
fn odd_lengths() {
    let switch = Running::new("lengths", &[PortKind::Stream, PortKind::Stream]);
    let mut first = plug_in(&switch, 1);
    let mut second = plug_in(&switch, 2);
    for length in [1, 13, vswitch::FRAME_MAX_BYTES + 1, 60_000] {
        first.write_all(&packed(&vec![2; length])).unwrap();
    }
    let longest = [frame(2, 1, b""), vec![7; vswitch::FRAME_MAX_BYTES - 60]].concat();
    first.write_all(&packed(&longest)).unwrap();
    assert_eq!(receive(&mut second), longest);
    assert_eq!(switch.of_port(1, "/statistics/refused/runt"), 2);
    assert_eq!(switch.of_port(1, "/statistics/refused/oversized"), 2);
    // Lengths that cannot be lengths end the connection, and nobody else's.
    for length in [0u32, u32::MAX, 70_000] {
        first.write_all(&length.to_be_bytes()).unwrap();
        assert!(patience(|| switch.of_port(1, "/plugged") == false));
        first = plug_in(&switch, 1);
    }
    assert_eq!(switch.of_port(1, "/statistics/faults"), 3);
    // The other was told once that the station was gone: it was heard of once.
    assert!(notice::parse(&receive(&mut second)).is_some());
    first.write_all(&packed(&frame(2, 1, b"well"))).unwrap();
    assert_eq!(receive(&mut second), frame(2, 1, b"well"));
}

#[test]
fn a_machine_that_does_not_read_stops_nobody() {
    let kinds = [PortKind::Stream, PortKind::Stream, PortKind::Stream];
    let switch = Running::new("slow", &kinds);
    let mut first = plug_in(&switch, 1);
    let _second = plug_in(&switch, 2);
    let mut third = plug_in(&switch, 3);
    let big = [frame(2, 1, b""), vec![7; 1_400]].concat();
    for number in 0..4_000u32 {
        first.write_all(&packed(&big)).unwrap();
        if number % 100 == 0 {
            first.write_all(&packed(&frame(3, 1, b"still"))).unwrap();
        }
        // Unknown stations are flooded: the third has to read.
        while receive(&mut third).len() == big.len() && number % 100 == 0 {}
    }
    assert!(switch.of_port(2, "/statistics/dropped/backlog").as_u64().unwrap() > 0);
}

#[test]
fn nonsense_on_the_control_socket() {
    let switch = Running::new("nonsense", &[PortKind::Stream]);
    let mut socket = UnixStream::connect(switch.folder.join("control")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for line in [
        "",
        "{",
        "[]",
        "{\"op\":\"dance\"}",
        "{\"op\":\"link\",\"from\":\"1\",\"to\":\"7\"}",
        "{\"op\":\"link\",\"from\":\"1\",\"to\":\"1\",\"loss_per_mille\":1001}",
        "{\"op\":\"partition\",\"groups\":[[\"1\"],[\"1\"]]}",
        "{\"op\":\"capture_stop\",\"port\":\"1\",\"more\":1}",
        "\u{7f}\u{1}",
    ] {
        socket.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut answer = [0; 512];
        let count = socket.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("{\"error\":") && answer.contains("\"ok\":false"), "{answer}");
    }
    socket.write_all(&[0xff, b'\n']).unwrap();
    let mut answer = [0; 512];
    assert!(socket.read(&mut answer).unwrap() > 0);
    // A command without an end: the connection ends, the switch goes on.
    let _ = socket.write_all(&vec![b'x'; 200_000]);
    assert!(matches!(socket.read(&mut answer), Ok(0) | Err(_)));
    assert_eq!(switch.of_port(1, "/plugged"), false);
}
