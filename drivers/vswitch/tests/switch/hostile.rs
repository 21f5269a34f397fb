//! Machines that write nonsense into their rings. The switch may unplug them; it must not crash, read what is
//! not theirs, or let anybody else suffer.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use vhost::vhost_user::Frontend;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use vswitch::frame::PIECES_MAX;

use crate::guest::{
    Guest, MEMORY_BYTES, RECEIVE, RING, TRANSMIT, USER_BASE, available, memory_file,
};
use crate::{RINGS, Running, frame, patience};

const MRG_RXBUF: u64 = 1 << 15;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Lets a machine at port 1 do something, then sees whether machines 2 and 3 can still talk.
fn survives(name: &str, nonsense: impl FnOnce(&mut Guest)) -> Running {
    let switch = Running::new(name, &RINGS);
    let (mut second, mut third) = (switch.plug_in(2), switch.plug_in(3));
    let mut first = switch.plug_in(1);
    nonsense(&mut first);
    std::thread::sleep(std::time::Duration::from_millis(20));
    second.send(&frame(3, 2, b"still there"));
    loop {
        let received = third.receive().expect("the others can talk");
        if received == frame(3, 2, b"still there") {
            return switch;
        }
    }
}

#[test]
fn chains_that_lead_nowhere() {
    let switch = survives("chains", |guest| {
        let end = MEMORY_BYTES as u64;
        for (address, length, flags, next) in [
            (end - 10, 100, 0, 0),
            (end + 4096, 100, 0, 0),
            (u64::MAX - 20, 100, 0, 0),
            (0x8_0000, u32::MAX, 0, 0),
            (0x8_0000, 0, 0, 0),
            (0x8_0000, 5, 0, 0),
            // To itself, out of the table, and to something to write to.
            (0x8_0000, 600, NEXT, 0),
            (0x8_0000, 600, NEXT, 999),
            (0x8_0000, 600, WRITE, 0),
            // Tables that are none.
            (0x8_0000, 17, INDIRECT, 0),
            (end + 16, 16, INDIRECT, 0),
            (0x8_0000, 16, INDIRECT | NEXT, 0),
        ] {
            guest.describe(TRANSMIT, 0, address, length, flags, next);
            guest.offer(TRANSMIT, 0);
            assert!(guest.is_taken(), "{address:x} {length} {flags} {next}");
        }
        assert!(guest.is_plugged());
        guest.send(&frame(9, 1, b"and a good one"));
    });
    assert_eq!(switch.of_port(1, "/statistics/frames_in"), 1);
    let refused = |cause| switch.of_port(1, &format!("/statistics/refused/{cause}"));
    let refused = ["malformed", "oversized", "runt"].map(|cause| refused(cause).as_u64().unwrap());
    assert_eq!(refused.iter().sum::<u64>(), 12, "{refused:?}");
}

#[test]
fn an_index_that_runs_away() {
    let switch = survives("index", |guest| guest.set_available(TRANSMIT, RING + 1));
    assert!(patience(|| switch.of_port(1, "/plugged") == false));
    assert_eq!(switch.of_port(1, "/statistics/faults"), 1);
    assert!(switch.of_port(1, "/last_fault").as_str().unwrap().contains("17 buffers"));
    // It may plug in again.
    let mut first = switch.plug_in(1);
    first.send(&frame(9, 1, b"better"));
}

#[test]
fn a_head_that_is_no_descriptor() {
    survives("head", |guest| guest.offer(TRANSMIT, 60_000));
}

#[test]
fn receive_buffers_that_cannot_be_written() {
    let switch = Running::new("receive", &RINGS[..2]);
    let mut sender = switch.plug_in(1);
    let mut guest = Guest::plug_in(&switch.port(2));
    for (slot, (address, length, flags)) in
        [(0x8_0000, 20, WRITE), (MEMORY_BYTES as u64 - 4, 2048, WRITE), (0x8_0000, 2048, 0)]
            .into_iter()
            .enumerate()
    {
        let slot = u16::try_from(slot).unwrap();
        guest.describe(RECEIVE, slot, address, length, flags, 0);
        guest.offer(RECEIVE, slot);
        sender.send(&frame(2, 1, b"where to"));
    }
    assert!(patience(|| switch.of_port(2, "/statistics/dropped/bad_buffer") == 3));
}

/// A frame that would need more buffers than any may take is dropped, and all of them come back.
#[test]
fn receive_buffers_that_are_too_many_for_a_frame() {
    const SIZE: u16 = 256;
    let switch = Running::new("many", &RINGS[..2]);
    let mut sender = switch.plug_in(1);
    let mut guest = Guest::plug_in_sized(&switch.port(2), MRG_RXBUF, 1, SIZE);
    for slot in 0..SIZE {
        guest.describe(RECEIVE, slot, 0x8_0000 + u64::from(slot) * 2048, 13, WRITE, 0);
        guest.offer(RECEIVE, slot);
    }
    let long = [frame(2, 1, b""), vec![7; 1_400]].concat();
    for dropped in 1..=3_u16 {
        sender.send(&long);
        assert!(patience(|| switch.of_port(2, "/statistics/dropped/bad_buffer") == dropped));
        assert!(patience(|| guest.used_index(RECEIVE) == dropped * PIECES_MAX as u16));
    }
    // The next frame has the very next buffer: none was taken and lost.
    sender.send(&frame(2, 1, b""));
    let next = 3 * PIECES_MAX as u16;
    assert!(patience(|| guest.used_index(RECEIVE) == next + 6), "72 bytes in buffers of 13");
    assert_eq!(guest.used_head(RECEIVE, next), u32::from(next));
}

