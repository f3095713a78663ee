//! Draws tokens from logits: temperature, top-k, top-p, min-p, and random numbers that depend on nothing but where they
//! are drawn.
//!
//! Filters keep prefixes of the tokens in order of probability, so a draw needs only the likeliest few: they are collected
//! above a bound that is lowered until the filters are satisfied. Only where the filters keep nearly all is the vocabulary
//! sorted nearly whole.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

use super::cpu::stats::{LogSumExp, largest, sum_of_exp};
use crate::domain::sampling::Sampling;

/// The random numbers of one fork: number `step` of sample `sample` is always the same.
///
/// ChaCha is counter-based: a key from the seed and the fork's tokens, a stream for the sample, a position for the step.
#[derive(Debug, Clone)]
pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    /// `prefix` are the tokens before the first draw.
    pub(crate) fn new(seed: u64, prefix: impl IntoIterator<Item = u32>) -> Self {
        let mut hash = Sha256::new();
        hash.update(seed.to_le_bytes());
        prefix.into_iter().for_each(|id| hash.update(id.to_le_bytes()));
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// Uniform in [0, 1), of 53 bits.
    pub(crate) fn uniform(&self, sample: usize, step: usize) -> f64 {
        let mut rng = self.0.clone();
        rng.set_stream(sample as u64);
        // A number takes two words.
        rng.set_word_pos(2 * step as u128);
        (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The next-token distribution after a sequence.
pub(crate) struct Distribution<'a> {
    logits: &'a [f32],
    sums: LogSumExp,
}

impl<'a> Distribution<'a> {
    /// `None` if a logit is not finite.
    pub(crate) fn new(logits: &'a [f32]) -> Option<Self> {
        let mut sums = LogSumExp::default();
        // Parts keep each sum's terms few, as in the scoring head.
        logits.chunks(4096).for_each(|part| {
            sums.add(part);
        });
        sums.is_finite().then_some(Self { logits, sums })
    }

    /// Natural log of a token's probability, before temperature and filters.
    pub(crate) fn logprob(&self, id: u32) -> f32 {
        self.sums.log_probability(self.logits[id as usize]) as f32
    }

    /// The `count` likeliest tokens with their log probabilities, likeliest first.
    pub(crate) fn top(&self, count: usize) -> Vec<(u32, f32)> {
        if count == 0 {
            return vec![];
        }
        let ranked = Ranked::at_least(self.logits, count);
        ranked.0.iter().take(count).map(|&(id, _)| (id, self.logprob(id))).collect()
    }

    /// What to draw from where `banned` has no chance.
    pub(crate) fn chances(&self, banned: Option<u32>) -> Chances<'a> {
        match banned.filter(|&id| (id as usize) < self.logits.len()) {
            None => Chances(Cow::Borrowed(self.logits)),
            Some(banned) => {
                let mut logits = self.logits.to_vec();
                logits[banned as usize] = f32::NEG_INFINITY;
                Chances(Cow::Owned(logits))
            }
        }
    }
}

/// Logits to draw from.
pub(crate) struct Chances<'a>(Cow<'a, [f32]>);

impl Chances<'_> {
    /// Draws a token with the random number `uniform`.
    pub(crate) fn draw(&self, sampling: &Sampling, uniform: f64) -> u32 {
        draw(&self.0, sampling, uniform)
    }
}

fn draw(logits: &[f32], sampling: &Sampling, uniform: f64) -> u32 {
    let (likeliest, max) = likeliest(logits);
    if sampling.greedy() || sampling.top_k == 1 {
        return likeliest;
    }
    let scale = Scale { max, temperature: sampling.temperature };
    if sampling.top_k == 0 && sampling.top_p >= 1.0 && sampling.min_p <= 0.0 {
        return scale.draw_from_all(logits, uniform);
    }
    let mut kept = if sampling.top_k > 0 {
        let mut kept = Ranked::at_least(logits, sampling.top_k).0;
        kept.truncate(sampling.top_k);
        if sampling.top_p < 1.0 {
            let total: f64 = kept.iter().map(|&(_, logit)| scale.weight(logit)).sum();
            scale.keep_top_p(&mut kept, sampling.top_p * total);
        }
        kept
    } else if sampling.top_p < 1.0 {
        scale.top_p(logits, sampling.top_p)
    } else {
        scale.within(logits, -sampling.min_p.ln())
    };
    // The likeliest token's weight is 1.
    kept.retain(|&(id, logit)| id == likeliest || scale.weight(logit) >= sampling.min_p);
    scale.draw_from(&kept, uniform)
}

/// The lowest of the likeliest tokens, and its logit.
fn likeliest(logits: &[f32]) -> (u32, f32) {
    let max = largest(logits);
    (logits.iter().position(|&logit| logit == max).unwrap_or(0) as u32, max)
}

