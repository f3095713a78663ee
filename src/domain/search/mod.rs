//! The search for the critical token by rollouts, definition (1), as a state machine without an engine: it says what to
//! draw next and is told what came of it.
//!
//! [`rule`] is the definition. The exhaustive strategy draws everything; the adaptive one keeps a [`posterior`] over the
//! outcome that drawing everything would have and draws where it is open ([`adaptive`]). Sample number `i` at a
//! position is the same in both, so an adaptive search uncovers a part of the exhaustive outcome, and what it has seen is
//! certain: a count above the tail stays above it, and the samples of the answer's own position are all drawn. What it
//! takes on confidence is the rest.

mod adaptive;
mod contrast;
mod likelihood;
mod plan;
mod posterior;
mod record;
mod rule;

pub use contrast::{Contrast, InLowest};
pub use likelihood::least_likelihood;
pub use plan::{
    Candidates, Conclusion, Decided, Draw, DrawnAfter, Fallback, PositionOutcome, Reason, SearchPlan, SearchProgress,
    Strategy,
};
pub use record::{CriticalToken, MAX_SAMPLES, SearchObject, SearchRecord, SearchSettings, SearchUsage, is_search_id};
pub use rule::{SearchRule, Tally};

use self::adaptive::{ROUND, Situation, Step};
use self::posterior::RateModel;

/// Positions that the fallback of an adaptive search looks at in a round.
const FALLBACK_POSITIONS: usize = 8;
/// Samples that the fallback draws at a position first.
const FALLBACK_SAMPLES: usize = 4;

/// A running search.
#[derive(Debug, Clone)]
pub struct Search {
    plan: SearchPlan,
    /// Tokens of the response.
    response: usize,
    /// The positions looked at, ascending.
    positions: Vec<usize>,
    /// Of each position looked at.
    tallies: Vec<Tally>,
    /// Tokens drawn after each position looked at.
    tokens: Vec<usize>,
    model: RateModel,
    /// The likeliest answer so far (by index) and how likely it is, of an adaptive search.
    leading: Option<(usize, f64)>,
    conclusion: Option<Conclusion>,
}

impl Search {
    /// `likelihood[t]` is the probability that the sampling distribution gives the response's token `t`, as
    /// [`least_likelihood`] bounds it. `positions` are those looked at, ascending and each within the response; without
    /// any, the search is over before it begins.
    pub fn new(plan: SearchPlan, likelihood: &[f64], positions: Vec<usize>) -> Self {
        let steps: Vec<f64> =
            positions.windows(2).map(|pair| likelihood[pair[0] + 1..=pair[1]].iter().product()).collect();
        Search {
            plan,
            response: likelihood.len(),
            tallies: vec![Tally::default(); positions.len()],
            tokens: vec![0; positions.len()],
            model: RateModel::new(&steps),
            positions,
            leading: None,
            conclusion: None,
        }
    }

    /// The samples to draw next; none once the search is over. Every one of them must be recorded before the next call.
    pub fn next_round(&mut self) -> Vec<Draw> {
        if self.conclusion.is_some() {
            return Vec::new();
        }
        if self.positions.is_empty() {
            self.conclude(None, Reason::NoCritical, 1.0);
            return Vec::new();
        }
        let draws = match self.plan.strategy {
            Strategy::Exhaustive => self.exhaustive_round(),
            Strategy::Adaptive => self.adaptive_round(),
        };
        let draw = |(at, samples): (usize, usize)| {
            let drawn = self.tallies[at].samples;
            Draw { position: self.positions[at], samples: drawn..drawn + samples }
        };
        draws.into_iter().map(draw).collect()
    }

    /// Takes in one sample of a round, and gives the position as it now stands.
    pub fn record(&mut self, position: usize, correct: bool, tokens: usize) -> Option<PositionOutcome> {
        let at = self.positions.binary_search(&position).ok()?;
        self.tallies[at].add(correct);
        self.tokens[at] += tokens;
        Some(PositionOutcome::of(position, &self.plan.rule, self.tallies[at]))
    }

    /// All that was recorded. Between two rounds, a search that takes it up goes on as this one does.
    pub fn drawn(&self) -> Vec<DrawnAfter> {
        let all = self.positions.iter().zip(&self.tallies).zip(&self.tokens);
        all.filter(|((_, tally), _)| tally.samples > 0)
            .map(|((&position, &tally), &tokens)| DrawnAfter { position, tally, tokens })
            .collect()
    }

