//! The adaptive search against the exhaustive one on many made-up trajectories.
//!
//! Rate curves of nine kinds respect the martingale's bounds, `(r - (1 - p)) / p <= r' <= r / p` over a token of
//! probability `p`, and are drawn to outcome matrices. Their shapes owe nothing to the posterior's own prior.

use super::tests::{Outcomes, PLAN, RULE};
use super::*;

const KINDS: [&str; 9] = [
    "sharp drop to none",
    "drop to a residue",
    "slow decline",
    "recovery from a drop",
    "never any hope",
    "hope until the end",
    "several drops",
    "random walk",
    "plateau at the tail",
];

/// Rates along a trajectory, and the probabilities of its tokens.
struct Curve {
    rates: Vec<f64>,
    likelihood: Vec<f64>,
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().max(1e-12).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A position from share `low` to share `high` of `len`.
    fn place(&mut self, len: usize, low: f64, high: f64) -> usize {
        ((self.within(low, high) * len as f64) as usize).min(len - 1)
    }
}

/// Where a kind's curve is led to which rate.
fn targets(draws: &mut Draws, kind: usize, len: usize, start: f64) -> Vec<Option<f64>> {
    let mut targets = vec![None; len];
    let last = len - 1;
    match kind {
        0 => targets[draws.place(len, 0.0, 0.95)] = Some(0.0),
        1 => {
            let drop = draws.place(len, 0.0, 0.8);
            targets[last] = Some(0.0);
            targets[draws.place(len, drop as f64 / len as f64, 1.0)] = Some(0.0);
            targets[drop] = Some(draws.within(0.002, 0.02));
        }
        3 => {
            let drop = draws.place(len, 0.05, 0.5);
            let recovery = (drop + 2 + draws.place(len, 0.0, 0.3)).min(last);
            targets[drop] = Some(draws.within(0.01, 0.05));
            targets[recovery] = Some(draws.within(0.1, 0.4));
            targets[(recovery + 1 + draws.place(len, 0.0, 0.3)).min(last)] = Some(0.0);
        }
        5 if draws.unit() < 0.7 => targets[last - draws.within(0.0, 3.0) as usize] = Some(0.0),
        6 => {
            let (mut rate, mut at) = (start, draws.place(len, 0.0, 0.3));
            targets[last] = Some(0.0);
            while at < len && rate > 0.0 {
                rate *= draws.within(0.15, 0.7);
                rate = if rate < 0.03 { 0.0 } else { rate };
                targets[at] = Some(rate);
                at += 1 + draws.place(len, 0.02, 0.2);
            }
        }
        7 => targets[last] = Some(0.0),
        8 => {
            let drop = draws.place(len, 0.0, 0.6);
            targets[drop] = Some(draws.within(0.02, 0.05));
            targets[(drop + 2 + draws.place(len, 0.05, 0.4)).min(last)] = Some(0.0);
        }
        _ => {}
    }
    targets
}

fn curve(draws: &mut Draws, kind: usize) -> Curve {
    let len = (20.0 * 20f64.powf(draws.unit())) as usize;
    let unsure = draws.within(0.08, 0.35);
    let mut likelihood: Vec<f64> = (0..len)
        .map(|_| match draws.unit() < unsure {
            true => draws.within(0.15, 0.95),
            false => 1.0 - draws.within(0.0, 0.03) * draws.unit(),
        })
        .collect();
    let mut rate: f64 = draws.within(0.15, 0.9);
    let targets = targets(draws, kind, len, rate);
    if kind == 4 {
        rate = if draws.unit() < 0.5 { 0.0 } else { draws.within(0.0, 0.01) };
    }
    let decline = draws.within(6.0, 9.0) / len as f64;
    let mut rates = Vec::with_capacity(len);
    for (at, p) in likelihood.iter_mut().enumerate() {
        let wanted = match targets[at] {
            // The token must be unlikely enough for the rate to go there.
            Some(target) if target < rate => {
                *p = p.min((1.0 - rate) / (1.0 - target) * draws.within(0.2, 1.0));
                target
            }
            Some(target) if target > 0.0 => {
                *p = p.min(rate / target * draws.within(0.3, 1.0));
                target
            }
            Some(_) | None if rate == 0.0 => 0.0,
            Some(_) | None => {
                let (wobble, drift) = match kind {
                    2 => (0.25, -decline),
                    7 => (0.9, 0.0),
                    _ => (0.25, 0.0),
                };
                let odds = (rate / (1.0 - rate)).ln() + wobble * (1.0 - *p).sqrt() * draws.normal() + drift;
                let next = 1.0 / (1.0 + (-odds).exp());
                if kind == 2 && next < 0.012 && draws.unit() < 0.3 { 0.0 } else { next }
            }
        };
        rate = wanted.min(rate / *p).max((rate - (1.0 - *p)) / *p).clamp(0.0, 0.999);
        rate = if rate < 1e-4 { 0.0 } else { rate };
        rates.push(rate);
    }
    Curve { rates, likelihood }
}

