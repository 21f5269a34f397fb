//! Runs of seeds: one, or many on several threads, with the same output whatever the number of threads.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use base::Instant;

use crate::bug::Bug;
use crate::clock;
use crate::plan::{Plan, Profile};
use crate::swarm;
use crate::trace::Trace;
use crate::world::{Summary, World};

/// How seeds are run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Another profile than the one that the seed draws.
    pub profile: Option<Profile>,
    /// A bug in every node.
    pub bug: Option<Bug>,
    /// Whether lines are kept that say what happened.
    pub keeps_lines: bool,
    /// Whether the nodes write down each step of Raft.
    pub keeps_transitions: bool,
}

/// A run that went to its end.
#[derive(Clone, Debug)]
pub struct Success {
    /// Its profile.
    pub profile: Profile,
    /// How many nodes took part.
    pub nodes: u16,
    /// What it did.
    pub summary: Summary,
    /// What happened, if lines are kept.
    pub lines: Vec<String>,
    /// Each step of Raft, if they are kept.
    pub transitions: Vec<String>,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub result: Result<Success, Box<Failure>>,
    /// How long the machine that simulates took.
    pub took: Duration,
    /// How long of that it worked on it; `took`, if the system does not tell.
    pub worked: Duration,
}

/// A run in which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// All that was derived from the seed.
    pub plan: Plan,
    /// What did not hold, and where that was noticed.
    pub violated: String,
    /// When.
    pub at: Instant,
    /// In which step.
    pub steps: u64,
    /// What happened, if lines are kept.
    pub lines: Vec<String>,
    /// Each step of Raft, if they are kept.
    pub transitions: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, plan, violated, at, steps, .. } = self;
        writeln!(f, "seed {seed} failed after {} ms, in step {steps}", at.as_millis())?;
        writeln!(f, "violated: {violated}")?;
        writeln!(f, "plan: {plan:#?}")?;
        write!(f, "see it again, event by event: sim --seed {seed} --trace")
    }
}

/// Runs a seed.
///
/// # Errors
/// If something did not hold.
pub fn run(seed: u64, options: &Options) -> Result<Success, Box<Failure>> {
    let plan = Plan::with_profile(seed, options.profile);
    let trace = Trace::new(options.keeps_lines).with_transitions(options.keeps_transitions);
    let mut world = World::of_seed(seed, plan.clone(), options.bug, trace);
    let ran = swarm::caught(|| world.run());
    let lines = world.trace().lines().to_vec();
    let transitions = world.trace().transitions().to_vec();
    match ran {
        Ok(summary) => {
            let (profile, nodes) = (plan.profile, plan.nodes);
            Ok(Success { profile, nodes, summary, lines, transitions })
        }
        Err(violated) => {
            let (at, steps) = (world.now(), world.steps());
            Err(Box::new(Failure { seed, plan, violated, at, steps, lines, transitions }))
        }
    }
}

/// Runs seeds on so many threads, and tells of each in ascending order. After a failure no further seeds
/// are begun, unless all are wanted; so the first failure that is told is that of the lowest failing seed.
pub fn run_all(
    seeds: Range<u64>,
    options: &Options,
    jobs: usize,
    wants_all: bool,
    tell: impl FnMut(Ran),
) {
    let run = |seed| {
        let (began, had) = (clock::now(), clock::processor_time());
        let result = run(seed, options);
        let took = began.elapsed();
        let worked = clock::processor_time().zip(had).map(|(has, had)| has - had);
        Ran { seed, result, took, worked: worked.unwrap_or(took) }
    };
    swarm::run_all(seeds, (jobs, wants_all), run, |ran| ran.result.is_err(), tell);
}
