//! Starting and ending machines, one or all.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::process::{self, Role};
use super::state::Description;
use super::{client, console, disks, machine, network};
use crate::{clock, interrupt};

/// How long a cluster may take until it serves.
const SERVES_WITHIN: Duration = Duration::from_secs(120);
/// How long one question to a node may take.
const QUESTION: Duration = Duration::from_secs(1);
/// Nothing is said of what is done within this.
const SILENCE: Duration = Duration::from_secs(2);

/// Starts the machine of a node.
///
/// # Errors
/// If that is not possible, or it runs already.
pub fn start_node(description: &Description, node: u16) -> anyhow::Result<Child> {
    let running = process::running(Path::new("."));
    anyhow::ensure!(!running.contains_key(&Role::Node(node)), "node {node} is running already");
    fs::create_dir_all(machine::node_folder(node))?;
    let format = disks::prepare(description, node)?;
    for port in [description.resp_port(node), description.http_port(node)] {
        ensure_free(port)?;
    }
    let tap = network::tap(description, node)?;
    if let Some(tap) = &tap {
        // QEMU inherits it.
        fcntl(tap, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    // Whom a node asks that is not in yet: one that runs, if there is one.
    let is_there = |other: &u16| running.contains_key(&Role::Node(*other));
    let others = || description.node_numbers().filter(|other| *other != node);
    let contact = others().find(is_there).or_else(|| others().next());
    let tap_number = tap.as_ref().map(AsRawFd::as_raw_fd);
    let mut command = machine::command(description, node, tap_number, format, contact);
    process::start(&mut command, &machine::node_folder(node).join("qemu.log"))
}

/// A machine that has just been ended may hold its ports for a moment longer.
fn ensure_free(port: u16) -> anyhow::Result<()> {
    let give_up = clock::now() + Duration::from_secs(2);
    let mut bound = TcpListener::bind(("127.0.0.1", port));
    while bound.is_err() && clock::now() < give_up {
        std::thread::sleep(Duration::from_millis(20));
        bound = TcpListener::bind(("127.0.0.1", port));
    }
    bound
        .map(drop)
        .with_context(|| format!("port {port} of this host is taken; --port-base chooses others"))
}

/// Whether all ports of a cluster at this base are free.
pub fn are_ports_free(base: u16, nodes: u16) -> bool {
    let ports = (1..=nodes).flat_map(|node| [base + node, base + 1_000 + node]);
    ports.into_iter().all(|port| ensure_free(port).is_ok())
}

/// Starts the machines of all nodes that do not run, and the network. Nodes whose disks are lost stay off.
///
/// # Errors
/// If one cannot be started.
pub fn start_all(description: &Description) -> anyhow::Result<Vec<(u16, Child)>> {
    // A machine listens on the sockets in its folder.
    for node in description.node_numbers() {
        fs::create_dir_all(machine::node_folder(node))?;
    }
    network::start(description)?;
    let running = process::running(Path::new("."));
    let lost = disks::all_lost(description)?;
    let stopped =
        description.node_numbers().filter(|node| !running.contains_key(&Role::Node(*node)));
    let stopped = stopped.filter(|node| !lost.contains_key(node));
    let mut children = Vec::new();
    for node in stopped {
        interrupt::check()?;
        children.push((node, start_node(description, node)?));
    }
    Ok(children)
}

/// Waits until these nodes serve. Machines that end meanwhile are a failure.
///
/// # Errors
/// If it takes too long, a machine ends, or somebody interrupts.
pub fn wait_until_serving(
    description: &Description,
    nodes: &[u16],
    children: &mut [(u16, Child)],
) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    let mut waiting = nodes.to_vec();
    while !waiting.is_empty() {
        interrupt::check()?;
        check_machines(children)?;
        // One node a round: the machines need the processor themselves.
        if client::serves(description.resp_port(waiting[0]), QUESTION) {
            waiting.remove(0);
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
        let served = nodes.len() - waiting.len();
        progress.show(&format!("{served} of {} nodes serve", nodes.len()));
        anyhow::ensure!(
            progress.elapsed() < SERVES_WITHIN,
            "node {} does not serve after {} s; 'scripts/cluster logs {0}' shows what it says",
            waiting.first().copied().unwrap_or_default(),
            SERVES_WITHIN.as_secs()
        );
    }
    Ok(())
}

/// Fails if one of these machines has ended.
///
/// # Errors
/// If so: with its last words.
pub fn check_machines(children: &mut [(u16, Child)]) -> anyhow::Result<()> {
    for (node, child) in children {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("the machine of node {node} ended ({status}): {}", last_words(*node));
        }
    }
    Ok(())
}

/// The last line that a machine, or QEMU, has said.
pub fn last_words(node: u16) -> String {
    let last = |path: PathBuf| {
        let text = String::from_utf8_lossy(&fs::read(path).ok()?).into_owned();
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(String::from)
    };
    let qemu = last(machine::node_folder(node).join("qemu.log"));
    last(machine::serial_log(node)).or(qemu).unwrap_or_else(|| "it said nothing".into())
}

/// Ends machines at once, as a power failure would.
///
/// # Errors
/// If one does not end.
pub fn kill_nodes(nodes: impl Iterator<Item = u16>) -> anyhow::Result<()> {
    let running = process::running(Path::new("."));
    let pids: Vec<_> = nodes.filter_map(|node| running.get(&Role::Node(node)).copied()).collect();
    process::end(&pids, false)
}

/// Asks a node to stop, and waits until its machine has ended; makes it if it does not.
///
/// # Errors
/// If its machine does not end.
pub fn stop_node(node: u16) -> anyhow::Result<()> {
    let running = process::running(Path::new("."));
    let Some(pid) = running.get(&Role::Node(node)).copied() else {
        anyhow::bail!("node {node} is not running");
    };
    let answer = console::run(&machine::serial_socket(node), "poweroff");
    let is_told = answer.is_ok_and(|answer| answer.status == 0);
    if is_told && process::wait_until_gone(&[pid], Duration::from_secs(5)) {
        return Ok(());
    }
    eprintln!("node {node} does not stop when it is told to: its machine is ended");
    process::end(&[pid], true)
}

/// Ends everything of a cluster.
///
/// # Errors
/// If something does not end.
pub fn end_all(description: &Description) -> anyhow::Result<()> {
    let running = process::running(Path::new("."));
    let machines: Vec<_> =
        running.iter().filter(|(role, _)| role.is_node()).map(|(_, pid)| *pid).collect();
    // Nothing is lost: what was acknowledged is on the disks.
    process::end(&machines, false)?;
    network::stop(description)?;
    for node in description.node_numbers() {
        for socket in
            [machine::serial_socket(node), machine::qmp_socket(node), machine::port_socket(node)]
        {
            // A machine that was killed leaves them behind.
            let _ = fs::remove_file(socket);
        }
    }
    Ok(())
}

/// Says what goes on, once that takes longer than people like to wait in silence.
pub struct Progress {
    started: Instant,
    shown: Option<String>,
}

impl Progress {
    /// From now on.
    pub fn new() -> Progress {
        Progress { started: clock::now(), shown: None }
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        clock::now() - self.started
    }

    /// Says so, unless it was said last or it is early.
    pub fn show(&mut self, text: &str) {
        if self.elapsed() >= SILENCE && self.shown.as_deref() != Some(text) {
            eprintln!("... {} s: {text}", self.elapsed().as_secs());
            self.shown = Some(text.into());
        }
    }
}
