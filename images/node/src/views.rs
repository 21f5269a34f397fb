//! What the node shows of itself, as reports: the same for the shell, for HTTP and for people who pipe JSON.

use base::{Duration, Instant, NodeId};
use net::addresses::cluster_ip;
use net::links::Links;
use pool::Pool;
use raft::{
    Configuration, DamageStatus, ElectionOutcome, PeerStatus, ProgressState, RaftNode, RaftState,
};
use shell::{Listing, Record, Value};
use store::Store;
use wire::Refusal;

use crate::clients::ClientCounts;
use crate::journal::Journal;
use crate::members::Members;
use crate::node::View;

/// `raft status`, and `/v1/raft/status`.
pub(crate) fn raft_status(
    raft: &RaftNode,
    members: &Members,
    links: Option<&Links>,
    now: Instant,
) -> Record {
    let status = raft.status(now);
    let mut peers =
        Listing::new(&["id", "match_index", "next_index", "state", "in_flight", "silent_ms"]);
    for id in raft.contacts() {
        peers.push(peer(id, status.peers.iter().find(|peer| peer.id == id)));
    }
    Record::default()
        .with("id", status.id.get())
        .with("role", role(status.state))
        .with("membership", members.standing(raft).name())
        .with("joining", members.trouble(raft).map(Value::text))
        .with("leader", status.leader.map(NodeId::get))
        .with("term", status.term.0)
        .with("vote", status.vote.map(NodeId::get))
        .with("commit_index", status.commit_index.0.0)
        .with("last_applied", status.last_applied.0.0)
        .with("last_index", status.last_index.0)
        .with("persisted_index", status.persisted_index.0)
        .with("reads", if status.lease_reads { "lease" } else { "index" })
        .with("damage", damage(&status.damage))
        .with("same_number", links.and_then(|links| same_number(links, now)))
        .with("peers", Value::Listing(peers))
}

/// What of the log is damaged here, and what that means; null if nothing is.
fn damage(status: &DamageStatus) -> Option<Value> {
    let DamageStatus { entries, first, nowhere, state } = status;
    if let Some(index) = state {
        return Some(Value::text(format_args!(
            "the snapshot of entry {index} is damaged here: the others are asked for theirs, and until then \
             this node has no state"
        )));
    }
    match (nowhere, first) {
        (Some(index), _) => Some(Value::text(format_args!(
            "entry {index} is damaged here, and no other node has an intact copy: nothing goes on behind it"
        ))),
        (None, Some(index)) => Some(Value::text(format_args!(
            "{entries} damaged, the first is entry {index}: the others are asked for intact copies"
        ))),
        (None, None) => None,
    }
}

/// Which numbers two machines have, as far as this node has seen; null if none.
fn same_number(links: &Links, now: Instant) -> Option<Value> {
    if links.counters().refused[Refusal::Superseded as usize] > 0 {
        return Some(Value::text(
            "another machine has been seen that has this node's number, or this node's disk is an old copy",
        ));
    }
    let mut twins = links.status(now).filter(|(_, link)| link.twins > 0);
    let (peer, link) = twins.next()?;
    Some(Value::text(format_args!(
        "another machine has been seen that has the number {peer}: {} frames of it were refused",
        link.twins
    )))
}

fn role(state: RaftState) -> &'static str {
    match state {
        RaftState::Follower => "follower",
        RaftState::Candidate => "candidate",
        RaftState::Leader => "leader",
    }
}

/// What a leader knows of a follower; what nobody but the leader knows is null.
fn peer(id: NodeId, known: Option<&PeerStatus>) -> [Value; 6] {
    let state = known.map(|peer| match peer.state {
        ProgressState::Probe => "probe",
        ProgressState::Replicate => "replicate",
        ProgressState::Snapshot => "snapshot",
    });
    [
        id.get().into(),
        known.map(|peer| peer.match_index.0).into(),
        known.map(|peer| peer.next_index.0).into(),
        state.into(),
        known.map(|peer| peer.in_flight).into(),
        known.and_then(|peer| peer.silent).map(Duration::as_millis).into(),
    ]
}

/// What a node is to the group. While the voters are exchanged, some vote only among the new ones, or only
/// among the old.
fn membership(id: NodeId, configuration: &Configuration) -> &'static str {
    let is_incoming = configuration.voters.contains(&id);
    let is_outgoing = configuration.voters_outgoing.contains(&id);
    match (is_incoming, is_outgoing) {
        (true, false) if configuration.is_joint() => "incoming",
        (true, true | false) => "voter",
        (false, true) => "outgoing",
        (false, false) if configuration.learners.contains(&id) => "learner",
        (false, false) => "retired",
    }
}

/// `raft nodes`: who belongs to the cluster, as far as this node knows, and which numbers are not used again.
pub(crate) fn raft_nodes(raft: &RaftNode, links: &Links, now: Instant) -> Listing {
    let status = raft.status(now);
    let configuration = &status.configuration;
    let mut nodes = Listing::new(&[
        "id",
        "address",
        "membership",
        "role",
        "is_self",
        "heard_ms_ago",
        "match_index",
    ]);
    for id in configuration.members() {
        let is_self = id == status.id;
        let its_role = match status.leader {
            _ if is_self => Some(role(status.state)),
            Some(leader) if leader == id => Some("leader"),
            Some(_) => Some("follower"),
            None => None,
        };
        let link = links.status(now).find(|(peer, _)| *peer == id);
        let silent = link.and_then(|(_, link)| link.silent).map(Duration::as_millis);
        let known = status.peers.iter().find(|peer| peer.id == id);
        let matched = match is_self {
            true => Some(status.persisted_index.0),
            false => known.map(|peer| peer.match_index.0),
        };
        nodes.push([
            id.get().into(),
            Value::text(cluster_ip(id)),
            membership(id, configuration).into(),
            its_role.into(),
            is_self.into(),
            silent.into(),
            matched.into(),
        ]);
    }
    for id in configuration.retired.iter().filter(|id| !configuration.contains(**id)) {
        let (address, is_self) = (Value::text(cluster_ip(*id)), (*id == status.id).into());
        let unknown = || Value::Null;
        nodes.push([
            id.get().into(),
            address,
            "retired".into(),
            unknown(),
            is_self,
            unknown(),
            unknown(),
        ]);
    }
    nodes
}

