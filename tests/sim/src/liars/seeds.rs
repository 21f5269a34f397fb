//! Many runs, and what they came to.

use std::fmt;
use std::ops::Range;

use bft::Mutant;

use super::counts::Counts;
use super::plan::Plan;
use super::run;
use crate::swarm;

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its seed.
    pub seed: u64,
    /// All that was derived from it.
    pub plan: Plan,
    /// What happened, or what did not hold.
    pub result: Result<Counts, String>,
}

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Totals {
    /// The seeds that failed.
    pub failed: Vec<u64>,
    /// How many did not.
    pub passed: u64,
    /// What happened in these.
    pub counts: Counts,
}

/// Runs a seed, with a bug in every replica if one is named, which needs the feature `mutants`.
pub fn run_seed(seed: u64, bug: Option<Mutant>) -> Ran {
    let plan = Plan::of_seed(seed);
    let result = swarm::caught(|| run::run(seed, &plan, |config| put_in(config, bug)));
    Ran { seed, plan, result }
}

/// Runs seeds on so many threads.
pub fn run_all(
    seeds: Range<u64>,
    jobs: (usize, bool),
    bug: Option<Mutant>,
    mut tell: impl FnMut(&Ran),
) -> Totals {
    let mut totals = Totals::default();
    let run = |seed| run_seed(seed, bug);
    swarm::run_all(
        seeds,
        jobs,
        run,
        |ran| ran.result.is_err(),
        |ran| {
            tell(&ran);
            match &ran.result {
                Ok(counts) => {
                    totals.passed += 1;
                    totals.counts += counts;
                }
                Err(_) => totals.failed.push(ran.seed),
            }
        },
    );
    totals
}

#[cfg(feature = "mutants")]
fn put_in(config: &mut bft::Config, bug: Option<Mutant>) {
    config.mutant = bug;
}

#[cfg(not(feature = "mutants"))]
fn put_in(_: &mut bft::Config, bug: Option<Mutant>) {
    assert!(bug.is_none(), "bugs are put in by the feature `mutants`");
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { seed, plan, result } = self;
        match result {
            Ok(counts) => write!(f, "{plan:#?}\nseed {seed} passed\n{counts}"),
            Err(violated) => {
                write!(f, "{plan:#?}\nseed {seed} failed\nviolated: {violated}\n")?;
                write!(f, "see it again: sim --liars --seed {seed}")
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.counts)?;
        writeln!(f, "{} seeds passed, {} failed", self.passed, self.failed.len())?;
        if !self.failed.is_empty() {
            writeln!(f, "failed: {:?}", self.failed)?;
        }
        Ok(())
    }
}
