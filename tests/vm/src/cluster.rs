//! A cluster, driven through `scripts/cluster` and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;
use redis::Connection;
use serde_json::Value;

use crate::leftovers::CLUSTERS;
use crate::{client, clock};

/// Ports for stories: blocks below those that the kernel gives to anybody who asks, and not those of users.
const PORT_FIRST: u16 = 20_000;
const PORT_BLOCKS: u16 = 60;
/// HTTP is so far above RESP, for every node.
const HTTP_ABOVE: u16 = 1_000;
/// More nodes than any story has.
const NODES_MAX: u16 = 6;
/// Elections, with machines that a busy host translates.
pub const ELECTION_WITHIN: Duration = Duration::from_secs(15);

/// A cluster of a name and ports of its own.
pub struct Cluster {
    pub name: String,
    pub port_base: u16,
}

impl Cluster {
    /// Nothing is booted yet.
    ///
    /// # Errors
    /// If no ports are free.
    pub fn new(name: String) -> anyhow::Result<Cluster> {
        let process = u16::try_from(std::process::id() % u32::from(PORT_BLOCKS))?;
        let blocks = (0..PORT_BLOCKS).map(|turn| (process + turn) % PORT_BLOCKS);
        let mut bases =
            blocks.map(|block| PORT_FIRST + block / 10 * 2 * HTTP_ABOVE + block % 10 * 100);
        let port_base = bases.find(|base| are_free(*base)).context("no block of ports is free")?;
        Ok(Cluster { name, port_base })
    }

