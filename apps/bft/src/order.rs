//! What a quorum's view changes come to: the order that a new view begins with.
//!
//! For each number the batch goes on that was prepared in the highest view (OSDI '99, section 4.4), unless a
//! fast quorum may have decided another one (SBFT, DSN 2019, section V: the view change). That is one that
//! so many of the quorum name as decide between all others ([`Quorums::witnesses`]), if nobody claims that
//! another was prepared in the views that they name, or later. It needs no proof: an honest replica has
//! voted for it, and has it. Most of what goes on is of this kind, and a view begins without certificates to
//! verify; whoever knows a decision of it answers the new proposal with that.
//!
//! Why nothing is lost. If a fast quorum decided a batch in view v, nothing else was proposed in later views,
//! as they began with the same rule; so all of its honest voters that are heard name it, with v or a later
//! view, and those are as many; nothing else is prepared in v or later, and nothing else has as many names.
//! If commits decided a batch in view v, somebody who is heard says that it was prepared in v or later. If
//! others are named by enough, then in views before that, and they do not go on; or in later ones, in one of
//! which an honest replica has voted: it would have been for the same batch.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crypto::Digest;

use crate::change::{Claim, ViewChange};
use crate::numbers::Sequence;
use crate::quorum::Quorums;

/// What follows from a quorum's claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Order {
    /// The stable checkpoint that the view begins from (min-s), and the digest of the state there.
    pub(crate) stable: (Sequence, Digest),
    /// What is proposed again for each number behind it (to max-s): if there is nothing, the null request.
    pub(crate) chosen: Vec<Option<Choice>>,
}

/// Why a batch goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// It is the one that was prepared in the highest view, as is to be proven.
    Prepared(Claim),
    /// So many have voted for it that it may be decided.
    Voted(Claim),
}

impl Order {
    /// The order that follows from these well-formed view changes: the same for everybody, in whatever order
    /// they are.
    pub(crate) fn of<'a>(
        changes: impl Iterator<Item = &'a ViewChange> + Clone,
        quorums: Quorums,
    ) -> Order {
        let stable =
            changes.clone().map(|change| (change.stable, change.state)).max().unwrap_or_default();
        let ends = changes.clone().filter_map(ViewChange::last_claimed);
        let last = ends.max().unwrap_or_default();
        let numbers = (stable.0.0 + 1..=last.0).map(Sequence);
        let mut chosen: Vec<_> =
            numbers.map(|number| Choice::of(changes.clone(), number, quorums)).collect();
        while chosen.pop_if(|choice| choice.is_none()).is_some() {}
        Order { stable, chosen }
    }

    /// The numbers and the digests that are proposed for them.
    pub(crate) fn proposals(&self, null: Digest) -> impl Iterator<Item = (Sequence, Digest)> {
        let digest = move |choice: &Option<Choice>| choice.map_or(null, |one| one.claim().digest);
        (self.stable.0.0 + 1..).map(Sequence).zip(self.chosen.iter().map(digest))
    }

    /// Those that must be proven.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = &Claim> + Clone {
        self.chosen.iter().flatten().filter_map(|choice| match choice {
            Choice::Prepared(claim) => Some(claim),
            Choice::Voted(_) => None,
        })
    }
}

impl Choice {
    /// What follows for one number.
    fn of<'a>(
        changes: impl Iterator<Item = &'a ViewChange> + Clone,
        number: Sequence,
        quorums: Quorums,
    ) -> Option<Choice> {
        let prepared = changes.clone().filter_map(|change| change.prepared_at(number));
        let latest = changes.clone().filter_map(|change| change.latest_at(number)).collect();
        if let Some(witnessed) = witnessed(latest, quorums.witnesses()) {
            let agrees =
                |claim: Claim| claim.view < witnessed.view || claim.digest == witnessed.digest;
            if prepared.clone().all(agrees) {
                return Some(Choice::Voted(witnessed));
            }
        }
        // The digest decides between claims of one view, of which at most one can be proven.
        prepared.max_by_key(|claim| (claim.view, claim.digest)).map(Choice::Prepared)
    }

    fn claim(self) -> Claim {
        match self {
            Choice::Prepared(claim) | Choice::Voted(claim) => claim,
        }
    }
}

