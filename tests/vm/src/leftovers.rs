//! Which processes belong to a story, and their end. A process is known by what it is, never by its name
//! alone: the machines and the switch of a cluster run in its folder, all else is in the story's session.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;

/// Where `scripts/cluster` keeps its clusters.
pub const CLUSTERS: &str = "target/cluster";

/// Names of our clusters begin so; the number of the process that tells the stories follows.
const PREFIX: &str = "vm-test-";

/// How the clusters of the process with this number are called.
pub fn name_of(process: u32) -> String {
    format!("{PREFIX}{process}")
}

/// The process whose cluster this is, if it is one of a run of stories.
pub fn process_of(cluster: &str) -> Option<u32> {
    let rest = cluster.strip_prefix(PREFIX)?;
    rest.split('-').next()?.parse().ok()
}

/// The names of all clusters that belong to runs of stories.
pub fn clusters() -> Vec<String> {
    let Ok(entries) = fs::read_dir(CLUSTERS) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| process_of(name).is_some()).collect()
}

/// Whether there is a process of this number.
pub fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// What runs in the folder of a cluster.
pub fn in_cluster(name: &str) -> Vec<Pid> {
    let Ok(folder) = fs::canonicalize(Path::new(CLUSTERS).join(name)) else { return Vec::new() };
    select(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder))
}

/// What runs in the session that this process began.
pub fn in_session(leader: u32) -> Vec<Pid> {
    select(|process| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // The program's name is in parentheses, and may contain anything; the session is the fourth field
        // behind.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let has_ended = matches!(fields.next(), Some("Z" | "X") | None);
        !has_ended && fields.nth(2).is_some_and(|session| session.parse() == Ok(leader))
    })
}

fn select(is_wanted: impl Fn(&Path) -> bool) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let path = |pid: &i32| PathBuf::from(format!("/proc/{pid}"));
    pids.filter(|pid| is_wanted(&path(pid))).map(Pid::from_raw).collect()
}

/// Ends what `find` finds until it finds nothing more: one of them may just be starting another.
///
/// # Errors
/// If something does not end.
pub fn end(what: &str, find: impl Fn() -> Vec<Pid>) -> anyhow::Result<()> {
    clock::wait(what, Duration::from_secs(10), || {
        let found = find();
        kill_all(&found)?;
        Ok(found.is_empty())
    })
}

/// Ends processes at once, as nearly at the same time as possible.
///
/// # Errors
/// If that is not allowed.
pub fn kill_all(pids: &[Pid]) -> anyhow::Result<()> {
    for pid in pids {
        match kill(*pid, Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error).context(format!("process {pid}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_cluster_it_is() {
        assert_eq!(process_of(&name_of(17)), Some(17));
        assert_eq!(process_of("vm-test-17-b"), Some(17));
        assert_eq!(process_of("default"), None);
        assert_eq!(process_of("vm-test-x"), None);
    }

    #[test]
    fn this_process_is_in_its_session() {
        let session = nix::unistd::getsid(None).unwrap();
        let leader = u32::try_from(session.as_raw()).unwrap();
        assert!(in_session(leader).contains(&Pid::this()));
        assert!(is_alive(std::process::id()));
    }
}
