//! Who belongs to the group changes while it works.

use base::{Duration, NodeId, limits};
use raft::{Change, ChangeError, Event, StepDown};

use crate::cluster::{Cluster, node};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn settled(size: u16, seed: u64) -> (Cluster, NodeId) {
    let mut cluster = Cluster::new(size, seed);
    cluster.run(SECOND);
    let leader = cluster.leader().expect("a leader within a second");
    (cluster, leader)
}

/// The voters, as the leader knows them.
fn voters(cluster: &Cluster) -> Vec<NodeId> {
    let leader = cluster.leader().expect("somebody leads");
    let configuration = cluster.status(leader).configuration;
    assert!(!configuration.is_joint(), "the change is finished");
    configuration.voters
}

/// Adds a node as a learner and lets it catch up.
fn learn(cluster: &mut Cluster, id: NodeId) {
    cluster.join(id);
    cluster.change(&[Change::AddLearner(id)]).unwrap();
    cluster.run(SECOND);
}

#[test]
fn a_node_joins_learns_votes_and_leads() {
    let (mut cluster, leader) = settled(3, 1);
    for number in 0..300u32 {
        assert!(cluster.propose(leader, &number.to_le_bytes()));
        cluster.run(Duration::from_millis(1));
    }
    learn(&mut cluster, node(4));
    assert_eq!(cluster.members[&node(4)].applied.len(), cluster.truth.len());
    assert!(!cluster.raft(node(4)).is_leader());
    cluster.change(&[Change::Promote(node(4))]).unwrap();
    cluster.run(SECOND);
    assert_eq!(voters(&cluster), [1, 2, 3, 4].map(node));
    let now = cluster.now;
    cluster.raft(leader).transfer_leadership(Some(node(4)), now).unwrap();
    cluster.drain(leader);
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(node(4)));
}

#[test]
fn a_node_without_a_group_never_stands() {
    let (mut cluster, leader) = settled(3, 2);
    cluster.join(node(4));
    cluster.run(Duration::from_secs(5));
    let status = cluster.status(node(4));
    assert_eq!((status.term.0, status.counters.pre_candidacies), (0, 0));
    assert_eq!(cluster.leader(), Some(leader));
}

#[test]
fn a_learner_neither_stands_nor_counts() {
    let (mut cluster, leader) = settled(3, 3);
    learn(&mut cluster, node(4));
    let others: Vec<NodeId> = [1, 2, 3].map(node).into_iter().filter(|id| *id != leader).collect();
    others.iter().for_each(|id| cluster.crash(*id));
    let before = cluster.raft(leader).commit_index();
    cluster.propose(leader, b"x");
    cluster.run(SECOND);
    assert_eq!(cluster.raft(leader).commit_index(), before, "the learner's copy does not count");
    assert_eq!(cluster.leader(), None, "nor does its heartbeat");
    assert_eq!(cluster.status(node(4)).counters.pre_candidacies, 0);
}

#[test]
fn a_learner_that_wrongly_suspects_the_leader_keeps_following_it() {
    let (mut cluster, leader) = settled(3, 13);
    learn(&mut cluster, node(4));
    cluster.events.clear();
    for _ in 0..400 {
        let now = cluster.now;
        cluster.raft(node(4)).handle_peer_unreachable(leader, now);
        cluster.drain(node(4));
        cluster.run(Duration::from_millis(5));
        assert_eq!(cluster.raft(node(4)).leader(), Some(leader));
    }
    assert_eq!(cluster.events, []);
}

/// Pitfall 4: it has been promoted, and does not know it.
#[test]
fn a_learner_that_is_asked_votes() {
    let (mut cluster, leader) = settled(3, 4);
    learn(&mut cluster, node(4));
    learn(&mut cluster, node(5));
    let others: Vec<NodeId> = cluster.others(leader);
    // 4 and 5 do not hear of their promotion; the other voters do.
    cluster.isolate(node(4));
    cluster.isolate(node(5));
    cluster.change(&[Change::Promote(node(4)), Change::Promote(node(5))]).unwrap();
    cluster.run(Duration::from_millis(100));
    cluster.crash(leader);
    cluster.crash(others[0]);
    cluster.heal();
    cluster.run(Duration::from_secs(2));
    assert_eq!(cluster.leader(), Some(others[1]), "with two votes of nodes that think they learn");
}

