//! Examples laid out for one pass: every token one row, nothing padded, and a prompt that two responses share read once.

use std::ops::Range;

use super::example::{Completion, Pair};

/// The rows of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) tokens: Vec<u32>,
    /// Each row's place in its sequence.
    pub(super) positions: Vec<usize>,
    pub(super) families: Vec<Family>,
    /// The predictions that a loss is made of, in the order of the responses: the row whose logits predict, and the token.
    pub(super) targets: Vec<Target>,
    /// Each response's part of `targets`.
    pub(super) responses: Vec<Range<usize>>,
}

/// Rows that may see each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) rows: Range<usize>,
    pub(super) segments: Vec<Segment>,
}

/// Rows in sequence, which see what comes before them among their own, and all of `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) prefix: Range<usize>,
    pub(super) own: Range<usize>,
}

/// A token to be predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) row: usize,
    pub(super) token: u32,
}

impl Batch {
    pub(super) fn of_completions<'a>(rows: impl IntoIterator<Item = &'a Completion>) -> Self {
        let mut batch = Self::default();
        for completion in rows {
            batch.family(&[completion], 0);
        }
        batch
    }

    /// Responses come in the order chosen, rejected, chosen, ...
    pub(super) fn of_pairs<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Self {
        let mut batch = Self::default();
        for pair in pairs {
            let both = [&pair.chosen, &pair.rejected];
            match pair.shared_prompt() {
                0 => both.into_iter().for_each(|one| batch.family(&[one], 0)),
                shared => batch.family(&both, shared),
            }
        }
        batch
    }

    /// Adds sequences whose first `shared` tokens are the same. A sequence's last token predicts nothing and has no row.
    fn family(&mut self, sequences: &[&Completion], shared: usize) {
        let start = self.tokens.len();
        let mut segments = Vec::new();
        if shared > 0 {
            self.push(&sequences[0].token_ids[..shared], 0);
            segments.push(Segment { prefix: start..start, own: start..start + shared });
        }
        for sequence in sequences {
            let first = self.tokens.len();
            let last = sequence.token_ids.len() - 1;
            if last > shared {
                self.push(&sequence.token_ids[shared..last], shared);
                segments.push(Segment { prefix: start..start + shared, own: first..self.tokens.len() });
            }
            let row = |index: usize| if index < shared { start + index } else { first + index - shared };
            let begin = self.targets.len();
            self.targets.extend(
                (sequence.response_start..sequence.token_ids.len())
                    .map(|index| Target { row: row(index - 1), token: sequence.token_ids[index] }),
            );
            self.responses.push(begin..self.targets.len());
        }
        self.families.push(Family { rows: start..self.tokens.len(), segments });
    }

    fn push(&mut self, tokens: &[u32], position: usize) {
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(position..position + tokens.len());
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(token_ids: &[u32], response_start: usize) -> Completion {
        Completion { token_ids: token_ids.to_vec(), response_start }
    }

    #[test]
    fn a_shared_prompt_is_read_once_and_predicts_both_first_tokens() {
        let pair = Pair {
            chosen: completion(&[1, 2, 3, 4], 2),
            rejected: completion(&[1, 2, 5], 2),
            chosen_weights: None,
            rejected_weights: None,
        };
        let batch = Batch::of_pairs([&pair]);
        assert_eq!(batch.tokens, [1, 2, 3]);
        assert_eq!(batch.positions, [0, 1, 2]);
        let targets: Vec<_> = batch.targets.iter().map(|target| (target.row, target.token)).collect();
        assert_eq!(targets, [(1, 3), (2, 4), (1, 5)]);
        assert_eq!(batch.responses, [0..2, 2..3]);
        let segments = vec![Segment { prefix: 0..0, own: 0..2 }, Segment { prefix: 0..2, own: 2..3 }];
        assert_eq!(batch.families, [Family { rows: 0..3, segments }]);
    }

    #[test]
    fn prompts_that_differ_share_what_they_begin_with() {
        let pair = Pair {
            chosen: completion(&[1, 2, 3, 4], 3),
            rejected: completion(&[1, 7, 8, 9], 2),
            chosen_weights: None,
            rejected_weights: None,
        };
        let batch = Batch::of_pairs([&pair]);
        assert_eq!(batch.tokens, [1, 2, 3, 7, 8]);
        assert_eq!(batch.positions, [0, 1, 2, 1, 2]);
        let targets: Vec<_> = batch.targets.iter().map(|target| (target.row, target.token)).collect();
        assert_eq!(targets, [(2, 4), (3, 8), (4, 9)]);
    }

    #[test]
    fn completions_do_not_see_each_other() {
        let rows = [completion(&[1, 2, 3], 1), completion(&[4, 5], 1)];
        let batch = Batch::of_completions(&rows);
        assert_eq!(batch.tokens, [1, 2, 4]);
        assert_eq!(batch.families.len(), 2);
        assert_eq!(batch.responses, [0..2, 2..3]);
    }
}
