//! What the shell of a station answers.
#![allow(missing_docs, reason = "a test")]

use base::Instant;
use net::device::{FrameDevice, Offloads};
use netio::NetStatistics;
use pktgen::card::Card;
use pktgen::settings::Offloading;
use pktgen::station::{Role, Seed};
use pktgen::tcp::Tcp;
use pktgen::{Station, commands};
use pool::{LARGE_BUFFER_BYTES, PAGE_BYTES, Pool};
use shell::{Line, Source};

const MAC: [u8; 6] = [2, 0x77, 0, 0, 0, 1];
const NOW: Instant = Instant::from_millis(1);

/// A station whose card can do everything, and is asked for this.
fn station(offloading: Offloading) -> Station {
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let offloads = (offloading != Offloading::None).then(|| {
        let large = Pool::on_heap(2, LARGE_BUFFER_BYTES);
        let offered = Offloading::All.wanted();
        let is_large = offloading == Offloading::All;
        Offloads::new(offered, offloading.wanted(), pool.clone(), large, is_large)
    });
    let device = FrameDevice::new(pool.clone(), 1500, offloads);
    let seed = Seed { run: 0, hash_key: [1, 2] };
    Station::new(MAC, pool, Pool::on_heap(64, PAGE_BYTES), Tcp::new(MAC, device, 1, NOW), seed)
}

/// What is answered to a program, and how it went.
fn ask(station: &mut Station, text: &str, now: Instant) -> (String, u8) {
    let mut console = commands::console();
    let line = Line { source: Source::Program("t".into()), text: text.into() };
    let is_over = commands::execute(&line, &mut console, station, now);
    assert_eq!(is_over, text == "poweroff");
    let output = String::from_utf8(console.poll_output().expect("an answer")).expect("text");
    let (answer, status) = output.strip_prefix("\x02t\r\n").unwrap().split_once('\x03').unwrap();
    (answer.replace("\r\n", "\n"), status.trim_end().parse().unwrap())
}

#[test]
fn only_complete_frames_are_forwarded() {
    for offloading in [Offloading::Checksums, Offloading::All] {
        let mut station = station(offloading);
        let (answer, status) = ask(&mut station, "forward", NOW);
        assert_eq!(status, 1);
        assert!(
            answer.starts_with("error: this card leaves checksums to us; only with "),
            "{answer}"
        );
        assert_eq!(station.role(), Role::Sink);
    }
    let mut station = station(Offloading::None);
    assert_eq!(ask(&mut station, "forward", NOW).1, 0);
    assert_eq!(station.role(), Role::Forwarder);
}

#[test]
fn sizes_of_rfc_2544_are_asked_for_and_progress_is_told() {
    let mut station = station(Offloading::None);
    let to = "02:77:00:00:00:02";
    let (answer, status) = ask(&mut station, &format!("rfc2544 {to} size=64"), NOW);
    assert_eq!((answer.starts_with("error: 'size=64' means nothing here"), status), (true, 1));
    assert_eq!(ask(&mut station, &format!("rfc2544 {to} ms=100 flows=4"), NOW).1, 0);
    let status = ask(&mut station, "status --json", NOW).0;
    assert!(status.contains(r#""progress":"size 1 of 7: 64 bytes""#), "{status}");
    assert_eq!(ask(&mut station, "result", NOW).1, 1);
    let status = ask(&mut station, "stop --json", NOW).0;
    assert!(status.contains(r#""busy":false,"progress":null"#), "{status}");
}

#[test]
fn the_card_tells_what_it_has_counted() {
    let mut station = station(Offloading::None);
    let statistics = NetStatistics {
        kicks: 11,
        receive_polls: 12,
        receive_polls_empty: 13,
        receive_bad_length: 14,
        send_ring_full: 15,
        receive_ring: 256,
        ..NetStatistics::default()
    };
    let card = Card { statistics, is_link_up: Some(false), is_packed: Some(true) };
    station.note_card(card);
    let pool = station.pool().clone();
    let held: Vec<_> = std::iter::from_fn(|| pool.allocate()).collect();
    assert_eq!(held.len(), 64);
    let (answer, status) = ask(&mut station, "stats --json", NOW);
    assert_eq!(status, 0);
    for field in [
        r#""link_up":false"#,
        r#""ring_format":"packed""#,
        r#""receive_ring":256"#,
        r#""kicks":11"#,
        r#""polls":12"#,
        r#""polls_empty":13"#,
        r#""dropped_bad_length":14"#,
        r#""ring_full":15"#,
        r#""pool_exhausted":1"#,
    ] {
        assert!(answer.contains(field), "{field}: {answer}");
    }
}
