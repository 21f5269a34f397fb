//! How a cluster is: which machines run, and what their nodes say.

use std::collections::BTreeMap;
use std::path::Path;

use nix::unistd::Pid;
use serde_json::{Value, json};

use super::process::{self, Role};
use super::state::Description;
use super::{client, machine, qmp};

/// What is known of a node.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its number.
    pub node: u16,
    /// `running`, `paused` or `stopped`.
    pub state: &'static str,
    /// Its machine's process.
    pub pid: Option<Pid>,
    /// What it says of its part in consensus, if it answers.
    pub raft: Option<Value>,
}

/// Asks all nodes, at the same time.
pub fn of(description: &Description) -> Vec<NodeStatus> {
    let running = process::running(Path::new("."));
    std::thread::scope(|scope| {
        let ask = |node| {
            let running = &running;
            scope.spawn(move || of_node(description, node, running))
        };
        let asked: Vec<_> = description.node_numbers().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().expect("asking does not panic")).collect()
    })
}

/// Asks one node.
pub fn of_one(description: &Description, node: u16) -> NodeStatus {
    of_node(description, node, &process::running(Path::new(".")))
}

fn of_node(description: &Description, node: u16, running: &BTreeMap<Role, Pid>) -> NodeStatus {
    let Some(pid) = running.get(&Role::Node(node)).copied() else {
        return NodeStatus { node, state: "stopped", pid: None, raft: None };
    };
    let status = qmp::execute(&machine::qmp_socket(node), "query-status");
    let is_paused = status.is_ok_and(|status| status["running"] == Value::Bool(false));
    if is_paused {
        return NodeStatus { node, state: "paused", pid: Some(pid), raft: None };
    }
    let raft = client::raft_status(description.http_port(node)).ok();
    NodeStatus { node, state: "running", pid: Some(pid), raft }
}

/// For programs.
pub fn to_json(description: &Description, nodes: &[NodeStatus]) -> Value {
    let node = |status: &NodeStatus| node_to_json(description, status);
    json!({
        "name": description.name,
        "net": description.net,
        "machine": description.machine,
        "accel": description.accel,
        "leader": leader(nodes),
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

/// One node, for programs.
pub fn node_to_json(description: &Description, status: &NodeStatus) -> Value {
    json!({
        "id": status.node,
        "state": status.state,
        "pid": status.pid.map(Pid::as_raw),
        "resp": format!("127.0.0.1:{}", description.resp_port(status.node)),
        "http": format!("127.0.0.1:{}", description.http_port(status.node)),
        "raft": status.raft,
    })
}

/// Who leads, in the newest term that any node knows of.
pub fn leader(nodes: &[NodeStatus]) -> Option<u16> {
    let known = nodes.iter().filter_map(|status| status.raft.as_ref());
    let newest = known.max_by_key(|raft| (raft["term"].as_u64(), raft["leader"].as_u64()))?;
    u16::try_from(newest["leader"].as_u64()?).ok()
}

/// For people.
pub fn to_table(description: &Description, nodes: &[NodeStatus]) -> String {
    let mut rows =
        vec![["NODE", "STATE", "ROLE", "TERM", "COMMIT", "REDIS", "HTTP"].map(String::from)];
    for status in nodes {
        let of = |field: &str| match status.raft.as_ref().map(|raft| &raft[field]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => "-".into(),
        };
        rows.push([
            status.node.to_string(),
            status.state.into(),
            // What it is to the cluster says more, unless it votes.
            match of("membership").as_str() {
                "voter" => of("role"),
                _ => of("membership"),
            },
            of("term"),
            of("commit_index"),
            format!("127.0.0.1:{}", description.resp_port(status.node)),
            format!("127.0.0.1:{}", description.http_port(status.node)),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}
