//! Which processes belong to a cluster. There are no files with numbers that may be stale: what runs in the
//! cluster's folder under the right name is its own, and nothing else is ever touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;

/// What a process is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// The switch.
    Switch,
    /// An Open vSwitch, and its database.
    OvsSwitch,
    OvsDatabase,
    /// The machine of this node.
    Node(u16),
}

impl Role {
    /// Whether it is a machine.
    pub fn is_node(self) -> bool {
        matches!(self, Role::Node(_))
    }
}

/// What QEMU is told as its name.
pub fn qemu_name(node: u16) -> String {
    format!("coterie-node-{node}")
}

/// Everything that runs in the folder.
pub fn running(folder: &Path) -> BTreeMap<Role, Pid> {
    let Ok(folder) = fs::canonicalize(folder) else { return BTreeMap::new() };
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((role_of(pid, &folder)?, Pid::from_raw(pid)))).collect()
}

fn role_of(pid: i32, folder: &Path) -> Option<Role> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    if fs::read_link(process.join("cwd")).ok()? != folder {
        return None;
    }
    // One that has ended and is not yet collected has no command line.
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let program = Path::new(words.first()?.as_ref()).file_name()?.to_str()?.to_owned();
    match program.as_str() {
        "vswitch" => return Some(Role::Switch),
        "ovs-vswitchd-dpdk" => return Some(Role::OvsSwitch),
        "ovsdb-server" => return Some(Role::OvsDatabase),
        _ => {}
    }
    let name = words.iter().skip_while(|word| *word != "-name").nth(1)?;
    let number = name.strip_prefix("coterie-node-")?.parse().ok()?;
    program.starts_with("qemu-system").then_some(Role::Node(number))
}

/// Starts a program that goes on when this one ends. Its output goes to `log`.
///
/// # Errors
/// If it cannot be started.
pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let file = fs::File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        command.pre_exec(|| {
            // A session of its own: no Ctrl-C, no hang-up.
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Ends processes: asked first if `is_gentle`, then made to.
///
/// # Errors
/// If one cannot be ended.
pub fn end(pids: &[Pid], is_gentle: bool) -> anyhow::Result<()> {
    if is_gentle {
        signal(pids, Signal::SIGTERM)?;
        if wait_until_gone(pids, Duration::from_secs(3)) {
            return Ok(());
        }
    }
    signal(pids, Signal::SIGKILL)?;
    anyhow::ensure!(
        wait_until_gone(pids, Duration::from_secs(10)),
        "a process does not end although it was killed"
    );
    Ok(())
}

fn signal(pids: &[Pid], signal: Signal) -> anyhow::Result<()> {
    for pid in pids {
        match kill(*pid, signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(error) => return Err(error).context(format!("process {pid}")),
        }
    }
    Ok(())
}

/// Waits until none of the processes is there any more; false if that takes too long.
pub fn wait_until_gone(pids: &[Pid], within: Duration) -> bool {
    let give_up = clock::now() + within;
    loop {
        if pids.iter().all(|pid| is_gone(*pid)) {
            return true;
        }
        if clock::now() >= give_up {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Gone is also what has ended and is only not yet collected, by us or by whoever is responsible.
fn is_gone(pid: Pid) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The program's name is in parentheses, and may contain anything.
    let state = text.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    matches!(state, Some('Z' | 'X') | None)
}
