//! How the first of several workers gets together what each has of a card, for as long as the card is started
//! again. Nothing of this is looked at while frames are on their way.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hint;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

#[derive(Debug)]
struct Desks<T> {
    is_on: AtomicBool,
    /// A place for what each of the others has.
    places: Vec<Mutex<Option<T>>>,
}

/// See the module.
#[derive(Debug)]
pub struct Recall<T>(Arc<Desks<T>>);

impl<T> Clone for Recall<T> {
    fn clone(&self) -> Recall<T> {
        Recall(Arc::clone(&self.0))
    }
}

impl<T> Recall<T> {
    /// For so many workers.
    pub fn new(workers: usize) -> Recall<T> {
        let places = (0..workers).map(|_| Mutex::new(None)).collect();
        Recall(Arc::new(Desks { is_on: AtomicBool::new(false), places }))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.0.places.len()
    }

    /// Whether what each has is asked for: then [`Recall::lend`] it, soon.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Acquire)
    }

    /// Lends what the worker of this number has, and waits for it.
    ///
    /// # Panics
    /// If the worker is the first, or there is no such one.
    pub fn lend(&self, worker: usize, it: T) -> T {
        assert!(worker > 0, "the first is who asks");
        let place = &self.0.places[worker];
        *place.lock() = Some(it);
        loop {
            while self.is_on() {
                hint::spin_loop();
            }
            // Nothing is there if it was asked for again just now.
            if let Some(it) = place.lock().take() {
                return it;
            }
        }
    }

    /// Asks for what all others have, and `wake`s them, which may sleep; then gives it all to `act`, the
    /// first's `own` in front, and gives it back. It waits for the slowest of them.
    ///
    /// # Panics
    /// If `act` has left another number of them.
    pub fn with_all(&self, own: T, wake: impl FnOnce(), act: impl FnOnce(&mut Vec<T>)) -> T {
        let others = &self.0.places[1..];
        let mut all = Vec::with_capacity(self.0.places.len());
        all.push(own);
        self.0.is_on.store(true, Ordering::Release);
        wake();
        all.extend(others.iter().map(|place| {
            loop {
                if let Some(it) = place.lock().take() {
                    break it;
                }
                hint::spin_loop();
            }
        }));
        act(&mut all);
        assert_eq!(all.len(), self.0.places.len(), "each gets one back");
        let mut all = all.into_iter();
        let own = all.next().expect("the first is there");
        others.iter().zip(all).for_each(|(place, it)| *place.lock() = Some(it));
        self.0.is_on.store(false, Ordering::Release);
        own
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_are_together_and_each_gets_its_own_back() {
        const ROUNDS: usize = 200;
        let recall = Recall::new(3);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let others = [1, 2].map(|number| {
                let (recall, is_over) = (recall.clone(), &is_over);
                scope.spawn(move || {
                    let mut own = (number, 0);
                    while !is_over.load(Ordering::Acquire) {
                        if recall.is_on() {
                            own = recall.lend(number, own);
                        }
                        thread::yield_now();
                    }
                    own
                })
            });
            let (mut own, mut calls) = ((0, 0), 0);
            for _ in 0..ROUNDS {
                own = recall.with_all(
                    own,
                    || calls += 1,
                    |all| {
                        assert!(all.iter().map(|(number, _)| *number).eq(0..3));
                        all.iter_mut().for_each(|(_, rounds)| *rounds += 1);
                    },
                );
            }
            is_over.store(true, Ordering::Release);
            assert_eq!((own, calls), ((0, ROUNDS), ROUNDS));
            let others = others.map(|other| other.join().unwrap());
            assert_eq!(others, [(1, ROUNDS), (2, ROUNDS)]);
        });
    }
}
