//! `INFO`: the state of the node, in the sections and lines that clients and dashboards of Redis
//! expect.

use alloc::format;
use alloc::string::String;
use core::fmt;

use base::{LogIndex, limits};
use bytes::Bytes;

use super::KvService;
use super::local::REDIS_VERSION;
use crate::resp::Reply;

/// What the node knows and the service does not. Zero or empty where the node does not know either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InfoFacts {
    /// The version of the image.
    pub version: &'static str,
    /// The port at which clients come.
    pub port: u16,
    /// What this node is in its cluster.
    pub role: Role,
    /// How many nodes vote.
    pub voters: usize,
    /// The last position of the log.
    pub last_index: LogIndex,
    /// The last position that is on this node's disk.
    pub persisted_index: LogIndex,
    /// The last position that is committed.
    pub commit_index: LogIndex,
    /// What the log occupies on the disk.
    pub log_bytes: u64,
    /// What the log may occupy.
    pub log_bytes_max: u64,
    /// What the node's heap holds.
    pub heap_bytes: u64,
}

/// What a node is in its cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// It follows a leader, or waits for one.
    #[default]
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// A section: its name in a command, and its text.
type Section = (&'static str, fn(&KvService) -> String);

const SECTIONS: &[Section] = &[
    ("server", server),
    ("clients", clients),
    ("memory", memory),
    ("persistence", persistence),
    ("stats", stats),
    ("replication", replication),
    ("keyspace", keyspace),
];

/// The wanted sections, in their fixed order; all of them if none is named, or `all`, `default`,
/// `everything`.
pub fn render(service: &KvService, wanted: &[Bytes]) -> Reply {
    let is_wanted = |name: &str| {
        wanted.is_empty()
            || wanted.iter().any(|word| {
                let word = word.to_ascii_lowercase();
                word == name.as_bytes() || matches!(&word[..], b"all" | b"default" | b"everything")
            })
    };
    let mut text = String::new();
    for (name, section) in SECTIONS.iter().filter(|(name, _)| is_wanted(name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = name.split_at(1);
        text.push_str(&format!("# {}{rest}\r\n", first.to_ascii_uppercase()));
        text.push_str(&section(service));
    }
    Reply::from(text)
}

fn server(service: &KvService) -> String {
    let uptime_secs = service.now.since(service.started_at).as_millis() / 1000;
    format!(
        "redis_version:{REDIS_VERSION}\r\n\
         redis_mode:standalone\r\n\
         coterie_version:{}\r\n\
         node:{}\r\n\
         epoch:{}\r\n\
         arch_bits:{}\r\n\
         tcp_port:{}\r\n\
         server_time_usec:{}\r\n\
         uptime_in_seconds:{uptime_secs}\r\n\
         uptime_in_days:{}\r\n",
        service.facts.version,
        service.config.id,
        service.config.epoch,
        usize::BITS,
        service.facts.port,
        service.clock.now_ms(service.now).saturating_mul(1000),
        uptime_secs / 86_400,
    )
}

fn clients(service: &KvService) -> String {
    let blocked = service.clients.values().filter(|client| client.is_blocked()).count();
    format!(
        "connected_clients:{}\r\n\
         maxclients:{}\r\n\
         client_buffers:{}\r\n\
         client_buffers_max:{}\r\n\
         blocked_clients:{blocked}\r\n",
        service.clients.len(),
        limits::CONNECTIONS_MAX,
        service.buffered_bytes,
        limits::KV_CLIENT_BUFFERS_MAX_BYTES,
    )
}

fn memory(service: &KvService) -> String {
    format!(
        "used_memory:{}\r\n\
         maxmemory:{}\r\n\
         maxmemory_policy:noeviction\r\n\
         used_memory_heap:{}\r\n",
        service.machine.memory_bytes(),
        limits::KV_MEMORY_MAX_BYTES,
        service.facts.heap_bytes,
    )
}

fn persistence(service: &KvService) -> String {
    let facts = &service.facts;
    format!(
        "loading:0\r\n\
         aof_enabled:1\r\n\
         log_last_index:{}\r\n\
         log_persisted_index:{}\r\n\
         log_bytes:{}\r\n\
         log_bytes_max:{}\r\n",
        facts.last_index, facts.persisted_index, facts.log_bytes, facts.log_bytes_max,
    )
}

fn stats(service: &KvService) -> String {
    let (counters, machine) = (&service.counters, service.machine.counters());
    format!(
        "total_connections_received:{}\r\n\
         total_commands_processed:{}\r\n\
         refused_requests:{}\r\n\
         total_reads:{}\r\n\
         read_rounds:{}\r\n\
         total_writes:{}\r\n\
         repeated_writes:{}\r\n\
         relayed_writes:{}\r\n\
         timed_out_commands:{}\r\n\
         expired_keys:{}\r\n\
         evicted_keys:0\r\n\
         evicted_clients:{}\r\n",
        counters.clients_opened,
        counters.commands,
        counters.refused,
        counters.reads,
        counters.read_rounds,
        machine.executed,
        machine.repeated,
        counters.relayed,
        counters.timed_out,
        machine.expired,
        counters.evicted,
    )
}

/// Every node takes every command, so that each is a `master` to clients; the cluster's own terms
/// follow.
fn replication(service: &KvService) -> String {
    let leader = service.leader.map_or(String::from("none"), |leader| format!("{leader}"));
    format!(
        "role:master\r\n\
         connected_slaves:0\r\n\
         raft_role:{}\r\n\
         raft_leader:{leader}\r\n\
         raft_term:{}\r\n\
         raft_voters:{}\r\n\
         raft_commit_index:{}\r\n\
         raft_applied_index:{}\r\n\
         writes_in_flight:{}\r\n",
        service.facts.role,
        service.term,
        service.facts.voters,
        service.facts.commit_index,
        service.machine.applied(),
        service.writes.len(),
    )
}

fn keyspace(service: &KvService) -> String {
    if service.machine.is_empty() {
        return String::new();
    }
    format!(
        "db0:keys={},expires={},avg_ttl=0\r\n",
        service.machine.len(),
        service.machine.deadlines()
    )
}