/// Tokens in order of their logits, equal ones in the vocabulary's order; the likeliest only.
struct Ranked(Vec<(u32, f32)>);

impl Ranked {
    /// All tokens whose logits are at least `bound`.
    fn above(logits: &[f32], bound: f32) -> Self {
        const PART: usize = 256;
        let mut ranked: Vec<(u32, f32)> = Vec::new();
        for (part, values) in logits.chunks(PART).enumerate() {
            // Few parts of a vocabulary hold a likely token.
            if largest(values) >= bound {
                let found = values.iter().enumerate().filter(|(_, logit)| **logit >= bound);
                ranked.extend(found.map(|(offset, &logit)| ((part * PART + offset) as u32, logit)));
            }
        }
        ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        Self(ranked)
    }

    /// At least `count` of the likeliest tokens, or all.
    fn at_least(logits: &[f32], count: usize) -> Self {
        let max = largest(logits);
        let mut depth = 4.0;
        loop {
            let ranked = Self::above(logits, if depth > 1e3 { f32::NEG_INFINITY } else { max - depth });
            if ranked.0.len() >= count.min(logits.len()) {
                return ranked;
            }
            depth *= 2.0;
        }
    }
}

/// Weights of tokens: `e^((logit - max) / temperature)`, so that the likeliest token's is 1.
#[derive(Clone, Copy)]
struct Scale {
    max: f32,
    temperature: f64,
}

impl Scale {
    fn weight(self, logit: f32) -> f64 {
        ((f64::from(logit) - f64::from(self.max)) / self.temperature).exp()
    }

    /// The tokens whose weight is at least about `e^-depth`, and perhaps a few more.
    fn within(self, logits: &[f32], depth: f64) -> Vec<(u32, f32)> {
        let bound = f64::from(self.max) - self.temperature * depth;
        Ranked::above(logits, (bound - 1e-5 * bound.abs()) as f32).0
    }

    /// The fewest of the likeliest tokens that reach the probability `top_p`.
    fn top_p(self, logits: &[f32], top_p: f64) -> Vec<(u32, f32)> {
        let wanted = top_p * self.sums(logits).sum::<f64>();
        let mut depth = 8.0;
        loop {
            let mut kept = self.within(logits, depth);
            // Beyond e^-100 there is nothing that rounding has not taken.
            if self.keep_top_p(&mut kept, wanted) || depth > 100.0 {
                return kept;
            }
            depth *= 2.0;
        }
    }

    /// Keeps the fewest of ranked tokens that weigh `wanted` together. Whether they do.
    fn keep_top_p(self, ranked: &mut Vec<(u32, f32)>, wanted: f64) -> bool {
        let mut mass = 0.0;
        let last = ranked.iter().position(|&(_, logit)| {
            mass += self.weight(logit);
            mass >= wanted
        });
        ranked.truncate(last.map_or(ranked.len(), |last| last + 1));
        last.is_some()
    }

    /// The weights of parts of the vocabulary, added up.
    fn sums(self, logits: &[f32]) -> impl Iterator<Item = f64> {
        let inverse = (1.0 / self.temperature) as f32;
        logits.chunks(PART).map(move |part| f64::from(sum_of_exp(part, self.max, inverse)))
    }

    fn draw_from(self, ranked: &[(u32, f32)], uniform: f64) -> u32 {
        let weights = || ranked.iter().map(|&(_, logit)| self.weight(logit));
        ranked[place(weights(), uniform * weights().sum::<f64>()).0].0
    }

    /// Draws from the whole vocabulary: first a part of it, then a token there.
    fn draw_from_all(self, logits: &[f32], uniform: f64) -> u32 {
        let sums: Vec<f64> = self.sums(logits).collect();
        let (part, rest) = place(sums.iter().copied(), uniform * sums.iter().sum::<f64>());
        let first = part * PART;
        let tokens = &logits[first..logits.len().min(first + PART)];
        let weights = || tokens.iter().map(|&logit| self.weight(logit));
        // The part's sum is of less precision than its tokens' weights.
        let within = (rest / sums[part]).min(1.0) * weights().sum::<f64>();
        (first + place(weights(), within).0) as u32
    }
}

/// Tokens whose weights are added up in f32.
const PART: usize = 1024;

/// The weight that `point` falls on when they lie side by side, and how far into it. The last that weighs anything, if
/// rounding has put the point past all.
fn place(weights: impl Iterator<Item = f64>, point: f64) -> (usize, f64) {
    let mut rest = point;
    let mut last = (0, 0.0);
    for (index, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
        if rest < weight {
            return (index, rest);
        }
        rest -= weight;
        last = (index, weight);
    }
    last
}

#[cfg(test)]
mod tests;
