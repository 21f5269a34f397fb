//! The ledger between machines: how long one entry takes, idle and with machines gone, and how many go
//! through in batches.

use std::time::Duration;

use anyhow::Context;
use redis::Connection;
use serde_json::Value;

use super::figures::{Bar, Figures, percentile};
use super::machines;
use crate::cluster::state::Description;
use crate::cluster::{client, console, launch, machine};
use crate::{clock, interrupt};

/// How often.
struct Plan {
    entries: usize,
    batches: usize,
}

const FULL: Plan = Plan { entries: 50, batches: 60 };
const QUICK: Plan = Plan { entries: 5, batches: 5 };

const SMALL: u16 = 4;
const LARGE: u16 = 32;
/// As many as may lie among [`LARGE`]: none of them the primary of the first view.
const GONE: std::ops::RangeInclusive<u16> = 25..=32;
/// So many primaries are killed in turn, each when the one before was seen to be replaced and the cluster has
/// been idle since …
const PRIMARIES: usize = 5;
/// … and so many more at the very moment at which the one before was replaced, when the others have still to
/// verify what was decided: no more than may lie in all.
const PRIMARIES_AT_ONCE: usize = 3;
/// The cluster is idle for so long between two entries.
const PAUSE: Duration = Duration::from_millis(800);
/// So many entries are sent before the first answer is read.
const BATCH: usize = 100;
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// And for nobody longer than this when machines are gone.
const AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// All figures of `scripts/bench bft`.
///
/// # Errors
/// If one cannot be measured. No machine is left behind.
pub fn measure(is_quick: bool) -> anyhow::Result<Figures> {
    let plan = if is_quick { QUICK } else { FULL };
    machines::measured(|figures| measure_all(&plan, figures))
}

fn measure_all(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (small, _) = machines::start(SMALL)?;
    figures.condition("accelerator", format!("{:?}", small.accel).to_lowercase());
    figures.condition("entries", plan.entries);
    figures.condition("asked", "nodes 2 to 4 in turn; node 1 is the primary");
    figures.condition("idle between entries, ms", PAUSE.as_millis());
    let mut spans = spans(&small, [2, 3, 4], plan.entries)?;
    figures.add("ledger_4_p50_ms", percentile(&mut spans, 50.0), "ms", Some(Bar::AtMost(40.0)));
    figures.add("ledger_4_p99_ms", percentile(&mut spans, 99.0), "ms", Some(Bar::AtMost(80.0)));
    let rate = rate(&small, plan.batches)?;
    figures.condition("batches", format!("{} of {BATCH}, one connection", plan.batches));
    figures.add("ledger_4_entries_per_second", rate, "1/s", Some(Bar::AtLeast(3_000.0)));
    many(plan, figures)
}

/// As many as there may be; then without as many as may lie; then without their primaries.
fn many(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (large, _) = machines::start(LARGE)?;
    let mut spans = self::spans(&large, [2, 3, 4], plan.entries)?;
    figures.add("ledger_32_p50_ms", percentile(&mut spans, 50.0), "ms", Some(Bar::AtMost(300.0)));
    figures.add("ledger_32_p99_ms", percentile(&mut spans, 99.0), "ms", Some(Bar::AtMost(450.0)));
    launch::kill_nodes(GONE)?;
    figures.add("ledger_32_less_8_first_ms", first_again(&large, 2)?, "ms", None);
    let mut spans = self::spans(&large, [2, 3, 4], plan.entries)?;
    let p50 = percentile(&mut spans, 50.0);
    figures.condition("killed of 32", GONE.count());
    figures.add("ledger_32_less_8_p50_ms", p50, "ms", Some(Bar::AtMost(600.0)));
    view_changes(figures)
}

/// How long nothing is decided when the primary's machine is gone: in an idle cluster, and in one that is
/// busy with the view change before.
fn view_changes(figures: &mut Figures) -> anyhow::Result<()> {
    let (large, _) = machines::start(LARGE)?;
    self::spans(&large, [30, 31, 32], 5)?;
    let mut idle = primaries_killed(&large, PRIMARIES, PAUSE)?;
    std::thread::sleep(PAUSE);
    let mut at_once = primaries_killed(&large, PRIMARIES_AT_ONCE, Duration::ZERO)?;
    figures.condition("view changes", "SIGKILL of the primary's machine");
    figures.condition("view changes of an idle cluster, ms", listed(&idle));
    figures.condition("view changes at once after others, ms", listed(&at_once));
    let p50 = percentile(&mut idle, 50.0);
    figures.add("ledger_32_view_change_p50_ms", p50, "ms", Some(Bar::AtMost(1_500.0)));
    let p50 = percentile(&mut at_once, 50.0);
    figures.add("ledger_32_view_change_at_once_p50_ms", p50, "ms", None);
    Ok(())
}

