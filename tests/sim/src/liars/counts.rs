//! How often each fault really fired: a run in which none did proves nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use bft::Lie;

/// Something that is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Messages that a liar of this kind would have sent as an honest replica.
    Lied(Lie),
    /// Messages of a replica that has a twin.
    Twinned,
    /// Messages that were put on the wire …
    Sent,
    /// … of which these vanished by chance …
    Lost,
    /// … these came twice …
    Doubled,
    /// … and these were for the other side of a partition.
    Blocked,
    /// Partitions that began.
    Partitions,
    /// Replicas that lost power …
    Crashes,
    /// … and with it records that were being written.
    RecordsLost,
    /// All replicas lost power at once.
    PowerCuts,
    /// Replicas that started again.
    Restarts,
    /// Signing records that were damaged when their replica started again.
    RecordsDamaged,
    /// Decisions that honest replicas executed, each with a certificate that was checked …
    Decisions,
    /// … and these of them by the votes of one phase.
    DecidedFast,
    /// Votes of honest replicas that were checked.
    Votes,
    /// Views that honest replicas left.
    ViewsLeft,
    /// States that honest replicas took from others.
    StatesInstalled,
    /// Bad signatures that honest replicas found.
    BadSignatures,
    /// Replicas that were convicted of saying two things.
    Convicted,
}

impl Kind {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Kind> {
        use Kind::*;
        let lies = Lie::ALL.into_iter().map(Lied);
        let others = [
            Twinned,
            Sent,
            Lost,
            Doubled,
            Blocked,
            Partitions,
            Crashes,
            RecordsLost,
            PowerCuts,
            Restarts,
            RecordsDamaged,
            Decisions,
            DecidedFast,
            Votes,
            ViewsLeft,
            StatesInstalled,
            BadSignatures,
            Convicted,
        ];
        lies.chain(others)
    }
}

/// How often each of them happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts(BTreeMap<Kind, u64>);

impl Counts {
    /// It happened.
    pub fn note(&mut self, kind: Kind) {
        self.add(kind, 1);
    }

    /// It happened so often.
    pub fn add(&mut self, kind: Kind, count: u64) {
        *self.0.entry(kind).or_default() += count;
    }

    /// How often it happened.
    pub fn get(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, more: &Counts) {
        more.0.iter().for_each(|(kind, count)| self.add(*kind, *count));
    }
}

/// One line for each.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::all() {
            let name = match kind {
                Kind::Lied(lie) => format!("Lied: {lie}"),
                other => format!("{other:?}"),
            };
            writeln!(f, "  {name:16} {}", self.get(kind))?;
        }
        Ok(())
    }
}
