//! What can go wrong: now and then, or at the worst moment.

use base::Duration;

use super::Topology;

/// To whom something happens. It is decided when it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Any node.
    Anyone,
    /// A node that leads, if one does; any node else.
    Leader,
    /// A node that does not lead.
    Follower,
}

/// Something that happens now and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A machine loses power; if it had lost it before, it gets it back.
    Power(Who),
    /// All machines lose power at once, and get it back at once.
    Blackout,
    /// The nodes are split in two.
    Split,
    /// A node is cut off from all others, and everything else is mended.
    CutOff(Who),
    /// One node is not heard by another.
    Deaf,
    /// One node, of two that hear each other, hears late.
    Late,
    /// The nodes are split in two: one half hears the other, and is not heard.
    OneWaySplit,
    /// Each node hears only some of the others; everything else is mended.
    Arrange(Topology),
    /// A node stands still for a while, and then goes on as if nothing had happened.
    Pause(Who),
    /// A disk finishes nothing for a while.
    HangDisk(Who),
    /// A disk finishes nothing any more, until its machine loses power.
    LoseDisk(Who),
    /// A node's clock leaps forward.
    Leap(Who),
    /// A machine's calendar is set forward or back: its node will see that when it starts.
    SetCalendar(Who),
    /// The leader is told to hand over.
    HandOver,
    /// A node is told to stop, or to start afresh.
    Stop(Who),
    /// A machine more: its node asks some member to be let in. Unless there are many.
    Join,
    /// Somebody has a member removed, at the console of any node. Unless few would be left.
    Remove(Who),
    /// Two voters become learners at once, or leave at once if that leaves enough, at the leader's bidding.
    Exchange,
    /// The wires are mended.
    Mend,
    /// The wires are mended, and all machines are on.
    Restore,
    /// Something on a disk is not what was written any more, and can be had from elsewhere.
    Rot,
}

/// A moment at which trouble is worst. It concerns a node: the one at which it is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// It has given its vote to another node; perhaps it is not on its disk yet.
    Voted,
    /// It was elected.
    Elected,
    /// As the leader, it has committed something.
    Committed,
    /// As the leader, it has committed something for the first time.
    FirstCommitted,
    /// It has answered a client.
    Answered,
}

/// What is done then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// The node loses power, for a moment.
    Crash,
    /// The node is cut off from all others, and everything else is mended.
    CutOff,
    /// The voter loses power for a moment, and the candidate is cut off.
    CrashVoter,
    /// The candidate is not heard any more, though it hears; everything else is mended.
    MuteCandidate,
    /// All other nodes lose power for a moment, and the node is cut off.
    CrashOthers,
    /// All but the node and one other are cut off from those two.
    LeaveOne,
    /// The node's disk finishes nothing for a while.
    HangDisk,
}

/// Trouble at the worst moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reaction {
    /// When.
    pub moment: Moment,
    /// How often then.
    pub chance_per_mille: u64,
    /// How long after that at most.
    pub delay_max: Duration,
    /// What.
    pub act: Act,
}
