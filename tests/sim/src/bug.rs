//! Bugs put in on purpose. The checkers must find them, or a green run means nothing.

/// A bug of one of the services. Only the feature `mutants` makes nodes that have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Of consensus.
    Raft(raft::Mutant),
    /// Of the key-value service.
    Kv(kv::Mutant),
}

impl Bug {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Bug> {
        let raft = raft::Mutant::ALL.into_iter().map(Bug::Raft);
        raft.chain(kv::Mutant::ALL.into_iter().map(Bug::Kv))
    }

    /// Its name.
    pub fn name(self) -> String {
        match self {
            Bug::Raft(mutant) => format!("{mutant:?}"),
            Bug::Kv(mutant) => format!("{mutant:?}"),
        }
    }

    /// The bug with this name, in small letters or not.
    pub fn parse(name: &str) -> Option<Bug> {
        Bug::all().find(|bug| bug.name().eq_ignore_ascii_case(name))
    }

    /// The bug, if it is one of consensus.
    pub fn of_raft(self) -> Option<raft::Mutant> {
        match self {
            Bug::Raft(mutant) => Some(mutant),
            Bug::Kv(_) => None,
        }
    }

    /// The bug, if it is one of the key-value service.
    pub fn of_kv(self) -> Option<kv::Mutant> {
        match self {
            Bug::Raft(_) => None,
            Bug::Kv(mutant) => Some(mutant),
        }
    }
}
