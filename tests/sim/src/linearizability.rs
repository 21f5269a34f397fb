//! Did clients see one register for each key, changed at one moment between each call and its answer?
//!
//! The search is Wing and Gong's with Lowe's memory of states that were already tried (G. Lowe, "Testing
//! for linearizability", 2017). Keys are independent, so each key's history is searched alone.

use std::collections::BTreeSet;

use base::Instant;

/// What a client asked of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `GET`.
    Get,
    /// `SET` of a number.
    Set(i64),
    /// `SET … NX` of a number.
    SetIfAbsent(i64),
    /// `INCR`.
    Increment,
    /// `DEL`.
    Delete,
}

/// What the client was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The value, or nil.
    Value(Option<i64>),
    /// `OK`.
    Done,
    /// Whether it was stored: `OK` or nil.
    Stored(bool),
    /// The number after the increment.
    Number(i64),
    /// Whether there was something to delete.
    Deleted(bool),
}

/// One operation of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// When.
    pub called: Instant,
    /// When it was answered, and what; `None` if nobody knows whether it was executed, then or ever.
    pub answered: Option<(Instant, Outcome)>,
}

/// The history cannot be explained by one register: the longest explanation that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotLinearizable {
    /// Positions in the history of the calls that could be put in order.
    pub explained: Vec<usize>,
}

type Register = Option<i64>;

/// What the operation does to the register, and what it answers.
fn execute(register: Register, operation: Operation) -> (Register, Outcome) {
    match operation {
        Operation::Get => (register, Outcome::Value(register)),
        Operation::Set(value) => (Some(value), Outcome::Done),
        Operation::SetIfAbsent(value) => match register {
            Some(_) => (register, Outcome::Stored(false)),
            None => (Some(value), Outcome::Stored(true)),
        },
        Operation::Increment => {
            let number = register.unwrap_or(0) + 1;
            (Some(number), Outcome::Number(number))
        }
        Operation::Delete => (None, Outcome::Deleted(register.is_some())),
    }
}

/// A search step that can be taken back.
struct Step {
    call: usize,
    before: Register,
}

/// Checks the history of one key, which starts out absent.
///
/// # Errors
/// If there is no order of the calls that respects time and explains every answer.
pub fn check(history: &[Call]) -> Result<(), NotLinearizable> {
    let mut search = Search::new(history);
    search.run().map_err(|explained| NotLinearizable { explained })
}

struct Search<'a> {
    history: &'a [Call],
    /// Calls by the time they were made: candidates are tried in this order.
    by_call: Vec<usize>,
    done: Vec<bool>,
    register: Register,
    steps: Vec<Step>,
    tried: BTreeSet<(Vec<bool>, Register)>,
}

