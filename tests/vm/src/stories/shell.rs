//! The serial shell, for a person and for programs.

use anyhow::Context;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::machine;
use crate::session::Session;
use crate::stories::{Ending, World};

const LEFT: &[u8] = b"\x1b[D";
const UP: &[u8] = b"\x1b[A";

/// A person types, makes mistakes, looks around; a program asks; the log goes on meanwhile.
pub fn session(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    let leader = cluster.leader(None)?;
    let node = [1, 2, 3].into_iter().find(|node| *node != leader).context("a follower")?;
    of_programs(&cluster, node)?;
    of_specifications(&cluster, leader)?;

    let prompt = format!("node{node}>");
    let mut session = Session::attach(&cluster, node)?;
    session.see_line(&prompt)?;
    of_a_person(&mut session, &prompt)?;
    log_lines_do_not_garble(&cluster, &mut session, &prompt, leader)?;
    session.detach()?;
    // The port is free for the next one.
    cluster.run(&["sh", &node.to_string(), "kv get name"])?;
    Ok(Ending::Good)
}

fn of_programs(cluster: &Cluster, node: u16) -> anyhow::Result<()> {
    let node_word = node.to_string();
    let sh = |command: &str| cluster.attempt(&["sh", &node_word, command]);
    let shown: Value = serde_json::from_slice(&sh("raft status --json")?.stdout)?;
    let served = cluster.raft(node)?;
    anyhow::ensure!(shape(&shown) == shape(&served), "shell and HTTP differ:\n{shown}\n{served}");
    anyhow::ensure!(sh("kv set greeting hello")?.status.code() == Some(0));
    let got = sh("kv get greeting")?;
    anyhow::ensure!(got.stdout == b"hello\n", "kv get shows {:?}", got.stdout.escape_ascii());
    anyhow::ensure!(sh("kv get nothing")?.status.code() == Some(0));
    for wrong in ["dance", "kv set a", "kv get 'open", "raft stats"] {
        let answer = sh(wrong)?;
        anyhow::ensure!(answer.status.code() == Some(1), "'{wrong}' is no failure");
        anyhow::ensure!(answer.stdout.is_empty() && !answer.stderr.is_empty());
    }
    Ok(())
}

/// The steps of Raft are on the console, as long as they are wanted, each a JSON object.
fn of_specifications(cluster: &Cluster, leader: u16) -> anyhow::Result<()> {
    let leader_word = leader.to_string();
    cluster.run(&["sh", &leader_word, "raft trace on"])?;
    cluster.write(leader, "traced", "yes")?;
    cluster.run(&["sh", &leader_word, "raft trace off"])?;
    let traced = || -> anyhow::Result<Vec<String>> {
        let said = machine::said(&cluster.folder(), leader)?;
        let starts = said.lines().filter_map(|line| Some(&line[line.find("{\"event\":")?..]));
        Ok(starts.map(str::to_owned).collect())
    };
    let lines = traced()?;
    let (mut names, mut garbled) = (Vec::new(), 0);
    for line in &lines {
        let Ok(line) = serde_json::from_str::<Value>(line.trim_end()) else {
            garbled += 1;
            continue;
        };
        let event = &line["event"];
        anyhow::ensure!(event["nid"] == leader_word.as_str() && line["tag"] == "trace", "{line}");
        names.push(event["name"].as_str().context("a name")?.to_owned());
    }
    for name in ["InitState", "Replicate", "Commit", "SendAppendEntriesRequest"] {
        anyhow::ensure!(names.iter().any(|known| known == name), "no {name} in {names:?}");
    }
    // QEMU writes a byte to its log twice if whoever was attached leaves at that very moment.
    anyhow::ensure!(garbled <= 2, "{garbled} lines are garbled");
    anyhow::ensure!(names[0] == "InitState", "the trace begins with {}", names[0]);
    cluster.write(leader, "traced", "no")?;
    anyhow::ensure!(traced()?.len() == lines.len(), "the trace goes on after its end");
    Ok(())
}

