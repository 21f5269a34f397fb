//! Bugs put in on purpose: the checkers must find them, or a green run means nothing.
//!
//! Run with `cargo test --release -p sim --features mutants -- --nocapture`, which prints for each bug the
//! lowest seed that finds it; the same seed without the bug must pass. Which seed it is changes whenever a
//! node does anything differently, and does not matter: that there is one among so few does.

use sim::bug::Bug;
use sim::plan::Profile;
use sim::runner::{self, Options};

/// How many seeds a bug may hide from.
const SEEDS_MAX: u64 = 500;

/// What is violated if nodes with this bug run this seed.
fn violation(bug: Bug, seed: u64, profile: Option<Profile>) -> Option<String> {
    let options = Options { bug: Some(bug), profile, ..Options::default() };
    let failure = runner::run(seed, &options).err()?;
    failure.violated.lines().next().map(str::to_string)
}

/// Some seed must find the bug, by this property, and pass without it.
fn must_be_found(bug: Bug, property: &str) {
    must_be_found_in(None, bug, property);
}

/// The same, with another profile than those that the seeds draw.
fn must_be_found_in(profile: Option<Profile>, bug: Bug, property: &str) {
    let name = bug.name();
    let violated = |seed: u64| violation(bug, seed, profile);
    let finds = |seed: &u64| violated(*seed).is_some_and(|found| found.contains(property));
    let Some(seed) = (0..SEEDS_MAX).find(finds) else {
        panic!("{name} violates {property} in none of {SEEDS_MAX} seeds");
    };
    println!("{name}: seed {seed}: {property}");
    let clean = runner::run(seed, &Options { profile, ..Options::default() });
    assert!(clean.is_ok(), "seed {seed} fails without {name} too");
}

#[test]
fn a_vote_that_is_not_on_the_disk() {
    must_be_found(Bug::Raft(raft::Mutant::NoPersistBeforeVote), "election safety");
}

#[test]
fn an_acknowledgement_of_what_is_not_on_the_disk() {
    must_be_found(Bug::Raft(raft::Mutant::AppendAckBeforePersist), "durability");
}

#[test]
fn an_entry_of_an_old_term_that_is_committed_by_counting() {
    must_be_found(Bug::Raft(raft::Mutant::CommitOldTermByCount), "leader completeness");
}

#[test]
fn a_read_without_a_majority() {
    must_be_found(Bug::Raft(raft::Mutant::ReadWithoutQuorum), "linearizability");
}

#[test]
fn a_read_before_the_leader_knows_what_is_committed() {
    must_be_found(Bug::Raft(raft::Mutant::ReadBeforeOwnCommit), "linearizability");
}

#[test]
fn a_conflict_that_is_not_cut() {
    must_be_found(Bug::Raft(raft::Mutant::NoTruncateOnConflict), "state machine safety");
}

#[test]
fn a_log_that_is_cut_without_a_conflict() {
    must_be_found(Bug::Raft(raft::Mutant::TruncateAlways), "durability");
}

#[test]
fn a_commit_index_that_is_believed_beyond_what_matches() {
    must_be_found(Bug::Raft(raft::Mutant::CommitBeyondMatch), "state machine safety");
}

#[test]
fn two_votes_in_a_term() {
    let bug = Bug::Raft(raft::Mutant::VoteTwice);
    must_be_found_in(Some(Profile::Figure8), bug, "election safety");
}

#[test]
fn a_vote_for_a_log_that_is_behind() {
    must_be_found(Bug::Raft(raft::Mutant::VoteForStaleLog), "leader completeness");
}

#[test]
fn a_confirmation_of_entries_that_have_been_replaced() {
    must_be_found(Bug::Raft(raft::Mutant::LateConfirmationVouches), "what is durable");
}

#[test]
fn a_damaged_entry_that_is_taken_for_absent() {
    let bug = Bug::Raft(raft::Mutant::DamagedIsAbsent);
    must_be_found_in(Some(Profile::Rot), bug, "leader completeness");
}

#[test]
fn an_acknowledgement_of_what_is_damaged() {
    let bug = Bug::Raft(raft::Mutant::AcknowledgesDamaged);
    must_be_found_in(Some(Profile::Rot), bug, "what is acknowledged is not damaged");
}

#[test]
fn a_damaged_entry_that_is_let_go_because_one_denies_it() {
    let bug = Bug::Raft(raft::Mutant::LetsGoOnOneDenial);
    must_be_found_in(Some(Profile::Rot), bug, "leader completeness");
}

#[test]
fn a_lease_that_is_as_long_as_the_promise_by_the_wrong_clock() {
    let bug = Bug::Raft(raft::Mutant::LeaseWithoutDriftMargin);
    must_be_found_in(Some(Profile::Leases), bug, "linearizability");
}

#[test]
fn a_lease_that_is_kept_across_a_pause() {
    let bug = Bug::Raft(raft::Mutant::LeaseKeptAcrossPause);
    must_be_found_in(Some(Profile::Leases), bug, "linearizability");
}

#[test]
fn a_write_that_is_executed_twice() {
    must_be_found(Bug::Kv(kv::Mutant::ExecutesRepeats), "linearizability");
}

#[test]
fn a_read_that_does_not_wait_for_what_it_must_see() {
    must_be_found(Bug::Kv(kv::Mutant::ReadsDoNotWait), "linearizability");
}

#[test]
fn every_bug_has_a_test() {
    let source = include_str!("mutants.rs");
    for bug in Bug::all() {
        assert!(source.contains(&format!("Mutant::{})", bug.name())), "{bug:?}");
    }
    assert!(Bug::parse("votetwice").is_some());
}