/// The batch that so many replicas name, if there is one, and the latest view in which a fast quorum may have
/// decided it: that many name it with this one or a later one.
fn witnessed(mut latest: Vec<Claim>, witnesses: usize) -> Option<Claim> {
    latest.sort_unstable_by_key(|claim| (claim.digest, Reverse(claim.view)));
    // They are more than half of all: there is one such batch at most.
    let mut named = latest.chunk_by(|one, next| one.digest == next.digest);
    named.find_map(|claims| claims.get(witnesses - 1)).copied()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use base::Prng;

    use super::*;
    use crate::change::tests::{change, claim};

    /// N = 4, f = 1, q = 3, F = 4: two witnesses.
    fn of(changes: &[ViewChange]) -> Order {
        let order = Order::of(changes.iter(), Quorums::new(4, 1, 3).unwrap());
        let reversed = Order::of(changes.iter().rev(), Quorums::new(4, 1, 3).unwrap());
        assert_eq!(order, reversed, "the same for everybody");
        order
    }

    /// The claim of the highest view goes on, gaps become null requests, and what a checkpoint has
    /// settled is not proposed again.
    #[test]
    fn the_order_follows_from_the_claims() {
        let changes = [
            change(0, 4, vec![claim(5, 1, 1), claim(6, 2, 2), claim(8, 1, 3)], vec![]),
            change(1, 5, vec![claim(6, 3, 4), claim(8, 0, 5)], vec![]),
            change(2, 0, vec![claim(2, 8, 6)], vec![]),
        ];
        let order = of(&changes);
        assert_eq!(order.stable, (Sequence(5), Digest([5; 32])));
        let expected = [claim(6, 3, 4), claim(8, 1, 3)].map(|claim| Some(Choice::Prepared(claim)));
        assert_eq!(order.chosen, [expected[0], None, expected[1]]);
        let null = Digest([9; 32]);
        let proposals: Vec<_> = order.proposals(null).collect();
        assert_eq!(proposals[1], (Sequence(7), null));
        let nothing = of(&[]);
        assert_eq!((nothing.stable.0, nothing.chosen.len()), (Sequence(0), 0));
    }

    /// Two of three name it: a fast quorum may have decided it, in the earlier of their views at least.
    #[test]
    fn what_enough_have_voted_for_goes_on() {
        let voted = |slot, claims| change(slot, 0, vec![], claims);
        let chosen = |changes: &[ViewChange]| of(changes).chosen;
        let (one, other) = (claim(1, 3, 1), claim(1, 4, 2));
        assert_eq!(chosen(&[voted(0, vec![one])]), [], "one may be a liar");
        let two = [voted(0, vec![one]), voted(1, vec![claim(1, 5, 1)]), voted(2, vec![other])];
        assert_eq!(chosen(&two), [Some(Choice::Voted(one))]);
        // What was prepared after that goes before it, and what was prepared in the same view.
        for (view, goes_on) in [(2, Choice::Voted(one)), (3, Choice::Prepared(claim(1, 3, 7)))] {
            let prepared = change(2, 0, vec![claim(1, view, 7)], vec![other]);
            assert_eq!(chosen(&[two[0].clone(), two[1].clone(), prepared]), [Some(goes_on)]);
        }
        // Whoever has it prepared has voted for it, or knows that others have: nothing is to be proven,
        // unless somebody claims that another one was prepared then.
        let prepared = |digest| change(1, 0, vec![claim(1, 2, digest)], vec![]);
        let both = [two[0].clone(), prepared(1)];
        assert_eq!(chosen(&both), [Some(Choice::Voted(claim(1, 2, 1)))]);
        let later = change(2, 0, vec![claim(1, 6, 1)], vec![]);
        assert_eq!(
            chosen(&[two[0].clone(), two[1].clone(), later]),
            [Some(Choice::Voted(claim(1, 5, 1)))]
        );
        let against = change(2, 0, vec![claim(1, 6, 7)], vec![]);
        let expected = [Some(Choice::Prepared(claim(1, 6, 7)))];
        assert_eq!(chosen(&[two[0].clone(), two[1].clone(), against]), expected);
        // The latest word of each counts, once.
        let moved = change(0, 0, vec![one], vec![other]);
        assert_eq!(chosen(&[moved, two[1].clone()]), [Some(Choice::Prepared(one))]);
    }

    /// At most one digest of a number can have enough witnesses, whatever is said.
    #[test]
    fn nobody_can_have_two_batches_go_on() {
        let mut prng = Prng::new(5);
        for (witnesses, quorum) in [(2, 3), (11, 21)] {
            let mut found = 0;
            for _ in 0..500 {
                let mut one = || claim(1, prng.below(9), prng.below(2) as u8);
                let latest: Vec<_> = (0..quorum).map(|_| one()).collect();
                let named = |digest: u8| {
                    let named = latest.iter().filter(|one| one.digest == Digest([digest; 32]));
                    let mut views: Vec<_> = named.map(|claim| claim.view.0).collect();
                    views.sort_unstable();
                    Some(claim(1, *views.iter().nth_back(witnesses - 1)?, digest))
                };
                let expected: Vec<Claim> = (0..2).filter_map(named).collect();
                assert!(expected.len() <= 1, "{expected:?}");
                found += expected.len();
                assert_eq!(witnessed(latest, witnesses), expected.first().copied());
            }
            assert!(found > 100, "{found}");
        }
    }
}
