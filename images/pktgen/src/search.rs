//! The highest rate at which nothing is lost (RFC 2544, section 26.1), by halving.

use crate::trial::Outcome;

/// The search ends when the answer lies within this share of itself, or after so many trials.
const PART: u64 = 50;
const TRIALS_MAX: u32 = 12;

/// A search.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Search {
    /// Without loss at this rate, in frames a second.
    without_loss: u64,
    /// With loss at this one, if there was any.
    with_loss: Option<u64>,
    trials: u32,
}

impl Search {
    /// Takes the outcome of the last trial. Answers the rate of the next one, or `None` if there is none. The
    /// first trial is without a limit.
    pub fn next_rate(&mut self, outcome: &Outcome) -> Option<u64> {
        self.trials += 1;
        let rate = outcome.per_second() as u64;
        if outcome.lost() == Some(0) {
            self.without_loss = self.without_loss.max(rate);
        } else {
            let with_loss = self.with_loss.map_or(rate, |lowest| lowest.min(rate));
            self.with_loss = Some(with_loss.max(self.without_loss));
        }
        let with_loss = self.with_loss?;
        let gap = with_loss - self.without_loss;
        if gap <= with_loss / PART || self.trials == TRIALS_MAX || outcome.arrivals.is_none() {
            return None;
        }
        // What got through at full speed is a better guess than the middle.
        let through = outcome.arrivals.map_or(0, |arrivals| arrivals.per_second() as u64);
        let guess = if self.trials == 1 { through } else { 0 };
        let middle = self.without_loss + gap / 2;
        Some(if guess > self.without_loss && guess < with_loss { guess } else { middle }.max(1))
    }

    /// The highest rate without loss so far, in frames a second.
    pub fn best(&self) -> u64 {
        self.without_loss
    }

    /// How many trials there were.
    pub fn trials(&self) -> u32 {
        self.trials
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Arrivals;

    /// A second on a network that carries `capacity` frames, with a sender that manages `fastest`.
    fn outcome(rate: Option<u64>, fastest: u64, capacity: u64) -> Outcome {
        let sent = rate.unwrap_or(fastest).min(fastest);
        let frames = sent.min(capacity);
        let arrivals = Arrivals { frames, span_ns: 1_000_000_000, ..Arrivals::default() };
        Outcome { sent, span_ns: 1_000_000_000, arrivals: Some(arrivals) }
    }

    fn search(fastest: u64, capacity: u64) -> Search {
        let mut search = Search::default();
        let mut rate = None;
        loop {
            rate = search.next_rate(&outcome(rate, fastest, capacity));
            if rate.is_none() {
                return search;
            }
        }
    }

    #[test]
    fn finds_what_the_network_carries() {
        for capacity in [1_000, 123_456, 999_999, 1_500_000] {
            let search = search(2_000_000, capacity);
            let best = search.best();
            assert!(best <= capacity && best >= capacity - capacity / 40, "{best} of {capacity}");
            assert!(search.trials() <= TRIALS_MAX);
        }
        let fast_enough = search(1_000_000, 5_000_000);
        assert_eq!((fast_enough.best(), fast_enough.trials()), (1_000_000, 1));
    }

    #[test]
    fn ends_where_nothing_arrives() {
        assert_eq!(search(1_000_000, 0).best(), 0);
        let silent = Outcome { sent: 5, span_ns: 1_000, arrivals: None };
        let mut search = Search::default();
        assert_eq!(search.next_rate(&silent), None);
        assert_eq!(search.best(), 0);
    }

    #[test]
    fn more_than_was_sent_is_not_without_loss() {
        let arrivals = Arrivals { frames: 11, span_ns: 1_000_000_000, ..Arrivals::default() };
        let outcome = Outcome { sent: 10, span_ns: 1_000_000_000, arrivals: Some(arrivals) };
        let mut search = Search::default();
        assert!(search.next_rate(&outcome).is_some());
        assert_eq!(search.best(), 0);
    }
}
