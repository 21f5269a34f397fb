//! TCP between a machine of ours and this host's kernel by way of a TAP device: both leave segments and
//! checksums to QEMU's card, which hands them from one to the other.

use std::net::TcpListener;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::peer;
use crate::bench::figures::Figures;
use crate::bench::net::number;
use crate::bench::net::rig::{Backend, Guest, Rig};
use crate::cluster::network::Bridge;
use crate::interrupt;

/// The host's address on the bridge, in the network of the stations.
const HOST: &str = "198.18.255.254";
const PREFIX_BITS: u8 = 15;
const PORT: u16 = 5201;
/// 50 MiB.
const CHUNKS: u64 = 800;
/// What no frame carries of TCP that is not larger than the network's frames.
const SEGMENT_BYTES_MAX: f64 = 1460.0;

/// How much came in each direction, and what the card did for it.
///
/// # Errors
/// If a byte is missing or wrong. Nothing is left behind.
pub(in crate::bench) fn measure() -> anyhow::Result<Figures> {
    interrupt::watch()?;
    if let Some(obstacle) = Bridge::obstacle() {
        anyhow::bail!("{obstacle}");
    }
    let rig = Rig::with_guests(1, Guest::Offloading("all"), Backend::Tap)?;
    rig.bridge()?.add_address(&format!("{HOST}/{PREFIX_BITS}"))?;
    let mut figures = Figures::default();

    let received = into_machine(&rig)?;
    figures.add("received_bytes", received.bytes as f64, "", None);
    let frames = number(&rig.ask(1, "status")?, "received")?;
    figures.add("received_frames", frames, "", None);
    figures.add("received_frames_if_small", received.bytes as f64 / SEGMENT_BYTES_MAX, "", None);

    let result = out_of_machine(&rig)?;
    figures.add("sent_bytes", number(&result, "sent")?, "", None);
    let status = rig.ask(1, "tcp status")?;
    for name in ["cut_by_card", "cut_here", "summed_by_card", "verified_by_card", "bad_checksum"] {
        figures.add(name, number(&status, name)?, "", None);
    }
    Ok(figures)
}

/// The host sends, the machine counts and reports.
fn into_machine(rig: &Rig) -> anyhow::Result<peer::Report> {
    let sink = rig.ask(1, "tcp sink")?;
    let address = sink["address"].as_str().context("the sink has no address")?;
    let address = format!("{address}:{}", sink["port"]).parse()?;
    let report = rig.bridge()?.within(|| peer::send(address, CHUNKS))?;
    ensure!(report.bytes == peer::bytes_of(CHUNKS), "bytes are missing: {report:?}");
    ensure!(report.misplaced == 0, "bytes have moved: {report:?}");
    Ok(report)
}

/// The machine sends for a while, the host looks at every byte and reports.
fn out_of_machine(rig: &Rig) -> anyhow::Result<Value> {
    let listener = rig.bridge()?.within(|| Ok(TcpListener::bind((HOST, PORT))?))?;
    rig.ask(1, &format!("tcp source {HOST} {PORT} 2"))?;
    let report = peer::receive(&listener)?;
    ensure!(report.misplaced == 0, "bytes have moved: {report:?}");
    let result = rig.finished(1)?;
    let is_all = result["sent"] == report.bytes && result["delivered"] == report.bytes;
    ensure!(is_all, "{report:?} was received: {result}");
    Ok(result)
}
