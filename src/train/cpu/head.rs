//! From hidden states to log probabilities, and back: the only place with rows as wide as the vocabulary.
//!
//! Logits are held for a bounded number of positions. Where a batch has more, they are computed again on the way back.

use rayon::prelude::*;

use super::site::{Made, Passed, Rows, Site, forward};
use crate::engine::EngineError;
use crate::engine::local::cpu::kernel::vectorised;
use crate::engine::local::cpu::math::exp;
use crate::train::batch::Target;
use crate::train::learner::Predictions;
use crate::train::loss::Slopes;
use crate::train::parameters::Parameters;

/// The most that logits of positions held together may take, in floats.
const LOGITS: usize = 48 << 20;

/// The head over the hidden states, `[targets, hidden]`, of a batch's targets.
pub(super) struct Head<'a> {
    pub(super) site: Site<'a>,
    pub(super) hidden: &'a [f32],
    pub(super) targets: &'a [Target],
    /// The reference's head and hidden states, where the divergence is wanted.
    pub(super) reference: Option<(Site<'a>, &'a [f32])>,
    kept: Option<Logits>,
}

/// Logits of some targets, `[targets, vocabulary]`, the reference's too.
struct Logits {
    policy: Vec<f32>,
    /// [`Made::low`] of the head.
    low: Vec<f32>,
    reference: Option<Vec<f32>>,
}

impl<'a> Head<'a> {
    pub(super) fn new(
        site: Site<'a>,
        hidden: &'a [f32],
        targets: &'a [Target],
        reference: Option<(Site<'a>, &'a [f32])>,
    ) -> Self {
        Self { site, hidden, targets, reference, kept: None }
    }

    fn vocab(&self) -> usize {
        self.site.weight.outputs()
    }

    /// Targets that are computed together.
    fn part(&self) -> usize {
        (LOGITS / self.vocab() / (1 + usize::from(self.reference.is_some()))).max(1)
    }

    fn logits(&self, first: usize, count: usize, parameters: &Parameters) -> Result<Logits, EngineError> {
        let width = self.site.weight.inputs();
        let rows = first * width..(first + count) * width;
        // Dropout is drawn by row: a part of the rows must draw what the whole would.
        let site = Site { key: super::mixed(self.site.key, first as u32), ..self.site };
        let made = forward(&[site], &Rows::new(&self.hidden[rows.clone()], width), parameters)?;
        let Made { y: policy, low } = made.into_iter().next().unwrap_or_default();
        let reference = match &self.reference {
            Some((site, hidden)) => {
                let made = forward(&[*site], &Rows::new(&hidden[rows], width), parameters)?;
                Some(made.into_iter().next().unwrap_or_default().y)
            }
            None => None,
        };
        Ok(Logits { policy, low, reference })
    }

    /// What the policy says of the targets.
    pub(super) fn predict(&mut self, parameters: &Parameters) -> Result<Predictions, EngineError> {
        let (vocab, part) = (self.vocab(), self.part());
        let mut predictions = Predictions::default();
        for (number, targets) in self.targets.chunks(part).enumerate() {
            let logits = self.logits(number * part, targets.len(), parameters)?;
            predictions.logprobs.par_extend(
                logits.policy.par_chunks(vocab).zip(targets).map(|(row, target)| log_softmax_at(row, target.token)),
            );
            if let Some(reference) = &logits.reference {
                predictions.divergences.par_extend(
                    logits.policy.par_chunks(vocab).zip(reference.par_chunks(vocab)).map(|(p, r)| divergence(p, r)),
                );
            }
            self.kept = (self.targets.len() <= part).then_some(logits);
        }
        Ok(predictions)
    }

    /// Adds the gradient of the hidden states to `dhidden`, and those of what is trained of the head.
    pub(super) fn back(
        &mut self,
        slopes: &Slopes,
        dhidden: &mut [f32],
        parameters: &mut Parameters,
    ) -> Result<(), EngineError> {
        let (vocab, part, width) = (self.vocab(), self.part(), self.site.weight.inputs());
        for (number, targets) in self.targets.chunks(part).enumerate() {
            let first = number * part;
            let Logits { mut policy, low, reference } = match self.kept.take() {
                Some(logits) => logits,
                None => self.logits(first, targets.len(), parameters)?,
            };
            policy.par_chunks_mut(vocab).zip(targets).enumerate().for_each(|(index, (row, target))| {
                let slope = slopes.logprob[first + index];
                let along = slopes.divergence.get(first + index).copied().unwrap_or(0.0);
                let reference = reference.as_ref().map(|rows| &rows[index * vocab..(index + 1) * vocab]);
                logits_back(row, reference, along - slope, -along);
                row[target.token as usize] += slope;
            });
            let rows = first * width..(first + targets.len()) * width;
            let site = Site { key: super::mixed(self.site.key, first as u32), ..self.site };
            let passed = Passed { x: &self.hidden[rows.clone()], low: &low };
            site.back(passed, &policy, Some(&mut dhidden[rows]), parameters)?;
        }
        Ok(())
    }
}

fn log_softmax_at(row: &[f32], token: u32) -> f32 {
    let (max, sum) = normaliser(row);
    (f64::from(row[token as usize] - max) - f64::from(sum).ln()) as f32
}

/// `KL(reference || policy)` from the logits of both.
fn divergence(policy: &[f32], reference: &[f32]) -> f32 {
    let [p, r] = [policy, reference].map(|row| {
        let (max, sum) = normaliser(row);
        max + sum.ln()
    });
    const PART: usize = 256;
    let parts = policy.chunks(PART).zip(reference.chunks(PART));
    parts.map(|(policy, reference)| f64::from(divergence_part(policy, reference, p, r))).sum::<f64>() as f32
}

vectorised! {
    fn divergence_part(policy: &[f32], reference: &[f32], p: f32, r: f32) -> f32 {
        let mut sums = [0f32; 16];
        for (policy, reference) in policy.chunks(16).zip(reference.chunks(16)) {
            for ((sum, policy), reference) in sums.iter_mut().zip(policy).zip(reference) {
                let log = *reference - r;
                *sum += exp(log) * (log - (*policy - p));
            }
        }
        sums.iter().sum::<f32>()
    }
}

/// Replaces logits by `a * softmax(logits) + b * softmax(reference)`.
fn logits_back(row: &mut [f32], reference: Option<&[f32]>, a: f32, b: f32) {
    let (max, sum) = normaliser(row);
    scaled_softmax(row, max, a / sum);
    if let Some(reference) = reference.filter(|_| b != 0.0) {
        let (max, sum) = normaliser(reference);
        add_scaled_softmax(row, reference, max, b / sum);
    }
}

vectorised! {
    /// The greatest logit, and the sum of `exp(logit - greatest)`.
    fn normaliser(row: &[f32]) -> (f32, f32) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in row.chunks(16) {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = lane.max(*x);
            }
        }
        let max = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0f32; 16];
        for chunk in row.chunks(16) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += exp(*x - max);
            }
        }
        (max, sums.iter().sum::<f32>())
    }
}

vectorised! {
    fn scaled_softmax(row: &mut [f32], max: f32, scale: f32) {
        for x in row.iter_mut() {
            *x = exp(*x - max) * scale;
        }
    }
}

vectorised! {
    fn add_scaled_softmax(row: &mut [f32], other: &[f32], max: f32, scale: f32) {
        for (x, other) in row.iter_mut().zip(other) {
            *x += exp(*other - max) * scale;
        }
    }
}