/// `raft replication`: how far each follower is. Only the leader knows.
pub(crate) fn raft_replication(raft: &RaftNode, now: Instant) -> Listing {
    let status = raft.status(now);
    let mut followers = Listing::new(&[
        "id",
        "match_index",
        "next_index",
        "state",
        "in_flight",
        "silent_ms",
        "behind",
    ]);
    for known in &status.peers {
        let [id, matched, next, state, in_flight, silent] = peer(known.id, Some(known));
        let behind = status.last_index.0.saturating_sub(known.match_index.0);
        followers.push([id, matched, next, state, in_flight, silent, behind.into()]);
    }
    followers
}

/// `raft elections`, and `/v1/raft/elections`.
pub(crate) fn raft_elections(raft: &RaftNode) -> Listing {
    let mut elections =
        Listing::new(&["term", "candidate", "outcome", "started_ms", "duration_ms", "votes"]);
    for record in raft.elections() {
        let outcome = match record.outcome {
            ElectionOutcome::Open => "open",
            ElectionOutcome::Won => "won",
            ElectionOutcome::Lost => "lost",
        };
        let duration = record.ended.map(|ended| ended.since(record.started).as_millis());
        elections.push([
            record.term.0.into(),
            record.candidate.get().into(),
            outcome.into(),
            record.started.as_millis().into(),
            duration.into(),
            record.votes.into(),
        ]);
    }
    elections
}

/// `raft snapshots`: the one that stands for the beginning of the log, when the next is due, and how full the
/// log is.
pub(crate) fn raft_snapshots(view: &View<'_>) -> Record {
    let (disk, counts) = (view.store.status(), view.snapshots);
    Record::default()
        .with("snapshot_index", disk.snapshot_index.0)
        .with("snapshot_bytes", disk.snapshot_bytes)
        .with("snapshot_bytes_max", disk.snapshot_max_bytes)
        .with("every_entries", view.settings.snapshot_entries)
        .with("taken", counts.taken)
        .with("abandoned", counts.abandoned)
        .with("installed", counts.installed)
        .with("last_took_ms", counts.last.map(Duration::as_millis))
        .with("recovery_ms", counts.recovery.map(Duration::as_millis))
        .with("first_index", disk.first_index.0)
        .with("last_index", disk.durable_last.0)
        .with("log_bytes_used", disk.body_bytes_used)
        .with("log_bytes", disk.body_bytes)
}

/// `net`: the cards, the links to the peers, the clients.
pub(crate) fn network(
    links: Option<&Links>,
    packets: &Pool,
    clients: &ClientCounts,
    now: Instant,
) -> Record {
    let pool = packets.statistics();
    let mut record = Record::default()
        .with("packet_buffers", pool.buffers)
        .with("packet_buffers_free", pool.free)
        .with("packet_buffers_exhausted", pool.exhausted)
        .with("copied_bytes", pool.copied_bytes)
        .with("connections", clients.connections);
    let Some(links) = links else { return record };
    let counters = links.counters();
    record = record
        .with("frames_received", counters.received)
        .with("frames_sent", counters.sent)
        .with("frames_unsent_for_want_of_buffers", counters.pool_empty);
    let mut refused = Listing::new(&["cause", "frames"]);
    for (cause, count) in Refusal::ALL.iter().zip(counters.refused) {
        refused.push([Value::text(cause), count.into()]);
    }
    let mut peers = Listing::new(&[
        "id",
        "is_guest",
        "heard_ms_ago",
        "rtt_us",
        "in_flight",
        "queued",
        "resent",
        "duplicates",
        "dropped",
    ]);
    for (id, link) in links.status(now) {
        peers.push([
            id.get().into(),
            link.is_guest.into(),
            link.silent.map(Duration::as_millis).into(),
            link.rtt.map(Duration::as_micros).into(),
            link.in_flight.into(),
            link.queued.into(),
            link.resent.into(),
            link.duplicates.into(),
            link.dropped.into(),
        ]);
    }
    record.with("peers", Value::Listing(peers)).with("refused", Value::Listing(refused))
}

/// `disk`: the durable log.
pub(crate) fn disk(store: &Store) -> Record {
    let status = store.status();
    Record::default()
        .with("durable_index", status.durable_last.0)
        .with("entries_max", status.slots)
        .with("log_bytes_used", status.body_bytes_used)
        .with("log_bytes", status.body_bytes)
        .with("starts", status.epoch)
        .with("batches", status.batches)
        .with("records", status.records)
        .with("flushes", status.flushes)
        .with("verified", status.scrubbed)
        .with("damaged", status.damaged)
        .with("repaired", status.repaired)
}

/// `log`: the last `count` lines of the journal.
pub(crate) fn log(journal: &Journal, count: usize) -> Listing {
    let mut lines = Listing::new(&["at_ms", "level", "service", "text"]);
    let skipped = journal.lines().count().saturating_sub(count);
    for line in journal.lines().skip(skipped) {
        lines.push([
            line.at.as_millis().into(),
            Value::text(line.level),
            line.service.into(),
            Value::text(&line.text),
        ]);
    }
    lines
}
