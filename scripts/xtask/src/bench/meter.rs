//! What processes use, from /proc.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::cluster::process;

/// Memory of a process that is in RAM, in MiB.
///
/// # Errors
/// If the process is gone.
pub fn resident_mib(pid: Pid) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("a process without memory")? / 1024.0)
}

/// Processor time that a process has used.
///
/// # Errors
/// If the process is gone.
pub fn processor_time(pid: Pid) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in parentheses come the state and numbers; utime and stime are the 12th and 13th of
    // them.
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks().context("utime")?, ticks().context("stime")?);
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
    Ok(Duration::from_millis((user + system) * 1_000 / per_second.unwrap_or(100)))
}

/// The machine of the folder's cluster that has most memory in RAM, in MiB.
///
/// # Errors
/// If one is gone.
pub fn largest_machine_mib() -> anyhow::Result<f64> {
    let running = process::running(Path::new("."));
    let machines = running.iter().filter(|(role, _)| role.is_node());
    let sizes = machines.map(|(_, pid)| resident_mib(*pid)).collect::<Result<Vec<_>, _>>()?;
    Ok(sizes.into_iter().fold(0.0, f64::max))
}

/// What all processes of the folder's cluster use in a span, in percent of one core.
///
/// # Errors
/// If one ends meanwhile.
pub fn processor_percent(span: Duration) -> anyhow::Result<f64> {
    let running = process::running(Path::new("."));
    let sum = || running.values().map(|pid| processor_time(*pid)).sum::<anyhow::Result<Duration>>();
    let before = sum()?;
    std::thread::sleep(span);
    Ok((sum()? - before).as_secs_f64() / span.as_secs_f64() * 100.0)
}
