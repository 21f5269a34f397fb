//! Identities and positions: newtypes, so that a term is never taken for an index.

use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::limits;

/// A node's number in its cluster, counted from 1.
///
/// Node I has the address `10.77.0.I` on the cluster network. A number is never given to a second node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(NonZeroU16);

impl NodeId {
    /// The node with this number, or `None` outside `1..=`[`limits::NODE_ID_MAX`].
    #[inline]
    pub const fn new(number: u16) -> Option<NodeId> {
        if number > limits::NODE_ID_MAX {
            return None;
        }
        match NonZeroU16::new(number) {
            Some(number) => Some(NodeId(number)),
            None => None,
        }
    }

    /// The number, at least 1.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not a node number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseNodeIdError;

impl fmt::Display for ParseNodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a node number is a whole number from 1 to {}", limits::NODE_ID_MAX)
    }
}

impl core::error::Error for ParseNodeIdError {}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<NodeId, ParseNodeIdError> {
        text.parse().ok().and_then(NodeId::new).ok_or(ParseNodeIdError)
    }
}

/// Which cluster a node belongs to: messages and disks of another cluster are refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A Raft term: logical time, at most one leader each (Raft, section 5.1). Term 0 precedes every election.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Term(pub u64);

impl Term {
    /// The term that follows.
    ///
    /// # Panics
    /// After 2^64 - 1 terms, which a correct cluster never reaches.
    #[inline]
    pub const fn next(self) -> Term {
        Term(self.0.checked_add(1).expect("terms are never exhausted"))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position of an entry in a replicated log. The first entry is 1; 0 precedes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The position that follows.
    ///
    /// # Panics
    /// After 2^64 - 1 entries, which no disk holds.
    #[inline]
    pub const fn next(self) -> LogIndex {
        LogIndex(self.0.checked_add(1).expect("indices are never exhausted"))
    }

    /// The position before, or `None` at 0.
    #[inline]
    pub const fn previous(self) -> Option<LogIndex> {
        match self.0.checked_sub(1) {
            Some(index) => Some(LogIndex(index)),
            None => None,
        }
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_numbers_start_at_one_and_end_at_the_limit() {
        assert_eq!("0".parse::<NodeId>(), Err(ParseNodeIdError));
        assert_eq!("1".parse::<NodeId>().map(NodeId::get), Ok(1));
        assert_eq!(NodeId::new(limits::NODE_ID_MAX).map(NodeId::get), Some(limits::NODE_ID_MAX));
        assert_eq!(NodeId::new(limits::NODE_ID_MAX + 1), None);
        assert_eq!("65536".parse::<NodeId>(), Err(ParseNodeIdError));
        assert_eq!("one".parse::<NodeId>(), Err(ParseNodeIdError));
    }

    #[test]
    fn positions_step_both_ways() {
        assert_eq!(LogIndex(0).previous(), None);
        assert_eq!(LogIndex(0).next().previous(), Some(LogIndex(0)));
        assert_eq!(Term(4).next(), Term(5));
    }
}
