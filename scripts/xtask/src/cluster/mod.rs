//! `scripts/cluster`: launches virtual machines that are a cluster, and drives them.

pub mod accel;
pub mod client;
mod command_line;
mod config;
pub mod console;
pub mod disks;
pub mod keys;
pub mod launch;
mod logs;
pub mod machine;
mod members;
pub mod network;
pub mod process;
pub mod qmp;
pub mod state;
pub mod status;
pub mod up;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use vswitch::control::Request;

use crate::interrupt;
use command_line::{Action, HELP, Invocation};
use process::Role;
use state::{Accel, Description, Folder, Reads};

/// Does what the command line says.
///
/// # Errors
/// If that fails.
pub fn main(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let Invocation { name, action } = command_line::parse(arguments)?;
    let folder = Folder::of(&name)?;
    match action {
        Action::Help => write!(std::io::stdout(), "{HELP}")?,
        Action::List => list()?,
        Action::Up(wishes) => up::up(folder, &wishes)?,
        Action::Down { wipe } => down(folder, wipe)?,
        Action::Status { is_json } => {
            let description = enter(&folder)?;
            let nodes = status::of(&description);
            match is_json {
                true => writeln!(std::io::stdout(), "{}", status::to_json(&description, &nodes))?,
                false => write!(std::io::stdout(), "{}", status::to_table(&description, &nodes))?,
            }
        }
        Action::Shell { node } => {
            let node = enter(&folder)?.parse_node(&node)?;
            console::attach(&machine::serial_socket(node), node)?;
        }
        Action::Run { node, command } => return run(&enter(&folder)?, &node, &command),
        Action::Logs { node, follow } => logs::show(enter(&folder)?.parse_node(&node)?, follow)?,
        Action::Kill { node } => {
            let (_folder, description) = change(folder)?;
            let node = description.parse_node(&node)?;
            anyhow::ensure!(is_running(node), "node {node} is not running");
            launch::kill_nodes([node].into_iter())?;
            writeln!(std::io::stdout(), "node {node} is killed")?;
        }
        Action::Stop { node } => {
            let (_folder, description) = change(folder)?;
            let node = description.parse_node(&node)?;
            launch::stop_node(node)?;
            writeln!(std::io::stdout(), "node {node} is stopped")?;
        }
        Action::Start { node } => start(folder, &node)?,
        Action::Add { is_json } => members::add(folder, is_json)?,
        Action::Remove { node, keeps_disk } => members::remove(folder, &node, keeps_disk)?,
        Action::Pause { node } => pause(&enter(&folder)?, &node)?,
        Action::Resume { node } => order(&enter(&folder)?, &node, "cont", "goes on")?,
        Action::Fault(request) => {
            network::command(&enter(&folder)?, &request)?;
        }
        Action::Net { is_json } => net(&enter(&folder)?, is_json)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster's description, from within its folder.
fn enter(folder: &Folder) -> anyhow::Result<Description> {
    let description = folder.load()?;
    let description =
        description.context("there is no such cluster; 'scripts/cluster up' makes one")?;
    folder.enter()?;
    Ok(description)
}

/// The same, while nobody else changes the cluster.
fn change(mut folder: Folder) -> anyhow::Result<(Folder, Description)> {
    let description = enter(&folder)?;
    folder.lock()?;
    Ok((folder, description))
}

fn is_running(node: u16) -> bool {
    process::running(Path::new(".")).contains_key(&Role::Node(node))
}

fn down(folder: Folder, wipe: bool) -> anyhow::Result<()> {
    if folder.load()?.is_none() {
        writeln!(std::io::stdout(), "there is no such cluster")?;
        return Ok(());
    }
    let (folder, description) = change(folder)?;
    launch::end_all(&description)?;
    if wipe {
        for node in description.node_numbers() {
            let disk = disks::path(&description, node);
            // It may never have been made.
            let _ = std::fs::remove_file(disk);
        }
        folder.remove()?;
        writeln!(
            std::io::stdout(),
            "cluster '{}' is down, and its disks are gone",
            description.name
        )?;
    } else {
        writeln!(
            std::io::stdout(),
            "cluster '{}' is down; its disks stay ('down --wipe' removes them)",
            description.name
        )?;
    }
    Ok(())
}

/// How long a node may take to read its disk; then it is believed to be busy with that.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

fn start(folder: Folder, node: &str) -> anyhow::Result<()> {
    let (_folder, description) = change(folder)?;
    let node = description.parse_node(node)?;
    interrupt::watch()?;
    network::start(&description)?;
    let mut children = [(node, launch::start_node(&description, node)?)];
    // Whether it serves depends on the others, which may be stopped: it is enough that it has read its disk.
    let give_up = crate::clock::now() + STARTS_WITHIN;
    while crate::clock::now() < give_up {
        if let Err(interrupted) = interrupt::check() {
            launch::kill_nodes([node].into_iter())?;
            return Err(interrupted);
        }
        if let Some(status) = children[0].1.try_wait()? {
            anyhow::bail!(
                "the machine of node {node} ended ({status}): {}",
                launch::last_words(node)
            );
        }
        if client::raft_status(description.http_port(node)).is_ok() {
            disks::note_formatted(&description)?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    writeln!(std::io::stdout(), "node {node} is started")?;
    Ok(())
}

/// One command on the shell of one node, or of all.
fn run(description: &Description, node: &str, command: &str) -> anyhow::Result<ExitCode> {
    let node = description.parse_node(node)?;
    let answer = console::run(&machine::serial_socket(node), command)?;
    let is_good = answer.status == 0;
    if is_good {
        write!(std::io::stdout(), "{}", answer.output)?;
    } else {
        eprint!("{}", answer.output);
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Stops time for a node, which must not rely on it.
fn pause(description: &Description, node: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        description.reads == Reads::Index || description.accel == Accel::Kvm,
        "reads of this cluster are answered by lease, and QEMU would stop the machine's clock: when it goes \
         on, the node could not know that it was paused"
    );
    order(description, node, "stop", "is paused")
}

fn order(description: &Description, node: &str, order: &str, done: &str) -> anyhow::Result<()> {
    let node = description.parse_node(node)?;
    anyhow::ensure!(is_running(node), "node {node} is not running");
    qmp::execute(&machine::qmp_socket(node), order)?;
    writeln!(std::io::stdout(), "node {node} {done}")?;
    Ok(())
}

fn net(description: &Description, is_json: bool) -> anyhow::Result<()> {
    let ports = network::command(description, &Request::Ports)?;
    if is_json {
        writeln!(std::io::stdout(), "{}", ports["ports"])?;
        return Ok(());
    }
    writeln!(
        std::io::stdout(),
        "{:>4}  {:7}  {:>12}  {:>12}  {:>8}  {:>8}",
        "NODE",
        "PLUGGED",
        "FRAMES IN",
        "FRAMES OUT",
        "REFUSED",
        "DROPPED"
    )?;
    for port in ports["ports"].as_array().into_iter().flatten() {
        let statistics = &port["statistics"];
        let sum = |field: &str| -> u64 {
            let causes = statistics[field].as_object().into_iter().flatten();
            causes.filter_map(|(_, count)| count.as_u64()).sum()
        };
        writeln!(
            std::io::stdout(),
            "{:>4}  {:7}  {:>12}  {:>12}  {:>8}  {:>8}",
            port["name"].as_str().unwrap_or_default(),
            if port["plugged"] == Value::Bool(true) { "yes" } else { "no" },
            statistics["frames_in"].as_u64().unwrap_or_default(),
            statistics["frames_out"].as_u64().unwrap_or_default(),
            sum("refused"),
            sum("dropped"),
        )?;
    }
    Ok(())
}

fn list() -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(state::all_clusters()?) else { return Ok(()) };
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let Ok(folder) = Folder::of(&name) else { continue };
        let Ok(Some(description)) = folder.load() else { continue };
        let running = process::running(folder.path());
        let nodes = running.keys().filter(|role| role.is_node()).count();
        writeln!(std::io::stdout(), "{name}: {nodes} of {} nodes run", description.nodes.len())?;
    }
    Ok(())
}

/// An absolute path, of something that is given relative to where the user is.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{}", path.display()))
}
