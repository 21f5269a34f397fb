//! The store against a model of it: a list of records and a snapshot. Whatever is asked for, and whenever it
//! crashes, the disk holds a state that the model was in, none before what was acknowledged.

use crate::disk::{Disk, Machine, SMALL, config, meta, record, snapshot_data};
use base::{Duration, LogIndex, Prng, Term};
use store::{HardState, PersistError, Record, SnapshotError, SnapshotMeta};

/// The log after each thing that was asked for, compaction aside.
#[derive(Clone, Debug, Default)]
struct State {
    /// The index and term that the log was last reset to.
    base: (u64, u64),
    /// What came since.
    log: Vec<Record>,
    hard_state: HardState,
}

impl State {
    fn last(&self) -> u64 {
        self.base.0 + self.log.len() as u64
    }

    fn term_at(&self, index: u64) -> u64 {
        match index.checked_sub(self.base.0 + 1) {
            Some(place) => self.log[place as usize].term.0,
            None => self.base.1,
        }
    }

    fn from(&self, first: u64) -> &[Record] {
        &self.log[(first - self.base.0 - 1) as usize..]
    }

    fn apply(&mut self, hard_state: Option<HardState>, records: &[Record]) {
        self.hard_state = hard_state.unwrap_or(self.hard_state);
        if let Some(first) = records.first() {
            self.log.truncate((first.index.0 - self.base.0 - 1) as usize);
            self.log.extend_from_slice(records);
        }
    }

    /// Whether the log goes on from this snapshot.
    fn holds(&self, snapshot: &SnapshotMeta) -> bool {
        let index = snapshot.index.0;
        index >= self.base.0 && index <= self.last() && self.term_at(index) == snapshot.term.0
    }

    /// What a restart makes of it when this snapshot counts.
    fn with(&self, snapshot: Option<&SnapshotMeta>) -> State {
        match snapshot {
            Some(snapshot) if !self.holds(snapshot) => State {
                base: (snapshot.index.0, snapshot.term.0),
                log: Vec::new(),
                hard_state: self.hard_state,
            },
            Some(_) | None => self.clone(),
        }
    }
}

/// What happened, over all seeds: a run in which nothing happened proves nothing.
#[derive(Debug, Default)]
struct Counts {
    torn: u64,
    repaired: u64,
    compactions: u64,
    snapshots: u64,
    resets: u64,
    resets_by_restart: u64,
    parts: u64,
    cuts: u64,
    full: u64,
    laps: u64,
}

/// One life after another of a store on one disk.
struct Run {
    prng: Prng,
    machine: Machine,
    /// The states from the last that is known to be durable.
    states: Vec<State>,
    /// Nothing before it is needed any more.
    floor: u64,
    /// The number of the first state in the list, which is its ticket.
    first_ticket: u64,
    /// The snapshot that is known to be durable.
    snapshot: Option<SnapshotMeta>,
    /// The one that is being written, and the data that is still to be appended.
    draft: Option<(SnapshotMeta, Vec<u8>)>,
    /// All of it is there: it may be durable.
    is_finishing: bool,
}

/// How long the data of a test's snapshot is.
fn length_of(index: u64) -> usize {
    if index.is_multiple_of(3) { 100_000 } else { (index * 37 % 3000) as usize }
}

impl Run {
    fn now(&self) -> &State {
        self.states.last().expect("there is always one")
    }

    fn push(&mut self, state: State) -> u64 {
        self.states.push(state);
        self.first_ticket + self.states.len() as u64 - 1
    }

    /// The states that the disk may be in, going by what was acknowledged.
    fn possible(&self) -> &[State] {
        let acknowledged = self.machine.persisted.last().copied().unwrap_or(self.first_ticket);
        &self.states[(acknowledged - self.first_ticket) as usize..]
    }

    /// What a snapshot stands for is committed, and not cut.
    fn committed(&self) -> u64 {
        let draft = self.draft.as_ref().map(|(meta, _)| meta);
        let local = draft.filter(|meta| self.now().holds(meta));
        local.or(self.snapshot.as_ref()).map_or(0, |meta| meta.index.0)
    }

