//! Which core handles a frame: the one that RSS spreads its flow to, or the one whose service consumes it.
//!
//! The hash of a flow picks a core from the indirection table, as a card with RSS does. When a service reads
//! a flow on another core, the flow should go there (receive flow steering). It must not be overtaken by
//! itself on the way: it moves only when everything of it that waits on its old core has been handled, as
//! `rps_dev_flow` does in Linux (`Documentation/networking/scaling.rst`, "RFS: Receive Flow Steering").

use alloc::boxed::Box;
use alloc::vec;

use crate::limits::{CORES_MAX, INDIRECTION_ENTRIES, STEERED_PLACES};

/// The number of a core, and of the queue pair that it polls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Core(pub u8);

/// What became of flows, in frames, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SteeringStatistics {
    /// Frames that went where RSS spreads them.
    pub spread: u64,
    /// Frames that went where their flow is consumed.
    pub steered: u64,
    /// How often a flow moved to another core.
    pub moved: u64,
    /// Frames that went to their old core because earlier ones still waited there.
    pub held_back: u64,
}

/// Flows whose hashes agree in their lower bits.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where they are consumed, if anybody has said so.
    wanted: Option<Core>,
    /// Where their frames go, if there were any.
    current: Option<Core>,
    /// How many frames that core had been given when it was given their last one.
    last: u64,
}

/// How many frames a core was given, and how many of those it has handled.
#[derive(Clone, Copy, Debug, Default)]
struct Backlog {
    given: u64,
    handled: u64,
}

/// The table that says where a frame goes. Every look-up is O(1).
#[derive(Clone, Debug)]
pub struct Steering {
    indirection: [Core; INDIRECTION_ENTRIES],
    places: Box<[Place]>,
    backlogs: [Backlog; CORES_MAX],
    cores: u8,
    statistics: SteeringStatistics,
}

impl Steering {
    /// A table for the cores `0..cores`, among which flows are spread evenly.
    ///
    /// # Panics
    /// If there is no core, or there are more than [`CORES_MAX`].
    pub fn new(cores: u8) -> Steering {
        assert!((1..=CORES_MAX).contains(&usize::from(cores)), "there are 1 to CORES_MAX cores");
        let mut steering = Steering {
            indirection: [Core(0); INDIRECTION_ENTRIES],
            places: vec![Place { wanted: None, current: None, last: 0 }; STEERED_PLACES].into(),
            backlogs: [Backlog::default(); CORES_MAX],
            cores,
            statistics: SteeringStatistics::default(),
        };
        for (entry, core) in steering.indirection.iter_mut().zip((0..cores).cycle()) {
            *entry = Core(core);
        }
        steering
    }

    /// Which core RSS spreads flows of `hash` to.
    pub fn spread(&self, hash: u32) -> Core {
        self.indirection[hash as usize % INDIRECTION_ENTRIES]
    }

    /// The whole indirection table, as it is written to a card.
    pub fn indirection(&self) -> &[Core; INDIRECTION_ENTRIES] {
        &self.indirection
    }

