//! `scripts/bench`: figures, with the conditions under which they were measured.

mod bft;
mod cluster;
mod conditions;
mod core;
mod figures;
mod load;
mod machines;
mod meter;
mod net;
mod raft;
mod sim;
mod soak;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Measures, and prints under which conditions.

Usage: scripts/bench NAME [--json] [--quick]
       scripts/bench net --smp [--json] [--quick]
       scripts/bench --list

  --json    one flat object of figures, on standard output
  --quick   fewer repetitions: to see whether it works, not to publish
  --smp     machines with two processors and two pairs of queues, beside one of each (scripts/image --smp)
  --list    what can be measured
";

const LIST: &str = "\
cluster   a cluster of virtual machines: start, failover, throughput, latency, memory, idle processor
net       frames through virtio: packets a second, time for each, round trips
peers     the same frames with others in the place of ours: DPDK's testpmd, Linux guests, sockets of QEMU
virtio-user  whether all frames arrive that DPDK's driver sends by our switch; as the next ones, for tests
testpmd   the same of our driver with DPDK's device, split rings and packed ones
tap       the same of TCP between a machine of ours and this host's kernel, which leave work to the card
linux     the same of TCP between a machine of ours and Linux, by our switch
rss       the same of flows that QEMU's card spreads among the pairs of a machine of ours
raft      consensus between machines: elections, failures of leaders, planned stops, restart; 3 and 32 nodes
bft       the ledger between machines: one entry idle and with machines gone, batches; 4 and 32 nodes
core      the Raft core alone, in memory, beside the crate raft 0.7; the Byzantine core, and its signatures
soak      three whole nodes in the simulator, ten million commands: does anything grow for ever?
sim       the simulator: how much of a cluster's time it simulates in a second
";

/// Does what the command line says.
///
/// # Errors
/// If a measurement fails.
pub fn main(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut name, mut is_json, mut is_quick, mut is_smp) = (None, false, false, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => is_json = true,
            Long("quick") => is_quick = true,
            Long("smp") => is_smp = true,
            Long("list") => {
                write!(std::io::stdout(), "{LIST}")?;
                return Ok(ExitCode::SUCCESS);
            }
            Long("help") | Short('h') => {
                write!(std::io::stdout(), "{HELP}")?;
                return Ok(ExitCode::SUCCESS);
            }
            Value(word) if name.is_none() => name = Some(word.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let figures = match name.as_deref() {
        Some("cluster") => cluster::measure(is_quick)?,
        Some("bft") => bft::measure(is_quick)?,
        Some("core") => core::measure()?,
        Some("net") if is_smp => net::queues::measure(is_quick)?,
        Some("net") => net::measure(is_quick)?,
        Some("peers") => net::peers::measure(is_quick)?,
        Some("virtio-user") => net::others::virtio_user::measure()?,
        Some("testpmd") => net::others::testpmd::measure()?,
        Some("tap") => net::others::tap::measure()?,
        Some("linux") => net::others::linux::measure()?,
        Some("rss") => net::others::rss::measure()?,
        Some("raft") => raft::measure(is_quick)?,
        Some("soak") => soak::measure(is_quick)?,
        Some("sim") => sim::measure(is_quick)?,
        Some(other) => {
            let text = format!("there is no bench '{other}'; --list shows what there is");
            return Err(lexopt::Error::Custom(text.into()).into());
        }
        None => {
            eprint!("{HELP}");
            return Ok(ExitCode::from(2));
        }
    };
    match is_json {
        true => writeln!(std::io::stdout(), "{}", figures.to_json())?,
        false => write!(std::io::stdout(), "{}", figures.to_table())?,
    }
    Ok(ExitCode::SUCCESS)
}
