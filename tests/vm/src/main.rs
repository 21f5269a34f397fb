//! `vm`: stories about real virtual machines, driven through `scripts/cluster` as a person would.
//!
//! This is a program and no `#[test]`: `cargo test` at the root must need nothing but Rust, and a story needs
//! QEMU, ports and minutes. Every story runs in a process of its own, so that whatever it does (fail, panic,
//! hang, be interrupted) somebody is left who ends its machines.
#![forbid(unsafe_code)]

mod client;
mod clock;
mod cluster;
mod leftovers;
mod machine;
mod pcap;
mod qmp;
mod runner;
mod screen;
mod session;
mod stories;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lexopt::ValueExt;

const HELP: &str = "\
Tells stories about real virtual machines, and checks that they end well.

Usage: cargo run -p vm -- [STORY...] [--list] [--keep]

  STORY    only these stories; all without
  --list   the stories, and what they are about
  --keep   keeps the logs of stories that end well, too
  --help   this text

The logs of a story that fails are in target/vm-test/STORY. No machine is left behind, whatever happens.
";

/// What the program runs itself with: one story, in the cluster of this name.
const INSIDE: &str = "inside";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let (mut names, mut keep, mut inside) = (Vec::new(), false, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Value(name) => names.push(name.string()?),
            lexopt::Arg::Long("keep") => keep = true,
            lexopt::Arg::Long("list") => {
                for story in stories::ALL {
                    println!("{:16} {}", story.name, story.about);
                }
                return Ok(ExitCode::SUCCESS);
            }
            lexopt::Arg::Long(INSIDE) => inside = Some(arguments.value()?.string()?),
            lexopt::Arg::Long("help") => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => anyhow::bail!("{}\n\n{HELP}", other.unexpected()),
        }
    }
    // Paths of sockets must be short: they are relative to the root.
    std::env::set_current_dir(root()).context("the root of the repository")?;
    let chosen = stories::choose(&names)?;
    match (inside, chosen.as_slice()) {
        (Some(cluster), [story]) => runner::tell(story, &cluster),
        (Some(_), _) => anyhow::bail!("--{INSIDE} takes one story"),
        (None, chosen) => runner::run_all(chosen, keep),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
