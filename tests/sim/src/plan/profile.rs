//! Kinds of run. Each makes much of something: trouble that is spread evenly hides what only much of one
//! kind brings to light (A. Groce et al., "Swarm testing", 2012).

use base::{Duration, Prng, limits};

use super::{Act, Moment, Plan, Reaction, Topology, Trouble, Who};

/// A clock may be so wrong where leases rest on it, in parts in a million.
pub(super) const CLOCK_ERROR_MAX_PPM: u64 = limits::LEASE_CLOCK_ERROR_MAX_PERCENT * 10_000;

/// What a run is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Profile {
    /// Hardly anything goes wrong.
    Calm,
    /// Wires that lose, double, garble and delay.
    Lossy,
    /// Partitions, most of them between the leader and the others.
    Partitions,
    /// Machines that lose power, the leader's above all, and at the moment at which it has answered.
    PowerCuts,
    /// Voters that lose power just after they have voted, while the candidate is cut off.
    Voters,
    /// Followers that lose power just after a leader has counted what they have.
    Ackers,
    /// Leaders that come and go before their entries are anywhere else (Raft, figure 8).
    Figure8,
    /// Nodes that stand still for a while.
    Pauses,
    /// Nodes that hear and are not heard, or the other way around.
    OneWay,
    /// Disks whose flushes take longer than elections.
    SlowDisks,
    /// Partitions in which some nodes hear both sides: bridges, chains, rings, one-way splits.
    Partial,
    /// Disks that finish nothing for a while, or for ever.
    HungDisks,
    /// Clocks that leap, and calendars that are set.
    Clocks,
    /// Reads by lease, clocks as wrong as they may be, and leaders that are cut off or stand still.
    Leases,
    /// Leaders that are told to hand over, and nodes that are told to stop, while machines fail.
    Orders,
    /// Everything, drawn freely.
    Mixed,
    /// Disks that do not keep what they were given.
    Rot,
    /// One node.
    Alone,
    /// Nodes that join and members that are removed, while machines and wires fail.
    Members,
    /// Thirty-two nodes, of which less than half fail.
    Large,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 20] = [
        Profile::Calm,
        Profile::Lossy,
        Profile::Partitions,
        Profile::PowerCuts,
        Profile::Voters,
        Profile::Ackers,
        Profile::Figure8,
        Profile::Pauses,
        Profile::OneWay,
        Profile::SlowDisks,
        Profile::Partial,
        Profile::HungDisks,
        Profile::Clocks,
        Profile::Leases,
        Profile::Orders,
        Profile::Mixed,
        Profile::Rot,
        Profile::Alone,
        Profile::Members,
        Profile::Large,
    ];

    /// The profile with this name, as `Debug` shows it, in small letters or not.
    pub fn parse(name: &str) -> Option<Profile> {
        Profile::ALL.into_iter().find(|profile| format!("{profile:?}").eq_ignore_ascii_case(name))
    }

    /// A profile by chance. Large clusters take long, so they are rare.
    pub(super) fn draw(prng: &mut Prng) -> Profile {
        const LARGE_EVERY: u64 = 128;
        if prng.chance(1, LARGE_EVERY) {
            return Profile::Large;
        }
        // Half of those that would be calm are about members.
        let others = Profile::ALL.len() as u64 - 2;
        match Profile::ALL[prng.below(others) as usize] {
            Profile::Calm if prng.chance(1, 2) => Profile::Members,
            other => other,
        }
    }

    /// Gives a moderate plan its character.
    pub(super) fn shape(self, plan: &mut Plan, prng: &mut Prng) {
        match self {
            Profile::Calm => shape_calm(plan),
            Profile::Lossy => shape_lossy(plan, prng),
            Profile::Partitions => shape_partitions(plan),
            Profile::PowerCuts => shape_power_cuts(plan, prng),
            Profile::Voters => shape_voters(plan, prng),
            Profile::Ackers => shape_ackers(plan, prng),
            Profile::Figure8 => shape_figure_8(plan, prng),
            Profile::Pauses => shape_pauses(plan),
            Profile::OneWay => shape_one_way(plan),
            Profile::SlowDisks => shape_slow_disks(plan, prng),
            Profile::Partial => shape_partial(plan, prng),
            Profile::HungDisks => shape_hung_disks(plan, prng),
            Profile::Clocks => shape_clocks(plan),
            Profile::Leases => shape_leases(plan, prng),
            Profile::Orders => shape_orders(plan, prng),
            Profile::Mixed => shape_mixed(plan, prng),
            Profile::Rot => shape_rot(plan, prng),
            Profile::Alone => shape_alone(plan),
            Profile::Members => shape_members(plan, prng),
            Profile::Large => shape_large(plan),
        }
    }
}

