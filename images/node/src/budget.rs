//! How much one burst of input may lead to, so that services that feed each other without end are found out.

/// How many outputs of services follow from one burst at the most: far more than any burst can lead to.
const OUTPUTS_MAX: u32 = 1_000_000;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Budget(u32);

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget(OUTPUTS_MAX)
    }

    /// One output was taken.
    ///
    /// # Panics
    /// If there were too many: a bug. A node that says so and stops serves its cluster better than one that
    /// is never heard again.
    pub(crate) fn spend(&mut self) {
        assert!(self.0 > 0, "the services of this node feed each other without end");
        self.0 -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "without end")]
    fn what_never_ends_is_ended() {
        let mut budget = Budget::new();
        loop {
            budget.spend();
        }
    }
}
