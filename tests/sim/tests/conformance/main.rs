//! The trace of Raft's steps against a specification that knows nothing of our code: it reads the lines that
//! an outside checker would read, and holds them to the rules of the paper (figure 2) and of the thesis.

mod event;
mod specification;

use sim::plan::Profile;
use sim::runner::{self, Options};

use event::Event;
use specification::{Specification, Totals};

fn transitions(seed: u64, profile: Option<Profile>) -> Vec<String> {
    let options = Options { keeps_transitions: true, profile, ..Options::default() };
    runner::run(seed, &options).unwrap_or_else(|failure| panic!("{failure}")).transitions
}

/// What the trace of a run amounts to.
fn check(seed: u64, lines: &[String]) -> Totals {
    let mut specification = Specification::default();
    for (number, line) in lines.iter().enumerate() {
        let event = Event::parse(line).unwrap_or_else(|| panic!("seed {seed}: not a line: {line}"));
        if let Err(violated) = specification.take(&event) {
            panic!("seed {seed}, line {}: {violated}\n{line}", number + 1);
        }
    }
    specification.totals()
}

#[test]
fn every_step_of_many_runs_is_one_that_the_specification_allows() {
    let mut totals = Totals::default();
    for seed in 0..60 {
        totals += check(seed, &transitions(seed, None));
    }
    // A trace without events would conform too.
    let Totals { lives, leaders, commits, votes, appends, snapshots } = totals;
    assert!(lives > 200 && leaders > 60 && votes > 150, "{totals:?}");
    assert!(commits > 3_000 && appends > 6_000 && snapshots > 10, "{totals:?}");
}

/// The specification must be able to say no. Each of these is a line of a real run with one thing changed.
#[test]
fn the_specification_refuses_what_raft_does_not_do() {
    let lines = transitions(7, Some(Profile::Calm));
    check(7, &lines);
    let changes: [(&str, &str, &str); 7] = [
        // Which line, what in it, and what instead.
        ("BecomeLeader", "\"role\":\"StateLeader\"", "\"role\":\"StateFollower\""),
        ("BecomeCandidate", "\"vote\":\"1\"", "\"vote\":\"2\""),
        ("SendRequestVoteResponse", "\"reject\":false", "\"reject\":true"),
        ("Replicate", "\"log\":1,", "\"log\":2,"),
        ("\"name\":\"Commit\"", "\"commit\":1,", "\"commit\":9,"),
        ("ReceiveRequestVoteRequest", "\"term\":1", "\"term\":2"),
        ("SendAppendEntriesRequest", "\"role\":\"StateLeader\"", "\"role\":\"StateCandidate\""),
    ];
    for (name, old, new) in changes {
        let position = lines.iter().position(|line| line.contains(name) && line.contains(old));
        let position = position.unwrap_or_else(|| panic!("no {name} with {old}"));
        let mut changed = lines.clone();
        changed[position] = changed[position].replace(old, new);
        let refused = std::panic::catch_unwind(|| check(7, &changed)).is_err();
        assert!(refused, "{name}: {old} -> {new} in line {}", position + 1);
    }
    // And lines that are missing.
    for name in ["BecomeCandidate", "ReceiveRequestVoteResponse", "SendAppendEntriesRequest"] {
        let changed: Vec<String> =
            lines.iter().filter(|line| !line.contains(name)).cloned().collect();
        assert!(std::panic::catch_unwind(|| check(7, &changed)).is_err(), "without {name}");
    }
}
