//! Longer rings beside those of the usual size, round by round in the same run.

use anyhow::ensure;
use base::limits::{RING_SIZE, RING_SIZE_MAX};

use super::rig::{Backend, Guest, Rig, mac};
use super::{Plan, number, sent_into_switch};
use crate::bench::figures::{Figures, percentile};

/// Frames that leave a machine, and frames that another has received, a second; one of each round.
#[derive(Default)]
struct Rates {
    sent: Vec<f64>,
    delivered: Vec<f64>,
}

/// As `pps_64_sent` and `pps_64_delivered`, with both sizes in turn.
pub(super) fn measure(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (mut usual, mut long) = (Rates::default(), Rates::default());
    for _ in 0..plan.rounds {
        usual.measure(plan, RING_SIZE)?;
        long.measure(plan, RING_SIZE_MAX)?;
    }
    for (name, rates) in [
        ("pps_64_sent_ring_256", &mut usual.sent),
        ("pps_64_sent_ring_1024", &mut long.sent),
        ("pps_64_delivered_ring_256", &mut usual.delivered),
        ("pps_64_delivered_ring_1024", &mut long.delivered),
    ] {
        figures.add(name, percentile(rates, 50.0), "1/s", None);
    }
    Ok(())
}

impl Rates {
    fn measure(&mut self, plan: &Plan, ring_size: u16) -> anyhow::Result<()> {
        let rig = Rig::with_guests(2, Guest::Ringed(ring_size), Backend::VhostUser)?;
        for machine in [1, 2] {
            let status = rig.ask(machine, "status")?;
            for ring in ["receive_ring", "transmit_ring"] {
                ensure!(status[ring] == ring_size, "the rings are of another size: {status}");
            }
        }
        self.sent.push(sent_into_switch(&rig, plan, "")?);
        // Both have spoken, so that no frame is flooded.
        rig.measure(1, &format!("echo {} count=10", mac(2)))?;
        let result = rig.measure(1, &format!("generate {} seconds={}", mac(2), plan.seconds))?;
        self.delivered.push(number(&result, "delivered_pps")?);
        Ok(())
    }
}
