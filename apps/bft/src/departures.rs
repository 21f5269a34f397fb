//! Who says that it has left which view.
//!
//! A replica's word is kept as it came, and verified when something depends on it: when f + 1 words would
//! make this replica join, or when those of a quorum would let it give up the view that is to come. When
//! the first primary of 32 replicas is gone, each hears thirty words, and needs none of them: it has left
//! by itself, and the new view comes with a quorum of them.

use alloc::vec;
use alloc::vec::Vec;

use crypto::{Digest, Keyring, Signature};

use crate::change::ViewChange;
use crate::numbers::ViewNumber;

/// "I have left all views before that one": the signature of a view change, and the digest of what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Departure {
    pub(crate) view: ViewNumber,
    pub(crate) content: Digest,
    pub(crate) signature: Signature,
}

impl Departure {
    pub(crate) fn of(change: &ViewChange) -> Departure {
        let (view, content, signature) = (change.view, change.content(), change.signature);
        Departure { view, content, signature }
    }

    /// Whether it is this replica's word.
    pub(crate) fn verifies(&self, slot: usize, keyring: &Keyring) -> bool {
        let statement = ViewChange::statement(keyring, self.view, self.content);
        keyring.verify(slot, &statement, &self.signature).is_ok()
    }
}

/// The latest word of each replica.
#[derive(Clone, Debug)]
pub(crate) struct Departures {
    words: Vec<Option<Word>>,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    departure: Departure,
    is_verified: bool,
}

/// What came of a new word: how many signatures were looked at, and how many were bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Looked {
    pub(crate) checked: u64,
    pub(crate) bad: u64,
}

impl Departures {
    pub(crate) fn new(replicas: usize) -> Departures {
        Departures { words: vec![None; replicas] }
    }

    /// What this replica itself says.
    pub(crate) fn note_own(&mut self, slot: usize, departure: Departure) {
        self.words[slot] = Some(Word { departure, is_verified: true });
    }

    /// A view has begun: who moved to it, or to one before, is of no interest any more. The next word of a
    /// replica has its place then, and need not be compared with this one.
    pub(crate) fn forget(&mut self, begun: ViewNumber) {
        for word in &mut self.words {
            word.take_if(|word| word.departure.view <= begun);
        }
    }

    /// The view to which a replica has moved, if it says so itself: 0 if it has said nothing.
    pub(crate) fn view(&self, slot: usize) -> ViewNumber {
        self.words[slot].map_or(ViewNumber(0), |word| word.departure.view)
    }

    /// Whether exactly this was verified. Whoever tells of others' words may name a slot that nobody has.
    pub(crate) fn knows(&self, slot: usize, departure: &Departure) -> bool {
        let word = self.words.get(slot).copied().flatten();
        word.is_some_and(|word| word.is_verified && word.departure == *departure)
    }

    /// Takes a word. There is room for one of each replica, the latest. If there are two of which the first
    /// is not verified, one may be forged, and both are looked at: nobody can take another's place.
    pub(crate) fn add(&mut self, slot: usize, departure: Departure, keyring: &Keyring) -> Looked {
        let mut looked = Looked::default();
        if let Some(held) = self.words[slot] {
            if held.departure == departure {
                return looked;
            }
            if !held.is_verified {
                looked = self.verify(slot, keyring);
            }
        }
        match self.words[slot] {
            Some(held) if departure.view <= held.departure.view => {}
            Some(_) => {
                looked.checked += 1;
                if departure.verifies(slot, keyring) {
                    self.words[slot] = Some(Word { departure, is_verified: true });
                } else {
                    looked.bad += 1;
                }
            }
            None => self.words[slot] = Some(Word { departure, is_verified: false }),
        }
        looked
    }

    /// Verifies the word of a replica, and lets go of it if it is forged.
    pub(crate) fn verify(&mut self, slot: usize, keyring: &Keyring) -> Looked {
        let Some(word) = self.words[slot].as_mut().filter(|word| !word.is_verified) else {
            return Looked::default();
        };
        let is_good = word.departure.verifies(slot, keyring);
        word.is_verified = is_good;
        if !is_good {
            self.words[slot] = None;
        }
        Looked { checked: 1, bad: u64::from(!is_good) }
    }

    /// The latest view to which so many of the others have moved, as far as they say.
    pub(crate) fn joint_view(&self, own: usize, count: usize) -> ViewNumber {
        let others = (0..self.words.len()).filter(|slot| *slot != own);
        let mut views: Vec<ViewNumber> = others.map(|slot| self.view(slot)).collect();
        views.sort_unstable_by(|one, other| other.cmp(one));
        views.get(count - 1).copied().unwrap_or_default()
    }