fn reaction(moment: Moment, chance_per_mille: u64, delay_max_us: u64, act: Act) -> Reaction {
    Reaction { moment, chance_per_mille, delay_max: Duration::from_micros(delay_max_us), act }
}

fn shape_calm(plan: &mut Plan) {
    plan.trouble = Duration::from_millis(1_000);
    plan.troubles = vec![(1, Trouble::CutOff(Who::Leader)), (1, Trouble::Mend)];
    plan.pause = Duration::from_millis(600);
}

fn shape_lossy(plan: &mut Plan, prng: &mut Prng) {
    plan.weather.delay_max = Duration::from_micros(prng.between(1_000, 30_000));
    plan.weather.loss_per_mille = prng.between(50, 200);
    plan.weather.duplicate_per_mille = prng.between(50, 200);
    plan.weather.corrupt_per_mille = prng.between(10, 60);
    plan.troubles = vec![
        (2, Trouble::Late),
        (1, Trouble::Deaf),
        (1, Trouble::Power(Who::Anyone)),
        (2, Trouble::Restore),
    ];
}

fn shape_partitions(plan: &mut Plan) {
    plan.troubles = vec![
        (4, Trouble::CutOff(Who::Leader)),
        (3, Trouble::Split),
        (1, Trouble::Deaf),
        (1, Trouble::Late),
        (2, Trouble::Mend),
    ];
}

fn shape_power_cuts(plan: &mut Plan, prng: &mut Prng) {
    plan.pause = Duration::from_millis(prng.between(100, 300));
    plan.troubles = vec![
        (3, Trouble::Power(Who::Leader)),
        (2, Trouble::Power(Who::Anyone)),
        (1, Trouble::Blackout),
        (3, Trouble::Restore),
    ];
    plan.reactions = vec![
        reaction(Moment::Answered, prng.between(5, 30), 0, Act::Crash),
        reaction(Moment::Elected, prng.between(50, 300), 2_000, Act::Crash),
    ];
}

/// The votes must be many, and on their way to the disk for long.
fn shape_voters(plan: &mut Plan, prng: &mut Prng) {
    plan.temper.flush_min = Duration::from_millis(2);
    plan.temper.flush_max = Duration::from_millis(prng.between(5, 30));
    plan.temper.lost_per_mille = 900;
    plan.temper.torn_per_mille = 50;
    plan.weather.loss_per_mille = prng.between(0, 100);
    plan.troubles = vec![
        (4, Trouble::CutOff(Who::Leader)),
        (2, Trouble::Power(Who::Leader)),
        (2, Trouble::Deaf),
        (2, Trouble::Restore),
    ];
    plan.reactions = vec![reaction(Moment::Voted, prng.between(200, 700), 500, Act::CrashVoter)];
}

/// Acknowledgements must be faster than the disk.
fn shape_ackers(plan: &mut Plan, prng: &mut Prng) {
    plan.weather.delay_max = Duration::from_micros(prng.between(200, 1_000));
    plan.temper.flush_min = Duration::from_millis(1);
    plan.temper.flush_max = Duration::from_millis(prng.between(5, 30));
    plan.temper.lost_per_mille = 800;
    plan.temper.torn_per_mille = 100;
    plan.troubles = vec![
        (2, Trouble::CutOff(Who::Follower)),
        (1, Trouble::Power(Who::Leader)),
        (1, Trouble::Blackout),
        (3, Trouble::Restore),
    ];
    plan.reactions = vec![reaction(Moment::Committed, prng.between(5, 40), 200, Act::CrashOthers)];
}

