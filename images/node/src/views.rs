//! What the node shows of itself, as data: the same for the shell, for HTTP and for people who pipe JSON.

use alloc::vec::Vec;

use base::Instant;
use raft::{ElectionOutcome, PeerStatus, ProgressState, RaftNode, RaftState};
use serde_json::{Value, json};

/// `raft status --json`, and `/v1/raft/status`.
pub(crate) fn raft_status(raft: &RaftNode, now: Instant) -> Value {
    let status = raft.status(now);
    let followers = status.voters.iter().filter(|voter| **voter != status.id);
    let peer = |id: &base::NodeId| {
        let known = status.peers.iter().find(|peer| peer.id == *id);
        peer_status(id.get(), known)
    };
    json!({
        "id": status.id.get(),
        "role": role(status.state),
        "leader": status.leader.map(base::NodeId::get),
        "term": status.term.0,
        "vote": status.vote.map(base::NodeId::get),
        "commit_index": status.commit_index.0.0,
        "last_applied": status.last_applied.0.0,
        "last_index": status.last_index.0,
        "persisted_index": status.persisted_index.0,
        "peers": followers.map(peer).collect::<Vec<_>>(),
    })
}

pub(crate) fn role(state: RaftState) -> &'static str {
    match state {
        RaftState::Follower => "follower",
        RaftState::Candidate => "candidate",
        RaftState::Leader => "leader",
    }
}

/// What a leader knows of a follower; what nobody but the leader knows is null.
fn peer_status(id: u16, known: Option<&PeerStatus>) -> Value {
    let state = known.map(|peer| match peer.state {
        ProgressState::Probe => "probe",
        ProgressState::Replicate => "replicate",
    });
    json!({
        "id": id,
        "match_index": known.map(|peer| peer.match_index.0),
        "next_index": known.map(|peer| peer.next_index.0),
        "state": state,
        "in_flight": known.map(|peer| peer.in_flight),
        "silent_ms": known.and_then(|peer| peer.silent).map(base::Duration::as_millis),
    })
}

/// `raft elections --json`.
pub(crate) fn raft_elections(raft: &RaftNode) -> Value {
    let election = |record: &raft::ElectionRecord| {
        let outcome = match record.outcome {
            ElectionOutcome::Open => "open",
            ElectionOutcome::Won => "won",
            ElectionOutcome::Lost => "lost",
        };
        let duration = record.ended.map(|ended| ended.since(record.started).as_millis());
        json!({
            "term": record.term.0,
            "candidate": record.candidate.get(),
            "outcome": outcome,
            "started_ms": record.started.as_millis(),
            "duration_ms": duration,
            "votes": record.votes,
        })
    };
    Value::Array(raft.elections().map(election).collect())
}
