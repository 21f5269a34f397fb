//! A network namespace that goes away with the cluster, so that nothing in it can meet anything else on the
//! host.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cluster::state::Description;

/// The name of a cluster's.
pub(super) fn name(description: &Description) -> String {
    format!("coterie-{}", description.name)
}

pub(super) fn file(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Whether it was not there before.
///
/// # Errors
/// If it cannot be made.
pub(super) fn make(name: &str) -> anyhow::Result<bool> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "--net bridge and --net ovs need root, for the devices in their network namespace belong to the \
         kernel; --net switch and --net socket do not"
    );
    if file(name).exists() {
        return Ok(false);
    }
    ip(&["netns", "add", name])?;
    Ok(true)
}

/// With the namespace goes what is in it. There is none if the start failed.
pub(super) fn remove(name: &str) {
    let _ = ip(&["netns", "del", name]);
}

pub(super) fn ip(words: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(words))
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be run, or fails: with what it said.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run '{program}'"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    anyhow::ensure!(output.status.success(), "{program} {}: {}", words.join(" "), said.trim());
    Ok(())
}
