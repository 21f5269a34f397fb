//! Our driver with DPDK's vhost-user device, on split rings and on packed ones: testpmd counts what a machine
//! sends, and carries frames from one machine to another.

use std::time::Duration;

use anyhow::ensure;

use crate::bench::figures::Figures;
use crate::bench::net::rig::{Backend, Guest, Pace, Rig, mac};
use crate::bench::net::{NOBODY, number, testpmd};
use crate::interrupt;

/// `VIRTIO_F_RING_PACKED`.
const RING_PACKED: u64 = 1 << 34;
/// What a machine boots, whether its rings are to be packed, and what the figures are called.
const RINGS: [(Guest<'_>, bool, [&str; 2]); 2] = [
    (Guest::Ours(Pace::Free), false, ["counted_split", "carried_split"]),
    (Guest::Packed, true, ["counted_packed", "carried_packed"]),
];

/// It forwards nothing before all machines have set up their rings.
const SETTLES: Duration = Duration::from_secs(2);
/// A generator asks what has arrived so often at most.
const QUESTIONS_MAX: f64 = 64.0;
/// Frames a second: testpmd drops what does not fit into a ring, and a busy host may halt a machine.
const PACED_RATE: u64 = 2_000;

/// How many frames testpmd has counted, and carried, with each format of rings.
///
/// # Errors
/// If a frame is unaccounted for, or the rings are not as they should be. Nothing is left behind.
pub(in crate::bench) fn measure() -> anyhow::Result<Figures> {
    interrupt::watch()?;
    testpmd::require()?;
    let mut figures = Figures::default();
    for (guest, is_packed, [counted, carried]) in RINGS {
        figures.add(counted, into_device(guest, is_packed)?, "", None);
        figures.add(carried, between(guest, is_packed)?, "", None);
    }
    Ok(figures)
}

/// A machine sends, testpmd counts and drops.
fn into_device(guest: Guest<'_>, is_packed: bool) -> anyhow::Result<f64> {
    let rig = start(guest, 1, "rxonly")?;
    let sent = number(&rig.measure(1, &format!("generate {NOBODY} seconds=1"))?, "sent")?;
    let said = rig.end_other()?;
    are_rings(&said, 1, is_packed)?;
    let received = testpmd::counts(&said)?.received as f64;
    let is_all = (sent..=sent + QUESTIONS_MAX).contains(&received);
    ensure!(is_all, "the machine sent {sent} frames, testpmd counted {received}");
    Ok(received)
}

/// One machine sends, testpmd gives its frames to another.
fn between(guest: Guest<'_>, is_packed: bool) -> anyhow::Result<f64> {
    let rig = start(guest, 2, "io")?;
    let result = rig.measure(1, &format!("generate {} seconds=2 rate={PACED_RATE}", mac(2)))?;
    ensure!(result["lost"] == 0 && result["reordered"] == 0, "frames are missing: {result}");
    are_rings(&rig.end_other()?, 2, is_packed)?;
    number(&result, "delivered")
}

fn start(guest: Guest<'_>, machines: usize, mode: &str) -> anyhow::Result<Rig> {
    let mut rig = Rig::new()?;
    let mut command = testpmd::device(&rig, machines, mode);
    rig.start_other(&mut command, machines)?;
    for machine in 1..=machines {
        rig.start_machine(machine, guest, Backend::VhostUser)?;
    }
    for machine in 1..=machines {
        rig.wait_until_booted(machine)?;
    }
    std::thread::sleep(SETTLES);
    Ok(rig)
}

/// What the rings of each machine are is what testpmd says of them.
fn are_rings(said: &str, machines: usize, is_packed: bool) -> anyhow::Result<()> {
    let negotiated = testpmd::negotiated(said);
    ensure!(negotiated.len() >= machines, "testpmd does not say what was negotiated");
    // The last word of each counts: the firmware may have had one.
    let are_right =
        negotiated.iter().rev().take(machines).all(|word| (word & RING_PACKED != 0) == is_packed);
    ensure!(are_right, "packed rings: {is_packed}, but negotiated were {negotiated:#x?}");
    Ok(())
}
