//! `add` and `remove`: who belongs to a cluster changes while it runs.

use std::io::Write;
use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::state::{Description, Folder};
use super::up::NODES_MAX;
use super::{change, client, console, disks, is_running, launch, machine, network, status};
use crate::interrupt;

/// The greatest number of a node: its address ends with it.
const NUMBER_MAX: u16 = 254;
/// How long a node may take to catch up with the others.
const VOTES_WITHIN: Duration = Duration::from_secs(120);

/// A node more.
pub(super) fn add(folder: Folder, is_json: bool) -> anyhow::Result<()> {
    let (folder, mut description) = change(folder)?;
    interrupt::watch()?;
    anyhow::ensure!(
        description.node_numbers().any(is_running),
        "none of its nodes runs: there is nobody to ask; 'scripts/cluster up' starts them"
    );
    anyhow::ensure!(
        description.nodes.len() < usize::from(NODES_MAX),
        "cluster '{}' has {NODES_MAX} nodes, and no room for more",
        description.name
    );
    let node = description.next_node;
    anyhow::ensure!(node <= NUMBER_MAX, "all numbers of nodes up to {NUMBER_MAX} are used up");
    // Before anything is done: whatever comes of it, nobody else gets this number.
    description.nodes.insert(node);
    description.next_node += 1;
    folder.save(&description)?;
    if let Err(error) = boot(&description, node) {
        give_up(&folder, &mut description, node)?;
        return Err(error);
    }
    disks::note_formatted(&description)?;
    let status = status::of_one(&description, node);
    match is_json {
        true => {
            writeln!(std::io::stdout(), "{}", status::node_to_json(&description, &status))?;
        }
        false => write!(std::io::stdout(), "{}", status::to_table(&description, &[status]))?,
    }
    Ok(())
}

fn boot(description: &Description, node: u16) -> anyhow::Result<()> {
    std::fs::create_dir_all(machine::node_folder(node))?;
    network::start(description)?;
    // A switch that has just been started has the port already.
    network::remove_port(description, node);
    network::add_port(description, node)?;
    let child = launch::start_node(description, node)?;
    wait_until_voting(description, node, child)
}

fn wait_until_voting(description: &Description, node: u16, child: Child) -> anyhow::Result<()> {
    let (mut children, mut progress) = ([(node, child)], launch::Progress::new());
    loop {
        interrupt::check()?;
        launch::check_machines(&mut children)?;
        let raft = client::raft_status(description.http_port(node)).ok();
        let membership = raft.as_ref().and_then(|raft| raft["membership"].as_str());
        if membership == Some("voter") {
            break;
        }
        progress.show(&describe(node, raft.as_ref()));
        anyhow::ensure!(
            progress.elapsed() < VOTES_WITHIN,
            "node {node} does not vote after {} s: {}",
            VOTES_WITHIN.as_secs(),
            describe(node, raft.as_ref())
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    launch::wait_until_serving(description, &[node], &mut children)
}

/// How far a node is on its way in.
fn describe(node: u16, raft: Option<&Value>) -> String {
    let Some(raft) = raft else { return format!("node {node} starts") };
    match (raft["membership"].as_str(), raft["joining"].as_str()) {
        (_, Some(trouble)) => format!("node {node} asks to be let in: {trouble}"),
        (Some("learner"), None) => {
            format!("node {node} has {} entries, and catches up", raft["last_index"])
        }
        (_, None) => format!("node {node} is on its way in"),
    }
}

/// A node that did not get in is not left behind: not its machine, and not as a member.
fn give_up(folder: &Folder, description: &mut Description, node: u16) -> anyhow::Result<()> {
    launch::kill_nodes([node].into_iter())?;
    // If none of the others answers, it stays as it is, and that is said.
    match leave_cluster(description, node) {
        Ok(()) => forget(folder, description, node, true),
        Err(_) => {
            eprintln!(
                "node {node} may be a member already: 'scripts/cluster remove {node}' ends that"
            );
            Ok(())
        }
    }
}

/// A node less.
pub(super) fn remove(folder: Folder, node: &str, keeps_disk: bool) -> anyhow::Result<()> {
    let (folder, mut description) = change(folder)?;
    let node = description.parse_node(node)?;
    interrupt::watch()?;
    leave_cluster(&description, node)?;
    // From here on the rest is done, whoever interrupts: the node is gone.
    if is_running(node) {
        launch::stop_node(node)?;
    }
    let disk = disks::path(&description, node);
    forget(&folder, &mut description, node, !keeps_disk)?;
    let disk = match keeps_disk {
        true => format!("its disk stays: {}", disk.display()),
        false => "so is its disk".into(),
    };
    writeln!(std::io::stdout(), "node {node} is removed, and {disk}; no other gets its number")?;
    Ok(())
}

/// Has the cluster remove a node, if it is a member.
fn leave_cluster(description: &Description, node: u16) -> anyhow::Result<()> {
    let asked = whom_to_ask(description, node)?;
    let mut membership = membership(asked, node)?;
    if membership.is_none() && is_running(node) {
        // It may be on its way in, and no longer is when it is off.
        launch::kill_nodes([node].into_iter())?;
        membership = self::membership(asked, node)?;
    }
    if matches!(membership.as_deref(), None | Some("retired")) {
        return Ok(());
    }
    let answer = console::run(&machine::serial_socket(asked), &format!("raft remove {node}"))?;
    let text = answer.output.trim();
    anyhow::ensure!(answer.status == 0, "{}", text.strip_prefix("error: ").unwrap_or(text));
    Ok(())
}

/// A node that knows what goes on: the leader if it stays, or any other that runs.
fn whom_to_ask(description: &Description, leaving: u16) -> anyhow::Result<u16> {
    let statuses = status::of(description);
    let leader = status::leader(&statuses).filter(|leader| *leader != leaving);
    let votes = |status: &&status::NodeStatus| {
        status.raft.as_ref().is_some_and(|raft| raft["membership"] == "voter")
    };
    let mut others = statuses.iter().filter(votes).map(|status| status.node);
    let other = others.find(|node| *node != leaving);
    leader.filter(|leader| is_running(*leader)).or(other).context(
        "no other member runs that could be asked; the last member of a cluster is not removed, but \
         'scripts/cluster down --wipe' ends it all",
    )
}

/// What a node is to the cluster, in the eyes of another; `None` if it is nothing.
fn membership(asked: u16, node: u16) -> anyhow::Result<Option<String>> {
    let answer = console::run(&machine::serial_socket(asked), "raft nodes --json")?;
    anyhow::ensure!(answer.status == 0, "node {asked} says: {}", answer.output.trim());
    let nodes: Value = serde_json::from_str(&answer.output)?;
    let mut nodes = nodes.as_array().into_iter().flatten();
    let found = nodes.find(|known| known["id"] == node);
    Ok(found.and_then(|known| known["membership"].as_str()).map(String::from))
}

/// Forgets a node that is no member and whose machine is off.
fn forget(
    folder: &Folder,
    description: &mut Description,
    node: u16,
    deletes_disk: bool,
) -> anyhow::Result<()> {
    network::remove_port(description, node);
    let disk = disks::path(description, node);
    if deletes_disk {
        // It may never have been made.
        let _ = std::fs::remove_file(&disk);
    }
    description.nodes.remove(&node);
    folder.save(description)?;
    disks::forget(node)?;
    let folder = machine::node_folder(node);
    if !disk.starts_with(&folder) || deletes_disk {
        // What it has said goes too.
        let _ = std::fs::remove_dir_all(folder);
    }
    Ok(())
}