#[test]
fn memory_that_changes_under_the_switch() {
    survives("random", |guest| {
        let mut state = 1u64;
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = available(TRANSMIT) - 0x1000 + (state >> 33) % 0x3000;
            guest.memory.write_obj(state >> 8, GuestAddress(place)).unwrap();
            if state & 0xf00 == 0 {
                guest.set_available(TRANSMIT, (state >> 40) as u16);
            }
        }
    });
}

#[test]
fn a_hypervisor_that_does_not_speak_the_protocol() {
    let switch = Running::new("protocol", &RINGS);
    let (mut second, mut third) = (switch.plug_in(2), switch.plug_in(3));
    for nonsense in [
        b"".as_slice(),
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0; 4],
        &[1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 0, 0],
    ] {
        let mut socket = UnixStream::connect(switch.port(1)).unwrap();
        socket.write_all(nonsense).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
        second.send(&frame(3, 2, nonsense));
        assert_eq!(third.receive().unwrap(), frame(3, 2, nonsense));
        third.offer_buffers(1);
    }
    assert!(switch.of_port(1, "/statistics/faults").as_u64().unwrap() >= 3);
    // Somebody who asks and never reads the answers.
    let mut socket = UnixStream::connect(switch.port(1)).unwrap();
    let get_features = [1u32, 1, 0].map(u32::to_ne_bytes).concat();
    while socket.write_all(&get_features.repeat(100)).is_ok() {}
    second.send(&frame(3, 2, b"read!"));
    assert_eq!(third.receive().unwrap(), frame(3, 2, b"read!"));
    let mut first = switch.plug_in(1);
    assert!(first.is_plugged());
}

/// The hypervisor's end of a connection. Its memory is in this file, and is said to begin, for both sides, at
/// this offset.
fn share(switch: &Running, file: &File, offset: u64, memory_size: u64) -> Frontend {
    let frontend = Frontend::connect(switch.port(1), 2).unwrap();
    frontend.set_owner().unwrap();
    let features = frontend.get_features().unwrap();
    frontend.set_features(features).unwrap();
    let region = VhostUserMemoryRegionInfo {
        guest_phys_addr: offset,
        memory_size,
        userspace_addr: USER_BASE + offset,
        mmap_offset: 0,
        mmap_handle: file.as_raw_fd(),
    };
    frontend.set_mem_table(&[region]).unwrap();
    frontend
}

/// Says that all parts of the transmit ring are so far into the memory, one page behind the other.
fn set_ring(frontend: &Frontend, offset: u64) {
    let config = VringConfigData {
        queue_max_size: RING,
        queue_size: RING,
        flags: 0,
        desc_table_addr: USER_BASE + offset,
        used_ring_addr: USER_BASE + offset + 0x1000,
        avail_ring_addr: USER_BASE + offset + 0x2000,
        log_addr: None,
    };
    frontend.set_vring_addr(TRANSMIT, &config).unwrap();
}

/// The others can talk.
fn is_well(switch: &Running) {
    let (mut second, mut third) = (switch.plug_in(2), switch.plug_in(3));
    second.send(&frame(3, 2, b"still there"));
    assert_eq!(third.receive().unwrap(), frame(3, 2, b"still there"));
}

#[test]
fn a_ring_that_is_aligned_only_as_its_hypervisor_counts() {
    let switch = Running::new("askew", &RINGS);
    let file = memory_file(MEMORY_BYTES);
    let frontend = share(&switch, &file, 1, MEMORY_BYTES as u64);
    set_ring(&frontend, 0x1000);
    assert!(frontend.get_features().is_ok(), "the message is refused, and the switch is there");
    is_well(&switch);
}

#[test]
fn memory_of_which_its_file_has_less() {
    let switch = Running::new("short-file", &RINGS);
    let file = memory_file(0x1000);
    let frontend = share(&switch, &file, 0, MEMORY_BYTES as u64);
    set_ring(&frontend, 0x8000);
    assert!(frontend.get_features().is_ok(), "the message is refused, and the switch is there");
    is_well(&switch);
}

#[test]
fn memory_that_is_taken_away() {
    let switch = survives("taken-away", |guest| {
        guest.send(&frame(9, 1, b"before"));
        let memory = guest.memory.find_region(GuestAddress(0)).unwrap();
        memory.file_offset().unwrap().file().set_len(0).unwrap();
        guest.ring(TRANSMIT);
    });
    assert!(patience(|| switch.of_port(1, "/plugged") == false));
    let fault = switch.of_port(1, "/last_fault");
    assert!(fault.as_str().unwrap().contains("memory"), "{fault}");
    // It may plug in again.
    switch.plug_in(1).send(&frame(9, 1, b"better"));
}
