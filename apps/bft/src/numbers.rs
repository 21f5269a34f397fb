//! Views, sequence numbers, phases, and sets of replicas.

use core::fmt;

/// A view: the span in which one replica is the primary (OSDI '99, section 4). Views are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ViewNumber(pub u64);

impl ViewNumber {
    /// The view that follows.
    ///
    /// # Panics
    /// After 2^64 - 1 views: messages name none above the limit.
    pub const fn next(self) -> ViewNumber {
        ViewNumber(self.0.checked_add(1).expect("views are never exhausted"))
    }

    /// The slot of this view's primary among `replicas`: p = v mod N (OSDI '99, section 4).
    ///
    /// # Panics
    /// If there are no replicas.
    pub const fn primary(self, replicas: usize) -> usize {
        (self.0 % replicas as u64) as usize
    }
}

impl fmt::Display for ViewNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of a batch in the order of all. The first is 1; 0 is the state that a group begins with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number that follows.
    ///
    /// # Panics
    /// After 2^64 - 1 numbers: messages name none above the limit.
    pub const fn next(self) -> Sequence {
        Sequence(self.0.checked_add(1).expect("sequence numbers are never exhausted"))
    }

    /// The number `count` further on; saturates.
    pub const fn plus(self, count: u64) -> Sequence {
        Sequence(self.0.saturating_add(count))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a replica says of a sequence number, in the order in which it does; and how far a number has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PhaseState {
    /// The primary proposes a batch.
    PrePrepare,
    /// A replica takes the proposal, and no other in that view.
    Prepare,
    /// A replica has seen that a quorum takes it: no other is decided in any later view without it knowing.
    Commit,
    /// A replica has executed everything up to here, and tells what came of it.
    Checkpoint,
}

impl PhaseState {
    /// The number that stands for the phase in what is signed and on the wire.
    pub const fn number(self) -> u8 {
        match self {
            PhaseState::PrePrepare => 1,
            PhaseState::Prepare => 2,
            PhaseState::Commit => 3,
            PhaseState::Checkpoint => 4,
        }
    }

    /// The phase with this number.
    pub const fn from_number(number: u8) -> Option<PhaseState> {
        match number {
            1 => Some(PhaseState::PrePrepare),
            2 => Some(PhaseState::Prepare),
            3 => Some(PhaseState::Commit),
            4 => Some(PhaseState::Checkpoint),
            _ => None,
        }
    }
}

impl fmt::Display for PhaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PhaseState::PrePrepare => "pre-prepare",
            PhaseState::Prepare => "prepare",
            PhaseState::Commit => "commit",
            PhaseState::Checkpoint => "checkpoint",
        })
    }
}

/// A set of replicas, by their slots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct VoterSet(pub u32);

impl VoterSet {
    /// Adds a slot.
    ///
    /// # Panics
    /// If the slot is 32 or more.
    pub fn insert(&mut self, slot: usize) {
        assert!(slot < u32::BITS as usize, "a set holds slots 0 to 31");
        self.0 |= 1 << slot;
    }

    /// Takes a slot out, if it is there.
    pub fn remove(&mut self, slot: usize) {
        self.0 &= !1_u32.checked_shl(slot as u32).unwrap_or(0);
    }

    /// Those that are not in `other`.
    pub(crate) fn without(self, other: VoterSet) -> VoterSet {
        VoterSet(self.0 & !other.0)
    }

    /// Whether the slot is in it.
    pub const fn contains(self, slot: usize) -> bool {
        slot < u32::BITS as usize && self.0 & (1 << slot) != 0
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The slots, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..u32::BITS as usize).filter(move |slot| self.contains(*slot))
    }
}
