//! What a peer may cost: a liar must not buy more of this replica's time than its share (Aardvark, NSDI
//! '09).

use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Instant, limits};

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    bad_signatures: u32,
    /// Signatures that were verified for messages that came to nothing.
    wasted_checks: u64,
    answers: u32,
}

/// What each peer has cost since the present span began.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    accounts: Vec<Account>,
    began: Instant,
}

impl Guard {
    pub(crate) fn new(replicas: usize, now: Instant) -> Guard {
        Guard { accounts: vec![Account::default(); replicas], began: now }
    }

    /// All accounts begin anew after a span.
    pub(crate) fn note_time(&mut self, now: Instant) {
        if now.since(self.began) >= Duration::from_millis(limits::BFT_ALLOWANCE_EVERY_MS) {
            self.accounts.fill(Account::default());
            self.began = now;
        }
    }

    /// Whether the peer has sent so many bad signatures that it is not listened to, or so many good ones
    /// beside a bad one.
    pub(crate) fn is_muted(&self, slot: usize) -> bool {
        let account = &self.accounts[slot];
        account.bad_signatures >= limits::BFT_BAD_SIGNATURES_MAX
            || account.wasted_checks >= limits::BFT_WASTED_CHECKS_MAX
    }

    pub(crate) fn note_bad_signature(&mut self, slot: usize) {
        self.accounts[slot].bad_signatures += 1;
    }

    /// A message came to nothing after so many of its signatures were verified.
    pub(crate) fn note_wasted(&mut self, slot: usize, checks: u64) {
        self.accounts[slot].wasted_checks += checks;
    }

    /// An answer consists of so many messages.
    pub(crate) fn note_answers(&mut self, slot: usize, messages: usize) {
        let answers = &mut self.accounts[slot].answers;
        *answers = answers.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
    }

    /// Whether a question of this peer may be answered. Answers are longer than questions.
    pub(crate) fn may_answer(&mut self, slot: usize) -> bool {
        let answers = &mut self.accounts[slot].answers;
        *answers += 1;
        *answers <= limits::BFT_ANSWERS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_muted_and_heard_again() {
        let start = Instant::from_millis(5);
        let mut guard = Guard::new(2, start);
        for _ in 0..limits::BFT_BAD_SIGNATURES_MAX {
            assert!(!guard.is_muted(0));
            guard.note_bad_signature(0);
        }
        assert!(guard.is_muted(0) && !guard.is_muted(1));
        let answered = (0..2 * limits::BFT_ANSWERS_MAX).filter(|_| guard.may_answer(1)).count();
        assert_eq!(answered, limits::BFT_ANSWERS_MAX as usize);
        guard.note_time(start + Duration::from_millis(limits::BFT_ALLOWANCE_EVERY_MS));
        assert!(!guard.is_muted(0) && guard.may_answer(1));
    }

    #[test]
    fn good_signatures_beside_a_bad_one_count_too() {
        let mut guard = Guard::new(2, Instant::from_millis(5));
        guard.note_wasted(0, limits::BFT_WASTED_CHECKS_MAX - 1);
        assert!(!guard.is_muted(0));
        guard.note_wasted(0, 1);
        assert!(guard.is_muted(0) && !guard.is_muted(1));
    }
}
