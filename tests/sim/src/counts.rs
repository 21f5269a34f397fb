//! How often each fault really fired: a run in which none did proves nothing.

use std::fmt;
use std::ops::AddAssign;

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Frames that nodes sent.
    FramesSent,
    /// Frames that vanished by chance.
    FramesLost,
    /// Frames that a slow way held up.
    FramesDelayed,
    /// Frames that arrived twice.
    FramesDuplicated,
    /// Frames that arrived with a flipped bit.
    FramesCorrupted,
    /// Frames that a partition or a one-way block held back.
    FramesBlocked,
    /// Frames that arrived before one that was sent earlier on the same way.
    FramesOvertaking,
    /// Partitions of the nodes in two.
    Partitions,
    /// Partitions of the nodes in two halves of which one hears the other.
    OneWaySplits,
    /// Partitions with a node that both sides hear.
    Bridges,
    /// Nodes that hear only their neighbours in a chain …
    Chains,
    /// … or in a ring.
    Rings,
    /// Nodes that were cut off from all others.
    CutOffs,
    /// Ways that were blocked in one direction.
    OneWayBlocks,
    /// Ways that were slowed down.
    SlowWays,
    /// Nodes that stood still for a while.
    Pauses,
    /// Of those: leaders, for longer than an election takes.
    LeadersAsleep,
    /// Of all: those in which the clock halted too.
    ClocksHalted,
    /// Clocks that leapt forward.
    ClockLeaps,
    /// Nodes that noticed that they had stood still, or that their clock had leapt.
    TimeJumps,
    /// Leaders that were suspected because they were silent.
    Silences,
    /// Nodes that started with another calendar than the others.
    CalendarsSet,
    /// Machines that lost power.
    Crashes,
    /// Crashes that lost sectors which had not been flushed.
    CrashesLosing,
    /// Crashes that tore sectors which had not been flushed.
    CrashesTearing,
    /// Machines that were switched on again.
    Restarts,
    /// Flushes that were done.
    Flushes,
    /// Flushes that took very long.
    SlowFlushes,
    /// Disks that finished nothing for a while.
    DiskHangs,
    /// Disks that finished nothing any more.
    DisksLost,
    /// Leaders that stepped down because their disks finished nothing.
    DiskStalls,
    /// Leaders that handed over because they were told to.
    HandOvers,
    /// Nodes that stopped because they were told to.
    Stops,
    /// Terms that had a leader.
    Elections,
    /// Leaders other than the one before.
    LeaderChanges,
    /// Logs that were cut because they conflicted with a leader's.
    Truncations,
    /// Entries that were read from a disk again.
    Fetches,
    /// Snapshots that nodes took of themselves.
    SnapshotsTaken,
    /// Snapshots of leaders that took the place of a log.
    SnapshotsInstalled,
    /// Bits of payloads that flipped on a disk.
    RottenPayloads,
    /// Sectors of bodies that became anything.
    GarbledBodies,
    /// Headers that were damaged.
    RottenHeaders,
    /// Copies of headers that were damaged.
    RottenHeaderCopies,
    /// Copies of superblocks and hard states that were damaged.
    RottenFronts,
    /// Sectors of snapshots that were damaged.
    RottenSnapshots,
    /// Sectors whose last write was lost, though it was flushed.
    WritesLost,
    /// Sectors whose last write went to another sector.
    WritesMisdirected,
    /// Reads in which one sector was another's, with its valid checksums.
    ReadsMisdirected,
    /// Faults that would have destroyed the last copy of something, and were undone.
    FaultsUndone,
    /// Entries that nodes found damaged.
    EntriesDamaged,
    /// Entries that nodes wrote again from intact copies.
    EntriesRepaired,
    /// Entries that were damaged, or behind one, and cut off because they were proven not to be committed.
    EntriesVoid,
    /// States that were lost with a snapshot, and had from another node.
    StatesRecalled,
    /// Writes that came out of the log a second time, and were not executed again.
    WritesRepeated,
    /// Questions about reads that leaders answered by lease.
    LeaseReads,
    /// Reads that were answered.
    Reads,
    /// Writes that were answered.
    Writes,
    /// Calls of which nobody knows whether they were executed.
    Unknown,
    /// Calls that a client made again because it was not told what became of them.
    Retries,
}

