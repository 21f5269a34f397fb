//! What carries frames, side by side: shared rings and our switch (vhost-user), QEMU's sockets and our
//! switch, TAP devices and a bridge of the kernel. The same image on each, round by round in the same run.

use super::rig::{Backend, Pace, Rig, mac};
use super::{Plan, number};
use crate::bench::figures::{Figures, percentile};
use crate::cluster::network::Bridge;

/// What the figures of a path are called.
type Names = [&'static str; 2];

const PATHS: [(Backend, Names); 3] = [
    (Backend::VhostUser, ["pps_64_vhost_user", "rtt_us_p50_vhost_user"]),
    (Backend::Stream, ["pps_64_socket", "rtt_us_p50_socket"]),
    (Backend::Tap, ["pps_64_tap", "rtt_us_p50_tap"]),
];

/// So many echoes tell how far it is.
const ECHOES: u32 = 500;

/// What the second machine receives of what the first sends, a second, and how far it is there and back.
pub(super) fn measure(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let obstacle = Bridge::obstacle();
    figures
        .condition("paths", "two machines, frames of 64 bytes, delivered; the same image on each");
    if let Some(obstacle) = &obstacle {
        figures.condition("tap", format!("left out: {obstacle}"));
    }
    let is_there = |backend| backend != Backend::Tap || obstacle.is_none();
    let mut samples = PATHS.map(|_| [Vec::new(), Vec::new()]);
    for _ in 0..plan.rounds {
        for ((backend, _), [rates, trips]) in PATHS.iter().zip(&mut samples) {
            if is_there(*backend) {
                let rig = Rig::with_machines(2, Pace::Free, *backend)?;
                let [rate, trip] = one_round(&rig, plan)?;
                rates.push(rate);
                trips.push(trip);
            }
        }
    }
    for ((backend, [rate_name, trip_name]), [mut rates, mut trips]) in
        PATHS.into_iter().zip(samples)
    {
        if is_there(backend) {
            figures.add(rate_name, percentile(&mut rates, 50.0), "1/s", None);
            figures.add(trip_name, percentile(&mut trips, 50.0), "us", None);
        }
    }
    Ok(())
}

/// Frames that are delivered in a second, and microseconds there and back at the median.
fn one_round(rig: &Rig, plan: &Plan) -> anyhow::Result<[f64; 2]> {
    // First the echoes: both have spoken then, so that no frame is flooded.
    let echo = rig.measure(1, &format!("echo {} count={ECHOES}", mac(2)))?;
    let result = rig.measure(1, &format!("generate {} seconds={}", mac(2), plan.seconds))?;
    Ok([number(&result, "delivered_pps")?, number(&echo, "rtt_ns_p50")? / 1e3])
}
