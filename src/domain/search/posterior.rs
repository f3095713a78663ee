//! What the rollouts so far say of the whole trajectory: a hidden Markov model of the rates along it.
//!
//! Under the sampling distribution the rates are a martingale, `r_t = sum over v of p(v) r_{t+1}(v)`. The token that was
//! taken at `t + 1` with probability `p` therefore bounds the next rate from both sides,
//! `(r_t - (1 - p)) / p <= r_{t+1} <= r_t / p`: along near-certain tokens the rate stays, and only an unlikely token can
//! end hope or bring it back. The model's hidden state is the rate, on a grid; a transition stays or jumps within these
//! bounds; what is seen are right and wrong rollouts. Sums over all rate curves are exact, so the probabilities
//! below are the model's own and no estimates of them. What they are worth is measured on recorded outcomes.

use std::collections::HashMap;

use super::rule::{SearchRule, Tally};

/// The rates that the model knows. Dense near zero, where the rule decides.
const RATES: [f64; 20] = [
    0.0, 0.003, 0.007, 0.014, 0.025, 0.04, 0.055, 0.075, 0.1, 0.14, 0.19, 0.26, 0.35, 0.45, 0.55, 0.66, 0.77, 0.87,
    0.95, 1.0,
];
const STATES: usize = RATES.len();

type Row = [f64; STATES];
type Kernel = [Row; STATES];

/// How often the rate changes at a token that the model was not sure of, as a share of `1 - p`.
const JUMPS: f64 = 0.4;
/// Changes at any token: that the probabilities are another distribution's, or wrong, must not hide what is seen.
const ANYWHERE: f64 = 2e-3;
/// Share of the changes that may go anywhere, whatever the bound says.
const UNBOUND: f64 = 0.02;
/// How much more a change leads to no hope at all than to another rate: a wrong turn is mostly final.
const FATAL: f64 = 4.0;
/// Of the prior at the first position, the share without hope.
const HOPELESS: f64 = 0.15;
/// Steps between the token probabilities that have a kernel of their own.
const STEPS: f64 = 24.0;

/// The kernels that a trajectory needs, by its tokens' probabilities.
#[derive(Debug, Clone)]
pub(super) struct RateModel {
    kernels: Vec<Kernel>,
    /// Of each position but the last: the index of the kernel that leads to the next.
    steps: Vec<usize>,
}

/// Probabilities of the outcome that drawing everything would have, given what was drawn.
pub(super) struct Posterior {
    /// By position: that it is the last above the tail.
    pub(super) last_hope: Vec<f64>,
    /// By position: that it is the critical one.
    pub(super) critical: Vec<f64>,
    /// By position: that all its rollouts have more right ones than the tail allows.
    pub(super) hopeful: Vec<f64>,
    /// By position: that none of all its rollouts is right.
    pub(super) zero: Vec<f64>,
}

impl Posterior {
    /// That no position is critical.
    pub(super) fn none(&self) -> f64 {
        (1.0 - self.critical.iter().sum::<f64>()).max(0.0)
    }