impl Kind {
    /// All kinds, with their names, in the order of the type.
    pub const ALL: [(Kind, &'static str); 59] = [
        (Kind::FramesSent, "frames sent"),
        (Kind::FramesLost, "frames lost"),
        (Kind::FramesDelayed, "frames delayed"),
        (Kind::FramesDuplicated, "frames duplicated"),
        (Kind::FramesCorrupted, "frames corrupted"),
        (Kind::FramesBlocked, "frames blocked"),
        (Kind::FramesOvertaking, "frames overtaking"),
        (Kind::Partitions, "partitions"),
        (Kind::OneWaySplits, "one-way splits"),
        (Kind::Bridges, "bridges"),
        (Kind::Chains, "chains"),
        (Kind::Rings, "rings"),
        (Kind::CutOffs, "nodes cut off"),
        (Kind::OneWayBlocks, "one-way blocks"),
        (Kind::SlowWays, "slow ways"),
        (Kind::Pauses, "pauses"),
        (Kind::LeadersAsleep, "pauses of leaders"),
        (Kind::ClocksHalted, "clocks halted in pauses"),
        (Kind::ClockLeaps, "clock leaps"),
        (Kind::TimeJumps, "time jumps noticed"),
        (Kind::Silences, "silences suspected"),
        (Kind::CalendarsSet, "calendars set"),
        (Kind::Crashes, "crashes"),
        (Kind::CrashesLosing, "crashes losing writes"),
        (Kind::CrashesTearing, "crashes tearing writes"),
        (Kind::Restarts, "restarts"),
        (Kind::Flushes, "flushes"),
        (Kind::SlowFlushes, "slow flushes"),
        (Kind::DiskHangs, "disk hangs"),
        (Kind::DisksLost, "disks lost"),
        (Kind::DiskStalls, "leaders stalled by disks"),
        (Kind::HandOvers, "leaders handing over"),
        (Kind::Stops, "planned stops"),
        (Kind::Elections, "elections"),
        (Kind::LeaderChanges, "leader changes"),
        (Kind::Truncations, "log truncations"),
        (Kind::Fetches, "fetches from disk"),
        (Kind::SnapshotsTaken, "snapshots taken"),
        (Kind::SnapshotsInstalled, "snapshots installed"),
        (Kind::RottenPayloads, "rotten payloads"),
        (Kind::GarbledBodies, "garbled bodies"),
        (Kind::RottenHeaders, "rotten headers"),
        (Kind::RottenHeaderCopies, "rotten header copies"),
        (Kind::RottenFronts, "rotten fronts"),
        (Kind::RottenSnapshots, "rotten snapshots"),
        (Kind::WritesLost, "flushed writes lost"),
        (Kind::WritesMisdirected, "writes misdirected"),
        (Kind::ReadsMisdirected, "reads misdirected"),
        (Kind::FaultsUndone, "disk faults undone"),
        (Kind::EntriesDamaged, "entries damaged"),
        (Kind::EntriesRepaired, "entries repaired"),
        (Kind::EntriesVoid, "entries void"),
        (Kind::StatesRecalled, "states recalled"),
        (Kind::WritesRepeated, "writes repeated"),
        (Kind::LeaseReads, "questions by lease"),
        (Kind::Reads, "reads answered"),
        (Kind::Writes, "writes answered"),
        (Kind::Unknown, "calls unknown"),
        (Kind::Retries, "client retries"),
    ];
}

/// A count of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Default for Counts {
    fn default() -> Counts {
        Counts([0; Kind::ALL.len()])
    }
}

impl Counts {
    /// It has happened once more.
    pub fn note(&mut self, kind: Kind) {
        self.add(kind, 1);
    }

    /// It has happened so many more times.
    pub fn add(&mut self, kind: Kind, times: u64) {
        self.0[kind as usize] += times;
    }

    /// How often it has happened.
    pub fn get(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// The names of what never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = Kind::ALL.into_iter().filter(|(kind, _)| self.get(*kind) == 0);
        never.map(|(_, name)| name).collect()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        for (here, there) in self.0.iter_mut().zip(other.0) {
            *here += there;
        }
    }
}

/// A table of two columns.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pair in Kind::ALL.chunks(2) {
            for (kind, name) in pair {
                write!(f, "  {name:<24}{:>12}", self.get(*kind))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_what_is_missing_is_named() {
        let mut counts = Counts::default();
        for (position, (kind, _)) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position);
            counts.note(kind);
        }
        assert_eq!(counts.missing(), Vec::<&str>::new());
        let mut sum = Counts::default();
        sum.add(Kind::Reads, 2);
        sum += counts;
        assert_eq!((sum.get(Kind::Reads), sum.get(Kind::Retries)), (3, 1));
        let none = Counts::default();
        assert_eq!(none.missing().len(), Kind::ALL.len());
    }
}
