//! Identifiers that sort by the time of their making, also within one millisecond.

use std::sync::{Mutex, PoisonError};

use ulid::Generator;

/// Makes the ids of one process.
#[derive(Default)]
pub(crate) struct Ids {
    generator: Mutex<Generator>,
}

impl Ids {
    /// `trace_` and a ULID above every one before it.
    pub(super) fn next_trace(&self) -> String {
        self.next("trace_")
    }

    /// `roll_` and a ULID above every one before it.
    pub(super) fn next_rollouts(&self) -> String {
        self.next("roll_")
    }

    /// `search_` and a ULID above every one before it.
    pub(super) fn next_search(&self) -> String {
        self.next("search_")
    }

    /// `job_` and a ULID above every one before it.
    pub(crate) fn next_job(&self) -> String {
        self.next("job_")
    }

    fn next(&self, prefix: &str) -> String {
        // The generator is whole between calls, so a panic elsewhere leaves nothing broken in it.
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let ulid = match generator.generate() {
            Ok(ulid) => ulid,
            Err(overflow) => overflow.commit_overflow_increment(),
        };
        format!("{prefix}{ulid}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::invariants::is_trace_id;
    use crate::domain::rollout::invariants::is_rollouts_id;

    #[test]
    fn ids_ascend_and_have_the_form_that_imports_check() {
        let ids = Ids::default();
        let made: Vec<String> = (0..1000).map(|_| ids.next_trace()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| is_trace_id(id)));
        assert!(is_rollouts_id(&ids.next_rollouts()) && !is_rollouts_id(&made[0]));
        assert!(!is_trace_id("trace_8ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
        assert!(!is_trace_id("trace_../../etc/passwd000000000"));
    }
}
