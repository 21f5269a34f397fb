//! Who belongs to the group: the content of a configuration, how it changes, and its bytes.
//!
//! Voters are exchanged in two steps if more than one of them changes (joint consensus; thesis, section
//! 4.3): in between, decisions need a majority of the old voters and one of the new. Learners receive the
//! log and count for nothing. A number is never given to another node: whoever is removed is retired.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{NodeId, limits};

use crate::errors::ChangeError;
use crate::quorum::Quorum;

/// The members of a group. All lists are in strictly ascending order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// Those that vote. None at all: this node knows of no group yet.
    pub voters: Vec<NodeId>,
    /// In a joint configuration, those that voted before.
    pub voters_outgoing: Vec<NodeId>,
    /// Those that receive the log and do not vote.
    pub learners: Vec<NodeId>,
    /// Those of `voters_outgoing` that will be learners.
    pub learners_next: Vec<NodeId>,
    /// Those that were removed, and never come back under their numbers.
    pub retired: Vec<NodeId>,
}

/// One step of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A new node receives the log.
    AddLearner(NodeId),
    /// A learner that has caught up votes.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member leaves for ever.
    Remove(NodeId),
}

impl Configuration {
    /// A group of these voters.
    pub fn of_voters(mut voters: Vec<NodeId>) -> Configuration {
        voters.sort_unstable();
        voters.dedup();
        Configuration { voters, ..Configuration::default() }
    }

