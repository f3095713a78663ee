//! Definition (1) of the critical token as arithmetic over counts of right rollouts.

use serde::{Deserialize, Serialize};

/// When a position counts as hopeless, and how many rollouts tell.
///
/// Definition (1): `t* = min { t : r_t = 0 and r_u <= tail for every u > t }`, with `r_t` the share of `samples` rollouts
/// after `y_1..y_t` that reach the right answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRule {
    /// Rollouts a position, N.
    pub samples: usize,
    /// Highest share of right rollouts that a position after the critical token may have, in [0, 1).
    pub tail: f64,
}

impl SearchRule {
    /// The most right rollouts that `r_u <= tail` allows: 3 of 64 at 0.05.
    pub fn allowed(&self) -> usize {
        // 0.07 * 100 is 7.000000000000001 in binary, and 0.29 * 100 is 28.999999999999996.
        (self.tail * self.samples as f64 + 1e-9).floor() as usize
    }

    /// The critical position among positions of which every rollout was drawn, by their counts of right ones.
    ///
    /// It is the first zero after the last count above the tail: every position after that count is in the tail, and an
    /// earlier zero has the count after it.
    pub fn critical(&self, correct: &[usize]) -> Option<usize> {
        let tail = correct.iter().rposition(|&count| count > self.allowed()).map_or(0, |hopeful| hopeful + 1);
        (tail..correct.len()).find(|&at| correct[at] == 0)
    }

    /// The last position without a right rollout, which the published analysis keeps where (1) has no answer.
    pub fn last_zero(&self, correct: &[usize]) -> Option<usize> {
        correct.iter().rposition(|&count| count == 0)
    }
}

/// How many rollouts a position has, and how many of them are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    pub samples: usize,
    pub correct: usize,
}

impl Tally {
    pub fn add(&mut self, correct: bool) {
        self.samples += 1;
        self.correct += usize::from(correct);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SearchRule = SearchRule { samples: 64, tail: 0.05 };

    #[test]
    fn a_twentieth_of_64_is_3() {
        assert_eq!(RULE.allowed(), 3);
        assert_eq!(SearchRule { samples: 100, tail: 0.07 }.allowed(), 7);
        assert_eq!(SearchRule { samples: 100, tail: 0.29 }.allowed(), 29);
        assert_eq!(SearchRule { samples: 64, tail: 0.0 }.allowed(), 0);
    }

    #[test]
    fn the_critical_token_is_the_first_zero_after_the_last_hope() {
        assert_eq!(RULE.critical(&[40, 38, 0, 0, 0]), Some(2));
        assert_eq!(RULE.critical(&[40, 0, 5, 0, 0]), Some(3));
        assert_eq!(RULE.critical(&[0, 0, 0]), Some(0));
    }

    #[test]
    fn up_to_3_of_64_may_be_right_after_it_but_none_at_it() {
        assert_eq!(RULE.critical(&[40, 0, 3, 1, 0]), Some(1));
        assert_eq!(RULE.critical(&[40, 3, 1, 0, 2]), Some(3));
        assert_eq!(RULE.critical(&[40, 0, 4, 1, 2]), None);
    }

    #[test]
    fn a_trajectory_that_keeps_hope_has_none() {
        assert_eq!(RULE.critical(&[40, 0, 0, 30]), None);
        assert_eq!(RULE.critical(&[1, 2, 3]), None);
        assert_eq!(RULE.critical(&[]), None);
        assert_eq!(RULE.last_zero(&[40, 0, 0, 30]), Some(2));
        assert_eq!(RULE.last_zero(&[40, 30]), None);
    }
}
