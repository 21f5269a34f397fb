//! Bugs put in on purpose.

/// A bug that a checker must find. Without the feature `mutants` no service has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A write that comes out of the log again, under the same name, is executed again.
    ExecutesRepeats,
    /// A read is answered as soon as it is known how far this node must have applied, not when it has.
    ReadsDoNotWait,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 2] = [Mutant::ExecutesRepeats, Mutant::ReadsDoNotWait];
}
