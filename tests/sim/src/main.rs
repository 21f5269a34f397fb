//! `sim --seed N`: runs one seed, or several, and says what happened.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, bail};
use lexopt::ValueExt;
use sim::bug::Bug;
use sim::clock;
use sim::liars::seeds;
use sim::plan::{Plan, Profile};
use sim::report::{self, Totals};
use sim::runner::{self, Options};

const HELP: &str = "\
Runs whole nodes on simulated wires and disks, with trouble that follows from a seed.

Usage: sim [--seed N | --seeds N..M] [options]

  --seed N           run this seed, and print its plan and what happened
  --seeds N..M       run the seeds from N up to, but not including, M (default 0..100)
  --liars            run replicas of the ledger's consensus alone, some of which lie, instead of nodes
  --profile NAME     what the runs are about, instead of what each seed draws; see below
  --jobs N           run so many seeds at a time (default: as many as there are cores)
  --trace            with --seed: print every event
  --ndjson FILE      with --seed: write each step of Raft on all nodes to FILE, a JSON object a line,
                     for an outside specification to check (images/node/src/transitions.rs)
  --verbose          print a line for every seed
  --json             with --seeds: print one flat object of figures, and nothing else
  --keep-going       go on after a seed has failed, and list all that do
  --bug NAME         put a bug into every node (only if built with --features mutants)
  --help             this text

The output does not depend on the number of jobs, but for its last two lines. The exit status is 0 if
everything held, 1 if something did not, 2 if the command line cannot be understood.";

/// What the command line says.
#[derive(Debug)]
struct Arguments {
    seed: Option<u64>,
    seeds: Range<u64>,
    options: Options,
    ndjson: Option<PathBuf>,
    liars: bool,
    bug: Option<String>,
    jobs: usize,
    is_verbose: bool,
    is_json: bool,
    wants_all: bool,
    wants_help: bool,
}

fn main() -> ExitCode {
    match parse().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn parse() -> Result<Arguments> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut found = Arguments {
        seed: None,
        seeds: 0..100,
        options: Options::default(),
        ndjson: None,
        liars: false,
        bug: None,
        jobs: cores,
        is_verbose: false,
        is_json: false,
        wants_all: false,
        wants_help: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("seed") => {
                found.seed = Some(text(&mut arguments)?.parse().context("--seed takes a number")?);
            }
            lexopt::Arg::Long("seeds") => found.seeds = parse_seeds(&text(&mut arguments)?)?,
            lexopt::Arg::Long("liars") => found.liars = true,
            lexopt::Arg::Long("profile") => {
                found.options.profile = Some(parse_profile(&text(&mut arguments)?)?)
            }
            lexopt::Arg::Long("jobs") => {
                found.jobs = text(&mut arguments)?.parse().context("--jobs takes a number")?;
            }
            lexopt::Arg::Long("trace") => found.options.keeps_lines = true,
            lexopt::Arg::Long("ndjson") => {
                found.ndjson = Some(arguments.value()?.into());
                found.options.keeps_transitions = true;
            }
            lexopt::Arg::Long("verbose") => found.is_verbose = true,
            lexopt::Arg::Long("json") => found.is_json = true,
            lexopt::Arg::Long("keep-going") => found.wants_all = true,
            lexopt::Arg::Long("bug") => found.bug = Some(text(&mut arguments)?),
            lexopt::Arg::Long("help") => found.wants_help = true,
            other => bail!("{}\n\n{HELP}", other.unexpected()),
        }
    }
    if let Some(name) = found.bug.as_deref().filter(|_| !found.liars) {
        found.options.bug = Some(parse_bug(name)?);
    }
    let wants_one = found.options.keeps_lines || found.options.keeps_transitions;
    if wants_one && found.seed.is_none() && !found.wants_help {
        bail!("--trace and --ndjson go with --seed");
    }
    Ok(found)
}

fn text(arguments: &mut lexopt::Parser) -> Result<String> {
    Ok(arguments.value()?.string()?)
}

fn parse_seeds(text: &str) -> Result<Range<u64>> {
    let (first, end) = text.split_once("..").context("--seeds takes N..M")?;
    Ok(first.parse().context("--seeds takes N..M")?..end.parse().context("--seeds takes N..M")?)
}

