//! Whom a leader may promote, and who has to do with whom.

use base::{Duration, NodeId, limits};
use raft::Change;

use crate::cluster::{Cluster, node};
use crate::members::settled;

const SECOND: Duration = Duration::from_secs(1);

/// A learner is offered for promotion when it has what it lacked, and the entry that made it a member, and
/// as long as it is there; one after the other, and never while another change is under way.
#[test]
fn a_learner_is_promotable_when_it_has_caught_up_and_is_there() {
    let (mut cluster, leader) = settled(3, 14);
    for number in 0..600u32 {
        assert!(cluster.propose(leader, &number.to_le_bytes()));
        cluster.run(Duration::from_millis(1));
    }
    let promotable = |cluster: &mut Cluster, id: NodeId| {
        let now = cluster.now;
        cluster.raft(id).promotable(now)
    };
    cluster.join(node(4));
    cluster.change(&[Change::AddLearner(node(4)), Change::AddLearner(node(5))]).unwrap();
    assert_eq!(promotable(&mut cluster, leader), None, "the change is not committed");
    cluster.run(SECOND);
    assert_eq!(promotable(&mut cluster, leader), Some(node(4)), "node 5 is off");
    assert_eq!(promotable(&mut cluster, node(4)), None, "that is for the leader to say");
    cluster.isolate(node(4));
    cluster.run(SECOND);
    assert_eq!(promotable(&mut cluster, leader), None, "it is not heard of");
    for number in 0..=limits::PROMOTION_LAG_MAX_ENTRIES {
        assert!(cluster.propose(leader, &number.to_le_bytes()));
        cluster.run(Duration::from_millis(1));
    }
    cluster.heal();
    while cluster
        .status(leader)
        .peers
        .iter()
        .any(|peer| peer.id == node(4) && peer.silent > Some(SECOND))
    {
        assert_eq!(promotable(&mut cluster, leader), None, "it lacks too much");
        cluster.run(Duration::from_millis(1));
    }
    cluster.run(SECOND);
    assert_eq!(promotable(&mut cluster, leader), Some(node(4)));
    cluster.join(node(5));
    cluster.run(SECOND);
    cluster.change(&[Change::Promote(node(4))]).unwrap();
    assert_eq!(promotable(&mut cluster, leader), None, "one change at a time");
    cluster.run(SECOND);
    assert_eq!(promotable(&mut cluster, leader), Some(node(5)));
    let to = cluster.others(leader)[0];
    let now = cluster.now;
    cluster.raft(leader).transfer_leadership(Some(to), now).unwrap();
    assert_eq!(promotable(&mut cluster, leader), None, "nor while leadership passes");
}

/// A member that starts with as many configurations in its log as it can remember takes another.
#[test]
fn a_member_that_remembers_no_more_hears_what_is_committed_and_goes_on() {
    let (mut cluster, leader) = settled(4, 16);
    let (other, late) = (cluster.others(leader)[0], cluster.others(leader)[1]);
    let change = |cluster: &mut Cluster, round: usize| {
        let change =
            if round.is_multiple_of(2) { Change::Demote(other) } else { Change::Promote(other) };
        cluster.change(&[change]).unwrap();
        cluster.run(Duration::from_millis(30));
    };
    let rounds = 2 * limits::CONFIGURATIONS_REMEMBERED;
    (0..rounds).for_each(|round| change(&mut cluster, round));
    cluster.crash(late);
    (rounds..rounds + 2).for_each(|round| change(&mut cluster, round));
    // A new leader does not know what the member has.
    let (next, now) = (cluster.others(leader)[2], cluster.now);
    cluster.raft(leader).transfer_leadership(Some(next), now).unwrap();
    cluster.drain(leader);
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(next));
    let leader = next;
    cluster.start(late);
    cluster.run(SECOND);
    let status = cluster.status(leader);
    assert_eq!(cluster.status(late).commit_index, status.commit_index);
    assert_eq!(cluster.status(late).configuration, status.configuration);
}

/// What has to do with whom follows the configuration: one that is not committed too, and one that comes to
/// hold again because another is cut off.
#[test]
fn contacts_are_all_members_and_those_who_must_still_be_told() {
    let (mut cluster, leader) = settled(3, 15);
    let others = cluster.others(leader);
    let contacts = |cluster: &Cluster, id: NodeId| -> Vec<NodeId> {
        let raft = cluster.members[&id].raft.as_ref().expect("it is on");
        raft.contacts().into_iter().collect()
    };
    let version = |cluster: &Cluster, id: NodeId| {
        cluster.members[&id].raft.as_ref().map(raft::RaftNode::contacts_version)
    };
    assert_eq!(contacts(&cluster, leader), others);
    let before = version(&cluster, leader);
    cluster.isolate(leader);
    cluster.change(&[Change::AddLearner(node(4))]).unwrap();
    assert_eq!(contacts(&cluster, leader), [others.clone(), vec![node(4)]].concat());
    assert_ne!(version(&cluster, leader), before);
    let before = version(&cluster, leader);
    cluster.run(SECOND);
    let new = cluster.leader().expect("the others have elected another");
    cluster.propose(new, b"x");
    cluster.heal();
    cluster.run(SECOND);
    assert_eq!(contacts(&cluster, leader), others, "the change is undone");
    assert_ne!(version(&cluster, leader), before);
    let gone = cluster.others(new)[0];
    cluster.change(&[Change::Remove(gone)]).unwrap();
    let stays = cluster.others(new)[1];
    assert_eq!(contacts(&cluster, new), cluster.others(new), "it is not told yet");
    cluster.run(SECOND);
    assert_eq!(contacts(&cluster, new), [stays]);
    assert_eq!(contacts(&cluster, stays), [new]);
    assert_eq!(contacts(&cluster, gone), cluster.others(gone), "it may ask them");
    assert!(cluster.raft(stays).is_stranger(gone));
}
