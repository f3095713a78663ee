//! The verifier: does a response reach the reference answer?
//!
//! The final answer is found in the response ([`extract`], [`markers`], [`formulas`], [`literal`]) and compared with the
//! reference ([`compare`]): as text, as a choice, and as mathematics. Mathematics is cut into [`tokens`], read into a small
//! tree ([`expr`], by [`parse`] and [`primary`]), and compared by what kind of thing it is ([`equal`], [`relation`]).
//! Values ([`scalar`]) have an exact normal form, fractions of polynomials with rational coefficients over variables,
//! `\pi`, `i` and roots ([`normal`], [`polynomial`]); only where that cannot tell, they are evaluated at fixed points
//! ([`numeric`]).
//!
//! No input makes it hang: texts, numbers and nesting have bounds, and all work is paid for in steps from a [`budget`].
//! Steps are counted and not timed, so that the same input has the same verdict on every machine.

mod budget;
mod compare;
mod equal;
mod expr;
mod extract;
mod formulas;
mod literal;
mod markers;
mod normal;
mod numeric;
mod parse;
mod polynomial;
mod primary;
mod relation;
mod scalar;
mod tokens;
mod units;
mod words;

use self::budget::Budget;
use super::verdict::{Verdict, VerdictStatus};

/// Grades a response against a reference answer.
///
/// The reference may be an answer (`42`, `\frac{1}{2}`, `Monday`) or a whole solution that ends in one
/// (`… #### 42`, `… \boxed{42}`); [`Verdict::reference`] is the answer alone. The status is `timeout` where the work would
/// be more than the budget: the same input always has the same status.
pub fn grade(response: &str, reference: &str) -> Verdict {
    let mut budget = Budget::default();
    let verdict = |status: VerdictStatus, reference: &str, answer: Option<extract::Piece<'_>>| Verdict {
        status,
        extracted: answer.map(|answer| answer.text.to_owned()),
        reference: reference.to_owned(),
        span: answer.map(|answer| [answer.start, answer.start + answer.text.len()]),
    };
    let Ok(reference) = compare::reference_answer(reference, &mut budget) else {
        return verdict(VerdictStatus::Timeout, reference, None);
    };
    let found = match extract::final_answer(response, &mut Budget::search()) {
        Ok(Some(found)) => found,
        Ok(None) => return verdict(VerdictStatus::Unparsed, reference, None),
        Err(_) => return verdict(VerdictStatus::Timeout, reference, None),
    };
    match compare::matching(&found, reference, &mut budget) {
        Ok(Some(matched)) => verdict(VerdictStatus::Correct, reference, Some(matched)),
        Ok(None) => verdict(VerdictStatus::Wrong, reference, Some(found.literal)),
        Err(_) => verdict(VerdictStatus::Timeout, reference, Some(found.literal)),
    }
}

#[cfg(test)]
mod tests;
