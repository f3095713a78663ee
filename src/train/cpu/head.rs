//! From hidden states to log probabilities, and back: the only place with rows as wide as the vocabulary.
//!
//! Logits are held for a bounded number of positions. Where the head is frozen, as it nearly always is, none outlive the
//! prediction: a loss asks for a multiple of each target's gradient, so the gradient itself is computed while the logits are
//! there. Where the head is trained, logits of more positions than that are computed again on the way back.

use rayon::prelude::*;

use super::elementwise::add_scaled;
use super::site::{Made, Passed, Rows, Site, forward};
use crate::engine::EngineError;
use crate::engine::local::cpu::kernel::vectorised;
use crate::engine::local::cpu::math::exp;
use crate::train::Pace;
use crate::train::batch::Target;
use crate::train::learner::Predictions;
use crate::train::loss::Slopes;
use crate::train::parameters::Parameters;

/// The most that logits of positions held together may take, in floats.
const LOGITS: usize = 24 << 20;

/// The head over the hidden states, `[targets, hidden]`, of a pass's targets.
pub(super) struct Head<'a> {
    pub(super) site: Site<'a>,
    pub(super) hidden: &'a [f32],
    pub(super) targets: &'a [Target],
    /// The reference's head and hidden states, where the divergence is wanted.
    pub(super) reference: Option<(Site<'a>, &'a [f32])>,
    pub(super) pace: &'a dyn Pace,
}

/// What the way back goes on from.
pub(super) enum Predicted {
    /// Of a frozen head: gradients by the hidden states, `[targets, hidden]`, of each target's log probability, and of its
    /// divergence if that is wanted.
    Gradients { logprob: Vec<f32>, divergence: Vec<f32> },
    /// The logits of all targets, or none if they are too many.
    Logits(Option<Logits>),
}

/// Logits of some targets, `[targets, vocabulary]`, the reference's too.
pub(super) struct Logits {
    policy: Vec<f32>,
    /// [`Made::low`] of the head.
    low: Vec<f32>,
    reference: Option<Vec<f32>>,
}