fn parse_profile(name: &str) -> Result<Profile> {
    Profile::parse(name).with_context(|| format!("{name} is none of {:?}", Profile::ALL))
}

fn parse_bug(name: &str) -> Result<Bug> {
    if !cfg!(feature = "mutants") {
        bail!("--bug needs a simulator that was built with --features mutants");
    }
    let names: Vec<String> = Bug::all().map(Bug::name).collect();
    Bug::parse(name).with_context(|| format!("{name} is none of {}", names.join(", ")))
}

/// A bug of the replicas of which some lie.
fn parse_mutant(name: &str) -> Result<bft::Mutant> {
    if !cfg!(feature = "mutants") {
        bail!("--bug needs a simulator that was built with --features mutants");
    }
    let named = |mutant: &bft::Mutant| format!("{mutant:?}").eq_ignore_ascii_case(name);
    let found = bft::Mutant::ALL.into_iter().find(named);
    found.with_context(|| format!("{name} is none of {:?}", bft::Mutant::ALL))
}

fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.wants_help {
        let names: Vec<String> =
            Profile::ALL.iter().map(|profile| format!("{profile:?}").to_lowercase()).collect();
        println!("{HELP}\n\nProfiles: {}", names.join(", "));
        return Ok(true);
    }
    if arguments.liars {
        return run_liars(arguments);
    }
    match arguments.seed {
        Some(seed) => run_one(seed, &arguments.options, arguments.ndjson.as_deref()),
        None => Ok(run_many(arguments)),
    }
}

/// Replicas of which some lie.
fn run_liars(arguments: &Arguments) -> Result<bool> {
    let bug = arguments.bug.as_deref().map(parse_mutant).transpose()?;
    if let Some(seed) = arguments.seed {
        let ran = seeds::run_seed(seed, bug);
        println!("{ran}");
        return Ok(ran.result.is_ok());
    }
    let jobs = (arguments.jobs, arguments.wants_all);
    let mut has_failed = false;
    let totals = seeds::run_all(arguments.seeds.clone(), jobs, bug, |ran| {
        if arguments.is_verbose {
            println!("seed {}: {}", ran.seed, if ran.result.is_ok() { "passed" } else { "failed" });
        }
        if ran.result.is_err() && (arguments.wants_all || !has_failed) {
            println!("{ran}\n");
            has_failed = true;
        }
    });
    print!("{totals}");
    Ok(totals.failed.is_empty())
}

fn run_one(seed: u64, options: &Options, ndjson: Option<&Path>) -> Result<bool> {
    let result = runner::run(seed, options);
    let (lines, transitions) = match &result {
        Ok(success) => (&success.lines, &success.transitions),
        Err(failure) => (&failure.lines, &failure.transitions),
    };
    if let Some(path) = ndjson {
        let text: String = transitions.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(match result {
        Ok(success) => {
            let summary = success.summary;
            println!("{:#?}", Plan::with_profile(seed, options.profile));
            println!(
                "seed {seed} passed: {} ms in {} steps, of which {} ms to recover; {} entries; \
                 fingerprint {:016x}",
                summary.simulated.as_millis(),
                summary.steps,
                summary.recovery.as_millis(),
                summary.entries,
                summary.digest
            );
            print!("{}", summary.counts);
            true
        }
        Err(failure) => {
            println!("{failure}");
            false
        }
    })
}

/// Runs many seeds. With `--json` nothing but the figures goes to standard output.
fn run_many(arguments: &Arguments) -> bool {
    let mut totals = Totals::default();
    let began = clock::now();
    let seeds = arguments.seeds.clone();
    let (jobs, wants_all) = (arguments.jobs, arguments.wants_all);
    let is_json = arguments.is_json;
    runner::run_all(seeds, &arguments.options, jobs, wants_all, |ran| {
        match &ran.result {
            Ok(success) if arguments.is_verbose && !is_json => {
                println!("{}", report::line(ran.seed, success));
            }
            Ok(_) => {}
            Err(failure) if totals.failed.is_empty() || wants_all => match is_json {
                true => eprintln!("{failure}\n"),
                false => println!("{failure}\n"),
            },
            Err(_) => {}
        }
        totals.take(&ran);
    });
    let speed = totals.speed(began.elapsed(), jobs);
    match is_json {
        true => println!("{}", speed.to_json()),
        false => print!("{totals}{speed}"),
    }
    totals.failed.is_empty()
}
