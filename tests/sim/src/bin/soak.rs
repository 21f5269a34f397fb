//! `soak`: millions of commands, and what a node holds meanwhile.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::{Context, Result};
use sim::soak::Soak;

const HELP: &str = "\
Runs three whole nodes through millions of commands, and says what they hold meanwhile.

Usage: soak [COMMANDS]     (default 10000000; 512 bytes each)

Prints a JSON object a tenth of the way: commands, seconds of the cluster's time, bytes of this
process in memory (three nodes and three simulated disks), bytes and entries of the fullest node.";

/// So many lines are printed.
const PARTS: u64 = 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let commands = match std::env::args().nth(1).as_deref() {
        None => 10_000_000,
        Some("--help" | "-h") => {
            println!("{HELP}");
            return Ok(());
        }
        Some(word) => word.parse().context("COMMANDS is a number")?,
    };
    let mut soak = Soak::new(1);
    for part in 1..=PARTS {
        soak.run_until(commands * part / PARTS);
        let held = soak.held();
        println!(
            "{{\"commands\":{},\"refused\":{},\"simulated_seconds\":{},\"resident_bytes\":{},\
             \"machine_bytes\":{},\"cached_bytes\":{},\"log_entries\":{},\"snapshots\":{}}}",
            soak.executed(),
            soak.refused(),
            soak.simulated().as_millis() / 1_000,
            resident_bytes()?,
            held.machine_bytes,
            held.cached_bytes,
            held.log_entries,
            held.snapshots,
        );
    }
    Ok(())
}

/// What the kernel says that this process has in memory (`proc_pid_statm(5)`), in bytes.
fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("a second number")?.parse()?;
    Ok(pages * 4096)
}
