//! The adaptive strategy: which samples to draw next, so that the exhaustive search's answer is known at a stated
//! confidence and a small share of its cost.
//!
//! Each round asks the posterior of [`super::posterior`] where the answer could still be another, and samples there:
//! where the last hope may be, where the first zero after it may be, and, once both stand, in the tail, where a recovery
//! is possible. While nothing is known this is a bisection of the posterior; later most of a round goes to the
//! candidate itself, for only all of its samples show that none is right.

use super::posterior::Posterior;
use super::rule::{SearchRule, Tally};

/// Samples of a round: enough rows to keep a device busy, few enough to learn from.
pub(super) const ROUND: usize = 32;
/// A candidate this likely is worth more than a few samples.
const LEADING: f64 = 0.5;
/// How much a position's cost counts against what it can tell.
const THRIFT: f64 = 0.7;

/// What an adaptive search does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Draw so many more samples at these positions (by index).
    Draw(Vec<(usize, usize)>),
    /// The answer, or that there is none, is known at the confidence given.
    Decided { critical: Option<usize>, confidence: f64 },
    /// The budget is spent; the likeliest answer so far, and how likely it is.
    Spent { critical: Option<usize>, confidence: f64 },
}

/// All that the choice of a step depends on.
pub(super) struct Situation<'a> {
    pub(super) rule: &'a SearchRule,
    pub(super) tallies: &'a [Tally],
    /// Tokens that one more sample at each position costs.
    pub(super) cost: &'a [f64],
    pub(super) confidence: f64,
    /// Tokens that may still be drawn.
    pub(super) budget: f64,
}

impl Situation<'_> {
    /// `posterior` is the one after these tallies.
    pub(super) fn step(&self, posterior: &Posterior) -> Step {
        let none = posterior.none();
        let (leader, chance) = posterior.likeliest().unwrap_or((0, 0.0));
        if none >= self.confidence {
            return Step::Decided { critical: None, confidence: none };
        }
        let rest = self.left(leader);
        if chance >= self.confidence && rest == 0 {
            return Step::Decided { critical: Some(leader), confidence: chance };
        }
        // The leader's own samples are set aside: an answer without all of them would be a guess.
        let confirming = rest as f64 * self.cost[leader];
        if chance >= self.confidence {
            return match confirming <= self.budget {
                true => Step::Draw(vec![(leader, rest)]),
                false => Step::Spent { critical: Some(leader), confidence: chance },
            };
        }
        let likeliest = (chance > none).then_some(leader);
        let confidence = chance.max(none);
        let draws = self.round(posterior, leader, chance);
        if draws.is_empty() && (likeliest.is_none() || rest == 0) {
            // No sample that is left could change the answer: this is all that drawing everything would tell.
            return Step::Decided { critical: likeliest, confidence };
        }
        let price: f64 = draws.iter().map(|&(at, samples)| samples as f64 * self.cost[at]).sum();
        let reserved: f64 =
            draws.iter().filter(|(at, _)| *at == leader).map(|(at, n)| *n as f64 * self.cost[*at]).sum();
        if !draws.is_empty() && price + confirming - reserved <= self.budget {
            return Step::Draw(draws);
        }
        if likeliest.is_some() && rest > 0 && confirming <= self.budget {
            return Step::Draw(vec![(leader, rest)]);
        }
        Step::Spent { critical: likeliest, confidence }
    }

    fn left(&self, at: usize) -> usize {
        self.rule.samples.saturating_sub(self.tallies[at].samples)
    }

    /// The samples that tell most: each of a round's places falls where the answer may hang, by the posterior.
    fn round(&self, posterior: &Posterior, leader: usize, chance: f64) -> Vec<(usize, usize)> {
        let worth: Vec<f64> = (0..self.tallies.len()).map(|at| self.worth(posterior, at)).collect();
        let total: f64 = worth.iter().sum();
        let mut draws = vec![0; self.tallies.len()];
        if chance >= LEADING {
            draws[leader] = self.left(leader).min(ROUND / 2);
        }
        let places = ROUND - draws[leader];
        let (mut sum, mut place) = (0.0, 0);
        for (at, worth) in worth.iter().enumerate() {
            sum += worth / total;
            while place < places && (place as f64 + 0.5) / (places as f64) < sum {
                draws[at] += 1;
                place += 1;
            }
        }
        let draws = draws.into_iter().enumerate();
        draws.map(|(at, samples)| (at, samples.min(self.left(at)))).filter(|(_, samples)| *samples > 0).collect()
    }

    /// What more samples at a position could change, by what they cost.
    fn worth(&self, posterior: &Posterior, at: usize) -> f64 {
        if self.left(at) == 0 {
            return 0.0;
        }
        let hope = posterior.last_hope[at] * (1.0 - posterior.hopeful[at]).max(0.0);
        let zero = posterior.critical[at] * (1.0 - posterior.zero[at]).max(0.0);
        (hope + zero) / self.cost[at].max(1.0).powf(THRIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_left_to_draw_the_answer_is_decided_and_no_budget_spent() {
        let rule = SearchRule { samples: 64, tail: 0.05 };
        let tallies = [Tally { samples: 64, correct: 0 }];
        let situation = Situation { rule: &rule, tallies: &tallies, cost: &[1.0], confidence: 0.95, budget: 0.0 };
        for (critical, decided) in [(0.6, (Some(0), 0.6)), (0.3, (None, 0.7))] {
            let posterior =
                Posterior { last_hope: vec![0.0], critical: vec![critical], hopeful: vec![0.0], zero: vec![1.0] };
            let (critical, confidence) = decided;
            assert_eq!(situation.step(&posterior), Step::Decided { critical, confidence });
        }
    }
}
