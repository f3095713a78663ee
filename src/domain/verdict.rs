//! Whether a response reaches the reference answer.

use serde::{Deserialize, Serialize};

/// The outcome of comparing a response's final answer with the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictStatus {
    Correct,
    Wrong,
    /// No final answer was found in the response.
    Unparsed,
    /// The comparison would take more steps than its budget has; the same texts always do.
    Timeout,
}

impl VerdictStatus {
    /// Every status, in the order in which a page offers them.
    pub const ALL: [VerdictStatus; 4] =
        [VerdictStatus::Correct, VerdictStatus::Wrong, VerdictStatus::Unparsed, VerdictStatus::Timeout];

    /// The name used on the wire.
    pub fn name(self) -> &'static str {
        match self {
            VerdictStatus::Correct => "correct",
            VerdictStatus::Wrong => "wrong",
            VerdictStatus::Unparsed => "unparsed",
            VerdictStatus::Timeout => "timeout",
        }
    }
}

/// A verdict with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    pub status: VerdictStatus,
    /// The final answer as the response wrote it.
    pub extracted: Option<String>,
    pub reference: String,
    /// Byte offsets of `extracted` in the response.
    pub span: Option<[usize; 2]>,
}
