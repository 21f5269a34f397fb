//! Which requests of one author were executed.
//!
//! Requests of one author may be ordered in any order, and more than once. What is remembered is the highest
//! serial, and which of the 64 up to it were executed (the window of RFC 4303, section 3.4.3): older ones are
//! taken for executed, so an author has fewer than that under way.

/// How many serials are told apart.
pub(crate) const SERIALS_TOLD_APART: u64 = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Serials {
    /// The highest that was executed; serials begin at 1.
    pub(crate) highest: u64,
    /// Bit n: the one that is n below it was executed.
    pub(crate) executed: u64,
}

/// Why a serial is not to be executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// It was executed.
    Repeated,
    /// It is so much lower than the highest that it is taken for executed; serials begin at 1.
    Old,
}

impl Serials {
    /// Whether a request of this serial would be executed.
    pub(crate) fn judge(&self, serial: u64) -> Result<(), Stale> {
        if serial > self.highest {
            return Ok(());
        }
        let below = self.highest - serial;
        match serial == 0 || below >= SERIALS_TOLD_APART {
            true => Err(Stale::Old),
            false if self.executed & (1 << below) != 0 => Err(Stale::Repeated),
            false => Ok(()),
        }
    }

    /// Whether a request of this serial is to be executed; from now on, it was.
    pub(crate) fn admit(&mut self, serial: u64) -> bool {
        if self.judge(serial).is_err() {
            return false;
        }
        if serial > self.highest {
            let shift = u32::try_from(serial - self.highest).unwrap_or(u32::MAX);
            self.executed = self.executed.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = serial;
            return true;
        }
        self.executed |= 1 << (self.highest - serial);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_once_in_any_order() {
        let mut serials = Serials::default();
        let admitted =
            [0, 3, 1, 3, 2, 2, 67, 3, 4, 66, 66, 1 << 40, 67].map(|at| serials.admit(at));
        let expected = [0, 1, 1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0].map(|is| is == 1);
        assert_eq!(admitted, expected);
    }

    proptest! {
        /// Nothing is executed twice, and what is new and within the window is executed.
        #[test]
        fn as_a_set_would(steps in proptest::collection::vec(1u64..200, 1..400)) {
            let (mut serials, mut seen) = (Serials::default(), BTreeSet::new());
            for serial in steps {
                let is_within = serial + SERIALS_TOLD_APART > serials.highest;
                prop_assert_eq!(serials.admit(serial), is_within && !seen.contains(&serial));
                if is_within {
                    seen.insert(serial);
                }
            }
        }
    }
}
