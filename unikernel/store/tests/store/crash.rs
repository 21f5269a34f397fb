//! Whatever a crash does to what was not flushed: what was acknowledged is there, and the rest is there in
//! whole persists, in order, or not at all.

use crate::disk::{Disk, Machine, record};
use base::{Prng, Term};
use store::{HardState, Record};

/// What the log would be after each persist.
#[derive(Clone, Default)]
struct Model {
    log: Vec<Record>,
    hard_state: HardState,
}

impl Model {
    fn apply(&mut self, hard_state: Option<HardState>, records: &[Record]) {
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(first) = records.first() {
            self.log.truncate(first.index.0 as usize - 1);
            self.log.extend_from_slice(records);
        }
    }
}

fn random_persist(model: &Model, prng: &mut Prng) -> (Option<HardState>, Vec<Record>) {
    let mut term = model.hard_state.term.0;
    let mut hard_state = None;
    if prng.chance(1, 4) {
        term += 1;
        hard_state = Some(HardState { term: Term(term), vote: None });
    }
    if prng.chance(1, 6) {
        return (hard_state, Vec::new());
    }
    let length = model.log.len() as u64;
    // A cut only comes with a later term, as in Raft.
    let cut = if hard_state.is_some() { prng.below(length.min(20) + 1) } else { 0 };
    let first = length - cut + 1;
    let count = 1 + prng.below(12);
    let size = if prng.chance(1, 10) { 9_000 } else { 100 };
    let lengths: Vec<usize> = (0..count).map(|_| prng.below(size) as usize).collect();
    let records = (first..).zip(lengths).map(|(index, length)| record(index, term.max(1), length));
    (hard_state, records.collect())
}

/// Runs a store until it crashes; then starts it again, several times.
fn run(seed: u64) -> (u64, u64) {
    let mut prng = Prng::new(seed);
    let mut disk = Disk::default();
    let mut model = Model::default();
    let (mut torn, mut repaired) = (0, 0);
    for life in 1..=6 {
        let mut machine = Machine::start(disk);
        machine.finish();
        let recovered = machine.recovered.clone();
        let recovered = recovered.unwrap_or_else(|| panic!("seed {seed}: {:?}", machine.failed));
        torn += recovered.torn;
        repaired += recovered.repaired as u64;
        assert_eq!(recovered.epoch, life, "seed {seed}");
        assert_eq!(recovered.last_index.0 as usize, model.log.len(), "seed {seed} life {life}");
        assert_eq!(machine.read_all(recovered.last_index), model.log, "seed {seed} life {life}");
        if life > 1 {
            assert!(recovered.hard_state.term >= model.hard_state.term, "seed {seed} life {life}");
        }
        model.hard_state = recovered.hard_state.max_term(model.hard_state);

        let mut states = vec![model.clone()];
        for _ in 0..prng.below(40) {
            let (hard_state, records) = random_persist(states.last().unwrap(), &mut prng);
            let mut next = states.last().unwrap().clone();
            next.apply(hard_state, &records);
            machine.persist(states.len() as u64, hard_state, records);
            states.push(next);
            for _ in 0..prng.below(6) {
                if machine.is_busy() {
                    machine.step(&mut prng);
                }
            }
        }
        let acknowledged = machine.persisted.last().copied().unwrap_or(0) as usize;
        disk = machine.disk;
        disk.crash(&mut prng);
        // Which state is it? Exactly one of those from the last that was acknowledged on.
        let mut probe = Machine::start(disk.clone());
        probe.finish();
        let found =
            probe.recovered.clone().unwrap_or_else(|| panic!("seed {seed}: {:?}", probe.failed));
        let log = probe.read_all(found.last_index);
        let is_state = states[acknowledged..].iter().any(|state| state.log == log);
        assert!(is_state, "seed {seed} life {life}: no such state");
        let hard = found.hard_state;
        let is_known = states[acknowledged..].iter().any(|state| state.hard_state == hard);
        assert!(is_known, "seed {seed} life {life}: {hard:?}");
        model = Model { log, hard_state: hard };
    }
    (torn, repaired)
}

trait MaxTerm {
    fn max_term(self, other: Self) -> Self;
}

impl MaxTerm for HardState {
    fn max_term(self, other: HardState) -> HardState {
        if self.term >= other.term { self } else { other }
    }
}

#[test]
fn crashes_never_lose_what_was_acknowledged() {
    let (mut torn, mut repaired) = (0, 0);
    for seed in 0..1000 {
        let (t, r) = run(seed);
        torn += t;
        repaired += r;
    }
    assert!(torn > 100, "torn batches did happen: {torn}");
    assert!(repaired > 10, "headers were repaired: {repaired}");
}

/// Found by seed 5920 of the simulator: power went while the disk was made ours, and the torn superblock was
/// taken for somebody else's data.
#[test]
fn a_crash_during_the_format_costs_nothing() {
    let (mut fresh, mut started) = (0, 0);
    for seed in 0..2_000 {
        let mut prng = Prng::new(seed);
        let mut disk = Disk::default();
        // Several crashes in a row: what one leaves, the next tears.
        for _ in 0..1 + prng.below(3) {
            let mut machine = Machine::start(disk);
            for _ in 0..prng.below(9) {
                if machine.is_busy() {
                    machine.step(&mut prng);
                }
            }
            assert_eq!(machine.failed, None, "seed {seed}");
            disk = machine.disk;
            disk.crash(&mut prng);
        }
        let mut machine = Machine::start(disk);
        machine.finish();
        let recovered = machine.recovered;
        let recovered = recovered.unwrap_or_else(|| panic!("seed {seed}: {:?}", machine.failed));
        if recovered.is_fresh { fresh += 1 } else { started += 1 }
    }
    assert!(fresh > 100 && started > 100, "crashes before and after the end: {fresh}, {started}");
}

/// Two lost superblocks are damage, and not an interrupted format, as soon as anything was written.
#[test]
fn a_disk_that_was_used_is_not_formatted_again() {
    let mut machine = Machine::start(Disk::default());
    machine.finish();
    let hard_state = HardState { term: Term(1), vote: None };
    machine.persist(1, Some(hard_state), Vec::new());
    machine.finish();
    let mut disk = machine.disk;
    disk.durable.remove(&0);
    disk.durable.remove(&24);
    let mut machine = Machine::start(disk);
    machine.finish();
    assert_eq!(machine.failed, Some(store::Failure::NotOurs));
}