/// Leaders must be elected and not be heard, so that each has entries that nobody else has. Entries must
/// travel one by one, or a leader's own entry arrives together with the old ones.
fn shape_figure_8(plan: &mut Plan, prng: &mut Prng) {
    plan.nodes = if prng.chance(3, 4) { 3 } else { 5 };
    plan.trouble = Duration::from_millis(prng.between(3_000, 5_000));
    plan.tuning.append_entries_max = 1;
    plan.tuning.append_in_flight_max = if prng.chance(2, 3) { 1 } else { 2 };
    plan.pause = Duration::from_millis(prng.between(400, 800));
    plan.troubles = vec![
        (3, Trouble::CutOff(Who::Leader)),
        (1, Trouble::Power(Who::Leader)),
        (1, Trouble::Restore),
    ];
    plan.reactions = vec![
        reaction(Moment::Voted, prng.between(100, 600), 0, Act::MuteCandidate),
        reaction(Moment::FirstCommitted, prng.between(200, 800), 0, Act::CrashOthers),
        reaction(Moment::Elected, prng.between(0, 200), 3_000, Act::CutOff),
        reaction(Moment::Elected, prng.between(0, 100), 0, Act::LeaveOne),
    ];
}

fn shape_pauses(plan: &mut Plan) {
    plan.troubles = vec![
        (4, Trouble::Pause(Who::Leader)),
        (2, Trouble::Pause(Who::Anyone)),
        (1, Trouble::CutOff(Who::Leader)),
        (1, Trouble::Late),
        (1, Trouble::Mend),
    ];
}

fn shape_one_way(plan: &mut Plan) {
    plan.pause = Duration::from_millis(150);
    plan.troubles = vec![
        (5, Trouble::Deaf),
        (2, Trouble::Late),
        (1, Trouble::Power(Who::Anyone)),
        (2, Trouble::Restore),
    ];
}

fn shape_slow_disks(plan: &mut Plan, prng: &mut Prng) {
    plan.weather.delay_max = Duration::from_micros(prng.between(200, 1_000));
    plan.temper.flush_min = Duration::from_millis(prng.between(1, 10));
    plan.temper.flush_max = Duration::from_millis(prng.between(20, 120));
    plan.temper.slow_per_mille = prng.between(5, 40);
    plan.temper.slow_max = Duration::from_millis(prng.between(200, 1_000));
    plan.troubles = vec![
        (3, Trouble::CutOff(Who::Leader)),
        (2, Trouble::Power(Who::Leader)),
        (1, Trouble::Blackout),
        (3, Trouble::Restore),
    ];
}

/// A ring of three is whole: there must be more.
fn shape_partial(plan: &mut Plan, prng: &mut Prng) {
    plan.nodes = [3, 5, 5, 7][prng.below(4) as usize];
    plan.troubles = vec![
        (3, Trouble::Arrange(Topology::Bridge)),
        (3, Trouble::Arrange(Topology::Chain)),
        (3, Trouble::Arrange(Topology::Ring)),
        (3, Trouble::OneWaySplit),
        (1, Trouble::Power(Who::Leader)),
        (1, Trouble::Late),
        (2, Trouble::Restore),
    ];
    if prng.chance(1, 2) {
        plan.reactions = vec![reaction(Moment::Elected, prng.below(200), 3_000, Act::CutOff)];
    }
}

