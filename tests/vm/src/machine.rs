//! Machines that are started here and not by `scripts/cluster`: with the very command line that it uses,
//! changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;

use crate::clock;

/// How long a machine may take to end that has been told nonsense.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// The command line of a machine that was started by `scripts/cluster`, to be changed and started again.
#[derive(Clone)]
pub struct Machine {
    words: Vec<String>,
    /// Where it ran: paths in its command line are relative to that.
    folder: PathBuf,
}

impl Machine {
    /// That of a process that runs.
    ///
    /// # Errors
    /// If it does not run.
    pub fn of(process: Pid) -> anyhow::Result<Machine> {
        let of_process = PathBuf::from(format!("/proc/{process}"));
        let line = fs::read_to_string(of_process.join("cmdline")).context("no such machine")?;
        let words = line.trim_end_matches('\0').split('\0').map(String::from).collect();
        Ok(Machine { words, folder: fs::read_link(of_process.join("cwd"))? })
    }

    /// Puts something else in the place of a text, which must be there.
    ///
    /// # Errors
    /// If it is not: the command line is not what it was.
    pub fn replace(&mut self, text: &str, with: &str) -> anyhow::Result<()> {
        let is_there = self.words.iter().any(|word| word.contains(text));
        anyhow::ensure!(is_there, "there is no '{text}' in the command line of QEMU");
        self.words.iter_mut().for_each(|word| *word = word.replace(text, with));
        Ok(())
    }

    /// Starts it. What it says on its serial port goes where it said.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn start(&self) -> anyhow::Result<Child> {
        println!("$ {}", self.words.join(" "));
        let (program, words) = self.words.split_first().context("an empty command line")?;
        let log =
            File::options().create(true).append(true).open(self.folder.join("machine.log"))?;
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).spawn().context("QEMU")
    }

    /// Starts it, and waits until it ends.
    ///
    /// # Errors
    /// If it does not.
    pub fn run(&self) -> anyhow::Result<ExitStatus> {
        let mut child = self.start()?;
        let mut status = None;
        clock::wait("the machine ends", ENDS_WITHIN, || {
            status = child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("no status")
    }
}

/// What a node has said on its serial port, in the folder of its cluster.
///
/// # Errors
/// If it never ran.
pub fn said(folder: &Path, node: u16) -> anyhow::Result<String> {
    let bytes = fs::read(folder.join(format!("node-{node}/serial.log")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