    fn persist(&mut self, counts: &mut Counts) {
        let mut next = self.now().clone();
        let mut hard_state = None;
        let mut term = next.hard_state.term.0;
        if self.prng.chance(1, 4) {
            term += 1;
            hard_state = Some(HardState { term: Term(term), vote: None });
        }
        let first_open = self.floor.max(next.base.0 + 1).max(self.committed() + 1);
        let open = (next.last() + 1).saturating_sub(first_open);
        // A cut only comes with a later term, as in Raft.
        let cut = if hard_state.is_some() { self.prng.below(open.min(40) + 1) } else { 0 };
        let first = next.last() + 1 - cut;
        let (count, size) = match self.prng.below(12) {
            0 => (0, 1),
            1 | 2 => (1 + self.prng.below(600), 30),
            3 => (1 + self.prng.below(4), 60_000),
            4 | 5 => (1 + self.prng.below(40), 1500),
            _ => (1 + self.prng.below(12), 200),
        };
        let lengths: Vec<usize> = (0..count).map(|_| self.prng.below(size) as usize).collect();
        let records: Vec<Record> = (first..)
            .zip(lengths)
            .map(|(index, length)| record(index, term.max(1), length))
            .collect();
        next.apply(hard_state, &records);
        let ticket = self.first_ticket + self.states.len() as u64;
        match self.machine.store.persist(ticket, hard_state, records) {
            Ok(()) => {
                counts.cuts += u64::from(cut > 0 && count > 0);
                self.push(next);
            }
            Err(PersistError::Full) => {
                counts.full += 1;
                self.compact(counts);
            }
            Err(PersistError::NotReady) => panic!("it is ready"),
        }
    }

    fn compact(&mut self, counts: &mut Counts) {
        let first = self.floor.max(self.now().base.0 + 1);
        let last = self.snapshot.as_ref().map_or(0, |meta| meta.index.0);
        let target = if self.prng.chance(1, 2) {
            last + 1
        } else {
            first + self.prng.below((last + 2).saturating_sub(first).max(1))
        };
        if self.machine.store.compact(LogIndex(target)).is_ok() {
            counts.compactions += u64::from(target > first);
            self.floor = self.floor.max(target);
        }
    }