    /// Where its files are.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(CLUSTERS).join(&self.name)
    }

    /// Tells the switch to forget which station belongs to a place: people who start machines by hand have a
    /// switch that was told of none.
    pub fn unpin(&self, place: u16) -> anyhow::Result<()> {
        let mut switch = UnixStream::connect(self.folder().join("switch.sock"))?;
        writeln!(switch, "{{\"op\":\"unpin\",\"port\":\"{place}\"}}")?;
        let mut answer = String::new();
        BufReader::new(switch).read_line(&mut answer)?;
        anyhow::ensure!(answer.contains("\"ok\":true"), "the switch says {answer}");
        Ok(())
    }

    pub fn disk(&self, node: u16) -> PathBuf {
        self.folder().join(format!("node-{node}/disk.img"))
    }

    pub fn resp_port(&self, node: u16) -> u16 {
        self.port_base + node
    }

    pub fn http_port(&self, node: u16) -> u16 {
        self.port_base + HTTP_ABOVE + node
    }

    /// `scripts/cluster` with these words, not yet run.
    pub fn command(&self, words: &[&str]) -> Command {
        println!("$ scripts/cluster {}", words.join(" "));
        let mut command = Command::new("scripts/cluster");
        command.args(["--name", &self.name]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs it, whatever comes of it.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn attempt(&self, words: &[&str]) -> anyhow::Result<Output> {
        let output = self.command(words).output().context("scripts/cluster")?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        print!("{}", String::from_utf8_lossy(&output.stderr));
        Ok(output)
    }

    /// Runs it, and returns what it prints.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.attempt(words)?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "'{}' failed: {}", words.join(" "), said.trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs it, and returns what it complains of.
    ///
    /// # Errors
    /// If it succeeds.
    pub fn run_in_vain(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = self.attempt(words)?;
        anyhow::ensure!(!output.status.success(), "'{}' should have failed", words.join(" "));
        Ok(String::from_utf8(output.stderr)?)
    }

    /// What boots the cluster.
    pub fn up_words<'a>(options: &[&'a str], port_base: &'a str) -> Vec<&'a str> {
        [&["up", "--port-base", port_base], options].concat()
    }

    /// Boots it, and waits until it serves.
    ///
    /// # Errors
    /// If it does not.
    pub fn up(&self, options: &[&str]) -> anyhow::Result<String> {
        self.run(&Cluster::up_words(options, &self.port_base.to_string()))
    }

    /// Begins to boot it, in a process group of its own as a shell would.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn begin_up(&self, options: &[&str]) -> anyhow::Result<Child> {
        use std::os::unix::process::CommandExt;
        let base = self.port_base.to_string();
        let mut command = self.command(&Cluster::up_words(options, &base));
        command.process_group(0).spawn().context("scripts/cluster")
    }

    /// Lets `scripts/cluster` do something to a node.
    ///
    /// # Errors
    /// If it fails.
    pub fn order(&self, order: &str, node: u16) -> anyhow::Result<()> {
        self.run(&[order, &node.to_string()]).map(drop)
    }

    /// Parts a node from the others.
    ///
    /// # Errors
    /// If that fails.
    pub fn part(&self, node: u16, others: &[u16]) -> anyhow::Result<()> {
        let others: Vec<_> = others.iter().map(u16::to_string).collect();
        self.run(&["partition", &format!("{node}|{}", others.join(","))]).map(drop)
    }

    /// `status --json`.
    ///
    /// # Errors
    /// If it fails.
    pub fn status(&self) -> anyhow::Result<Value> {
        let output = self.command(&["status", "--json"]).output()?;
        anyhow::ensure!(output.status.success(), "'status --json' failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The machines that run, by their nodes.
    ///
    /// # Errors
    /// If they are not known.
    pub fn machines(&self) -> anyhow::Result<Vec<(u16, Pid)>> {
        let status = self.status()?;
        let nodes = status["nodes"].as_array().context("no nodes")?;
        let machine = |node: &Value| {
            let (id, pid) = (node["id"].as_u64()?, node["pid"].as_i64()?);
            Some((u16::try_from(id).ok()?, Pid::from_raw(i32::try_from(pid).ok()?)))
        };
        Ok(nodes.iter().filter_map(machine).collect())
    }

    /// Waits until there is a leader other than `not`, and says which.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn leader(&self, not: Option<u16>) -> anyhow::Result<u16> {
        let mut leader = None;
        clock::wait("a leader", ELECTION_WITHIN, || {
            let known = self.status()?["leader"].as_u64();
            leader = known.and_then(|id| u16::try_from(id).ok()).filter(|id| Some(*id) != not);
            Ok(leader.is_some())
        })?;
        leader.context("no leader")
    }

    /// What a node says of its part in consensus.
    ///
    /// # Errors
    /// If it does not.
    pub fn raft(&self, node: u16) -> anyhow::Result<Value> {
        client::json(self.http_port(node), "/v1/raft/status")
    }

    /// Waits until a node has applied what `leader` says is committed, as its follower.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_until_follows(&self, node: u16, leader: u16) -> anyhow::Result<()> {
        let what = format!("node {node} follows node {leader} and has caught up");
        clock::wait(&what, ELECTION_WITHIN, || {
            let (theirs, own) = (self.raft(leader)?, self.raft(node)?);
            let committed = theirs["commit_index"].as_u64().context("no commit index")?;
            Ok(own["role"] == "follower"
                && own["leader"].as_u64() == Some(u64::from(leader))
                && own["term"] == theirs["term"]
                && own["last_applied"].as_u64() >= Some(committed))
        })
    }

    /// A Redis connection with a node.
    ///
    /// # Errors
    /// If there is none.
    pub fn redis(&self, node: u16) -> anyhow::Result<Connection> {
        client::redis(self.resp_port(node)).with_context(|| format!("node {node}"))
    }

    /// A write through a node, tried again while the cluster says that it has no leader: elections take as
    /// long as they take on a busy host. Other refusals are none of that.
    ///
    /// # Errors
    /// If it is refused, or takes too long.
    pub fn write(&self, node: u16, key: &str, value: &str) -> anyhow::Result<()> {
        clock::wait(&format!("SET {key} through node {node}"), ELECTION_WITHIN, || {
            client::set(&mut self.redis(node)?, key, value).map(|()| true)
        })
    }

    /// Checks what every one of these nodes says that a value is.
    ///
    /// # Errors
    /// If one says something else.
    pub fn expect(&self, nodes: &[u16], key: &str, value: &str) -> anyhow::Result<()> {
        for node in nodes {
            let found = client::get(&mut self.redis(*node)?, key)?;
            anyhow::ensure!(
                found.as_deref() == Some(value),
                "node {node} says that {key} is {found:?}, not '{value}'"
            );
        }
        Ok(())
    }
}

fn are_free(base: u16) -> bool {
    let ports = (1..=NODES_MAX).flat_map(|node| [base + node, base + HTTP_ABOVE + node]);
    ports.into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}