    /// Takes up what an equal search has recorded; positions that this one does not look at are left out.
    pub fn take_up(&mut self, drawn: &[DrawnAfter]) {
        for DrawnAfter { position, tally, tokens } in drawn {
            if let Ok(at) = self.positions.binary_search(position) {
                self.tallies[at] = *tally;
                self.tokens[at] = *tokens;
            }
        }
    }

    /// Ends the search where it is, with its likeliest answer so far.
    pub fn stop(&mut self) {
        if self.conclusion.is_none() {
            let (at, confidence) = self.leading.map_or((None, 0.0), |(at, chance)| (Some(at), chance));
            self.conclude(at, Reason::Stopped, confidence);
        }
    }

    /// The end, once [`Search::next_round`] has nothing more to draw.
    pub fn conclusion(&self) -> Option<&Conclusion> {
        self.conclusion.as_ref()
    }

    /// How things stand between two rounds.
    pub fn progress(&self) -> SearchProgress {
        let (leading, confidence) = match (&self.conclusion, self.leading) {
            (Some(conclusion), _) => (conclusion.critical, Some(conclusion.confidence)),
            (None, Some((at, chance))) => (Some(self.positions[at]), Some(chance)),
            (None, None) => (None, None),
        };
        SearchProgress {
            leading,
            confidence,
            samples: self.tallies.iter().map(|tally| tally.samples).sum(),
            generated_tokens: self.tokens.iter().sum(),
            exhaustive_tokens: self.exhaustive_tokens(),
        }
    }

    fn exhaustive_round(&mut self) -> Vec<(usize, usize)> {
        let all = self.plan.rule.samples;
        let open = (0..self.positions.len()).filter(|&at| self.tallies[at].samples < all);
        let draws: Vec<_> = open.take((self.plan.round / all).max(1)).map(|at| (at, all)).collect();
        if !draws.is_empty() {
            return draws;
        }
        let counts: Vec<usize> = self.tallies.iter().map(|tally| tally.correct).collect();
        match (self.plan.rule.critical(&counts), self.plan.fallback) {
            (Some(at), _) => self.conclude(Some(at), Reason::Found, 1.0),
            (None, Fallback::None) => self.conclude(None, Reason::NoCritical, 1.0),
            (None, Fallback::LastZero) => match self.plan.rule.last_zero(&counts) {
                Some(at) => self.conclude(Some(at), Reason::LastZero, 1.0),
                None => self.conclude(None, Reason::NoCritical, 1.0),
            },
        }
    }

    fn adaptive_round(&mut self) -> Vec<(usize, usize)> {
        let everywhere = self.sample_costs();
        let cost: Vec<f64> = self.positions.iter().map(|&position| everywhere[position]).collect();
        let budget = self.allowance(&everywhere) - self.tokens.iter().sum::<usize>() as f64;
        let posterior = self.model.posterior(&self.plan.rule, &self.tallies);
        self.leading = posterior.likeliest();
        let situation = Situation {
            rule: &self.plan.rule,
            tallies: &self.tallies,
            cost: &cost,
            confidence: self.plan.confidence,
            budget,
        };
        match situation.step(&posterior) {
            Step::Draw(draws) => draws,
            Step::Decided { critical: Some(at), confidence } => self.conclude(Some(at), Reason::Found, confidence),
            Step::Decided { critical: None, confidence } => match self.plan.fallback {
                Fallback::None => self.conclude(None, Reason::NoCritical, confidence),
                Fallback::LastZero => self.last_zero_round(&posterior.zero, &cost, budget, confidence),
            },
            Step::Spent { critical, confidence } => self.conclude(critical, Reason::BudgetSpent, confidence),
        }
    }