    /// The likeliest critical position and its probability.
    pub(super) fn likeliest(&self) -> Option<(usize, f64)> {
        self.critical.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

impl RateModel {
    /// `likelihood[i]` is the probability, under the sampling distribution, of all tokens from position `i` (exclusive)
    /// to position `i + 1` (inclusive) of the positions that are looked at.
    pub(super) fn new(likelihood: &[f64]) -> Self {
        let mut kernels = Vec::new();
        let mut known = HashMap::new();
        let steps = likelihood
            .iter()
            .map(|&p| {
                // Steps of equal ratio in what is left to certainty would blur small p: equal steps of the root do not.
                let bucket = ((1.0 - p.clamp(0.0, 1.0)).sqrt() * STEPS).round() as usize;
                *known.entry(bucket).or_insert_with(|| {
                    kernels.push(kernel(1.0 - (bucket as f64 / STEPS).powi(2)));
                    kernels.len() - 1
                })
            })
            .collect();
        RateModel { kernels, steps }
    }

    /// Positions of the trajectory.
    fn len(&self) -> usize {
        self.steps.len() + 1
    }

    /// The posterior after these tallies, one a position.
    pub(super) fn posterior(&self, rule: &SearchRule, tallies: &[Tally]) -> Posterior {
        let len = self.len();
        let seen: Vec<Seen> = tallies.iter().map(|tally| Seen::of(rule, *tally)).collect();
        let Forward { before, first, scale } = self.forward(&seen);
        let mut posterior = Posterior {
            last_hope: vec![0.0; len],
            critical: vec![0.0; len],
            hopeful: vec![0.0; len],
            zero: vec![0.0; len],
        };
        // What comes after a position, of every rate there: whatever it is, and without any hope.
        let (mut any, mut hopeless) = ([1.0; STATES], [1.0; STATES]);
        for at in (0..len).rev() {
            let Seen { likelihood, hope, zero } = &seen[at];
            for state in 0..STATES {
                let here = likelihood[state] / scale[at];
                posterior.hopeful[at] += before[at][state] * here * hope[state] * any[state];
                posterior.zero[at] += before[at][state] * here * zero[state] * any[state];
                posterior.last_hope[at] += before[at][state] * here * hope[state] * hopeless[state];
                posterior.critical[at] += first[at][state] * here * zero[state] * hopeless[state];
            }
            if at > 0 {
                let kernel = &self.kernels[self.steps[at - 1]];
                let weigh = |after: &Row, share: &dyn Fn(usize) -> f64| -> Row {
                    std::array::from_fn(|state| likelihood[state] * share(state) * after[state] / scale[at])
                };
                any = backward(kernel, &weigh(&any, &|_| 1.0));
                hopeless = backward(kernel, &weigh(&hopeless, &|state| 1.0 - hope[state]));
            }
        }
        posterior
    }

    fn forward(&self, seen: &[Seen]) -> Forward {
        let mut prior = [(1.0 - HOPELESS) / (STATES - 1) as f64; STATES];
        prior[0] = HOPELESS;
        let mut forward = Forward { before: vec![prior], first: vec![prior], scale: Vec::with_capacity(seen.len()) };
        for (at, Seen { likelihood, hope, zero }) in seen.iter().enumerate() {
            let (before, first) = (&forward.before[at], &forward.first[at]);
            // Above 0: the likeliest rate has likelihood 1, and every kernel leads to every rate now and then.
            let scale: f64 = (0..STATES).map(|state| before[state] * likelihood[state]).sum();
            forward.scale.push(scale);
            if at < self.steps.len() {
                let kernel = &self.kernels[self.steps[at]];
                let all = std::array::from_fn(|state| before[state] * likelihood[state] / scale);
                let open = std::array::from_fn(|state| {
                    let low = (1.0 - hope[state] - zero[state]).max(0.0);
                    (before[state] * hope[state] + first[state] * low) * likelihood[state] / scale
                });
                forward.before.push(onward(kernel, &all));
                forward.first.push(onward(kernel, &open));
            }
        }
        forward
    }
}

/// Sums over the rate curves up to each position.
struct Forward {
    /// Of each rate at the position, before its own rollouts.
    before: Vec<Row>,
    /// The same, of the curves on which a zero here would be the first after the last hope so far.
    first: Vec<Row>,
    /// What each position's rollouts have taken off the sum.
    scale: Vec<f64>,
}

/// What a position's tally means at each rate.
struct Seen {
    /// Of the rollouts that were drawn, as a share of what it is at the rate that explains them best.
    likelihood: Row,
    /// That all rollouts together have more right ones than the tail allows.
    hope: Row,
    /// That none of all rollouts is right.
    zero: Row,
}

impl Seen {
    fn of(rule: &SearchRule, Tally { samples, correct }: Tally) -> Self {
        let wrong = samples - correct;
        let left = rule.samples.saturating_sub(samples);
        let needed = (rule.allowed() + 1).saturating_sub(correct);
        // In logs: of a thousand rollouts, half of them right, no rate's likelihood is a number above 0.
        let logs = RATES.map(|rate| power(rate, correct) + power(1.0 - rate, wrong));
        let highest = logs.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Seen {
            likelihood: logs.map(|log| (log - highest).exp()),
            hope: RATES.map(|rate| at_least(needed, left, rate)),
            zero: RATES.map(|rate| if correct == 0 { (1.0 - rate).powi(left as i32) } else { 0.0 }),
        }
    }
}

/// The probability of at least `needed` right ones of `left` at this rate.
fn at_least(needed: usize, left: usize, rate: f64) -> f64 {
    if needed == 0 || rate == 1.0 {
        return f64::from(u8::from(needed <= left));
    }
    // In logs, for the first terms of many are no numbers above 0, while those that count are.
    let (mut term, odds) = (power(1.0 - rate, left), (rate / (1.0 - rate)).ln());
    let mut fewer = 0.0;
    for right in 0..needed.min(left + 1) {
        fewer += term.exp();
        term += ((left - right) as f64 / (right + 1) as f64).ln() + odds;
    }
    (1.0 - fewer).max(0.0)
}

/// The logarithm of a probability's power; `0^0` is 1.
fn power(probability: f64, exponent: usize) -> f64 {
    if exponent == 0 { 0.0 } else { exponent as f64 * probability.ln() }
}

fn onward(kernel: &Kernel, weights: &Row) -> Row {
    let mut next = [0.0; STATES];
    for (row, weight) in kernel.iter().zip(weights) {
        for (sum, share) in next.iter_mut().zip(row) {
            *sum += weight * share;
        }
    }
    next
}

fn backward(kernel: &Kernel, weights: &Row) -> Row {
    std::array::from_fn(|state| kernel[state].iter().zip(weights).map(|(share, weight)| share * weight).sum())
}

/// How the rate goes on over a token of probability `p`.
fn kernel(p: f64) -> Kernel {
    let jump = (JUMPS * (1.0 - p) + ANYWHERE).min(1.0);
    std::array::from_fn(|from| {
        let jumped = jumped(from, p);
        std::array::from_fn(|to| {
            let stays = if to == from { 1.0 - jump } else { 0.0 };
            stays + jump * ((1.0 - UNBOUND) * jumped[to] + UNBOUND / STATES as f64)
        })
    })
}

/// Where the rate goes when it changes: within the bounds of the martingale, with its mean.
fn jumped(from: usize, p: f64) -> Row {
    let rate = RATES[from];
    // A grid's rate stands for those around it, so each bound reaches one step further.
    let above = RATES.iter().position(|other| other * p >= rate).unwrap_or(STATES - 1);
    let below = RATES.iter().rposition(|other| rate - (1.0 - p) >= other * p).unwrap_or(0);
    let (lowest, highest) = (below.saturating_sub(1), (above + 1).min(STATES - 1));
    let weights = |tilt: f64| -> Row {
        let row: Row = std::array::from_fn(|to| match to {
            _ if to < lowest || to > highest => 0.0,
            0 => FATAL,
            _ => (-tilt * RATES[to]).exp(),
        });
        let sum: f64 = row.iter().sum();
        row.map(|weight| weight / sum)
    };
    // The tilt that keeps the mean; where a bound forbids it, the nearest.
    let (mut low, mut high) = (-60.0, 600.0);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        let mean: f64 = weights(middle).iter().zip(RATES).map(|(weight, rate)| weight * rate).sum();
        if mean > rate { low = middle } else { high = middle }
    }
    weights(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: SearchRule = SearchRule { samples: 64, tail: 0.05 };

    fn tally(samples: usize, correct: usize) -> Tally {
        Tally { samples, correct }
    }

    #[test]
    fn chances_of_a_binomial() {
        // scipy.stats.binom.sf(3, 64, 0.05) and sf(0, 10, 0.3)
        assert!((at_least(4, 64, 0.05) - 0.398_590_7).abs() < 1e-4);
        assert!((at_least(1, 10, 0.3) - 0.971_752_5).abs() < 1e-6);
        assert_eq!(at_least(0, 5, 0.3), 1.0);
        assert!(at_least(6, 5, 0.3) < 1e-12);
        assert_eq!((at_least(5, 5, 1.0), at_least(6, 5, 1.0)), (1.0, 0.0));
        // binom.sf(614, 1024, 0.55) and sf(563, 1024, 0.55), from exact fractions; 0.45^1024 is below every f64.
        assert!((at_least(615, 1024, 0.55) - 0.000_608_553_241_911_3).abs() < 1e-9, "{}", at_least(615, 1024, 0.55));
        assert!((at_least(564, 1024, 0.55) - 0.492_900_839_473_644_1).abs() < 1e-9, "{}", at_least(564, 1024, 0.55));
        assert_eq!((at_least(1, 5, 0.0), at_least(0, 5, 0.0)), (0.0, 1.0));
    }

    #[test]
    fn every_kernel_spreads_a_whole_and_moves_no_further_than_the_token_allows() {
        for p in [1.0, 0.99, 0.9, 0.5, 0.1, 0.0] {
            for (from, row) in kernel(p).iter().enumerate() {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{p} {from}");
            }
        }
        // From 0.1 over a token of probability 0.9 the rate cannot exceed 0.111, nor fall below 0.
        let row = jumped(8, 0.9);
        assert!(row[11..].iter().all(|share| *share == 0.0));
    }

    #[test]
    fn outcomes_that_are_certain_have_probability_1() {
        let model = RateModel::new(&[0.5, 0.5]);
        let posterior = model.posterior(&RULE, &[tally(64, 30), tally(64, 0), tally(64, 2)]);
        assert!((posterior.last_hope[0] - 1.0).abs() < 1e-9);
        assert!((posterior.critical[1] - 1.0).abs() < 1e-9);
        assert!((posterior.hopeful[0] - 1.0).abs() < 1e-9 && posterior.hopeful[1] == 0.0);
        assert!(posterior.none() < 1e-9);
        let recovers = model.posterior(&RULE, &[tally(64, 30), tally(64, 0), tally(64, 4)]);
        assert!((recovers.none() - 1.0).abs() < 1e-9);
    }

    /// What drawing everything may find at a position.
    #[derive(Clone, Copy, PartialEq)]
    enum Found {
        Hope,
        Zero,
        Tail,
    }

    /// The probability of every outcome at three positions, from all rate curves one by one.
    fn enumerated(model: &RateModel, rule: &SearchRule, tallies: [Tally; 3]) -> Vec<([Found; 3], f64)> {
        let seen = tallies.map(|tally| Seen::of(rule, tally));
        let step = |at: usize| &model.kernels[model.steps[at]];
        let mut outcomes = Vec::new();
        let all = [Found::Hope, Found::Zero, Found::Tail];
        for found in
            all.into_iter().flat_map(|a| all.into_iter().flat_map(move |b| all.into_iter().map(move |c| [a, b, c])))
        {
            let here = |at: usize, state: usize| {
                let Seen { likelihood, hope, zero } = &seen[at];
                likelihood[state]
                    * match found[at] {
                        Found::Hope => hope[state],
                        Found::Zero => zero[state],
                        Found::Tail => 1.0 - hope[state] - zero[state],
                    }
            };
            let mut sum = 0.0;
            for a in 0..STATES {
                let prior = if a == 0 { HOPELESS } else { (1.0 - HOPELESS) / (STATES - 1) as f64 };
                for b in 0..STATES {
                    let two = prior * here(0, a) * step(0)[a][b] * here(1, b);
                    sum += two * (0..STATES).map(|c| step(1)[b][c] * here(2, c)).sum::<f64>();
                }
            }
            outcomes.push((found, sum));
        }
        let total: f64 = outcomes.iter().map(|(_, sum)| sum).sum();
        outcomes.into_iter().map(|(found, sum)| (found, sum / total)).collect()
    }

    #[test]
    fn probabilities_of_all_outcomes_add_up_to_1_and_are_those_of_all_curves_one_by_one() {
        let model = RateModel::new(&[0.9, 0.2]);
        for (rule, tallies) in [
            (RULE, [Tally::default(); 3]),
            (RULE, [tally(16, 1), tally(4, 0), Tally::default()]),
            (RULE, [tally(64, 3), tally(60, 0), tally(8, 1)]),
            (SearchRule { samples: 1024, tail: 0.5 }, [tally(1000, 510), tally(1000, 0), tally(900, 440)]),
        ] {
            let posterior = model.posterior(&rule, &tallies);
            let outcomes = enumerated(&model, &rule, tallies);
            let sum = |holds: &dyn Fn(&[Found; 3]) -> bool| -> f64 {
                outcomes.iter().filter(|(found, _)| holds(found)).map(|(_, chance)| chance).sum()
            };
            let last_hope = |found: &[Found; 3]| found.iter().rposition(|found| *found == Found::Hope);
            let critical = |found: &[Found; 3]| {
                let tail = last_hope(found).map_or(0, |at| at + 1);
                (tail..3).find(|&at| found[at] == Found::Zero)
            };
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
            for at in 0..3 {
                near(posterior.critical[at], sum(&|found| critical(found) == Some(at)));
                near(posterior.last_hope[at], sum(&|found| last_hope(found) == Some(at)));
                near(posterior.hopeful[at], sum(&|found| found[at] == Found::Hope));
                near(posterior.zero[at], sum(&|found| found[at] == Found::Zero));
            }
            near(posterior.critical.iter().sum::<f64>() + sum(&|found| critical(found).is_none()), 1.0);
            near(posterior.last_hope.iter().sum::<f64>() + sum(&|found| last_hope(found).is_none()), 1.0);
            near(posterior.none(), sum(&|found| critical(found).is_none()));
        }
    }

    #[test]
    fn a_thousand_samples_are_no_fewer_than_a_few() {
        let rule = SearchRule { samples: 1024, tail: 0.05 };
        let posterior =
            RateModel::new(&[0.5, 0.5]).posterior(&rule, &[tally(1024, 512), tally(1024, 0), tally(1024, 51)]);
        assert!((posterior.hopeful[0] - 1.0).abs() < 1e-9 && (posterior.last_hope[0] - 1.0).abs() < 1e-9);
        assert!((posterior.critical[1] - 1.0).abs() < 1e-9, "{:?}", posterior.critical);
        assert!(posterior.none() < 1e-9);
    }

    #[test]
    fn a_sure_token_carries_what_was_seen_and_an_unlikely_one_does_not() {
        let after = |p: f64| RateModel::new(&[p]).posterior(&RULE, &[tally(16, 6), Tally::default()]).hopeful[1];
        assert!(after(1.0) > 0.99, "{}", after(1.0));
        assert!(after(0.05) < 0.9, "{}", after(0.05));
    }
}
