//! All targets, in plain Rust: on the seeds, on what comes of them by small changes, and on noise. The same
//! inputs every time.

use std::path::Path;

use base::Prng;
use fuzz::{TARGETS, Target};

/// As long as inputs of libFuzzer are to begin with.
const NOISE_MAX_BYTES: u64 = 512;

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let files = std::fs::read_dir(&folder).into_iter().flatten();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn noise(prng: &mut Prng) -> Vec<u8> {
    let length = prng.below(NOISE_MAX_BYTES);
    (0..length).map(|_| prng.next_u64() as u8).collect()
}

/// A seed with a few bytes changed, cut, or with a part of another in it.
fn change(seeds: &[Vec<u8>], prng: &mut Prng) -> Vec<u8> {
    let pick = |prng: &mut Prng| &seeds[prng.below(seeds.len() as u64) as usize];
    let mut bytes = pick(prng).clone();
    for _ in 0..=prng.below(4) {
        let place = prng.below(bytes.len() as u64 + 1) as usize;
        match prng.below(4) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, prng.next_u64() as u8),
            2 => {
                let other = pick(prng);
                let from = prng.below(other.len() as u64 + 1) as usize;
                bytes.splice(place..place, other[from..].iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << prng.below(8);
                }
            }
        }
    }
    bytes
}

#[track_caller]
fn run(name: &str) {
    let target = fuzz::find(name).unwrap();
    let seeds = seeds(target);
    for seed in &seeds {
        (target.run)(seed);
    }
    let mut prng = Prng::new(1);
    for round in 0..target.rounds {
        let is_noise = seeds.is_empty() || round % 4 == 0;
        let bytes = if is_noise { noise(&mut prng) } else { change(&seeds, &mut prng) };
        (target.run)(&bytes);
    }
}

#[test]
fn every_target_has_a_name_of_its_own() {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
}

/// Each has a test below, by its name.
#[test]
fn every_target_is_run() {
    let tests = include_str!("targets.rs");
    for target in TARGETS {
        assert!(tests.contains(&format!("    run(\"{}\");\n", target.name)), "{}", target.name);
    }
}

#[test]
fn card() {
    run("card");
}

#[test]
fn header() {
    run("header");
}

#[test]
fn volume() {
    run("volume");
}

#[test]
fn pci() {
    run("pci");
}

#[test]
fn control() {
    run("control");
}

#[test]
fn stream() {
    run("stream");
}

#[test]
fn vhost() {
    run("vhost");
}

#[test]
fn envelope() {
    run("envelope");
}

#[test]
fn links() {
    run("links");
}

#[test]
fn http() {
    run("http");
}

#[test]
fn store() {
    run("store");
}

#[test]
fn console() {
    run("console");
}

#[test]
fn resp() {
    run("resp");
}

#[test]
fn connection() {
    run("connection");
}

#[test]
fn entry() {
    run("entry");
}

#[test]
fn bft() {
    run("bft");
}

#[test]
fn raft() {
    run("raft");
}

#[test]
fn settings() {
    run("settings");
}

#[test]
fn node() {
    run("node");
}

#[test]
fn forward() {
    run("forward");
}

#[test]
fn member() {
    run("member");
}

#[test]
fn members() {
    run("members");
}

#[test]
fn flow() {
    run("flow");
}

#[test]
fn offload() {
    run("offload");
}

#[test]
fn notice() {
    run("notice");
}