    /// Looks from the end for the last position without a right rollout: a single right one rules a position out.
    fn last_zero_round(&mut self, zero: &[f64], cost: &[f64], budget: f64, confidence: f64) -> Vec<(usize, usize)> {
        let all = self.plan.rule.samples;
        let complete = |at: &usize| self.tallies[*at].samples == all && self.tallies[*at].correct == 0;
        let found = (0..self.positions.len()).rfind(complete);
        let from = found.map_or(0, |at| at + 1);
        // Those that may be ruled out together, without a sample of their own: the least likely ones.
        let mut unlikely = (1.0 - self.plan.confidence) / 10.0;
        let mut by_chance: Vec<usize> = (from..self.positions.len()).filter(|&at| zero[at] > 0.0).collect();
        by_chance.sort_by(|&a, &b| zero[a].total_cmp(&zero[b]).then(b.cmp(&a)));
        let mut open: Vec<usize> = by_chance
            .into_iter()
            .skip_while(|&at| {
                unlikely -= zero[at];
                unlikely >= 0.0
            })
            .collect();
        open.sort_unstable();
        let mut draws = Vec::new();
        let mut price = 0.0;
        let mut room = self.plan.round;
        for &at in open.iter().rev().take(FALLBACK_POSITIONS) {
            let samples = self.tallies[at].samples.max(FALLBACK_SAMPLES).min(all - self.tallies[at].samples);
            let Some(left) = room.checked_sub(samples) else { break };
            room = left;
            price += samples as f64 * cost[at];
            draws.push((at, samples));
        }
        let missed: f64 = zero[from..].iter().sum();
        match (draws.is_empty(), found) {
            (false, _) if price <= budget => draws,
            (false, found) => self.conclude(found, Reason::BudgetSpent, (confidence - missed).max(0.0)),
            (true, Some(at)) => self.conclude(Some(at), Reason::LastZero, (confidence - missed).max(0.0)),
            (true, None) => self.conclude(None, Reason::NoCritical, (confidence - missed).max(0.0)),
        }
    }

    /// Ends the search. Gives no draws, for the caller to pass on.
    fn conclude(&mut self, critical: Option<usize>, reason: Reason, confidence: f64) -> Vec<(usize, usize)> {
        let looked_at = (0..self.positions.len()).filter(|&at| self.tallies[at].samples > 0);
        let mut positions: Vec<(usize, PositionOutcome)> = looked_at
            .map(|at| (at, PositionOutcome::of(self.positions[at], &self.plan.rule, self.tallies[at])))
            .collect();
        if self.plan.strategy == Strategy::Adaptive && !positions.is_empty() {
            let hopeful = self.model.posterior(&self.plan.rule, &self.tallies).hopeful;
            for (at, outcome) in positions.iter_mut().filter(|(_, outcome)| outcome.decided == Decided::Open) {
                outcome.decided = match hopeful[*at] {
                    chance if chance >= self.plan.confidence => Decided::Hopeful,
                    chance if chance <= 1.0 - self.plan.confidence => Decided::Tail,
                    _ => Decided::Open,
                };
            }
        }
        self.conclusion = Some(Conclusion {
            critical: critical.map(|at| self.positions[at]),
            reason,
            confidence: confidence.clamp(0.0, 1.0),
            positions: positions.into_iter().map(|(_, outcome)| outcome).collect(),
            tokens: self.tokens.iter().sum(),
            exhaustive_tokens: self.exhaustive_tokens(),
        });
        Vec::new()
    }

    /// The tokens that an adaptive search may draw in all.
    fn allowance(&self, cost: &[f64]) -> f64 {
        let least = 2.0 * self.plan.rule.samples as f64 * cost.first().copied().unwrap_or_default();
        (self.plan.budget * self.exhaustive_tokens() as f64).max(least)
    }

    /// Tokens that a sample after each position of the response costs, as far as can be told: the mean where there are
    /// samples, a line between neighbours that have some, and beyond them what the trajectory itself has more or less. A
    /// guess is at least 1; a mean is 0 where the response has ended.
    fn sample_costs(&self) -> Vec<f64> {
        let rest = |position: usize| (self.response - position) as f64;
        let knots: Vec<(usize, f64)> = (0..self.positions.len())
            .filter(|&at| self.tallies[at].samples > 0)
            .map(|at| (self.positions[at], self.tokens[at] as f64 / self.tallies[at].samples as f64))
            .collect();
        let cost = |position: usize| {
            let after = knots.partition_point(|(knot, _)| *knot <= position);
            let (before, after) = (after.checked_sub(1).map(|before| knots[before]), knots.get(after).copied());
            let guess = match (before, after) {
                (Some((knot, mean)), _) if knot == position => return mean,
                (Some((low, mean)), Some((high, next))) => {
                    mean + (next - mean) * (position - low) as f64 / (high - low) as f64
                }
                (Some((knot, mean)), None) | (None, Some((knot, mean))) => mean + rest(position) - rest(knot),
                (None, None) => rest(position),
            };
            guess.max(1.0)
        };
        (0..self.response).map(cost).collect()
    }

    /// What drawing everything at every position of the response costs.
    fn exhaustive_tokens(&self) -> usize {
        let all = self.plan.rule.samples as f64;
        self.sample_costs().into_iter().map(|cost| cost * all).sum::<f64>().round() as usize
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
