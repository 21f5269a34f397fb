//! DPDK's driver `virtio_user` on both sides of our switch: one program sends, another receives.

use std::time::Duration;

use anyhow::{Context, ensure};
use base::limits::RING_SIZE;
use serde_json::Value;

use crate::bench::figures::Figures;
use crate::bench::net::rig::{Backend, Rig, mac};
use crate::bench::net::testpmd;
use crate::{clock, interrupt};

/// What the drivers ask for, and what the figures are called.
const CARDS: [(&str, [&str; 2]); 3] = [
    ("mrg_rxbuf=1", ["sent_mergeable", "delivered_mergeable"]),
    ("mrg_rxbuf=0", ["sent_single", "delivered_single"]),
    // Our switch has split rings only, and a driver does with what it is offered.
    ("mrg_rxbuf=1,packed_vq=1", ["sent_packed_wanted", "delivered_packed_wanted"]),
];

const SINK: usize = 1;
const SOURCE: usize = 2;

/// A run ends when so many frames have come, or after so long.
const ENOUGH: u64 = 500_000;
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// When the source has ended, what is under way arrives within this.
const SETTLES: Duration = Duration::from_millis(500);
/// The switch tells the others when a machine is unplugged, in one frame.
const NOTICES: u64 = 1;

/// What each card has sent and received.
///
/// # Errors
/// If a frame is unaccounted for. Nothing is left behind.
pub(in crate::bench) fn measure() -> anyhow::Result<Figures> {
    interrupt::watch()?;
    testpmd::require()?;
    let mut figures = Figures::default();
    for (card, [sent, delivered]) in CARDS {
        let counts = run(card).with_context(|| card.to_owned())?;
        figures.add(sent, counts.sent as f64, "", None);
        figures.add(delivered, counts.received as f64, "", None);
    }
    Ok(figures)
}

fn run(card: &str) -> anyhow::Result<testpmd::Counts> {
    let mut rig = Rig::new()?;
    rig.start_switch(2, Backend::VhostUser)?;
    let own = |number| format!("{card},mac={}", mac(number));
    let mut sink = testpmd::driver(&rig, SINK, &own(SINK), None);
    rig.start_in_place(SINK, &mut sink)?;
    let mut source = testpmd::driver(&rig, SOURCE, &own(SOURCE), Some(&mac(SINK)));
    rig.start_in_place(SOURCE, &mut source)?;

    let give_up = clock::now() + ENDS_WITHIN;
    while rig.frames_in(SOURCE)? < ENOUGH && clock::now() < give_up {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    let sent = testpmd::counts(&rig.end_in_place(SOURCE)?)?.sent;
    std::thread::sleep(SETTLES);
    let ports = rig.ports()?;
    let received = testpmd::counts(&rig.end_in_place(SINK)?)?.received;

    let taken = count(&ports, SOURCE, "frames_in")?;
    let (given, dropped) = (count(&ports, SINK, "frames_out")?, sum(&ports, SINK, "dropped"));
    // What was in the ring when the source unplugged is lost with it.
    let in_ring = sent.checked_sub(taken).context("the switch has frames that nobody sent")?;
    ensure!(in_ring <= RING_SIZE.into(), "the source sent {sent}, the switch took {taken}");
    ensure!(
        given + dropped == taken + NOTICES,
        "of {taken} frames {given} left, {dropped} did not"
    );
    ensure!(received == given, "the switch gave {given} frames, the sink got {received}");
    for number in [SINK, SOURCE] {
        let is_blameless = count(&ports, number, "faults")? == 0
            && sum(&ports, number, "refused") == 0
            && ports[number - 1]["statistics"]["dropped"]["bad_buffer"] == 0;
        ensure!(is_blameless, "the driver broke a rule, says the switch: {}", ports[number - 1]);
    }
    Ok(testpmd::Counts { sent, received })
}

fn count(ports: &Value, number: usize, name: &str) -> anyhow::Result<u64> {
    ports[number - 1]["statistics"][name].as_u64().context("no such count")
}

/// All that was counted under `name`, by whatever cause.
fn sum(ports: &Value, number: usize, name: &str) -> u64 {
    let causes = ports[number - 1]["statistics"][name].as_object().into_iter().flatten();
    causes.filter_map(|(_, count)| count.as_u64()).sum()
}
