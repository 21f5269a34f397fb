//! A checker that cannot fail is worth nothing: each is shown what it must not accept.

use super::*;
use crate::plan::node;

/// A node with entries of these terms, all of them on its disk.
struct Sight {
    id: u16,
    life: u64,
    term: u64,
    is_leader: bool,
    terms: Vec<u64>,
    durable: u64,
    commit: u64,
    applied: u64,
    state: u64,
    contents: u64,
}

fn follower(id: u16, term: u64, terms: &[u64]) -> Sight {
    let (terms, durable) = (terms.to_vec(), terms.len() as u64);
    Sight {
        id,
        life: 1,
        term,
        is_leader: false,
        terms,
        durable,
        commit: 0,
        applied: 0,
        state: 0,
        contents: 0,
    }
}

fn leader(id: u16, term: u64, terms: &[u64]) -> Sight {
    Sight { is_leader: true, ..follower(id, term, terms) }
}

fn show(checkers: &mut Checkers, sight: &Sight) -> News {
    let mut runs: Vec<(LogIndex, Term)> = Vec::new();
    for (index, &term) in (1..).zip(&sight.terms) {
        if runs.last().is_none_or(|(_, last)| *last != Term(term)) {
            runs.push((LogIndex(index), Term(term)));
        }
    }
    let look = Look {
        id: node(sight.id),
        life: sight.life,
        term: Term(sight.term),
        vote: sight.is_leader.then(|| node(sight.id)),
        is_leader: sight.is_leader,
        base: LogIndex(0),
        terms: &runs,
        last: LogIndex(sight.terms.len() as u64),
        durable: LogIndex(sight.durable),
        commit: LogIndex(sight.commit),
        applied: LogIndex(sight.applied),
    };
    let content = |index: LogIndex| Some(index.0 + sight.contents);
    checkers.look(&look, content, || sight.state, |holders| holders.len() >= 2)
}

/// What the checkers of three nodes say of these sights, or nothing.
fn verdict(sights: &[Sight]) -> Option<String> {
    let looked = std::panic::catch_unwind(|| {
        let mut checkers = Checkers::default();
        sights.iter().for_each(|sight| {
            show(&mut checkers, sight);
        });
    });
    looked.err().map(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().expect("panics are texts").to_string(),
    })
}

fn assert_found(sights: &[Sight], property: &str) {
    let text = verdict(sights).unwrap_or_else(|| panic!("{property}: nothing was found"));
    assert!(text.starts_with(property), "{text}");
}

#[test]
fn a_history_without_fault_passes() {
    let sights = [
        leader(1, 1, &[1]),
        follower(2, 1, &[1]),
        Sight { commit: 1, ..leader(1, 1, &[1]) },
        Sight { commit: 1, applied: 1, state: 7, ..follower(2, 1, &[1]) },
        // The leader is cut off with an entry that nobody else has, and another is elected.
        Sight { commit: 1, ..leader(1, 1, &[1, 1]) },
        Sight { commit: 1, ..leader(2, 2, &[1, 2]) },
        follower(3, 2, &[1, 2]),
        Sight { commit: 2, ..leader(2, 2, &[1, 2]) },
        // The old leader comes back, and its log is cut.
        Sight { commit: 1, ..follower(1, 2, &[1, 1]) },
        Sight { commit: 2, applied: 1, state: 7, ..follower(1, 2, &[1, 2]) },
        // A node starts again, and has lost nothing that was durable.
        Sight { life: 2, ..follower(3, 2, &[1, 2]) },
    ];
    assert_eq!(verdict(&sights), None);
}

#[test]
fn two_leaders_in_a_term() {
    assert_found(&[leader(1, 3, &[]), leader(2, 3, &[])], "election safety");
}

#[test]
fn a_leader_that_cuts_its_log() {
    assert_found(&[leader(1, 2, &[1, 2]), leader(1, 2, &[1])], "leader append-only");
}

#[test]
fn logs_that_agree_at_an_entry_and_not_before() {
    assert_found(&[follower(1, 3, &[1, 1, 3]), follower(2, 3, &[1, 2, 3])], "log matching");
}

#[test]
fn one_entry_with_two_commands() {
    let other = Sight { contents: 1_000, ..follower(2, 1, &[1]) };
    assert_found(&[follower(1, 1, &[1]), other], "log matching");
}

#[test]
fn a_leader_without_a_committed_entry() {
    let committed = Sight { commit: 2, ..leader(1, 1, &[1, 1]) };
    let sights = [follower(2, 1, &[1, 1]), committed, leader(3, 2, &[1])];
    assert_found(&sights, "leader completeness");
}

#[test]
fn an_entry_that_is_committed_after_a_leader_without_it_was_elected() {
    let late = Sight { commit: 2, ..leader(1, 1, &[1, 1]) };
    let sights = [leader(3, 2, &[1]), follower(2, 1, &[1, 1]), leader(1, 1, &[1, 1]), late];
    assert_found(&sights, "leader completeness");
}

#[test]
fn two_entries_committed_at_one_index() {
    let sights =
        [Sight { commit: 1, ..follower(1, 3, &[1]) }, Sight { commit: 1, ..follower(2, 3, &[2]) }];
    assert_found(&sights, "state machine safety");
}

#[test]
fn two_states_after_the_same_entry() {
    let applied = |id, state| Sight { commit: 1, applied: 1, state, ..follower(id, 1, &[1]) };
    assert_found(&[applied(1, 7), applied(2, 7), applied(3, 8)], "state machine safety");
}

#[test]
fn a_commit_that_is_on_too_few_disks() {
    let buffered = Sight { durable: 0, ..follower(2, 1, &[1]) };
    let committed = Sight { commit: 1, ..leader(1, 1, &[1]) };
    assert_found(&[buffered, committed], "durability");
}

#[test]
fn a_disk_that_forgets() {
    let again = Sight { life: 2, ..follower(1, 1, &[1]) };
    assert_found(&[follower(1, 1, &[1, 1]), again], "durability");
    let unflushed = Sight { durable: 1, ..follower(1, 1, &[1, 1]) };
    let again = Sight { life: 2, ..follower(1, 1, &[1]) };
    assert_eq!(verdict(&[unflushed, again]), None, "what was not durable may be gone");
}

#[test]
fn what_is_applied_was_committed() {
    let hasty = Sight { applied: 1, ..follower(1, 1, &[1]) };
    assert_found(&[hasty], "node 1 applied entry 1");
}

#[test]
fn news_are_told_once() {
    let mut checkers = Checkers::default();
    // Another has the entry too.
    show(&mut checkers, &follower(2, 1, &[1]));
    let news = show(&mut checkers, &leader(1, 1, &[1]));
    assert!(news.was_elected && !news.has_committed);
    let committed = Sight { commit: 1, ..leader(1, 1, &[1]) };
    assert!(show(&mut checkers, &committed).has_committed);
    assert_eq!(show(&mut checkers, &committed), News::default());
}