#[test]
fn several_voters_are_exchanged_at_once_while_commands_go_on() {
    for seed in 0..10 {
        let (mut cluster, leader) = settled(3, seed);
        for number in 4..=6 {
            learn(&mut cluster, node(number));
        }
        let mut changes: Vec<Change> = (4..=6).map(node).map(Change::Promote).collect();
        changes.extend((1..=3).map(node).filter(|id| *id != leader).map(Change::Remove));
        cluster.change(&changes).unwrap();
        assert!(cluster.status(leader).configuration.is_joint());
        for number in 0..50u32 {
            if let Some(leader) = cluster.leader() {
                cluster.propose(leader, &number.to_le_bytes());
            }
            cluster.run(Duration::from_millis(1));
        }
        cluster.run(SECOND);
        let mut expected = vec![leader, node(4), node(5), node(6)];
        expected.sort();
        assert_eq!(voters(&cluster), expected, "the joint configuration is left");
        assert_eq!(cluster.commands(), 50);
        // Those that were removed know it, and are quiet.
        let gone: Vec<NodeId> = (1..=3).map(node).filter(|id| *id != leader).collect();
        let asked = |cluster: &Cluster| {
            gone.iter().map(|id| cluster.status(*id).counters.pre_candidacies).collect::<Vec<_>>()
        };
        let before = asked(&cluster);
        cluster.run(Duration::from_secs(5));
        assert_eq!(asked(&cluster), before, "seed {seed}");
    }
}

#[test]
fn a_leader_that_is_removed_leads_until_that_is_final_and_hands_over() {
    for seed in 0..10 {
        let (mut cluster, old) = settled(3, seed);
        let term = cluster.raft(old).term();
        let asked = cluster.status(old).counters.pre_candidacies;
        cluster.change(&[Change::Remove(old)]).unwrap();
        assert!(cluster.raft(old).is_leader());
        cluster.run(Duration::from_millis(60));
        let new =
            cluster.leader().unwrap_or_else(|| panic!("seed {seed}: no pause worth mentioning"));
        assert_ne!(new, old);
        assert_eq!(cluster.raft(new).term().0, term.0 + 1);
        assert_eq!(voters(&cluster).len(), 2);
        assert!(cluster.propose(new, b"x"));
        cluster.run(Duration::from_secs(3));
        assert_eq!(cluster.commands(), 1);
        assert_eq!(cluster.leader(), Some(new));
        assert_eq!(cluster.status(old).counters.pre_candidacies, asked, "it is quiet");
    }
}

/// Without itself counting, two of two others are needed.
#[test]
fn a_leader_that_is_being_removed_does_not_count_itself() {
    let (mut cluster, old) = settled(3, 5);
    let away = cluster.others(old)[0];
    cluster.isolate(away);
    let at = cluster.change(&[Change::Remove(old)]).unwrap();
    cluster.run(Duration::from_millis(200));
    assert!(cluster.raft(old).commit_index() < at, "it and one other are no majority of two");
    cluster.heal();
    cluster.run(SECOND);
    let commit = cluster.leader().map(|leader| cluster.status(leader).commit_index.0);
    assert!(commit.is_some_and(|commit| commit >= at));
}

#[test]
fn the_last_two_leave_one() {
    let (mut cluster, leader) = settled(2, 6);
    let other = cluster.others(leader)[0];
    cluster.change(&[Change::Remove(leader)]).unwrap();
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(other));
    assert_eq!(cluster.change(&[Change::Remove(other)]), Err(ChangeError::LastVoter));
    assert!(cluster.propose(other, b"alone"));
    cluster.run(SECOND);
    assert_eq!(cluster.commands(), 1);
    cluster.crash(other);
    cluster.start(other);
    cluster.run(SECOND);
    assert_eq!(cluster.leader(), Some(other), "what is on the disk says that it is alone");
}

#[test]
fn a_change_is_refused_for_a_reason() {
    let (mut cluster, leader) = settled(3, 7);
    let other = cluster.others(leader)[0];
    let learn = [Change::AddLearner(node(4))];
    let refused = cluster.raft(other).change_membership(&learn);
    assert_eq!(refused, Err(ChangeError::NotLeader { leader: Some(leader) }));
    assert_eq!(cluster.change(&[Change::Promote(node(4))]), Err(ChangeError::Unknown(node(4))));
    cluster.change(&learn).unwrap();
    assert_eq!(cluster.change(&[Change::Remove(node(4))]), Err(ChangeError::InProgress));
    cluster.run(SECOND);
    let promote = [Change::Promote(node(4))];
    assert_eq!(cluster.change(&promote), Err(ChangeError::NotCaughtUp(node(4))), "it is off");
    cluster.change(&[Change::Remove(node(4))]).unwrap();
    cluster.run(SECOND);
    assert_eq!(cluster.change(&learn), Err(ChangeError::UsedBefore(node(4))), "pitfall 30");
    let now = cluster.now;
    cluster.raft(leader).transfer_leadership(Some(other), now).unwrap();
    let refused = cluster.raft(leader).change_membership(&[Change::AddLearner(node(5))]);
    assert_eq!(refused, Err(ChangeError::Transferring { to: other }));
}

