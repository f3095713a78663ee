//! From many responses to one problem to training sets: which ones to imitate, which ones to learn mistakes from, and which
//! two to compare (method.md, "select").
//!
//! Responses are grouped by final answer, most frequent first; of equally frequent answers the one that was given first comes
//! first, and a group is represented by its first response. So the outcome depends on the responses and their order alone.

use serde::{Deserialize, Serialize};

use super::verdict::VerdictStatus;
use super::verifier;

/// The share of wrong responses that the negative set's answers cover.
pub const DEFAULT_COVERAGE: f64 = 0.5;

/// How a response was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// By comparison with the reference answer.
    Reference(&'a str),
    /// By a label that came with it.
    Label(bool),
}

/// Responses to one problem, by their indices.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// The first response with a right answer: all right answers are one answer.
    pub positive: Option<usize>,
    /// The first response of each most frequent wrong answer.
    pub negative: Vec<usize>,
    /// Right and wrong responses, and those without a final answer.
    pub right: usize,
    pub wrong: usize,
    pub unparsed: usize,
}

impl Selection {
    /// The most frequent right answer's response against the most frequent wrong answer's.
    pub fn pair(&self) -> Option<(usize, usize)> {
        Some((self.positive?, *self.negative.first()?))
    }
}

/// A final answer and who gave it.
struct Group<'a> {
    answer: String,
    first: usize,
    response: &'a str,
    count: usize,
}

/// Selects among responses to one problem. `coverage`, in (0, 1], is the share of the wrong responses whose answers the
/// negative set represents. A response without a final answer, or with one that takes too long to compare, has no answer to
/// group by: it counts as neither right nor wrong.
pub fn select(responses: &[(&str, Judgement<'_>)], coverage: f64) -> Selection {
    let mut selection = Selection::default();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (index, &(response, judgement)) in responses.iter().enumerate() {
        let reference = match judgement {
            Judgement::Reference(answer) => answer,
            // Nothing equals an empty reference: only the response's own final answer is asked for.
            Judgement::Label(_) => "",
        };
        let verdict = verifier::grade(response, reference);
        let right = match (judgement, verdict.status) {
            (Judgement::Label(true), _) | (Judgement::Reference(_), VerdictStatus::Correct) => true,
            (_, VerdictStatus::Unparsed | VerdictStatus::Timeout) => {
                selection.unparsed += 1;
                continue;
            }
            (_, VerdictStatus::Wrong | VerdictStatus::Correct) => false,
        };
        if right {
            selection.right += 1;
            selection.positive = selection.positive.or(Some(index));
            continue;
        }
        selection.wrong += 1;
        let answer = verdict.extracted.unwrap_or_default();
        match groups.iter_mut().find(|group| same(group, response, &answer)) {
            Some(group) => group.count += 1,
            None => groups.push(Group { answer, first: index, response, count: 1 }),
        }
    }
    // The sort is stable: of equal counts the earlier stays before.
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    let wanted = coverage * selection.wrong as f64;
    let mut covered = 0;
    for group in &groups {
        if covered as f64 >= wanted {
            break;
        }
        covered += group.count;
        selection.negative.push(group.first);
    }
    selection
}

/// Whether a response gives a group's answer, in any way of writing it.
fn same(group: &Group<'_>, response: &str, answer: &str) -> bool {
    group.answer == answer
        || verifier::grade(response, &group.answer).status == VerdictStatus::Correct
        || verifier::grade(group.response, answer).status == VerdictStatus::Correct
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against<'a>(reference: &'a str, responses: &[&'a str]) -> Selection {
        let judged: Vec<_> = responses.iter().map(|response| (*response, Judgement::Reference(reference))).collect();
        select(&judged, DEFAULT_COVERAGE)
    }

    #[test]
    fn the_most_frequent_answers_are_represented_by_their_first_response() {
        let responses = [
            "The answer is 7.",
            "The answer is 18.",
            "The answer is 9.",
            "So 3 * 3. The answer is 9.",
            "The answer is 8.",
            "The answer is 18.00",
        ];
        let selection = against("18", &responses);
        // 9 covers 2 of 4 wrong responses, which is half of them.
        assert_eq!((selection.positive, selection.negative.as_slice()), (Some(1), &[2][..]));
        assert_eq!((selection.right, selection.wrong, selection.unparsed), (2, 4, 0));
        assert_eq!(selection.pair(), Some((1, 2)));
    }

    #[test]
    fn answers_are_added_until_half_of_the_wrong_responses_are_covered() {
        let responses: Vec<String> =
            [7, 8, 8, 9, 10, 11, 12].iter().map(|answer| format!("The answer is {answer}.")).collect();
        let responses: Vec<&str> = responses.iter().map(String::as_str).collect();
        // 8 covers 2 of 7, and 7 and 9 as the earliest of the rest make it 4.
        assert_eq!(against("1", &responses).negative, [1, 0, 3]);
        let all: Vec<_> = responses.iter().map(|response| (*response, Judgement::Reference("1"))).collect();
        assert_eq!(select(&all, 1.0).negative, [1, 0, 3, 4, 5, 6]);
    }

    #[test]
    fn of_equally_frequent_answers_the_earlier_comes_first() {
        let selection = against("1", &["The answer is 5.", "The answer is 4.", "The answer is 4.", "The answer is 5."]);
        assert_eq!(selection.negative, [0]);
    }

    #[test]
    fn one_answer_in_several_spellings_is_one_group() {
        let selection = against("3", &["The answer is 7.", "\\boxed{\\frac{1}{2}}", "The answer is 0.5."]);
        assert_eq!(selection.negative, [1]);
    }

    #[test]
    fn a_response_without_an_answer_counts_for_nothing() {
        let selection = against("18", &["I do not know.", "The answer is 18.", "No idea."]);
        assert_eq!((selection.right, selection.wrong, selection.unparsed), (1, 0, 2));
        assert_eq!((selection.positive, selection.negative.len(), selection.pair()), (Some(1), 0, None));
    }

    #[test]
    fn without_a_right_response_there_is_no_pair_but_a_negative_set() {
        let selection = against("18", &["The answer is 1."]);
        assert_eq!((selection.positive, selection.negative.as_slice(), selection.pair()), (None, &[0][..], None));
        assert_eq!(against("18", &[]), Selection::default());
    }

    #[test]
    fn labels_stand_in_for_a_reference() {
        let judged = [
            ("The answer is 4.", Judgement::Label(false)),
            ("The answer is 18.", Judgement::Label(true)),
            ("It is obvious.", Judgement::Label(false)),
        ];
        let selection = select(&judged, DEFAULT_COVERAGE);
        assert_eq!((selection.pair(), selection.unparsed), (Some((1, 0)), 1));
    }
}
