//! How the contrastive scores' candidates compare with what the rollouts found.

use serde::{Deserialize, Serialize};

/// The verdict on the candidates of contrastive estimation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// The candidates, ascending: the positions searched, or all that the trace's own rule flags.
    pub candidates: Vec<usize>,
    /// How many positions have a lower `s_t` than the critical one; 0 is the lowest. `None` without a critical position.
    pub rank: Option<usize>,
    pub in_lowest: Option<InLowest>,
    /// The share of the candidates that is the critical position. `None` without candidates or a critical position.
    pub precision: Option<f64>,
}

/// Whether the critical position is among those with the lowest `s_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InLowest {
    #[serde(rename = "1")]
    pub one: bool,
    #[serde(rename = "3")]
    pub three: bool,
    #[serde(rename = "5")]
    pub five: bool,
}

impl Contrast {
    /// `scores` are `s_t` by position. Of equal scores the earlier counts as lower, as in the rule `lowest`.
    pub fn of(scores: &[Option<f64>], candidates: Vec<usize>, critical: Option<usize>) -> Self {
        let rank = critical.and_then(|position| {
            let own = scores.get(position).copied().flatten()?;
            let lower = |(at, score): (usize, &Option<f64>)| {
                score.is_some_and(|score| score < own || (score == own && at < position))
            };
            Some(scores.iter().enumerate().filter(|&scored| lower(scored)).count())
        });
        let in_lowest = rank.map(|rank| InLowest { one: rank < 1, three: rank < 3, five: rank < 5 });
        let precision = critical.filter(|_| !candidates.is_empty()).map(|position| {
            let hits = candidates.iter().filter(|&&candidate| candidate == position).count();
            hits as f64 / candidates.len() as f64
        });
        Contrast { candidates, rank, in_lowest, precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_critical_position_is_ranked_among_the_scores() {
        let scores = [Some(0.5), Some(0.1), None, Some(0.1), Some(0.3)];
        let contrast = Contrast::of(&scores, vec![1, 3], Some(3));
        assert_eq!(contrast.rank, Some(1));
        assert_eq!(contrast.in_lowest, Some(InLowest { one: false, three: true, five: true }));
        assert_eq!(contrast.precision, Some(0.5));
    }

    #[test]
    fn without_a_critical_position_or_its_score_nothing_is_claimed() {
        let none = Contrast::of(&[Some(0.5)], vec![0], None);
        assert_eq!((none.rank, none.in_lowest, none.precision), (None, None, None));
        let unscored = Contrast::of(&[None, Some(0.5)], vec![], Some(0));
        assert_eq!((unscored.rank, unscored.precision), (None, None));
    }
}
