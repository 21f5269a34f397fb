//! Bugs put in on purpose: the checkers must find them, or a green run means nothing.
//!
//! Run with `cargo test --release -p sim --features mutants`.

use std::panic;

use raft::Mutant;
use sim::world::World;

/// How many seeds a bug may hide from.
const SEEDS_MAX: u64 = 500;

/// The first seed that finds the bug, and what it found.
fn first_catch(mutant: Mutant) -> Option<(u64, String)> {
    panic::set_hook(Box::new(|_| {}));
    let run = |seed: &u64| panic::catch_unwind(|| World::run_seed(*seed, Some(mutant))).is_err();
    let seed = (0..SEEDS_MAX).find(run)?;
    let found = panic::catch_unwind(|| World::run_seed(seed, Some(mutant)));
    let text = match found {
        Ok(_) => panic!("seed {seed} does not repeat itself"),
        Err(found) => match found.downcast_ref::<String>() {
            Some(text) => text.clone(),
            None => found.downcast_ref::<&str>().unwrap_or(&"?").to_string(),
        },
    };
    Some((seed, text.lines().next().unwrap_or_default().to_string()))
}

fn must_be_caught(mutant: Mutant) {
    let caught = first_catch(mutant);
    let (seed, text) = caught.unwrap_or_else(|| panic!("{mutant:?} was not found"));
    println!("{mutant:?}: seed {seed}: {text}");
}

#[test]
fn a_read_without_a_majority() {
    must_be_caught(Mutant::ReadWithoutQuorum);
}

#[test]
fn a_conflict_that_is_not_cut() {
    must_be_caught(Mutant::NoTruncateOnConflict);
}
