//! A line of the trace.

use serde_json::Value;

/// A node's number, as the trace spells it.
pub type Node = String;

/// What a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// A message, as the trace tells of it. Two that are equal in all of this say the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Message {
    pub kind: String,
    pub term: u64,
    pub from: Node,
    pub to: Node,
    pub entries: u64,
    pub log_term: u64,
    pub index: u64,
    pub commit: u64,
    pub reject: bool,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub node: Node,
    pub term: u64,
    pub vote: Option<Node>,
    pub commit: u64,
    pub role: Role,
    pub log: u64,
    pub voters: [Vec<Node>; 2],
    pub message: Option<Message>,
}

impl Event {
    /// Reads a line; `None` if it is not what the format says.
    pub fn parse(line: &str) -> Option<Event> {
        let line: Value = serde_json::from_str(line).ok()?;
        if line["tag"] != "trace" || !line["ns"].is_u64() {
            return None;
        }
        let event = &line["event"];
        let state = &event["state"];
        let vote = state["vote"].as_str()?;
        let message = match event.get("msg") {
            Some(message) => Some(parse_message(message)?),
            None => None,
        };
        Some(Event {
            name: event["name"].as_str()?.to_owned(),
            node: event["nid"].as_str()?.to_owned(),
            term: state["term"].as_u64()?,
            vote: (vote != "0").then(|| vote.to_owned()),
            commit: state["commit"].as_u64()?,
            role: parse_role(event["role"].as_str()?)?,
            log: event["log"].as_u64()?,
            voters: [parse_nodes(&event["conf"][0])?, parse_nodes(&event["conf"][1])?],
            message,
        })
    }
}

fn parse_role(name: &str) -> Option<Role> {
    Some(match name {
        "StateFollower" => Role::Follower,
        "StatePreCandidate" => Role::PreCandidate,
        "StateCandidate" => Role::Candidate,
        "StateLeader" => Role::Leader,
        _ => return None,
    })
}

fn parse_nodes(nodes: &Value) -> Option<Vec<Node>> {
    nodes.as_array()?.iter().map(|node| node.as_str().map(str::to_owned)).collect()
}

fn parse_message(message: &Value) -> Option<Message> {
    Some(Message {
        kind: message["type"].as_str()?.to_owned(),
        term: message["term"].as_u64()?,
        from: message["from"].as_str()?.to_owned(),
        to: message["to"].as_str()?.to_owned(),
        entries: message["entries"].as_u64()?,
        log_term: message["logTerm"].as_u64()?,
        index: message["index"].as_u64()?,
        commit: message["commit"].as_u64()?,
        reject: message["reject"].as_bool()?,
    })
}