    /// Spreads to `core` what entry `entry` (modulo the table's length) stands for. Flows that have been seen
    /// move only when their old core has handled them.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn set_indirection(&mut self, entry: usize, core: Core) {
        assert!(core.0 < self.cores, "there is such a core");
        self.indirection[entry % INDIRECTION_ENTRIES] = core;
    }

    /// A service reads the flow of `hash` on `core`: its frames should go there from now on.
    ///
    /// # Panics
    /// If there is no such core.
    pub fn consumed_on(&mut self, hash: u32, core: Core) {
        assert!(core.0 < self.cores, "there is such a core");
        self.place_of(hash).wanted = Some(core);
    }

    /// Nobody reads the flow of `hash` any more: it goes where RSS spreads it.
    pub fn forget(&mut self, hash: u32) {
        self.place_of(hash).wanted = None;
    }

    /// The core that the flow of `hash` would leave if it were done with what it was given: whoever steers
    /// can see whether it is by now.
    pub fn holder(&self, hash: u32) -> Option<Core> {
        let place = self.places[hash as usize % STEERED_PLACES];
        let goal = place.wanted.unwrap_or(self.spread(hash));
        place.current.filter(|core| *core != goal && !self.has_handled(*core, place.last))
    }

    /// Says where the next frame of the flow of `hash` goes, and counts it as given to that core, in whose
    /// queue it must come behind all that were given before.
    pub fn steer(&mut self, hash: u32) -> Core {
        let spread = self.spread(hash);
        let place = *self.place_of(hash);
        let goal = place.wanted.unwrap_or(spread);
        let core = match place.current {
            Some(current) if current != goal && !self.has_handled(current, place.last) => {
                self.statistics.held_back += 1;
                current
            }
            Some(current) => {
                self.statistics.moved += u64::from(current != goal);
                goal
            }
            None => goal,
        };
        match place.wanted {
            Some(wanted) if wanted == core => self.statistics.steered += 1,
            _ => self.statistics.spread += 1,
        }
        let backlog = &mut self.backlogs[usize::from(core.0)];
        backlog.given += 1;
        let last = backlog.given;
        *self.place_of(hash) = Place { current: Some(core), last, ..place };
        core
    }

    /// `core` has handled the first `frames` of those that wait in its queue, or dropped them.
    ///
    /// # Panics
    /// If there is no such core, or fewer frames wait there.
    pub fn handled(&mut self, core: Core, frames: u64) {
        assert!(core.0 < self.cores, "there is such a core");
        let backlog = &mut self.backlogs[usize::from(core.0)];
        assert!(frames <= backlog.given - backlog.handled, "only what was given is handled");
        backlog.handled += frames;
    }

    /// How many frames wait for `core`; none for a core that does not exist.
    pub fn backlog(&self, core: Core) -> u64 {
        self.backlogs.get(usize::from(core.0)).map_or(0, |queue| queue.given - queue.handled)
    }

    /// What was counted so far.
    pub fn statistics(&self) -> SteeringStatistics {
        self.statistics
    }

    fn has_handled(&self, core: Core, last: u64) -> bool {
        self.backlogs[usize::from(core.0)].handled >= last
    }

    fn place_of(&mut self, hash: u32) -> &mut Place {
        &mut self.places[hash as usize % STEERED_PLACES]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn flows_are_spread_over_all_cores() {
        let steering = Steering::new(3);
        let shares = steering.indirection().iter().fold([0; 3], |mut shares, core| {
            shares[usize::from(core.0)] += 1;
            shares
        });
        assert_eq!(shares, [43, 43, 42]);
    }

    #[test]
    fn a_flow_moves_to_its_consumer_when_its_old_queue_has_drained() {
        let mut steering = Steering::new(2);
        assert_eq!([steering.steer(4), steering.steer(4)], [Core(0); 2]);

        steering.consumed_on(4, Core(1));
        assert_eq!(steering.steer(4), Core(0), "two frames wait on the old core");
        assert_eq!((steering.holder(4), steering.holder(5)), (Some(Core(0)), None));
        steering.handled(Core(0), 2);
        assert_eq!(steering.steer(4), Core(0), "the third waits");
        steering.handled(Core(0), 2);
        assert_eq!(steering.holder(4), None);
        assert_eq!(steering.steer(4), Core(1));

        let expected = SteeringStatistics { spread: 4, steered: 1, moved: 1, held_back: 2 };
        assert_eq!(steering.statistics(), expected);
        assert_eq!([steering.backlog(Core(0)), steering.backlog(Core(1))], [0, 1]);
    }

    #[test]
    fn frames_of_others_that_came_later_hold_nothing_back() {
        let mut steering = Steering::new(2);
        steering.steer(4);
        steering.steer(8);
        steering.consumed_on(4, Core(1));
        steering.handled(Core(0), 1);
        assert_eq!(steering.steer(4), Core(1), "only the other flow's frame still waits");
    }

    #[test]
    fn a_flow_that_nobody_reads_goes_back_to_where_it_is_spread() {
        let mut steering = Steering::new(2);
        steering.consumed_on(4, Core(1));
        assert_eq!(steering.steer(4), Core(1));
        steering.forget(4);
        steering.handled(Core(1), 1);
        assert_eq!(steering.steer(4), Core(0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u32),
        Handle(u8, usize),
        Consume(u32, u8),
        Forget(u32),
        Respread(usize, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Some of these flows share a place, and all of them few entries.
        let hash =
            || (0..4_u32, 0..2_u32).prop_map(|(low, high)| low + high * STEERED_PLACES as u32);
        prop_oneof![
            6 => hash().prop_map(Step::Arrive),
            4 => (0..3_u8, 1..4_usize).prop_map(|(core, frames)| Step::Handle(core, frames)),
            2 => (hash(), 0..3_u8).prop_map(|(hash, core)| Step::Consume(hash, core)),
            1 => hash().prop_map(Step::Forget),
            1 => (0..4_usize, 0..3_u8).prop_map(|(entry, core)| Step::Respread(entry, core)),
        ]
    }

    /// Cores with queues, and who has handled how much of which flow.
    #[derive(Default)]
    struct Model {
        queues: [VecDeque<(u32, u64)>; 3],
        arrived: BTreeMap<u32, u64>,
        handled: BTreeMap<u32, u64>,
    }

    impl Model {
        fn arrive(&mut self, hash: u32, core: Core) {
            let number = self.arrived.entry(hash).or_default();
            *number += 1;
            self.queues[usize::from(core.0)].push_back((hash, *number));
        }

        /// How many were there to handle. Each must be the next one of its flow.
        fn handle(&mut self, core: u8, frames: usize) -> Result<u64, TestCaseError> {
            let mut count = 0;
            for _ in 0..frames {
                let Some((hash, number)) = self.queues[usize::from(core)].pop_front() else {
                    break;
                };
                let handled = self.handled.entry(hash).or_default();
                *handled += 1;
                prop_assert_eq!(*handled, number, "flow {} was overtaken by itself", hash);
                count += 1;
            }
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn no_flow_is_reordered(steps in proptest::collection::vec(step(), 1..300)) {
            let mut steering = Steering::new(3);
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Arrive(hash) => model.arrive(hash, steering.steer(hash)),
                    Step::Handle(core, frames) => {
                        steering.handled(Core(core), model.handle(core, frames)?);
                    }
                    Step::Consume(hash, core) => steering.consumed_on(hash, Core(core)),
                    Step::Forget(hash) => steering.forget(hash),
                    Step::Respread(entry, core) => steering.set_indirection(entry, Core(core)),
                }
                for (core, queue) in (0..).zip(&model.queues) {
                    prop_assert_eq!(steering.backlog(Core(core)), queue.len() as u64);
                }
            }
        }
    }
}
