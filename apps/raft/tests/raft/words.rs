//! Messages and entries in words, for transcripts.

use std::fmt::Write;

use base::NodeId;
use raft::{Configuration, LogEntry, Message, Payload, RepairAnswer};

pub fn entries_in_words(entries: &[LogEntry]) -> String {
    let word = |entry: &LogEntry| {
        let content = match &entry.payload {
            Payload::Noop => "-".to_string(),
            Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
            Payload::Configuration(configuration) => members_in_words(configuration),
        };
        format!("{}/{} {content}", entry.index, entry.term)
    };
    entries.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn members_in_words(configuration: &Configuration) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
    let mut text = format!("voters {}", list(&configuration.voters));
    let others = [
        ("before", &configuration.voters_outgoing),
        ("learners", &configuration.learners),
        ("learners next", &configuration.learners_next),
        ("retired", &configuration.retired),
    ];
    for (name, ids) in others.iter().filter(|(_, ids)| !ids.is_empty()) {
        write!(text, "; {name} {}", list(ids)).unwrap();
    }
    text
}

/// A message as text: positions are index/term.
pub fn show(message: &Message) -> String {
    let yes = |granted: &bool| if *granted { "yes" } else { "no" };
    match message {
        Message::PreVote { term, last_index, last_term } => {
            format!("would you vote for me in term {term}? my log ends at {last_index}/{last_term}")
        }
        Message::PreVoteReply { term, granted } => format!("{}, term {term}", yes(granted)),
        Message::Vote { term, last_index, last_term, on_transfer } => {
            let why = if *on_transfer { ", the leader wants it" } else { "" };
            format!("vote for me in term {term}{why}: my log ends at {last_index}/{last_term}")
        }
        Message::VoteReply { term, granted } => format!("vote: {}, term {term}", yes(granted)),
        Message::Append { term, prev_index, prev_term, commit, entries } => {
            let entries = entries_in_words(entries);
            format!(
                "append, term {term}: after {prev_index}/{prev_term} [{entries}], commit {commit}"
            )
        }
        Message::AppendAccepted { term, match_index } => {
            format!("accepted up to {match_index}, term {term}")
        }
        Message::AppendRejected { term, prev_index, hint_index, hint_term } => {
            format!("no {prev_index} here, perhaps {hint_index}/{hint_term}, term {term}")
        }
        Message::Heartbeat { term, commit, round } => {
            format!("heartbeat {round}, term {term}, commit {commit}")
        }
        Message::HeartbeatReply { term, round, is_bound } => {
            let promise = if *is_bound { ", and elects nobody for a while" } else { "" };
            format!("heard {round}, term {term}{promise}")
        }
        Message::Commit { term, commit } => format!("commit {commit}, term {term}"),
        Message::Snapshot { term, meta, total_bytes, offset, bytes } => {
            let (index, of, end) = (meta.index, meta.term, offset + bytes.len() as u64);
            format!("snapshot up to {index}/{of}: {offset} to {end} of {total_bytes}, term {term}")
        }
        Message::SnapshotAccepted { term, index, snapshot_term, next_offset } => {
            format!("snapshot up to {index}/{snapshot_term}: stored to {next_offset}, term {term}")
        }
        Message::TimeoutNow { term } => format!("stand now, after term {term}"),
        Message::ReadIndex { term, context } => format!("read {context}? term {term}"),
        Message::ReadIndexReply { term, context, index } => match index {
            Some(index) => format!("read {context} after entry {index}, term {term}"),
            None => format!("read {context}: no, term {term}"),
        },
        Message::Repair { term, from, to } => {
            format!("who has entries {from} to {to}? the first is of term {term}")
        }
        Message::Repaired { term, from, answer } => match answer {
            RepairAnswer::Copies(entries) => format!("copies [{}]", entries_in_words(entries)),
            RepairAnswer::Absent { in_term } => {
                format!("{from}/{term} is not here, term {in_term}")
            }
            RepairAnswer::Damaged => format!("{from}/{term} is damaged here too"),
            RepairAnswer::Compacted => format!("{from} is in a snapshot here"),
        },
        Message::Recall { term, index, offset } => {
            format!("who has a snapshot of {index}/{term} or later? from {offset} on")
        }
        Message::Recalled { meta, total_bytes, offset, bytes } => {
            let (index, of, end) = (meta.index, meta.term, offset + bytes.len() as u64);
            format!("my snapshot up to {index}/{of}: {offset} to {end} of {total_bytes}")
        }
    }
}