impl Head<'_> {
    fn vocab(&self) -> usize {
        self.site.weight.outputs()
    }

    fn width(&self) -> usize {
        self.site.weight.inputs()
    }

    /// Targets that are computed together.
    fn part(&self) -> usize {
        (LOGITS / self.vocab() / (1 + usize::from(self.reference.is_some()))).max(1)
    }

    fn logits(&self, first: usize, count: usize, parameters: &Parameters) -> Result<Logits, EngineError> {
        let rows = first * self.width()..(first + count) * self.width();
        let made = |site, hidden: &[f32]| {
            self.pace.rest();
            let made = forward(&[site], &Rows::new(&hidden[rows.clone()], self.width()), parameters)?;
            Ok::<_, EngineError>(made.into_iter().next().unwrap_or_default())
        };
        let Made { y: policy, low } = made(self.part_of_site(first), self.hidden)?;
        let reference = self.reference.map(|(site, hidden)| Ok::<_, EngineError>(made(site, hidden)?.y)).transpose()?;
        Ok(Logits { policy, low, reference })
    }

    /// The site for the rows from `first` on: dropout is drawn by row, and a part of the rows must draw its own.
    fn part_of_site(&self, first: usize) -> Site<'_> {
        Site { key: super::mixed(self.site.key, first as u32), ..self.site }
    }

    /// What the policy says of the targets.
    pub(super) fn predict(&self, parameters: &Parameters) -> Result<Predictions, EngineError> {
        Ok(self.predict_each(parameters, |_, _| Ok(()))?.0)
    }

    /// What the policy says of the targets, and what [`Head::back`] needs.
    pub(super) fn predict_for_back(&self, parameters: &Parameters) -> Result<(Predictions, Predicted), EngineError> {
        if self.site.learns() {
            let (predictions, last) = self.predict_each(parameters, |_, logits| Ok(logits))?;
            return Ok((predictions, Predicted::Logits(last.filter(|_| self.targets.len() <= self.part()))));
        }
        let mut logprob = vec![0f32; self.hidden.len()];
        let mut divergence = vec![0f32; if self.reference.is_some() { self.hidden.len() } else { 0 }];
        let (predictions, _) = self.predict_each(parameters, |first, logits| {
            let Logits { mut policy, low: _, reference } = logits;
            let targets = policy.len() / self.vocab();
            let rows = first * self.width()..(first + targets) * self.width();
            let back = |dlogits: &[f32], to: &mut [f32]| {
                self.pace.rest();
                self.site.input_gradient(dlogits, &mut to[rows.clone()])
            };
            policy.par_chunks_mut(self.vocab()).for_each(|row| logits_back(row, None, -1.0, 0.0));
            if let Some(mut reference) = reference {
                reference.par_chunks_mut(self.vocab()).zip(policy.par_chunks(self.vocab())).for_each(
                    |(row, policy)| {
                        logits_back(row, None, -1.0, 0.0);
                        add_scaled(row, policy, -1.0);
                    },
                );
                back(&reference, &mut divergence)?;
            }
            for (row, target) in policy.chunks_exact_mut(self.vocab()).zip(&self.targets[first..]) {
                row[target.token as usize] += 1.0;
            }
            back(&policy, &mut logprob)
        })?;
        Ok((predictions, Predicted::Gradients { logprob, divergence }))
    }

    /// The predictions, each part's logits given to `then`; what it made of the last.
    fn predict_each<T>(
        &self,
        parameters: &Parameters,
        mut then: impl FnMut(usize, Logits) -> Result<T, EngineError>,
    ) -> Result<(Predictions, Option<T>), EngineError> {
        let (vocab, part) = (self.vocab(), self.part());
        let mut predictions = Predictions::default();
        let mut last = None;
        for (number, targets) in self.targets.chunks(part).enumerate() {
            // One part's logits at a time.
            drop(last.take());
            let logits = self.logits(number * part, targets.len(), parameters)?;
            predictions.logprobs.par_extend(
                logits.policy.par_chunks(vocab).zip(targets).map(|(row, target)| log_softmax_at(row, target.token)),
            );
            if let Some(reference) = &logits.reference {
                predictions.divergences.par_extend(
                    logits.policy.par_chunks(vocab).zip(reference.par_chunks(vocab)).map(|(p, r)| divergence(p, r)),
                );
            }
            last = Some(then(number * part, logits)?);
        }
        Ok((predictions, last))
    }

    /// The gradient of the hidden states; adds those of what is trained of the head.
    pub(super) fn back(
        &self,
        predicted: Predicted,
        slopes: &Slopes,
        parameters: &mut Parameters,
    ) -> Result<Vec<f32>, EngineError> {
        let (vocab, part, width) = (self.vocab(), self.part(), self.width());
        let mut kept = match predicted {
            Predicted::Gradients { mut logprob, divergence } => {
                for (row, slope) in logprob.chunks_exact_mut(width).zip(&slopes.logprob) {
                    row.iter_mut().for_each(|value| *value *= slope);
                }
                let along = divergence.chunks_exact(width).zip(&slopes.divergence);
                for (row, (divergence, slope)) in logprob.chunks_exact_mut(width).zip(along) {
                    add_scaled(row, divergence, *slope);
                }
                return Ok(logprob);
            }
            Predicted::Logits(kept) => kept,
        };
        let mut dhidden = vec![0f32; self.hidden.len()];
        for (number, targets) in self.targets.chunks(part).enumerate() {
            let first = number * part;
            let Logits { mut policy, low, reference } = match kept.take() {
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
            let passed = Passed { x: &self.hidden[rows.clone()], low: &low };
            self.pace.rest();
            self.part_of_site(first).back(passed, &policy, Some(&mut dhidden[rows]), parameters)?;
        }
        Ok(dhidden)
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
