//! TCP between a machine of ours and a Linux guest, by our switch: what both leave to their cards (sums,
//! large segments in both directions, frames in several buffers) goes through it untouched.

use anyhow::{Context, ensure};

use super::peer::{REPORT_BYTES, Report};
use crate::bench::figures::Figures;
use crate::bench::net::number;
use crate::bench::net::peers::make_linux;
use crate::bench::net::rig::{Backend, Guest, Rig};
use crate::interrupt;

/// Linux's address, as `scripts/peers/linux.init` has it.
const LINUX: &str = "198.18.0.2";
/// What Linux keeps of what it was sent, and sends back: the same.
const KEPT_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
/// Bits of the virtio specification (section 5.1.3), and their names without `VIRTIO_NET_F_`.
const FEATURES: [(usize, &str); 5] =
    [(0, "CSUM"), (1, "GUEST_CSUM"), (7, "GUEST_TSO4"), (11, "HOST_TSO4"), (15, "MRG_RXBUF")];

/// How much came in each direction, and what our card did for it.
///
/// # Errors
/// If a byte is missing or wrong. Nothing is left behind.
pub(in crate::bench) fn measure() -> anyhow::Result<Figures> {
    interrupt::watch()?;
    make_linux()?;
    let mut rig = Rig::new()?;
    rig.start_switch(2, Backend::VhostUser)?;
    rig.start_machine(1, Guest::Offloading("all"), Backend::VhostUser)?;
    rig.wait_until_booted(1)?;
    let sink = rig.ask(1, "tcp sink")?;
    let sink = sink["address"].as_str().context("the sink has no address")?;
    rig.start_machine(2, Guest::LinuxTcp(sink), Backend::VhostUser)?;
    rig.wait_until_said(2, "linux: ready")?;
    are_negotiated(&word(&rig, "linux: features ")?)?;

    // Linux ends the connection without a report.
    rig.ask(1, &format!("tcp source {LINUX} 5201 2"))?;
    rig.wait_until_said(2, "linux: reported")?;
    let kept: f64 = word(&rig, "linux: kept ")?.parse()?;
    ensure!(kept == KEPT_BYTES, "Linux has received {kept} bytes only");
    let report = Report::parse(&bytes(&word(&rig, "linux: report ")?)?)?;
    ensure!(report.bytes as f64 == kept, "bytes are missing: {report:?}");
    // It has sent what ours had sent: what moved on either way is not where it belongs.
    ensure!(report.misplaced == 0, "bytes have moved: {report:?}");

    let mut figures = Figures::default();
    figures.add("there_and_back_bytes", report.bytes as f64, "", None);
    let status = rig.ask(1, "tcp status")?;
    for name in ["cut_by_card", "cut_here", "summed_by_card", "verified_by_card", "bad_checksum"] {
        figures.add(name, number(&status, name)?, "", None);
    }
    figures.add("received_frames", number(&rig.ask(1, "status")?, "received")?, "", None);
    Ok(figures)
}

/// What Linux has said behind these words last.
fn word(rig: &Rig, words: &str) -> anyhow::Result<String> {
    let said = rig.everything_said(2);
    let line = said.lines().rev().find_map(|line| line.split_once(words));
    Ok(line.with_context(|| format!("no '{words}'"))?.1.trim().to_owned())
}

/// Linux writes a digit for each bit, the lowest first.
fn are_negotiated(features: &str) -> anyhow::Result<()> {
    for (bit, name) in FEATURES {
        ensure!(features.as_bytes().get(bit) == Some(&b'1'), "no {name} in {features}");
    }
    Ok(())
}

/// Bytes, each in two hexadecimal digits.
fn bytes(digits: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(digits.is_ascii() && digits.len() == 2 * REPORT_BYTES, "no report: '{digits}'");
    let byte = |start: usize| u8::from_str_radix(&digits[start..start + 2], 16);
    Ok((0..REPORT_BYTES).map(|place| byte(2 * place)).collect::<Result<_, _>>()?)
}