fn shape_hung_disks(plan: &mut Plan, prng: &mut Prng) {
    plan.trouble = Duration::from_millis(prng.between(3_000, 5_000));
    plan.pause = Duration::from_millis(prng.between(400, 1_000));
    plan.troubles = vec![
        (4, Trouble::HangDisk(Who::Leader)),
        (2, Trouble::HangDisk(Who::Follower)),
        (3, Trouble::LoseDisk(Who::Leader)),
        (1, Trouble::LoseDisk(Who::Follower)),
        (1, Trouble::Power(Who::Anyone)),
        (1, Trouble::Mend),
        (2, Trouble::Restore),
    ];
    plan.reactions = vec![
        reaction(Moment::Voted, prng.below(200), 500, Act::HangDisk),
        reaction(Moment::Elected, prng.below(200), 5_000, Act::HangDisk),
    ];
}

fn shape_clocks(plan: &mut Plan) {
    plan.troubles = vec![
        (4, Trouble::Leap(Who::Leader)),
        (3, Trouble::Leap(Who::Follower)),
        (4, Trouble::SetCalendar(Who::Anyone)),
        (3, Trouble::Power(Who::Leader)),
        (3, Trouble::Power(Who::Anyone)),
        (1, Trouble::CutOff(Who::Leader)),
        (2, Trouble::Restore),
    ];
}

/// Whoever is cut off or has stood still must be asked before it knows, and the others must be quick to elect
/// another and to write.
fn shape_leases(plan: &mut Plan, prng: &mut Prng) {
    plan.nodes = if prng.chance(3, 4) { 3 } else { 5 };
    plan.tuning.lease_reads = true;
    plan.tuning.clock_error_min_ppm = if prng.chance(1, 2) { CLOCK_ERROR_MAX_PPM } else { 0 };
    plan.tuning.clock_error_max_ppm = CLOCK_ERROR_MAX_PPM;
    // Whoever has asked for a write that does not come waits, and asks nobody else.
    plan.clients = 16;
    plan.think_max = Duration::from_millis(1);
    plan.trouble = Duration::from_millis(prng.between(2_000, 4_000));
    plan.pause = Duration::from_millis(prng.between(150, 400));
    plan.weather.delay_max = Duration::from_micros(prng.between(200, 1_000));
    plan.weather.loss_per_mille = 0;
    plan.temper.flush_max = Duration::from_micros(prng.between(200, 1_000));
    plan.troubles = vec![
        (5, Trouble::CutOff(Who::Leader)),
        (4, Trouble::Pause(Who::Leader)),
        (1, Trouble::Pause(Who::Anyone)),
        (1, Trouble::Late),
        (1, Trouble::HandOver),
        (1, Trouble::Power(Who::Follower)),
        (3, Trouble::Restore),
    ];
}

fn shape_orders(plan: &mut Plan, prng: &mut Prng) {
    plan.pause = Duration::from_millis(prng.between(100, 400));
    plan.troubles = vec![
        (5, Trouble::HandOver),
        (2, Trouble::Stop(Who::Leader)),
        (2, Trouble::Stop(Who::Anyone)),
        (1, Trouble::Power(Who::Anyone)),
        (1, Trouble::Deaf),
        (1, Trouble::HangDisk(Who::Follower)),
        (3, Trouble::Restore),
    ];
    plan.reactions = vec![reaction(Moment::Elected, prng.below(150), 3_000, Act::Crash)];
}

fn shape_mixed(plan: &mut Plan, prng: &mut Prng) {
    let mut weight = || prng.below(5);
    plan.troubles = vec![
        (weight(), Trouble::Power(Who::Anyone)),
        (weight(), Trouble::Power(Who::Leader)),
        (weight() / 3, Trouble::Blackout),
        (weight(), Trouble::Split),
        (weight(), Trouble::CutOff(Who::Leader)),
        (weight(), Trouble::Deaf),
        (weight(), Trouble::Late),
        (weight(), Trouble::Pause(Who::Anyone)),
        (weight() / 2, Trouble::Arrange(Topology::Bridge)),
        (weight() / 2, Trouble::Arrange(Topology::Chain)),
        (weight() / 2, Trouble::OneWaySplit),
        (weight() / 2, Trouble::HangDisk(Who::Anyone)),
        (weight() / 4, Trouble::LoseDisk(Who::Anyone)),
        (weight() / 2, Trouble::Leap(Who::Anyone)),
        (weight() / 2, Trouble::HandOver),
        (weight() / 4, Trouble::Stop(Who::Anyone)),
        (weight(), Trouble::Mend),
        (1 + weight(), Trouble::Restore),
    ];
    plan.temper.slow_per_mille = prng.below(10);
    plan.temper.slow_max = Duration::from_millis(300);
    let moments = [
        (Moment::Voted, 300, Act::CrashVoter),
        (Moment::Elected, 200, Act::CutOff),
        (Moment::Committed, 20, Act::CutOff),
        (Moment::Committed, 10, Act::CrashOthers),
        (Moment::Answered, 10, Act::Crash),
    ];
    for (moment, most_per_mille, act) in moments {
        if prng.chance(1, 3) {
            plan.reactions.push(reaction(moment, prng.below(most_per_mille), 1_000, act));
        }
    }
}