    /// Whether decisions need a majority of the old voters too.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether this node's vote counts.
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.voters_outgoing.contains(&id)
    }

    /// Whether this node belongs to the group.
    pub fn contains(&self, id: NodeId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// All members, in ascending order.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let lists = [&self.voters, &self.voters_outgoing, &self.learners];
        lists.into_iter().flatten().copied().collect::<BTreeSet<NodeId>>().into_iter()
    }

    /// All whose votes count, in ascending order.
    pub(crate) fn all_voters(&self) -> Vec<NodeId> {
        let all: BTreeSet<NodeId> =
            self.voters.iter().chain(&self.voters_outgoing).copied().collect();
        all.into_iter().collect()
    }

    /// Which of all whose votes count this node is, in ascending order and from 0 on; and how many there are.
    pub(crate) fn place_of(&self, id: NodeId) -> (Option<u64>, u64) {
        let is_new = |voter: &&NodeId| self.voters.binary_search(voter).is_err();
        let all = || self.voters.iter().chain(self.voters_outgoing.iter().filter(is_new));
        let before = || all().filter(|voter| **voter < id).count() as u64;
        (self.is_voter(id).then(before), all().count() as u64)
    }

    pub(crate) fn quorum(&self) -> Quorum<'_> {
        Quorum::new(&self.voters, &self.voters_outgoing)
    }

    /// The configuration after these changes: a joint one if the votes of more than one node change.
    pub(crate) fn changed(&self, changes: &[Change]) -> Result<Configuration, ChangeError> {
        let mut voters: BTreeSet<NodeId> = self.voters.iter().copied().collect();
        let mut learners: BTreeSet<NodeId> = self.learners.iter().copied().collect();
        let mut retired: BTreeSet<NodeId> = self.retired.iter().copied().collect();
        for change in changes {
            match *change {
                Change::AddLearner(id) if retired.contains(&id) => {
                    return Err(ChangeError::UsedBefore(id));
                }
                Change::AddLearner(id) if voters.contains(&id) || !learners.insert(id) => {
                    return Err(ChangeError::AlreadyMember(id));
                }
                Change::Promote(id) if voters.contains(&id) => {
                    return Err(ChangeError::AlreadyMember(id));
                }
                Change::Promote(id) if !learners.remove(&id) => {
                    return Err(ChangeError::Unknown(id));
                }
                Change::Demote(id) if !voters.remove(&id) => return Err(ChangeError::Unknown(id)),
                Change::Remove(id) if !voters.remove(&id) && !learners.remove(&id) => {
                    return Err(ChangeError::Unknown(id));
                }
                Change::AddLearner(_) => {}
                Change::Promote(id) => {
                    voters.insert(id);
                }
                Change::Demote(id) => {
                    learners.insert(id);
                }
                Change::Remove(id) => {
                    retired.insert(id);
                }
            }
        }
        if voters.is_empty() {
            return Err(ChangeError::LastVoter);
        }
        let next = self.toward(voters, learners, retired);
        if next.members().count() > limits::CLUSTER_NODES_MAX {
            return Err(ChangeError::TooMany);
        }
        if next == *self { Err(ChangeError::Nothing) } else { Ok(next) }
    }

    /// These members, by way of a joint configuration if the votes of more than one node change.
    fn toward(
        &self,
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
        retired: BTreeSet<NodeId>,
    ) -> Configuration {
        let before: BTreeSet<NodeId> = self.voters.iter().copied().collect();
        let is_joint = before.symmetric_difference(&voters).count() > 1;
        // Whoever still votes on the old side is not a learner yet.
        let (later, now): (Vec<NodeId>, Vec<NodeId>) =
            learners.into_iter().partition(|id| is_joint && before.contains(id));
        Configuration {
            voters: voters.into_iter().collect(),
            voters_outgoing: if is_joint { self.voters.clone() } else { Vec::new() },
            learners: now,
            learners_next: later,
            retired: retired.into_iter().collect(),
        }
    }

    /// The configuration that follows a joint one.
    pub(crate) fn left(&self) -> Configuration {
        let learners: BTreeSet<NodeId> =
            self.learners.iter().chain(&self.learners_next).copied().collect();
        Configuration {
            voters: self.voters.clone(),
            voters_outgoing: Vec::new(),
            learners: learners.into_iter().collect(),
            learners_next: Vec::new(),
            retired: self.retired.clone(),
        }
    }

    /// Whether this can be the configuration of a group.
    pub fn is_valid(&self) -> bool {
        let lists = [
            &self.voters,
            &self.voters_outgoing,
            &self.learners,
            &self.learners_next,
            &self.retired,
        ];
        let ascends = |list: &&Vec<NodeId>| list.is_sorted_by(|a, b| a < b);
        lists.iter().all(ascends)
            && !self.voters.is_empty()
            && self.members().count() <= limits::CLUSTER_NODES_MAX
            && !self.learners.iter().any(|id| self.is_voter(*id))
            && self.learners_next.iter().all(|id| self.voters_outgoing.contains(id))
            && !self.learners_next.iter().any(|id| self.voters.contains(id))
            && !self.retired.iter().any(|id| self.left().contains(*id))
    }

    /// Appends the configuration to `bytes`: each list behind its length.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        let lists = [
            &self.voters,
            &self.voters_outgoing,
            &self.learners,
            &self.learners_next,
            &self.retired,
        ];
        for list in lists {
            writer.u16(u16::try_from(list.len()).expect("there are fewer numbers of nodes"));
            list.iter().for_each(|id| {
                writer.node_id(*id);
            });
        }
    }

    /// Reads a configuration of a group.
    ///
    /// # Errors
    /// If the bytes are anything but one whole valid configuration.
    pub fn decode(bytes: &[u8]) -> Result<Configuration, DecodeError> {
        let mut reader = Reader::new(bytes);
        let configuration = Configuration {
            voters: decode_list(&mut reader, limits::CLUSTER_NODES_MAX)?,
            voters_outgoing: decode_list(&mut reader, limits::CLUSTER_NODES_MAX)?,
            learners: decode_list(&mut reader, limits::CLUSTER_NODES_MAX)?,
            learners_next: decode_list(&mut reader, limits::CLUSTER_NODES_MAX)?,
            retired: decode_list(&mut reader, usize::from(limits::NODE_ID_MAX))?,
        };
        reader.finish()?;
        if configuration.is_valid() { Ok(configuration) } else { Err(DecodeError) }
    }

    /// How many bytes [`Configuration::encode`] makes.
    pub(crate) fn encoded_length(&self) -> usize {
        let ids = self.voters.len()
            + self.voters_outgoing.len()
            + self.learners.len()
            + self.learners_next.len()
            + self.retired.len();
        2 * (5 + ids)
    }
}

