//! A processor for one process alone.
//!
//! Where machines and switch are more than the processors, a machine is interrupted in the midst of a burst
//! when the switch wakes up, which it does some thousand times a second. What that takes is no cost of the
//! burst's frames, and all of their 99th percentile.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Keeps a process on the last of the processors that we may use, and `others` off it. False, and nothing is
/// changed, if there is only one.
///
/// # Errors
/// If a process is gone.
pub(super) fn give_processor(process: Pid, others: &[Pid]) -> anyhow::Result<bool> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut usable = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let (Some(last), true) = (usable.next_back(), usable.next().is_some()) else {
        return Ok(false);
    };
    let (mut its, mut rest) = (CpuSet::new(), allowed);
    its.set(last)?;
    rest.unset(last)?;
    keep_on(process, &its)?;
    others.iter().try_for_each(|other| keep_on(*other, &rest))?;
    Ok(true)
}

/// Keeps all threads of a process on these processors; those that it starts later stay there, too.
fn keep_on(process: Pid, processors: &CpuSet) -> anyhow::Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let number = thread?.file_name().to_string_lossy().parse()?;
        sched_setaffinity(Pid::from_raw(number), processors)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_has_a_processor_that_the_others_have_not() {
        let start = || Command::new("sleep").arg("60").spawn().unwrap();
        let mut children = [start(), start()];
        let [one, other] = children.each_ref().map(|it| Pid::from_raw(it.id().cast_signed()));
        let is_apart = give_processor(one, &[other]).unwrap();
        let [its, rest] = [one, other].map(|it| sched_getaffinity(it).unwrap());
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let all = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let has = |set: &CpuSet, cpu| set.is_set(cpu).unwrap();
        let usable: Vec<_> = (0..CpuSet::count()).filter(|cpu| has(&all, *cpu)).collect();
        assert_eq!(is_apart, usable.len() > 1);
        for cpu in usable {
            assert_ne!(has(&its, cpu), has(&rest, cpu) && is_apart, "processor {cpu}");
        }
    }
}