/// What is damaged must be read: by nodes that start, and by those that keep little in memory.
fn shape_rot(plan: &mut Plan, prng: &mut Prng) {
    plan.trouble = Duration::from_millis(prng.between(2_000, 5_000));
    plan.pause = Duration::from_millis(prng.between(40, 200));
    plan.temper.misread_per_mille = prng.below(20);
    plan.tuning.entry_cache_max_bytes = [64, 64, 1_024][prng.below(3) as usize];
    plan.troubles = vec![
        (8, Trouble::Rot),
        (2, Trouble::Power(Who::Anyone)),
        (2, Trouble::Power(Who::Leader)),
        (1, Trouble::Blackout),
        (1, Trouble::CutOff(Who::Leader)),
        (1, Trouble::Mend),
        (3, Trouble::Restore),
    ];
}

fn shape_alone(plan: &mut Plan) {
    plan.nodes = 1;
    plan.troubles = vec![
        (3, Trouble::Power(Who::Anyone)),
        (1, Trouble::Blackout),
        (1, Trouble::Pause(Who::Anyone)),
        (2, Trouble::Restore),
    ];
    plan.reactions = vec![reaction(Moment::Answered, 10, 0, Act::Crash)];
}

/// Much else goes wrong too, but not so much that nothing ever changes.
fn shape_members(plan: &mut Plan, prng: &mut Prng) {
    plan.nodes = [1, 3, 3, 5][prng.below(4) as usize];
    plan.trouble = Duration::from_millis(prng.between(2_000, 5_000));
    plan.pause = Duration::from_millis(prng.between(80, 250));
    plan.troubles = vec![
        (4, Trouble::Join),
        (2, Trouble::Remove(Who::Anyone)),
        (1, Trouble::Remove(Who::Leader)),
        (2, Trouble::Exchange),
        (1 + prng.below(3), Trouble::Power(Who::Anyone)),
        (prng.below(2), Trouble::Power(Who::Leader)),
        (prng.below(2), Trouble::Blackout),
        (prng.below(3), Trouble::CutOff(Who::Leader)),
        (prng.below(2), Trouble::Split),
        (4, Trouble::Restore),
    ];
    if prng.chance(1, 2) {
        let most_per_mille = prng.below(40);
        plan.reactions.push(reaction(Moment::Committed, most_per_mille, 1_000, Act::Crash));
    }
}

/// Every node hears from the leader twenty times a second: a short run is long enough.
fn shape_large(plan: &mut Plan) {
    plan.nodes = 32;
    plan.clients = 3;
    plan.trouble = Duration::from_millis(1_500);
    plan.pause = Duration::from_millis(60);
    plan.troubles = vec![
        (4, Trouble::Power(Who::Follower)),
        (2, Trouble::Power(Who::Leader)),
        (2, Trouble::Deaf),
        (1, Trouble::CutOff(Who::Leader)),
        (1, Trouble::Arrange(Topology::Bridge)),
        (1, Trouble::HangDisk(Who::Leader)),
        (1, Trouble::HandOver),
        (2, Trouble::Mend),
    ];
}