    /// Begins a snapshot of the log, or of another log: beyond this one, or beside it.
    fn begin_snapshot(&mut self) {
        let before = self.snapshot.as_ref().map_or(0, |meta| meta.index.0);
        let last = self.now().last();
        let is_foreign = self.prng.chance(1, 5);
        let meta = if is_foreign {
            let index = before + 1 + self.prng.below(last + 200 - before.min(last));
            // No record of this log ever has such a term.
            meta(index, 1_000_000 + index)
        } else {
            let durable = self.machine.store.status().durable_last.0.min(last);
            let index = durable.saturating_sub(self.prng.below(30));
            let is_settled = |state: &State| {
                index > state.base.0
                    && index <= state.last()
                    && state.term_at(index) == self.now().term_at(index)
            };
            if index <= before || !self.possible().iter().all(is_settled) {
                return;
            }
            meta(index, self.now().term_at(index))
        };
        let index = meta.index.0;
        match self.machine.store.begin_snapshot(meta.clone()) {
            Ok(()) => self.draft = Some((meta, snapshot_data(index, length_of(index)))),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Goes on with the snapshot that is being written.
    fn write_snapshot(&mut self) {
        let Some((_, data)) = &mut self.draft else { return self.begin_snapshot() };
        if self.is_finishing {
            return;
        }
        if self.prng.chance(1, 30) {
            self.machine.store.abandon_snapshot().unwrap();
            self.draft = None;
            return;
        }
        let part = data.len().min(1 + self.prng.below(60_000) as usize);
        match self.machine.store.append_snapshot(&data[..part]) {
            Ok(()) => drop(data.drain(..part)),
            Err(SnapshotError::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
        if data.is_empty() {
            self.machine.store.finish_snapshot().unwrap();
            self.is_finishing = true;
        }
    }

    /// A snapshot that has become durable: a foreign one is installed.
    fn watch_snapshot(&mut self, counts: &mut Counts) {
        let Some(meta) = self.machine.durable_snapshots.last().cloned() else { return };
        // The caller may take its time with the installation.
        if !self.now().holds(&meta) && self.prng.chance(2, 3) {
            return;
        }
        self.machine.durable_snapshots.clear();
        counts.snapshots += 1;
        self.is_finishing = false;
        self.draft = None;
        if !self.now().holds(&meta) {
            let (index, term) = (meta.index.0, meta.term.0);
            let state = State { base: (index, term), log: Vec::new(), ..self.now().clone() };
            self.machine.store.reset_log(meta.index, meta.term).unwrap();
            self.floor = index + 1;
            let ticket = self.push(state);
            // The reset itself has no ticket: what is asked for next tells that it is durable.
            self.machine.store.persist(ticket, None, Vec::new()).unwrap();
            counts.resets += 1;
        }
        self.snapshot = Some(meta);
    }

    fn live(&mut self, counts: &mut Counts) {
        for _ in 0..self.prng.below(70) {
            match self.prng.below(40) {
                0..=5 => self.compact(counts),
                6..=8 => self.machine.finish(),
                9 => {
                    self.machine.now += Duration::from_secs(1);
                    self.machine.store.handle_timeout(self.machine.now);
                }
                10 | 11 => self.read(),
                12..=18 => self.write_snapshot(),
                _ => self.persist(counts),
            }
            self.machine.drain();
            self.watch_snapshot(counts);
            self.machine.drain();
            for _ in 0..self.prng.below(10) {
                if self.machine.is_busy() {
                    self.machine.step(&mut self.prng);
                    self.watch_snapshot(counts);
                    self.machine.drain();
                }
            }
            self.check_parts(counts);
        }
        assert_eq!(self.machine.failed, None);
    }

    /// Asks for something, whose answer is looked at by and by.
    fn read(&mut self) {
        let status = self.machine.store.status();
        let (first, last) = (status.first_index.0, status.durable_last.0);
        if first <= last {
            let from = LogIndex(first + self.prng.below(last + 1 - first));
            let _ = self.machine.store.read(1, from, LogIndex(last), 3000);
        }
        let offset = self.prng.below(status.snapshot_bytes + 1);
        let _ = self.machine.store.read_snapshot(2, offset, 20_000);
    }

    fn check_parts(&mut self, counts: &mut Counts) {
        for part in self.machine.parts.drain(..) {
            let index = part.meta.index.0;
            let data = snapshot_data(index, length_of(index));
            let bytes = part.bytes.expect("nothing is damaged");
            assert!(data[data.len().min(part.offset as usize)..].starts_with(&bytes));
            counts.parts += u64::from(!bytes.is_empty());
        }
    }

    /// The machine loses power and starts again. Which state is it?
    fn crash(&mut self, seed: u64, counts: &mut Counts) {
        let known = self.possible().to_vec();
        let durable_first = self.machine.store.status().first_index.0;
        let mut disk = std::mem::take(&mut self.machine.disk);
        disk.crash(&mut self.prng);
        self.machine = Machine::start_with(disk, config(SMALL));
        self.machine.finish();
        let recovered = self.machine.recovered.clone();
        let recovered = recovered.unwrap_or_else(|| panic!("{seed}: {:?}", self.machine.failed));
        let (first, last) = (recovered.first_index.0, recovered.last_index.0);
        let log = self.machine.read_all(recovered.last_index);
        assert_eq!(self.machine.failed, None, "seed {seed}");

        let snapshot = recovered.snapshot.map(|stored| stored.meta);
        let draft = self.draft.take().filter(|_| self.is_finishing).map(|(meta, _)| meta);
        assert!(snapshot == self.snapshot || snapshot == draft, "seed {seed}: {snapshot:?}");
        if let Some(meta) = &snapshot {
            let data = snapshot_data(meta.index.0, length_of(meta.index.0));
            assert_eq!(self.machine.read_snapshot(), Ok(data), "seed {seed}");
        }
        let is_reset = known.iter().any(|state| state.with(snapshot.as_ref()).base != state.base);
        let is_log = |state: &State| {
            first > state.base.0 && state.last() == last && state.from(first) == log
        };
        let mut states = known.iter().map(|state| state.with(snapshot.as_ref()));
        let state = states.find(is_log);
        let state =
            state.unwrap_or_else(|| panic!("seed {seed}: no state ends so: {first}-{last}"));
        assert!(first >= durable_first.min(state.base.0 + 1), "seed {seed}: {first}");
        assert!(first <= self.floor.max(state.base.0 + 1), "seed {seed}: {first}");
        assert_eq!(recovered.front_term.0, state.term_at(first - 1), "seed {seed}");
        let hard_state = recovered.hard_state;
        assert!(known.iter().any(|state| state.hard_state == hard_state), "seed {seed}");
        self.states = vec![State { hard_state, ..state }];
        self.floor = first;
        self.first_ticket += 1_000_000;
        (self.snapshot, self.is_finishing) = (snapshot, false);
        counts.torn += recovered.torn;
        counts.repaired += recovered.repaired as u64;
        counts.resets_by_restart += u64::from(is_reset);
    }
}

fn run(seed: u64, counts: &mut Counts) {
    let mut machine = Machine::start_with(Disk::default(), config(SMALL));
    machine.finish();
    let mut run = Run {
        prng: Prng::new(seed),
        machine,
        states: vec![State::default()],
        floor: 1,
        first_ticket: 0,
        snapshot: None,
        draft: None,
        is_finishing: false,
    };
    let mut last = 0;
    for _ in 0..6 {
        run.live(counts);
        run.crash(seed, counts);
        last = last.max(run.now().last());
    }
    counts.laps += last / 2048;
}

/// More seeds than there is time for in every run: `STORE_SEEDS=10000`.
#[test]
fn the_disk_always_holds_a_state_of_the_model() {
    let mut counts = Counts::default();
    let seeds = std::env::var("STORE_SEEDS").map_or(300, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        run(seed, &mut counts);
    }
    let Counts { torn, repaired, compactions, snapshots, resets, .. } = counts;
    assert!(torn.min(repaired).min(compactions).min(snapshots).min(resets) > 100, "{counts:?}");
    let Counts { resets_by_restart, parts, cuts, full, laps, .. } = counts;
    assert!(parts.min(cuts) > 100 && resets_by_restart.min(full).min(laps) > 10, "{counts:?}");
}