/// Pitfall 29: not before it has committed in its own term.
#[test]
fn a_new_leader_changes_nothing_before_it_has_committed() {
    let (mut cluster, old) = settled(3, 8);
    let next = cluster.others(old)[0];
    // Nothing that would commit its first entry is finished.
    cluster.others(next).iter().for_each(|id| {
        cluster.hung.insert(*id);
    });
    let now = cluster.now;
    cluster.raft(old).transfer_leadership(Some(next), now).unwrap();
    cluster.drain(old);
    cluster.run(Duration::from_millis(5));
    cluster.hung.clear();
    while !cluster.raft(next).is_leader() {
        cluster.run(Duration::from_micros(100));
    }
    let refused = cluster.raft(next).change_membership(&[Change::AddLearner(node(4))]);
    assert_eq!(refused, Err(ChangeError::TooEarly));
}

/// A configuration that is cut off with the log holds no longer.
#[test]
fn a_change_that_was_not_committed_is_undone() {
    let (mut cluster, old) = settled(3, 9);
    cluster.isolate(old);
    cluster.change(&[Change::AddLearner(node(4))]).unwrap();
    assert!(cluster.status(old).configuration.learners.contains(&node(4)));
    cluster.run(SECOND);
    let new = cluster.leader().expect("the others have elected another");
    assert!(cluster.propose(new, b"x"));
    cluster.heal();
    cluster.run(SECOND);
    assert_eq!(cluster.status(old).configuration.learners, []);
    assert_eq!(cluster.status(old).configuration_index.0, 0);
}

/// Pitfall 8: the leader and the only other node that has the final configuration are both removed by it,
/// and the leader is gone. The other must stand, or nobody can win.
#[test]
fn a_node_that_is_being_removed_may_be_needed_once_more() {
    let (mut cluster, leader) = settled(3, 10);
    learn(&mut cluster, node(4));
    learn(&mut cluster, node(5));
    let others: Vec<NodeId> = cluster.others(leader);
    let (longest, staying) = (others[0], others[1]);
    let changes = [
        Change::Promote(node(4)),
        Change::Promote(node(5)),
        Change::Remove(leader),
        Change::Remove(longest),
        Change::Demote(staying),
    ];
    cluster.change(&changes).unwrap();
    // The joint configuration is committed; the final one reaches `longest` and nobody else.
    while cluster.status(leader).configuration.is_joint() {
        cluster.run(Duration::from_micros(50));
    }
    for id in [staying, node(4), node(5)] {
        cluster.blocked.insert((leader, id));
        cluster.blocked.insert((id, leader));
    }
    cluster.run(Duration::from_millis(20));
    let end = |cluster: &Cluster, id: NodeId| cluster.status(id).last_index;
    assert!(end(&cluster, longest) > end(&cluster, node(4)), "as it was meant");
    assert!(end(&cluster, longest) > end(&cluster, node(5)), "as it was meant");
    cluster.crash(leader);
    cluster.run(Duration::from_secs(3));
    let new = cluster.leader().expect("somebody is elected in the end");
    assert!([node(4), node(5)].contains(&new), "and those that were removed are gone");
    assert_eq!(voters(&cluster), [4, 5].map(node));
    let stepped = |(id, event): &(NodeId, Event)| {
        *id == longest
            && matches!(
                event,
                Event::SteppedDown { reason: StepDown::Removed | StepDown::LaterTerm, .. }
            )
    };
    assert!(cluster.events.iter().any(stepped));
}

/// More configurations in the log than a member remembers.
#[test]
fn members_that_changed_very_often_start_again() {
    let (mut cluster, leader) = settled(3, 12);
    let other = cluster.others(leader)[0];
    for round in 0..2 * limits::CONFIGURATIONS_REMEMBERED {
        let change = if round % 2 == 0 { Change::Demote(other) } else { Change::Promote(other) };
        cluster.change(&[change]).unwrap();
        cluster.run(Duration::from_millis(30));
    }
    assert_eq!(voters(&cluster), [1, 2, 3].map(node));
    let all: Vec<NodeId> = cluster.members.keys().copied().collect();
    all.iter().for_each(|id| cluster.crash(*id));
    all.iter().for_each(|id| cluster.start(*id));
    cluster.run(SECOND);
    assert!(cluster.leader().is_some_and(|leader| cluster.propose(leader, b"x")));
    cluster.run(SECOND);
    assert_eq!(voters(&cluster), [1, 2, 3].map(node));
    let applied = cluster.members.values().map(|member| member.applied.len());
    assert!(applied.collect::<Vec<_>>().iter().all(|count| *count == cluster.truth.len()));
}

