//! The verifier: does a response reach the reference answer?
//!
//! [`extract`] finds the response's final answer, [`number`] reads numbers exactly, and [`compare`] decides. No input
//! makes it hang: every scan is linear in the text with capped phrases, and numbers have capped sizes.

mod compare;
mod extract;
mod number;

pub use extract::{FinalAnswer, final_answer};
pub use number::Number;

use super::verdict::{Verdict, VerdictStatus};

/// Grades a response against a reference answer.
///
/// The reference may be an answer (`42`, `\frac{1}{2}`, `Monday`) or a whole solution that ends in one
/// (`… #### 42`, `… \boxed{42}`); [`Verdict::reference`] is the answer alone.
pub fn grade(response: &str, reference: &str) -> Verdict {
    let reference = compare::reference_answer(reference);
    let Some(found) = final_answer(response) else {
        return Verdict {
            status: VerdictStatus::Unparsed,
            extracted: None,
            reference: reference.to_owned(),
            span: None,
        };
    };
    let matched = compare::matching(&found, reference);
    let answer = matched.unwrap_or(found.literal);
    Verdict {
        status: if matched.is_some() { VerdictStatus::Correct } else { VerdictStatus::Wrong },
        extracted: Some(answer.text.to_owned()),
        reference: reference.to_owned(),
        span: Some([answer.start, answer.start + answer.text.len()]),
    }
}

#[cfg(test)]
mod tests;
