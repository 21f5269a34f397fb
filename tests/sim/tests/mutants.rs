//! Bugs put in on purpose: the checkers must find them, or a green run means nothing.
//!
//! Run with `cargo test --release -p sim --features mutants`. For each bug the lowest seed that finds it is
//! noted here; the same seed without the bug must pass. When plans change, other seeds find it: a test that
//! fails because its seed finds nothing says which seed does.

use sim::bug::Bug;
use sim::runner::{self, Options};

/// How many seeds a bug may hide from.
const SEEDS_MAX: u64 = 500;

/// What is violated if nodes with this bug run this seed.
fn violation(bug: Bug, seed: u64) -> Option<String> {
    let options = Options { bug: Some(bug), ..Options::default() };
    let failure = runner::run(seed, &options).err()?;
    failure.violated.lines().next().map(str::to_string)
}

fn must_be_found(bug: Bug, seed: u64, property: &str) {
    assert!(seed < SEEDS_MAX);
    let name = bug.name();
    let Some(found) = violation(bug, seed) else {
        let first = (0..SEEDS_MAX).find(|seed| violation(bug, *seed).is_some());
        panic!("{name} is not found by seed {seed}; the first that finds it is {first:?}");
    };
    assert!(found.contains(property), "{name}, seed {seed}: {found}");
    println!("{name}: seed {seed}: {found}");
    let clean = runner::run(seed, &Options::default());
    assert!(clean.is_ok(), "seed {seed} fails without {name} too");
}

#[test]
fn a_vote_that_is_not_on_the_disk() {
    must_be_found(Bug::Raft(raft::Mutant::NoPersistBeforeVote), 55, "election safety");
}

#[test]
fn an_acknowledgement_of_what_is_not_on_the_disk() {
    must_be_found(Bug::Raft(raft::Mutant::AppendAckBeforePersist), 0, "durability");
}

#[test]
fn an_entry_of_an_old_term_that_is_committed_by_counting() {
    must_be_found(Bug::Raft(raft::Mutant::CommitOldTermByCount), 35, "leader completeness");
}

#[test]
fn a_read_without_a_majority() {
    must_be_found(Bug::Raft(raft::Mutant::ReadWithoutQuorum), 3, "linearizability");
}

#[test]
fn a_read_before_the_leader_knows_what_is_committed() {
    must_be_found(Bug::Raft(raft::Mutant::ReadBeforeOwnCommit), 3, "linearizability");
}

#[test]
fn a_conflict_that_is_not_cut() {
    must_be_found(Bug::Raft(raft::Mutant::NoTruncateOnConflict), 2, "state machine safety");
}

#[test]
fn a_log_that_is_cut_without_a_conflict() {
    must_be_found(Bug::Raft(raft::Mutant::TruncateAlways), 1, "durability");
}

#[test]
fn a_commit_index_that_is_believed_beyond_what_matches() {
    must_be_found(Bug::Raft(raft::Mutant::CommitBeyondMatch), 2, "state machine safety");
}

#[test]
fn two_votes_in_a_term() {
    must_be_found(Bug::Raft(raft::Mutant::VoteTwice), 39, "election safety");
}

#[test]
fn a_vote_for_a_log_that_is_behind() {
    must_be_found(Bug::Raft(raft::Mutant::VoteForStaleLog), 1, "leader completeness");
}

#[test]
fn a_confirmation_of_entries_that_have_been_replaced() {
    must_be_found(Bug::Raft(raft::Mutant::LateConfirmationVouches), 12, "what is durable");
}

#[test]
fn a_write_that_is_executed_twice() {
    must_be_found(Bug::Kv(kv::Mutant::ExecutesRepeats), 15, "linearizability");
}

#[test]
fn a_read_that_does_not_wait_for_what_it_must_see() {
    must_be_found(Bug::Kv(kv::Mutant::ReadsDoNotWait), 4, "linearizability");
}

#[test]
fn every_bug_has_a_test() {
    let source = include_str!("mutants.rs");
    for bug in Bug::all() {
        assert!(source.contains(&format!("Mutant::{})", bug.name())), "{bug:?}");
    }
    assert!(Bug::parse("votetwice").is_some());
}