#[test]
fn a_group_grows_to_the_largest_size_and_no_further() {
    let (mut cluster, _) = settled(3, 11);
    let most = limits::CLUSTER_NODES_MAX as u16;
    let newcomers: Vec<Change> = (4..=most).map(node).map(Change::AddLearner).collect();
    cluster.change(&newcomers).unwrap();
    cluster.run(SECOND);
    let refused = cluster.change(&[Change::AddLearner(node(most + 1))]);
    assert_eq!(refused, Err(ChangeError::TooMany));
}

/// Loss, crashes, partitions and changes of members, as they come; then calm, in which all must agree.
#[test]
fn whatever_happens_while_members_change_no_two_disagree() {
    let (mut changes, mut joint) = (0u64, 0u64);
    for seed in 0..150 {
        let mut cluster = Cluster::with(3, seed, |config| config.entry_cache_max_bytes = 2_000);
        cluster.loss = seed % 5 * 20;
        cluster.duplication = seed % 3 * 50;
        cluster.delay_max = Duration::from_millis(1 + seed % 4 * 10);
        cluster.write_max = Duration::from_millis(1 + seed % 3 * 10);
        (4..=7).map(node).for_each(|id| cluster.join(id));
        for round in 0..120u32 {
            trouble(&mut cluster);
            cluster.run(Duration::from_millis(50));
            let Some(leader) = cluster.leader() else { continue };
            cluster.propose(leader, &round.to_le_bytes());
            let wanted = wanted(&mut cluster, leader);
            if !wanted.is_empty() && cluster.change(&wanted).is_ok() {
                changes += 1;
                joint += u64::from(cluster.status(leader).configuration.is_joint());
            }
        }
        calm(&mut cluster, seed);
    }
    assert!(changes > 400 && joint > 30, "it has happened: {changes} changes, {joint} joint");
}

/// One to three changes, not all of which can be.
fn wanted(cluster: &mut Cluster, leader: NodeId) -> Vec<Change> {
    if !cluster.prng.chance(1, 3) {
        return Vec::new();
    }
    let count = 1 + cluster.prng.below(3);
    let voters = cluster.status(leader).configuration.voters.len();
    let mut changes = Vec::new();
    for _ in 0..count {
        let id = node(1 + cluster.prng.below(7) as u16);
        changes.push(match cluster.prng.below(8) {
            0..3 => Change::AddLearner(id),
            3..6 => Change::Promote(id),
            6 => Change::Demote(id),
            // A number that is gone does not come back: a few must stay.
            _ if voters > 3 && cluster.prng.chance(1, 4) => Change::Remove(id),
            _ => Change::Promote(id),
        });
    }
    changes
}

fn trouble(cluster: &mut Cluster) {
    let id = node(1 + cluster.prng.below(7) as u16);
    let other = node(1 + cluster.prng.below(7) as u16);
    match cluster.prng.below(40) {
        0 => cluster.crash(id),
        1..6 if cluster.members[&id].raft.is_none() => cluster.start(id),
        6 => cluster.isolate(id),
        7 => {
            cluster.blocked.insert((id, other));
        }
        8..12 => cluster.heal(),
        _ => {}
    }
}

fn calm(cluster: &mut Cluster, seed: u64) {
    cluster.heal();
    cluster.loss = 0;
    for id in (1..=7).map(node) {
        if cluster.members[&id].raft.is_none() {
            cluster.start(id);
        }
    }
    cluster.run(Duration::from_secs(4));
    let leader = cluster.leader().unwrap_or_else(|| panic!("seed {seed}: nobody leads"));
    assert!(cluster.propose(leader, b"last"), "seed {seed}");
    cluster.run(Duration::from_secs(2));
    let configuration = cluster.status(leader).configuration;
    assert!(!configuration.is_joint(), "seed {seed}");
    for id in configuration.members() {
        let applied = cluster.members[&id].applied.len();
        assert_eq!(applied, cluster.truth.len(), "seed {seed}: node {id} is behind");
    }
}
