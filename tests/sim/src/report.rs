//! What many runs came to: for people as text, for programs as one flat object.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::counts::{Counts, Kind};
use crate::plan::Profile;
use crate::runner::{Ran, Success};

/// The size of cluster whose speed is told apart: it is the most common.
const SMALL: u16 = 3;

/// What many runs did together.
#[derive(Debug, Default)]
pub struct Totals {
    /// The seeds that failed.
    pub failed: Vec<u64>,
    passed: u64,
    all: Work,
    /// The runs of three nodes.
    small: Work,
    steps: u64,
    digest: u64,
    counts: Counts,
    profiles: BTreeMap<Profile, u64>,
    recovery_max_ms: u64,
}

/// How much was simulated, and how long that took, added up over all threads.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    simulated: Duration,
    took: Duration,
    worked: Duration,
}

/// How fast it was.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    seeds: u64,
    failures: usize,
    took: Duration,
    seeds_per_second: f64,
    steps_per_second: f64,
    elections_per_second: f64,
    sim_seconds_per_second: f64,
    /// The same as if every core had worked on runs of three nodes alone.
    sim_seconds_per_second_3_nodes: f64,
    /// The same for a second in which one core did nothing else.
    sim_seconds_per_core_second_3_nodes: f64,
    recovery_max_ms: u64,
}

impl Totals {
    /// Takes a run in.
    pub fn take(&mut self, ran: &Ran) {
        let success = match &ran.result {
            Ok(success) => success,
            Err(_) => return self.failed.push(ran.seed),
        };
        let summary = &success.summary;
        self.passed += 1;
        let simulated = Duration::from_nanos(summary.simulated.as_nanos());
        self.all.add(simulated, ran);
        if success.nodes == SMALL {
            self.small.add(simulated, ran);
        }
        self.steps += summary.steps;
        self.digest = self.digest.rotate_left(1) ^ summary.digest;
        self.counts += summary.counts;
        *self.profiles.entry(success.profile).or_default() += 1;
        self.recovery_max_ms = self.recovery_max_ms.max(summary.recovery.as_millis());
    }

    /// How fast so many threads were that took so long.
    pub fn speed(&self, took: Duration, jobs: usize) -> Speed {
        let seconds = took.as_secs_f64();
        Speed {
            seeds: self.passed + self.failed.len() as u64,
            failures: self.failed.len(),
            took,
            seeds_per_second: self.passed as f64 / seconds,
            steps_per_second: self.steps as f64 / seconds,
            elections_per_second: self.counts.get(Kind::Elections) as f64 / seconds,
            sim_seconds_per_second: self.all.simulated.as_secs_f64() / seconds,
            sim_seconds_per_second_3_nodes: self.small.rate(self.small.took) * jobs as f64,
            sim_seconds_per_core_second_3_nodes: self.small.rate(self.small.worked),
            recovery_max_ms: self.recovery_max_ms,
        }
    }
}

impl Work {
    fn add(&mut self, simulated: Duration, ran: &Ran) {
        self.simulated += simulated;
        self.took += ran.took;
        self.worked += ran.worked;
    }

    /// Simulated seconds in a second of so much time of one thread.
    fn rate(&self, time: Duration) -> f64 {
        let seconds = time.as_secs_f64();
        if seconds > 0.0 { self.simulated.as_secs_f64() / seconds } else { 0.0 }
    }
}

impl Speed {
    /// One flat object.
    pub fn to_json(&self) -> String {
        format!(
            "{{\"seeds\": {}, \"failures\": {}, \"seeds_per_second\": {:.1}, \"steps_per_second\": {:.0}, \
             \"sim_seconds_per_second\": {:.1}, \"sim_seconds_per_second_3_nodes\": {:.1}, \
             \"sim_seconds_per_core_second_3_nodes\": {:.1}, \
             \"longest_recovery_ms\": {}}}",
            self.seeds,
            self.failures,
            self.seeds_per_second,
            self.steps_per_second,
            self.sim_seconds_per_second,
            self.sim_seconds_per_second_3_nodes,
            self.sim_seconds_per_core_second_3_nodes,
            self.recovery_max_ms
        )
    }
}

/// Two lines: the only ones that differ from time to time.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds passed in {:.1} s: {:.0} seeds, {:.0} steps, {:.0} elections and {:.1} s of the \
             cluster's time in a second",
            self.seeds - self.failures as u64,
            self.took.as_secs_f64(),
            self.seeds_per_second,
            self.steps_per_second,
            self.elections_per_second,
            self.sim_seconds_per_second
        )?;
        let small = self.sim_seconds_per_second_3_nodes;
        let of_core = self.sim_seconds_per_core_second_3_nodes;
        writeln!(
            f,
            "clusters of three nodes alone: {small:.1} s of their time in a second; {of_core:.1} s in a \
             second of one core"
        )
    }
}

/// What does not depend on the machine that simulates.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profiles: Vec<String> =
            self.profiles.iter().map(|(profile, count)| format!("{profile:?} {count}")).collect();
        writeln!(f, "{}", profiles.join(", ").to_lowercase())?;
        write!(f, "{}", self.counts)?;
        let slowest = self.recovery_max_ms;
        writeln!(f, "longest recovery {slowest} ms; fingerprint {:016x}", self.digest)?;
        let missing = self.counts.missing();
        if !missing.is_empty() {
            writeln!(f, "never happened: {}", missing.join(", "))?;
        }
        if !self.failed.is_empty() {
            writeln!(f, "{} seeds failed: {:?}", self.failed.len(), self.failed)?;
        }
        Ok(())
    }
}

/// One run in a line.
pub fn line(seed: u64, success: &Success) -> String {
    let (name, summary) = (format!("{:?}", success.profile), &success.summary);
    let (millis, steps, entries) = (summary.simulated.as_millis(), summary.steps, summary.entries);
    format!("seed {seed}: {name:<10} {millis:>6} ms {steps:>7} steps {entries:>6} entries")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Summary;

    fn ran(seed: u64, nodes: u16, simulated_s: u64, took_ms: u64) -> Ran {
        let simulated = base::Duration::from_secs(simulated_s);
        let summary = Summary { simulated, ..Summary::default() };
        let (lines, transitions) = (Vec::new(), Vec::new());
        let profile = Profile::Calm;
        let success = Success { profile, nodes, summary, lines, transitions };
        let took = Duration::from_millis(took_ms);
        Ran { seed, result: Ok(success), took, worked: took / 2 }
    }

    #[test]
    fn runs_of_three_nodes_are_told_apart() {
        let mut totals = Totals::default();
        [ran(0, 3, 4, 10), ran(1, 5, 2, 70), ran(2, 3, 2, 20)]
            .iter()
            .for_each(|ran| totals.take(ran));
        // Two threads worked for 50 ms.
        let speed = totals.speed(Duration::from_millis(50), 2);
        assert_eq!(speed.sim_seconds_per_second, 160.0);
        assert_eq!(speed.sim_seconds_per_second_3_nodes, 400.0);
        assert_eq!(speed.sim_seconds_per_core_second_3_nodes, 400.0);
        let json = speed.to_json();
        assert!(json.starts_with("{\"seeds\": 3, \"failures\": 0, "), "{json}");
        assert!(json.contains("\"sim_seconds_per_second_3_nodes\": 400.0"), "{json}");
    }
}