fn listed(spans: &[f64]) -> String {
    spans.iter().map(|span| format!("{span:.0}")).collect::<Vec<_>>().join(" ")
}

/// Kills so many primaries, each `pause` after the one before was replaced; how long each change took, in
/// milliseconds. One that takes too long counts as that long, and is the last that is measured.
fn primaries_killed(
    large: &Description,
    count: usize,
    pause: Duration,
) -> anyhow::Result<Vec<f64>> {
    let mut changes = Vec::new();
    while changes.len() < count {
        std::thread::sleep(pause);
        launch::kill_nodes(std::iter::once(primary(LARGE)?))?;
        match first_again(large, LARGE) {
            Ok(span) => changes.push(span),
            Err(error) => {
                interrupt::check()?;
                eprintln!("after {} view changes: {error}", changes.len());
                changes.push(AGAIN_WITHIN.as_secs_f64() * 1_000.0);
                break;
            }
        }
    }
    Ok(changes)
}

/// Who leads, as this node sees it.
fn primary(node: u16) -> anyhow::Result<u16> {
    let answer = console::run(&machine::serial_socket(node), "bft status --json")?;
    let status: Value = serde_json::from_str(&answer.output).context("bft status")?;
    let primary = status["primary"].as_u64().and_then(|node| u16::try_from(node).ok());
    primary.with_context(|| format!("no primary: {status}"))
}

fn connect(description: &Description, node: u16) -> anyhow::Result<Connection> {
    client::redis(description.resp_port(node), PATIENCE)
}

fn append(connection: &mut Connection) -> anyhow::Result<()> {
    let answer = redis::cmd("LEDGER.APPEND").arg("an entry of 24 bytes ...").query(connection);
    let (_, _, _): (u64, String, u64) = answer.context("an entry is not appended")?;
    Ok(())
}

/// How long it takes until an entry is appended again, in milliseconds: a node that is not answered in time
/// says so, and is asked again.
fn first_again(description: &Description, node: u16) -> anyhow::Result<f64> {
    let (since, mut connection) = (clock::now(), connect(description, node)?);
    loop {
        let result = append(&mut connection);
        let span = clock::now() - since;
        if result.is_ok() || span > AGAIN_WITHIN {
            return result.map(|()| span.as_secs_f64() * 1_000.0);
        }
        interrupt::check()?;
    }
}

/// How long each of so many entries takes, from its sending to the certified answer, in milliseconds. A few
/// before them are not counted: the machines' code is translated then.
fn spans(description: &Description, nodes: [u16; 3], entries: usize) -> anyhow::Result<Vec<f64>> {
    let nodes = nodes.map(|node| connect(description, node));
    let mut nodes = nodes.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut spans = Vec::new();
    for at in 0..entries + nodes.len() {
        interrupt::check()?;
        std::thread::sleep(PAUSE);
        let sent = clock::now();
        let place = at % nodes.len();
        append(&mut nodes[place])?;
        if at >= nodes.len() {
            spans.push((clock::now() - sent).as_secs_f64() * 1_000.0);
        }
    }
    Ok(spans)
}

/// How many entries a second go through, if they are sent in batches.
fn rate(description: &Description, batches: usize) -> anyhow::Result<f64> {
    let mut connection = connect(description, 2)?;
    let mut batch = redis::pipe();
    (0..BATCH).for_each(|at| {
        batch.cmd("LEDGER.APPEND").arg(format!("entry {at}"));
    });
    let started = clock::now();
    for _ in 0..batches {
        interrupt::check()?;
        let answers: Vec<(u64, String, u64)> = batch.query(&mut connection)?;
        anyhow::ensure!(answers.len() == BATCH, "{} of {BATCH} are answered", answers.len());
    }
    Ok((batches * BATCH) as f64 / (clock::now() - started).as_secs_f64())
}