fn decode_list(reader: &mut Reader<'_>, count_max: usize) -> Result<Vec<NodeId>, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count > count_max {
        return Err(DecodeError);
    }
    (0..count).map(|_| reader.node_id()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn nodes(numbers: &[u16]) -> Vec<NodeId> {
        numbers.iter().copied().map(node).collect()
    }

    #[test]
    fn one_vote_changes_at_once_and_several_by_way_of_a_joint_configuration() {
        let three = Configuration::of_voters(nodes(&[1, 2, 3]));
        let learning =
            three.changed(&[Change::AddLearner(node(4)), Change::AddLearner(node(5))]).unwrap();
        assert_eq!((learning.is_joint(), &learning.learners), (false, &nodes(&[4, 5])));
        let four = learning.changed(&[Change::Promote(node(4))]).unwrap();
        assert_eq!((four.is_joint(), &four.voters), (false, &nodes(&[1, 2, 3, 4])));
        let changes = [Change::Promote(node(5)), Change::Remove(node(1)), Change::Demote(node(2))];
        let joint = four.changed(&changes).unwrap();
        assert!(joint.is_joint() && joint.is_valid());
        assert_eq!(joint.voters, nodes(&[3, 4, 5]));
        assert_eq!(joint.voters_outgoing, nodes(&[1, 2, 3, 4]));
        assert_eq!((&joint.learners, &joint.learners_next), (&nodes(&[]), &nodes(&[2])));
        let after = joint.left();
        assert!(after.is_valid());
        assert_eq!((&after.learners, &after.retired), (&nodes(&[2]), &nodes(&[1])));
    }

    #[test]
    fn a_change_is_refused_for_a_reason() {
        let two = Configuration::of_voters(nodes(&[1, 2])).changed(&[Change::AddLearner(node(3))]);
        let two = two.unwrap();
        let refused = |change| two.changed(&[change]).unwrap_err();
        assert_eq!(refused(Change::AddLearner(node(1))), ChangeError::AlreadyMember(node(1)));
        assert_eq!(refused(Change::AddLearner(node(3))), ChangeError::AlreadyMember(node(3)));
        assert_eq!(refused(Change::Promote(node(1))), ChangeError::AlreadyMember(node(1)));
        assert_eq!(refused(Change::Promote(node(9))), ChangeError::Unknown(node(9)));
        assert_eq!(refused(Change::Demote(node(3))), ChangeError::Unknown(node(3)));
        assert_eq!(refused(Change::Remove(node(9))), ChangeError::Unknown(node(9)));
        let all = [Change::Remove(node(1)), Change::Demote(node(2))];
        assert_eq!(two.changed(&all), Err(ChangeError::LastVoter));
        assert_eq!(two.changed(&[]), Err(ChangeError::Nothing));
        let gone = two.changed(&[Change::Remove(node(3))]).unwrap();
        assert_eq!(gone.retired, nodes(&[3]));
        let again = gone.changed(&[Change::AddLearner(node(3))]);
        assert_eq!(again, Err(ChangeError::UsedBefore(node(3))), "pitfall 30");
        let crowd: Vec<Change> = (4..=65).map(|number| Change::AddLearner(node(number))).collect();
        assert_eq!(two.changed(&crowd), Err(ChangeError::TooMany));
        assert!(two.changed(&crowd[..61]).is_ok());
    }

    fn configuration() -> impl Strategy<Value = Configuration> {
        let change = (0..4u8, 1..20u16).prop_map(|(kind, number)| match kind {
            0 => Change::AddLearner(node(number)),
            1 => Change::Promote(node(number)),
            2 => Change::Demote(node(number)),
            _ => Change::Remove(node(number)),
        });
        prop::collection::vec(prop::collection::vec(change, 1..6), 0..12).prop_map(|steps| {
            let mut configuration = Configuration::of_voters(nodes(&[1, 2, 3]));
            for step in steps {
                configuration = configuration.changed(&step).unwrap_or(configuration).left();
            }
            configuration
        })
    }

    proptest! {
        #[test]
        fn whatever_is_changed_the_result_is_valid_and_survives_its_bytes(
            configuration in configuration(),
            changes in prop::collection::vec(1..20u16, 1..6),
        ) {
            let changes: Vec<Change> = changes.into_iter().map(|n| Change::Remove(node(n))).collect();
            for next in [configuration.changed(&changes).ok(), Some(configuration)].into_iter().flatten() {
                prop_assert!(next.is_valid() && next.left().is_valid());
                let mut bytes = Vec::new();
                next.encode(&mut bytes);
                prop_assert_eq!(bytes.len(), next.encoded_length());
                prop_assert_eq!(Configuration::decode(&bytes), Ok(next));
                bytes.pop();
                prop_assert!(Configuration::decode(&bytes).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Configuration::decode(&bytes);
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let mut bytes = Vec::new();
        Configuration::of_voters(nodes(&[2, 1])).encode(&mut bytes);
        assert!(Configuration::decode(&bytes).is_ok());
        bytes[2..6].copy_from_slice(&[2, 0, 1, 0]);
        assert!(Configuration::decode(&bytes).is_err(), "out of order");
        let mut nobody = Vec::new();
        Configuration::default().encode(&mut nobody);
        assert!(Configuration::decode(&nobody).is_err());
        assert!(Configuration::decode(&[0xff; 600]).is_err(), "lengths are bounded");
    }
}
