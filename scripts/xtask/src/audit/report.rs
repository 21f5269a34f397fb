//! The result of an audit, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::chain::{Audit, Flaw};

/// For people: the first line is the verdict.
pub fn to_text(audit: &Audit) -> String {
    let mut text = String::new();
    let chain = &audit.chain;
    let whose = match audit.owner {
        Some((node, cluster)) => format!("node {node} of cluster {cluster}: "),
        None => String::new(),
    };
    let entries =
        format!("{} in {}", counted(chain.entries, "entry", "entries"), blocks(chain.blocks));
    let verdict = match &audit.flaw {
        None => format!("{whose}proven: {entries}, {} of a quorum", checkpoints(chain.checkpoints)),
        Some(flaw) => format!("{whose}NOT PROVEN: {}", sentence(flaw)),
    };
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    line(verdict);
    if audit.flaw.is_some() && chain.records > 0 {
        line(format!("proven before that: {entries}"));
    }
    if chain.records > 0 {
        line(format!("head {}", chain.head));
    }
    if chain.absent > 0 {
        line(format!("{} not there: a proven state takes their place", are(chain.absent)));
    }
    if audit.remarks.headers_from_copies > 0 {
        let headers = counted(audit.remarks.headers_from_copies as u64, "header", "headers");
        line(format!("{headers} of the log could only be read from copies"));
    }
    if audit.remarks.torn > 0 {
        let records = counted(audit.remarks.torn, "record", "records");
        line(format!(
            "{records} at the end left out: written when the machine stopped, and told to nobody"
        ));
    }
    text
}

/// For programs. What is not known is null.
pub fn to_json(audit: &Audit) -> Value {
    let (chain, flaw) = (&audit.chain, audit.flaw.as_ref());
    json!({
        "proven": flaw.is_none(),
        "node": audit.owner.map(|(node, _)| node.get()),
        "cluster": audit.owner.map(|(_, cluster)| cluster.to_string()),
        "records": chain.records,
        "blocks": chain.blocks,
        "entries": chain.entries,
        "checkpoints": chain.checkpoints,
        "absent": chain.absent,
        "head": chain.head.to_string(),
        "headers_from_copies": audit.remarks.headers_from_copies,
        "torn_records": audit.remarks.torn,
        "fault": flaw.map(|flaw| json!({
            "block": flaw.block.map(|block| block.0),
            "record": flaw.record.map(|record| record.0),
            "reason": flaw.reason,
        })),
    })
}

fn sentence(flaw: &Flaw) -> String {
    match flaw.block {
        Some(block) => format!("block {block} does not verify: {}", flaw.reason),
        None => flaw.reason.clone(),
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn blocks(count: u64) -> String {
    counted(count, "block", "blocks")
}

fn checkpoints(count: u64) -> String {
    counted(count, "checkpoint", "checkpoints")
}

fn are(blocks_absent: u64) -> String {
    format!("{} {}", blocks(blocks_absent), if blocks_absent == 1 { "is" } else { "are" })
}