/// The keys of an object, and of the objects in it, and of what kind the values are.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
        }
        Value::Array(values) => values.iter().map(shape).collect(),
        // What is not known at the moment may be known at the next.
        Value::Null | Value::Number(_) => "number or null".into(),
        Value::String(_) => "text".into(),
        Value::Bool(_) => "yes or no".into(),
    }
}

fn of_a_person(session: &mut Session, prompt: &str) -> anyhow::Result<()> {
    // Words are completed, the second time with a choice.
    session.press(b"r\t")?;
    session.see("completion: raft or reboot", |screen| screen.line().ends_with("> r"))?;
    session.press(b"\t")?;
    session.see("a choice", |screen| screen.above().iter().any(|line| line == "raft  reboot"))?;
    session.press(b"a\tst\t")?;
    session.see_line(&format!("{prompt} raft status"))?;
    let answer = session.enter(prompt)?;
    anyhow::ensure!(answer.iter().any(|line| line.contains("term")), "raft status: {answer:?}");

    let answer = type_and_enter(session, prompt, b"help")?;
    for command in ["kv get KEY", "raft status", "poweroff"] {
        anyhow::ensure!(answer.iter().any(|line| line.contains(command)), "no '{command}' in help");
    }
    let answer = type_and_enter(session, prompt, b"kv set name Ada")?;
    anyhow::ensure!(answer == ["OK"], "kv set: {answer:?}");

    // A letter is missing in the middle, and put in.
    session.press(b"kv get nme")?;
    session.press(&LEFT.repeat(2))?;
    let column = prompt.len() + " kv get n".len();
    session.see("the cursor behind the n", |screen| screen.column() == column)?;
    session.press(b"a")?;
    session.see_line(&format!("{prompt} kv get name"))?;
    let answer = session.enter(prompt)?;
    anyhow::ensure!(answer == ["Ada"], "kv get: {answer:?}");

    // What was entered before comes back, and can be changed.
    session.press(&UP.repeat(2))?;
    session.see_line(&format!("{prompt} kv set name Ada"))?;
    session.press(b"\x7f\x7f\x7fBob")?;
    let answer = session.enter(prompt)?;
    anyhow::ensure!(answer == ["OK"], "kv set from the history: {answer:?}");
    session.press(&UP.repeat(2))?;
    let answer = session.enter(prompt)?;
    anyhow::ensure!(answer == ["Bob"], "kv get from the history: {answer:?}");

    let answer = type_and_enter(session, prompt, b"rafd status")?;
    let is_helpful = answer.iter().any(|line| line.contains("Did you mean 'raft'?"));
    anyhow::ensure!(is_helpful, "an unknown command: {answer:?}");
    Ok(())
}

fn type_and_enter(session: &mut Session, prompt: &str, keys: &[u8]) -> anyhow::Result<Vec<String>> {
    session.press(keys)?;
    session.enter(prompt)
}

/// A half-typed line stays whole and at the bottom, whatever the log says meanwhile.
fn log_lines_do_not_garble(
    cluster: &Cluster,
    session: &mut Session,
    prompt: &str,
    leader: u16,
) -> anyhow::Result<()> {
    let half = format!("{prompt} kv get na");
    session.press(b"kv get na")?;
    session.see_line(&half)?;
    let before = session.screen().above().len();
    cluster.order("kill", leader)?;
    cluster.leader(Some(leader))?;
    session.see("log lines above, the line below", |screen| {
        screen.above().len() > before && screen.line() == half
    })?;
    let lines = session.screen().above().split_off(before);
    // The primary of the ledger may have been killed with the leader.
    let is_of_service = |line: &str| line.contains("raft:") || line.contains("bft:");
    let is_log = |line: &String| line.starts_with('[') && is_of_service(line);
    anyhow::ensure!(lines.iter().all(is_log), "not only log lines: {lines:?}");
    session.press(b"me")?;
    session.see_line(&format!("{half}me"))?;
    // More may be said before there is an answer.
    let answer = session.enter(prompt)?;
    anyhow::ensure!(answer.iter().any(|line| line == "Bob"), "the line was spoilt: {answer:?}");
    Ok(())
}