impl Outcomes {
    fn drawn(draws: &mut Draws, curve: &Curve) -> Self {
        let right = curve.rates.iter().map(|rate| (0..64).map(|_| draws.unit() < *rate).collect()).collect();
        Outcomes { right, tokens: (0..curve.rates.len()).map(|at| curve.rates.len() - at).collect() }
    }
}

/// Whether two answers are the same as far as 64 rollouts can tell: no position from one to the other has an interval
/// that lies above the one of 0 right. (The intervals of two positions that are both zero always overlap, so comparing
/// these two alone would let every answer pass.)
fn overlaps(counts: &[usize], one: Option<usize>, other: Option<usize>) -> bool {
    let highest = crate::domain::statistics::wilson(0, 64)[1];
    match (one, other) {
        (Some(one), Some(other)) => counts[one.min(other)..=one.max(other)]
            .iter()
            .all(|&count| crate::domain::statistics::wilson(count, 64)[0] <= highest),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[derive(Default)]
struct Row {
    cases: usize,
    exact: usize,
    overlapping: usize,
    shares: Vec<f64>,
    rounds: usize,
    confidence: f64,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.cases += other.cases;
        self.exact += other.exact;
        self.overlapping += other.overlapping;
        self.shares.extend(&other.shares);
        self.rounds += other.rounds;
        self.confidence += other.confidence;
    }

    fn mean_share(&self) -> f64 {
        self.shares.iter().sum::<f64>() / self.cases as f64
    }

    fn print(&mut self, name: &str) {
        self.shares.sort_by(f64::total_cmp);
        let of = |count: f64| count / self.cases as f64;
        println!(
            "| {name} | {} | {:.1}% | {:.1}% | {:.2} | {:.1}% | {:.1}% | {:.1}% | {:.0} |",
            self.cases,
            100.0 * of(self.exact as f64),
            100.0 * of(self.overlapping as f64),
            of(self.confidence),
            100.0 * self.mean_share(),
            100.0 * self.shares[self.cases / 2],
            100.0 * self.shares[self.cases - 1],
            of(self.rounds as f64),
        );
    }
}

fn simulate(seed: u64, cases: usize, likelihood: impl Fn(&Curve) -> Vec<f64>) -> Row {
    let mut draws = Draws(seed);
    println!("| curve | cases | same | overlapping | stated | mean share | median | max | rounds |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut all = Row::default();
    for (kind, name) in KINDS.iter().enumerate() {
        let mut row = Row::default();
        for _ in 0..cases {
            let curve = curve(&mut draws, kind);
            let outcomes = Outcomes::drawn(&mut draws, &curve);
            let counts = outcomes.counts();
            let exhaustive = RULE.critical(&counts);
            let search = Search::new(PLAN, &likelihood(&curve), (0..counts.len()).collect());
            let (found, rounds) = outcomes.run(search);
            let cost: usize = outcomes.tokens.iter().sum::<usize>() * 64;
            row.add(&Row {
                cases: 1,
                exact: usize::from(found.critical == exhaustive),
                overlapping: usize::from(overlaps(&counts, found.critical, exhaustive)),
                shares: vec![found.tokens as f64 / cost as f64],
                rounds,
                confidence: found.confidence,
            });
        }
        row.print(name);
        all.add(&row);
    }
    all.print("all");
    all
}

#[test]
fn adaptive_agrees_with_exhaustive_at_a_twentieth_of_the_tokens() {
    let all = simulate(20_260, 60, |curve| curve.likelihood.clone());
    let share = |count: usize| count as f64 / all.cases as f64;
    assert!(share(all.overlapping) >= 0.97, "{}", share(all.overlapping));
    assert!(share(all.exact) >= 0.85, "{}", share(all.exact));
    assert!(all.mean_share() <= 0.06, "{}", all.mean_share());
    // The stated confidence means what it says: the share of answers that are the exhaustive search's own.
    assert!((all.confidence / all.cases as f64 - share(all.exact)).abs() < 0.04);
}

#[test]
fn token_probabilities_help_and_are_not_needed() {
    let blind = simulate(20_261, 20, |curve| vec![0.85; curve.rates.len()]);
    assert!(blind.overlapping as f64 >= 0.95 * blind.cases as f64, "{}", blind.overlapping);
    assert!(blind.mean_share() <= 0.07, "{}", blind.mean_share());
}