impl<'a> Search<'a> {
    fn new(history: &'a [Call]) -> Search<'a> {
        let mut by_call: Vec<usize> = (0..history.len()).collect();
        by_call.sort_by_key(|&call| history[call].called);
        Search {
            history,
            by_call,
            done: vec![false; history.len()],
            register: None,
            steps: Vec::new(),
            tried: BTreeSet::new(),
        }
    }

    fn run(&mut self) -> Result<(), Vec<usize>> {
        let mut longest = Vec::new();
        let mut from = 0;
        loop {
            if self.all_answers_explained() {
                return Ok(());
            }
            if self.advance(from) {
                from = 0;
                if self.steps.len() > longest.len() {
                    longest = self.steps.iter().map(|step| step.call).collect();
                }
                continue;
            }
            let Some(step) = self.steps.pop() else { return Err(longest) };
            self.done[step.call] = false;
            self.register = step.before;
            from = 1 + self.position_of(step.call);
        }
    }

    /// Calls without an answer may have happened after everything else, or never.
    fn all_answers_explained(&self) -> bool {
        self.history.iter().zip(&self.done).all(|(call, done)| *done || call.answered.is_none())
    }

    fn position_of(&self, call: usize) -> usize {
        self.by_call.iter().position(|&other| other == call).expect("every call is listed")
    }

    /// Takes the first step from position `from` that leads to something new.
    fn advance(&mut self, from: usize) -> bool {
        // A call may come next only if no other call was answered before it was made.
        let earliest_answer = self
            .history
            .iter()
            .zip(&self.done)
            .filter(|(_, done)| !**done)
            .filter_map(|(call, _)| call.answered.map(|(at, _)| at))
            .min();
        for position in from..self.by_call.len() {
            let index = self.by_call[position];
            let call = &self.history[index];
            if self.done[index] {
                continue;
            }
            if earliest_answer.is_some_and(|answer| call.called > answer) {
                return false;
            }
            let (after, outcome) = execute(self.register, call.operation);
            if call.answered.is_some_and(|(_, answer)| answer != outcome) {
                continue;
            }
            self.done[index] = true;
            if self.tried.insert((self.done.clone(), after)) {
                self.steps.push(Step { call: index, before: self.register });
                self.register = after;
                return true;
            }
            self.done[index] = false;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: Operation, called: u64, answered: u64, outcome: Outcome) -> Call {
        let answered = Some((Instant::from_millis(answered), outcome));
        Call { operation, called: Instant::from_millis(called), answered }
    }

    fn lost(operation: Operation, called: u64) -> Call {
        Call { operation, called: Instant::from_millis(called), answered: None }
    }

    #[test]
    fn a_plain_history_is_linearizable() {
        let history = [
            call(Operation::Get, 0, 1, Outcome::Value(None)),
            call(Operation::Set(7), 2, 3, Outcome::Done),
            call(Operation::Increment, 4, 5, Outcome::Number(8)),
            call(Operation::Delete, 6, 7, Outcome::Deleted(true)),
            call(Operation::SetIfAbsent(1), 8, 9, Outcome::Stored(true)),
            call(Operation::SetIfAbsent(2), 10, 11, Outcome::Stored(false)),
            call(Operation::Get, 12, 13, Outcome::Value(Some(1))),
        ];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn overlapping_calls_may_happen_in_either_order() {
        let history = [
            call(Operation::Set(1), 0, 10, Outcome::Done),
            call(Operation::Set(2), 0, 10, Outcome::Done),
            call(Operation::Get, 11, 12, Outcome::Value(Some(1))),
        ];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [
            call(Operation::Set(1), 0, 1, Outcome::Done),
            call(Operation::Set(2), 2, 3, Outcome::Done),
            call(Operation::Get, 4, 5, Outcome::Value(Some(1))),
        ];
        assert_eq!(check(&history), Err(NotLinearizable { explained: vec![0, 1] }));
    }

    #[test]
    fn a_lost_write_is_found() {
        let history = [
            call(Operation::Set(1), 0, 1, Outcome::Done),
            call(Operation::Get, 2, 3, Outcome::Value(None)),
        ];
        assert!(check(&history).is_err());
    }

    #[test]
    fn a_write_that_was_executed_twice_is_found() {
        let history = [
            call(Operation::Increment, 0, 1, Outcome::Number(1)),
            call(Operation::Increment, 2, 3, Outcome::Number(3)),
        ];
        assert!(check(&history).is_err());
    }

    #[test]
    fn a_call_without_an_answer_may_have_happened_or_not() {
        let happened =
            [lost(Operation::Set(1), 0), call(Operation::Get, 5, 6, Outcome::Value(Some(1)))];
        let did_not =
            [lost(Operation::Set(1), 0), call(Operation::Get, 5, 6, Outcome::Value(None))];
        let late = [
            lost(Operation::Set(1), 0),
            call(Operation::Get, 5, 6, Outcome::Value(None)),
            call(Operation::Get, 7, 8, Outcome::Value(Some(1))),
        ];
        let twice = [
            lost(Operation::Set(1), 0),
            call(Operation::Get, 5, 6, Outcome::Value(Some(1))),
            call(Operation::Get, 7, 8, Outcome::Value(None)),
        ];
        assert_eq!(check(&happened), Ok(()));
        assert_eq!(check(&did_not), Ok(()));
        assert_eq!(check(&late), Ok(()));
        assert!(check(&twice).is_err());
    }
}
