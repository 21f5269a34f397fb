//! What `scripts/cluster capture` writes, judged by our own checks and by Wireshark's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::pcap::{self, Kind};
use crate::stories::{Ending, World};

/// Values of these sizes: in one frame, and in several.
const VALUE_BYTES: [usize; 3] = [10, 1_000, 100_000];

/// A node's frames through writes and an election: all of them are well-formed, and nothing is missing.
pub fn well_formed(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    let leader = cluster.leader(None)?;
    let watched = [1, 2, 3].into_iter().find(|node| *node != leader).context("a follower")?;
    let file = cluster.folder().join("follower.pcap");
    let (node, path) = (watched.to_string(), file.to_string_lossy().into_owned());
    cluster.run(&["capture", &node, &path])?;
    for (key, bytes) in VALUE_BYTES.into_iter().enumerate() {
        cluster.write(leader, &key.to_string(), &"x".repeat(bytes))?;
    }
    cluster.order("kill", leader)?;
    cluster.leader(Some(leader))?;
    cluster.write(watched, "after", "the election")?;
    cluster.run(&["capture", &node, "--stop"])?;

    let bytes = fs::read(&file)?;
    let mut counts = BTreeMap::new();
    for (place, frame) in pcap::frames(&bytes)?.into_iter().enumerate() {
        let kind = pcap::kind(frame).with_context(|| format!("frame {place}: {frame:02x?}"))?;
        *counts.entry(kind).or_insert(0_usize) += 1;
    }
    println!("{counts:?}");
    // The large value alone fills so many; and the switch has told who is gone.
    let datagrams = counts.get(&Kind::Udp).copied().unwrap_or_default();
    anyhow::ensure!(datagrams > VALUE_BYTES[2] / 1_500, "too few frames: {counts:?}");
    anyhow::ensure!(counts.contains_key(&Kind::Notice), "no word of the switch: {counts:?}");
    by_wireshark(&file)?;
    Ok(Ending::Good)
}

/// What Wireshark calls malformed, if it is there.
fn by_wireshark(file: &Path) -> anyhow::Result<()> {
    let mut tshark = Command::new("tshark");
    // Checksums are not looked at unless that is wanted.
    let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
    tshark.args(checks.iter().flat_map(|check| ["-o", *check]));
    tshark.arg("-r").arg(file).args(["-Y", "_ws.malformed || _ws.expert.severity == error"]);
    let Ok(output) = tshark.output() else {
        println!("there is no tshark to ask");
        return Ok(());
    };
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "tshark: {said}");
    let found = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(found.trim().is_empty(), "Wireshark finds fault with:\n{found}");
    Ok(())
}
