//! `sim --seed N`: runs one seed, or several, and says what happened.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use lexopt::ValueExt;
use sim::plan::Plan;
use sim::world::World;

const HELP: &str = "\
Runs whole nodes on simulated wires and disks.

Usage: sim [--seed N] [--seeds N..M] [--verbose]

  --seed N       run this seed, and print its plan and what happened
  --seeds N..M   run the seeds from N up to, but not including, M (default 0..100)
  --verbose      print a line for every seed
  --help         this text

A run that fails panics with what did not hold; run its seed again to see it again.";

fn main() -> Result<()> {
    let (mut seeds, mut is_verbose) = (0..100u64, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("seed") => {
                let seed: u64 =
                    arguments.value()?.string()?.parse().context("--seed takes a number")?;
                println!("{:#?}", Plan::new(seed));
                println!("{:#?}", World::run_seed(seed, None));
                return Ok(());
            }
            lexopt::Arg::Long("seeds") => {
                let range = arguments.value()?.string()?;
                let (first, end) = range.split_once("..").context("--seeds takes N..M")?;
                seeds = first.parse()?..end.parse()?;
            }
            lexopt::Arg::Long("verbose") => is_verbose = true,
            lexopt::Arg::Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            other => bail!("{}\n\n{HELP}", other.unexpected()),
        }
    }
    let count = seeds.end.saturating_sub(seeds.start);
    for seed in seeds {
        if is_verbose {
            println!("seed {seed}");
        }
        let summary = std::panic::catch_unwind(|| World::run_seed(seed, None));
        match summary {
            Ok(summary) if is_verbose => println!("  {summary:?}"),
            Ok(_) => {}
            Err(_) => bail!("seed {seed} failed; see it again with --seed {seed}"),
        }
    }
    println!("{count} seeds passed");
    Ok(())
}
