//! How much work a verdict may cost, counted in steps and never in time: the same input gets the same verdict anywhere.

/// A step is about one node of an expression or one word of a big number: tens of nanoseconds.
const STEPS: u64 = 2_000_000;

/// Steps for finding the answer; here a step is about one byte that is looked at again.
const SEARCH_STEPS: u64 = 16_000_000;

/// Steps that are left.
#[derive(Debug)]
pub(super) struct Budget(u64);

/// The steps are used up; the verdict is `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Default for Budget {
    fn default() -> Self {
        Self(STEPS)
    }
}

impl Budget {
    /// The budget for finding the answer in a response.
    pub(super) fn search() -> Self {
        Self(SEARCH_STEPS)
    }

    /// Takes `steps` before the work that they stand for.
    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Exhausted> {
        match self.0.checked_sub(steps) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Exhausted)
            }
        }
    }
}
