//! How many proposals a Raft core commits per second: ours, and the crate `raft` 0.7 driven the same way.
//!
//! Three members in one process and one thread. Messages are values that change hands, the disk is a vector
//! that is durable at once, time stands still. A burst of proposals is made at the leader, then everything is
//! delivered until all three members have applied all of it; so it goes on. What is measured is the core
//! alone: the cost of agreement without network, disk and encoding. And what the core that survives liars
//! costs, which is mostly signatures.
#![forbid(unsafe_code)]

mod liars;
mod ours;
mod signatures;
mod theirs;

use std::time::Instant;

/// How long a command is.
const COMMAND_BYTES: usize = 16;
/// How many commands one measurement commits.
const COMMANDS: usize = 200_000;
/// How many measurements of each there are, in turn.
const ROUNDS: usize = 5;
/// How many proposals are made before anything is delivered.
const BURSTS: [usize; 3] = [1, 16, 256];

/// Three members, the first of which leads.
trait Group {
    fn new() -> Self;
    /// Proposes `count` commands, and delivers until all members have applied them.
    fn commit(&mut self, count: usize);
}

/// Commands per second.
fn rate<G: Group>(burst: usize) -> f64 {
    let mut group = G::new();
    group.commit(burst);
    #[allow(clippy::disallowed_methods, reason = "here time is what is measured")]
    let started = Instant::now();
    for _ in 0..COMMANDS / burst {
        group.commit(burst);
    }
    (COMMANDS / burst * burst) as f64 / started.elapsed().as_secs_f64()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    let mut figures = serde_json::Map::new();
    for burst in BURSTS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(rate::<ours::Ours>(burst));
            theirs.push(rate::<theirs::Theirs>(burst));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        eprintln!(
            "bursts of {burst}: ours {ours:.0}/s, raft 0.7 {theirs:.0}/s, ratio {:.2}",
            ours / theirs
        );
        figures.insert(format!("core_commits_per_second_burst_{burst}"), ours.round().into());
        figures.insert(format!("raft_rs_commits_per_second_burst_{burst}"), theirs.round().into());
        let ratio = (ours / theirs * 100.0).round() / 100.0;
        figures.insert(format!("core_ratio_burst_{burst}"), ratio.into());
    }
    let signatures = signatures::cost();
    let liars = liars::cost();
    for (name, figure) in [
        ("signature_sign_us", signatures.sign),
        ("signature_verify_us", signatures.verify),
        ("signature_verify_in_batch_us", signatures.verify_in_batch),
        ("bft_decision_processor_ms", liars.processor),
        ("bft_decision_answered_ms", liars.answered),
        ("bft_decision_messages", liars.all.messages),
        ("bft_decision_kib", liars.all.kibibytes),
        ("bft_decision_signatures", liars.all.verified),
        ("bft_decision_signed", liars.all.signed),
        ("bft_answer_messages", liars.early.messages),
        ("bft_answer_kib", liars.early.kibibytes),
        ("bft_answer_signatures", liars.early.verified),
        ("bft_answer_signed", liars.early.signed),
    ] {
        eprintln!("{name}: {figure:.1}");
        figures.insert(name.into(), ((figure * 10.0).round() / 10.0).into());
    }
    println!("{}", serde_json::Value::Object(figures));
}