    /// How many say that they have moved to `view` or a later one.
    pub(crate) fn count(&self, view: ViewNumber) -> usize {
        self.words.iter().flatten().filter(|word| word.departure.view >= view).count()
    }

    /// One that says so and is not verified, unless `enough` are.
    pub(crate) fn doubtful(&self, view: ViewNumber, enough: usize) -> Option<usize> {
        let is_it = |word: &Word| word.departure.view >= view;
        let verified = self.words.iter().flatten().filter(|word| word.is_verified && is_it(word));
        if verified.count() >= enough {
            return None;
        }
        self.words
            .iter()
            .position(|word| word.is_some_and(|word| !word.is_verified && is_it(&word)))
    }
}

#[cfg(test)]
mod tests {
    use base::{ClusterId, NodeId};
    use crypto::SigningKey;

    use super::*;

    fn key(slot: usize) -> SigningKey {
        SigningKey::take(&mut [u8::try_from(slot).unwrap() + 1; 32])
    }

    fn keyring() -> Keyring {
        let id = |slot: usize| NodeId::new(u16::try_from(slot).unwrap() + 1).unwrap();
        let members = (0..5).map(|slot| (id(slot), key(slot).verifying_key())).collect();
        Keyring::new(ClusterId(1), 0, members).unwrap()
    }

    fn departure(keyring: &Keyring, slot: usize, view: u64) -> Departure {
        let (view, content) = (ViewNumber(view), Digest::of(b"claims"));
        let statement = ViewChange::statement(keyring, view, content);
        Departure { view, content, signature: key(slot).sign(&statement) }
    }

    /// Nothing is looked at when it comes; who has said what is known all the same.
    #[test]
    fn a_word_is_kept_as_it_came() {
        let (keyring, mut departures) = (keyring(), Departures::new(5));
        departures.note_own(0, departure(&keyring, 0, 2));
        for (slot, view) in [(1, 2), (2, 4), (3, 3)] {
            let word = departure(&keyring, slot, view);
            assert_eq!(departures.add(slot, word, &keyring), Looked::default());
            assert_eq!(departures.add(slot, word, &keyring), Looked::default(), "it came twice");
            assert!(!departures.knows(slot, &word));
        }
        assert_eq!([1, 2, 3, 4].map(|count| departures.joint_view(0, count).0), [4, 3, 2, 0]);
        assert_eq!([2, 3, 4, 5].map(|view| departures.count(ViewNumber(view))), [4, 2, 1, 0]);
        assert_eq!(departures.doubtful(ViewNumber(3), 1), Some(2));
        assert_eq!(departures.doubtful(ViewNumber(2), 1), None, "the own word is known");
        assert_eq!(departures.verify(2, &keyring), Looked { checked: 1, bad: 0 });
        assert_eq!(departures.doubtful(ViewNumber(3), 2), Some(3));
        assert!(departures.knows(2, &departure(&keyring, 2, 4)));
        assert!(!departures.knows(5, &departure(&keyring, 2, 4)), "there is no such slot");
    }

    /// Once a view has begun the next words come without a look at those before.
    #[test]
    fn words_of_views_that_have_begun_are_forgotten() {
        let (keyring, mut departures) = (keyring(), Departures::new(5));
        for (slot, view) in [(1, 2), (2, 3), (3, 4)] {
            departures.add(slot, departure(&keyring, slot, view), &keyring);
        }
        departures.forget(ViewNumber(3));
        assert_eq!([1, 2, 3].map(|slot| departures.view(slot).0), [0, 0, 4]);
        assert_eq!(departures.add(1, departure(&keyring, 1, 4), &keyring), Looked::default());
        assert_eq!(departures.view(1), ViewNumber(4));
    }

    /// A forged word neither stays when it matters, nor keeps the real one out, nor takes its place.
    #[test]
    fn a_forged_word_takes_nobodys_place() {
        let (keyring, mut departures) = (keyring(), Departures::new(5));
        let real = departure(&keyring, 1, 2);
        let forged = Departure { view: ViewNumber(9), ..real };
        departures.add(1, forged, &keyring);
        assert_eq!(departures.add(1, real, &keyring), Looked { checked: 1, bad: 1 });
        assert_eq!(departures.view(1), ViewNumber(2));
        assert_eq!(departures.add(1, forged, &keyring), Looked { checked: 2, bad: 1 });
        assert_eq!(departures.view(1), ViewNumber(2));
        assert!(departures.knows(1, &real));
        departures.add(2, forged, &keyring);
        assert_eq!(departures.verify(2, &keyring), Looked { checked: 1, bad: 1 });
        assert_eq!(departures.view(2), ViewNumber(0));
    }
}
