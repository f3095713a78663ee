//! The rules that flag critical tokens from their scores.
//!
//! Plain arithmetic over `s_t` of equation (3): this file knows neither models nor texts.

use serde::{Deserialize, Serialize};

/// How a trajectory's critical tokens are chosen from `s_t`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case", deny_unknown_fields)]
pub enum CriticalRule {
    /// Every token with `s_t <= value`.
    Threshold { value: f64 },
    /// The `k` tokens with the lowest `s_t`.
    Lowest { k: usize },
    /// The tokens in the lowest `value` share of the response.
    Quantile { value: f64 },
}

/// Why a rule cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("the threshold must be a number from 0 to 1, for every score lies between them")]
    Threshold,
    #[error("the quantile must be a number from 0 to 1: the share of tokens to flag")]
    Quantile,
}

impl CriticalRule {
    /// Refuses values for which the rule has no meaning: NaN, and shares or scores outside 0 to 1.
    pub fn check(&self) -> Result<(), RuleError> {
        match *self {
            CriticalRule::Threshold { value } if !(0.0..=1.0).contains(&value) => Err(RuleError::Threshold),
            CriticalRule::Quantile { value } if !(0.0..=1.0).contains(&value) => Err(RuleError::Quantile),
            CriticalRule::Threshold { .. } | CriticalRule::Lowest { .. } | CriticalRule::Quantile { .. } => Ok(()),
        }
    }

    /// The positions of the critical tokens, ascending.
    ///
    /// A position without a score (`None`, or NaN) is never critical and does not count towards a quantile's `n`.
    /// `lowest` and `quantile` prefer the earlier position among equal scores. A quantile `q` over `n` scored tokens
    /// takes the `ceil(q * n)` lowest; 0 takes none and 1 takes all.
    pub fn select(&self, scores: &[Option<f64>]) -> Vec<usize> {
        let scored = scores
            .iter()
            .enumerate()
            .filter_map(|(position, score)| score.filter(|score| !score.is_nan()).map(|score| (position, score)));
        match *self {
            CriticalRule::Threshold { value } => {
                scored.filter(|(_, score)| *score <= value).map(|(position, _)| position).collect()
            }
            CriticalRule::Lowest { k } => lowest(scored.collect(), k),
            CriticalRule::Quantile { value } => {
                let scored: Vec<_> = scored.collect();
                let count = quantile_count(value, scored.len());
                lowest(scored, count)
            }
        }
    }
}

/// The positions of the `count` lowest scores, ascending.
fn lowest(mut scored: Vec<(usize, f64)>, count: usize) -> Vec<usize> {
    // A stable sort of ascending positions keeps the earlier one first among equals.
    scored.sort_by(|a, b| a.1.total_cmp(&b.1));
    scored.truncate(count);
    let mut positions: Vec<usize> = scored.into_iter().map(|(position, _)| position).collect();
    positions.sort_unstable();
    positions
}

/// `ceil(share * n)`, at most `n`.
fn quantile_count(share: f64, n: usize) -> usize {
    if share.is_nan() {
        return 0;
    }
    // 0.07 * 100 is 7.000000000000001 in binary: the slack keeps such a product from rounding up to 8.
    let exact = share.clamp(0.0, 1.0) * n as f64;
    ((exact - 1e-9).ceil().max(0.0) as usize).min(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(scores: &[f64]) -> Vec<Option<f64>> {
        scores.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_threshold_includes_its_own_value() {
        let scores = some(&[0.05, 0.050001, 0.01, 0.9]);
        assert_eq!(CriticalRule::Threshold { value: 0.05 }.select(&scores), [0, 2]);
    }

    #[test]
    fn lowest_prefers_the_earlier_of_equals_and_answers_in_order() {
        let scores = some(&[0.5, 0.2, 0.2, 0.1, 0.2]);
        assert_eq!(CriticalRule::Lowest { k: 3 }.select(&scores), [1, 2, 3]);
        assert_eq!(CriticalRule::Lowest { k: 0 }.select(&scores), Vec::<usize>::new());
        assert_eq!(CriticalRule::Lowest { k: usize::MAX }.select(&scores), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_quantile_rounds_up() {
        let scores = some(&(0..100).map(|i| 1.0 - i as f64 / 100.0).collect::<Vec<_>>());
        let count = |value| CriticalRule::Quantile { value }.select(&scores).len();
        assert_eq!(count(0.0), 0);
        assert_eq!(count(0.001), 1);
        assert_eq!(count(0.07), 7);
        assert_eq!(count(0.071), 8);
        assert_eq!(count(1.0), 100);
        assert_eq!(CriticalRule::Quantile { value: 0.02 }.select(&scores), [98, 99]);
    }

    #[test]
    fn positions_without_a_score_are_never_critical() {
        let scores = [None, Some(f64::NAN), Some(0.3), None, Some(0.01)];
        assert_eq!(CriticalRule::Threshold { value: 1.0 }.select(&scores), [2, 4]);
        assert_eq!(CriticalRule::Lowest { k: 5 }.select(&scores), [2, 4]);
        assert_eq!(CriticalRule::Quantile { value: 0.5 }.select(&scores), [4]);
        assert_eq!(CriticalRule::Lowest { k: 1 }.select(&[]), Vec::<usize>::new());
    }

    #[test]
    fn nonsense_values_are_refused_and_select_nothing_dangerous() {
        let scores = some(&[0.1, 0.2]);
        for value in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            assert_eq!(CriticalRule::Threshold { value }.check(), Err(RuleError::Threshold));
            assert_eq!(CriticalRule::Quantile { value }.check(), Err(RuleError::Quantile));
        }
        assert!(CriticalRule::Threshold { value: f64::NAN }.select(&scores).is_empty());
        assert!(CriticalRule::Quantile { value: f64::NAN }.select(&scores).is_empty());
        assert_eq!(CriticalRule::Quantile { value: 7.0 }.select(&scores), [0, 1]);
    }
}
