//! DPDK's testpmd: as the device at the other end of our driver, and as the driver at the other end of our
//! switch.

use std::process::Command;

use anyhow::Context;

use super::rig::Rig;

/// DPDK without huge pages or real devices; more ports follow.
const DPDK: [&str; 7] = ["--no-huge", "-m", "512", "--no-pci", "--no-telemetry", "-l", "0,1"];
/// It forwards with one core, says what it counts, and goes on without a terminal.
const FORWARDING: [&str; 4] = ["--", "--stats-period=1", "--nb-cores=1", "--total-num-mbufs=20000"];

/// That it is there, or the sentence that says what is missing.
pub(super) fn require() -> anyhow::Result<()> {
    let found = Command::new("dpdk-testpmd").arg("--version").output();
    anyhow::ensure!(found.is_ok(), "dpdk-testpmd is missing; 'scripts/setup --peers' installs it");
    Ok(())
}

/// With a device for each machine, whose frames it drops (`rxonly`) or gives to the other (`io`).
pub(super) fn device(rig: &Rig, ports: usize, mode: &str) -> Command {
    let mut command = dpdk(0);
    for port in 0..ports {
        let device = format!("net_vhost{port},iface={},queues=1", rig.port(port + 1).display());
        command.args(["--vdev", &device]);
    }
    command.args(FORWARDING).arg(format!("--forward-mode={mode}"));
    command
}

/// With the driver `virtio_user` of a card in the place of a machine, whose properties are `card`. It drops
/// what comes (`rxonly`), or sends to `peer` (`txonly`).
pub(super) fn driver(rig: &Rig, number: usize, card: &str, peer: Option<&str>) -> Command {
    let mut command = dpdk(number);
    let path = rig.port(number);
    let device = format!("net_virtio_user0,path={},server=0,queues=1,{card}", path.display());
    command.args(["--vdev", &device]).args(FORWARDING);
    match peer {
        Some(peer) => command.args(["--forward-mode=txonly", &format!("--eth-peer=0,{peer}")]),
        None => command.arg("--forward-mode=rxonly"),
    };
    command
}

/// Each of them has files of its own.
fn dpdk(number: usize) -> Command {
    let mut command = Command::new("dpdk-testpmd");
    command.args(DPDK).arg(format!("--file-prefix=coterie-{}-{number}", std::process::id()));
    command
}

/// Frames that it has received and sent by all ports, as it says when it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// What it has counted.
pub(super) fn counts(said: &str) -> anyhow::Result<Counts> {
    let (_, sums) = said.split_once("Accumulated forward statistics").context("it did not end")?;
    let count = |name: &str| {
        let value = sums.split_once(name)?.1.split_whitespace().next()?;
        value.parse::<u64>().ok()
    };
    let received = count("RX-packets:").context("it does not say what it received")?;
    Ok(Counts { received, sent: count("TX-packets:").context("it does not say what it sent")? })
}

/// What its devices have agreed on with the drivers: the bits of section 5.1.3 of the virtio specification.
pub(super) fn negotiated(said: &str) -> Vec<u64> {
    let words = said.lines().filter_map(|line| line.split_once("negotiated Virtio features: 0x"));
    words.filter_map(|(_, word)| u64::from_str_radix(word.trim(), 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read() {
        let said = "VHOST_CONFIG: (1.port) negotiated Virtio features: 0x17020a7a3\n\
                    Port statistics\n  RX-packets: 7          TX-packets: 7\n\
                    ++ Accumulated forward statistics for all ports++\n  RX-packets: 5081185  \
                    RX-dropped: 0   RX-total: 5081185\n  TX-packets: 12   TX-dropped: 3   TX-total: 15\n";
        assert_eq!(counts(said).unwrap(), Counts { received: 5_081_185, sent: 12 });
        assert_eq!(negotiated(said), [0x1_7020_a7a3]);
        assert!(counts("Port statistics\n  RX-packets: 7\n").is_err());
    }
}
