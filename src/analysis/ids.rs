//! Identifiers that sort by the time of their making, also within one millisecond.

use std::sync::{Mutex, PoisonError};

use ulid::Generator;

/// Makes the ids of one process.
#[derive(Default)]
pub(super) struct TraceIds {
    generator: Mutex<Generator>,
}

impl TraceIds {
    /// `trace_` and a ULID above every one before it.
    pub(super) fn next(&self) -> String {
        // The generator is whole between calls, so a panic elsewhere leaves nothing broken in it.
        let mut generator = self.generator.lock().unwrap_or_else(PoisonError::into_inner);
        let ulid = match generator.generate() {
            Ok(ulid) => ulid,
            Err(overflow) => overflow.commit_overflow_increment(),
        };
        format!("trace_{ulid}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::invariants::is_trace_id;

    #[test]
    fn ids_ascend_and_have_the_form_that_imports_check() {
        let ids = TraceIds::default();
        let made: Vec<String> = (0..1000).map(|_| ids.next()).collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        assert!(made.iter().all(|id| is_trace_id(id)));
        assert!(!is_trace_id("trace_8ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
        assert!(!is_trace_id("trace_../../etc/passwd000000000"));
    }
}
