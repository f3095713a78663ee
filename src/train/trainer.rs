//! Steps: batches of examples through a learner, their losses, and the optimizer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::base::Base;
use super::batch::Batch;
use super::checkpoint::{self, State};
use super::example::{Completion, Examples, Pair};
use super::learner::{Learner, PassOptions, Predictions};
use super::loss::{PairLoss, Side, Slopes, pair_loss};
use super::metrics::{Last, Window};
use super::optimizer::{AdamW, clip};
use super::parameters::Parameters;
use super::plan::{Objective, Preference, PreferenceLoss, TrainingPlan};
use super::references::References;
use super::{Pace, StepMetrics, TrainError};

/// Tokens of examples that share a pass, at most: more would cost memory and gain no speed. One example may be longer.
const PASS_TOKENS: usize = 2048;

/// How long what the reference says is computed without being kept.
const UNKEPT: Duration = Duration::from_secs(30);

/// A run in memory.
pub(super) struct Trainer<'a> {
    base: &'a Base,
    plan: &'a TrainingPlan,
    examples: &'a Examples,
    lengths: Vec<usize>,
    learner: Box<dyn Learner + Send>,
    pub(super) parameters: Parameters,
    optimizer: AdamW,
    window: Window,
    references: References,
    /// [`PASS_TOKENS`], but in tests.
    pass_tokens: usize,
    /// Steps done.
    pub(super) step: usize,
}

/// Asked where work may end early; an error ends it.
pub(super) type GoOn<'a> = &'a mut dyn FnMut() -> Result<(), TrainError>;

/// Examples that go through the model together.
struct Pass<'a> {
    examples: &'a [usize],
    /// All examples of the optimizer step.
    step: &'a [usize],
    /// The pass's number in the step.
    number: usize,
    /// Tokens of the longest response in the batch that the pass is of, whatever passes it is split into: the width that
    /// a reduction by position averages over.
    padded: usize,
}

/// A step's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) grad_norm: f64,
    pub(super) learning_rate: f64,
}

impl<'a> Trainer<'a> {
    /// Checks that the examples fit the plan and the base.
    pub(super) fn new(
        base: &'a Base,
        plan: &'a TrainingPlan,
        examples: &'a Examples,
        pace: Arc<dyn Pace>,
    ) -> Result<Self, TrainError> {
        plan.check()?;
        check_examples(base, plan, examples)?;
        let (learner, parameters) = base.install(|| base.learner(&plan.method, plan.arguments.seed, pace))?;
        Ok(Self {
            base,
            plan,
            examples,
            lengths: (0..examples.len()).map(|index| examples.tokens(index)).collect(),
            optimizer: AdamW::new(&parameters),
            learner,
            parameters,
            window: Window::default(),
            references: References::default(),
            pass_tokens: PASS_TOKENS,
            step: 0,
        })
    }

    /// Goes on from a state on disk, if there is one.
    pub(super) fn resume(&mut self, folder: &Path, fingerprint: &str) -> Result<bool, TrainError> {
        let Some((state, optimizer)) = checkpoint::load(folder, fingerprint, &mut self.parameters)? else {
            return Ok(false);
        };
        (self.step, self.window, self.optimizer) = (state.step, state.window, optimizer);
        let Self { base, learner, parameters, .. } = self;
        base.install(|| learner.update(parameters))?;
        Ok(true)
    }

    pub(super) fn save(&self, folder: &Path, fingerprint: &str) -> Result<(), TrainError> {
        let state = State { fingerprint: fingerprint.to_owned(), step: self.step, window: self.window.clone() };
        checkpoint::save(folder, &state, &self.parameters, &self.optimizer)
    }

    pub(super) fn total_steps(&self) -> usize {
        self.plan.arguments.steps(self.examples.len())
    }

    /// Computes the reference's log probabilities of all pairs, once, and keeps them in `folder`. Comes back after a while with
    /// some of them kept, and says whether those are all. `go_on` is asked before each pass and may end the work.
    pub(super) fn prepare(&mut self, folder: Option<&Path>, go_on: GoOn<'_>) -> Result<bool, TrainError> {
        let Examples::Pairs(pairs) = self.examples else { return Ok(true) };
        let fingerprint = References::fingerprint(&self.base.fingerprint(), pairs);
        if let Some(folder) = folder.filter(|_| self.references.len() == 0) {
            self.references = References::load(folder, &fingerprint)?;
        }
        let missing: Vec<usize> = (self.references.len()..pairs.len()).collect();
        if missing.is_empty() {
            return Ok(true);
        }
        let keep = |references: &References| folder.map_or(Ok(()), |folder| references.save(folder, &fingerprint));
        let began = Instant::now();
        for part in within(self.pass_tokens, &missing, &self.lengths) {
            if began.elapsed() > UNKEPT {
                keep(&self.references)?;
                return Ok(false);
            }
            if let Err(ended) = go_on() {
                // What ended the work is to be told, and not what became of its remains.
                let _ = keep(&self.references);
                return Err(ended);
            }
            let batch = Batch::of_pairs(part.iter().map(|&row| &pairs[row]));
            let (base, learner) = (self.base, &mut self.learner);
            let logprobs = base.install(|| learner.reference(&batch))?;
            for responses in batch.responses.chunks_exact(2) {
                self.references.push([0, 1].map(|side: usize| logprobs[responses[side].clone()].to_vec()));
            }
        }
        keep(&self.references)?;
        Ok(true)
    }

    /// The gradients of one step's examples, in the parameters; their norm. `go_on` is asked before each pass and may end
    /// the step, of which nothing is kept then.
    pub(super) fn gradients(&mut self, rows: &[usize], go_on: GoOn<'_>) -> Result<f64, TrainError> {
        let before = self.window.clone();
        let sums = self.passes(rows, go_on);
        if sums.is_err() {
            self.window = before;
        }
        let (loss, tokens) = sums?;
        if !loss.is_finite() {
            return Err(self.diverged(rows, "the loss"));
        }
        let norm = self.parameters.gradient_norm();
        if !norm.is_finite() {
            return Err(self.diverged(rows, "the gradient"));
        }
        self.window.step(loss, tokens);
        Ok(norm)
    }

    /// Every pass of a step: its loss and the number of its tokens.
    fn passes(&mut self, rows: &[usize], go_on: GoOn<'_>) -> Result<(f64, usize), TrainError> {
        self.parameters.clear_gradients();
        let (mut loss, mut tokens, mut number) = (0.0, 0, 0);
        for batch in rows.chunks(self.plan.arguments.per_device_train_batch_size) {
            let padded = batch.iter().map(|&row| self.examples.longest_response(row)).max().unwrap_or(0);
            for examples in within(self.pass_tokens, batch, &self.lengths) {
                go_on()?;
                loss += self.pass(Pass { examples, step: rows, number, padded })?;
                number += 1;
            }
            tokens += batch.iter().map(|&row| self.lengths[row]).sum::<usize>();
        }
        Ok((loss, tokens))
    }

    fn diverged(&self, rows: &[usize], what: &str) -> TrainError {
        let (rows, what) = (rows.to_vec(), what.to_owned());
        TrainError::Diverged { step: self.step + 1, rows, what, last_checkpoint: None }
    }

    /// One pass's part of a step's loss; adds its gradients.
    fn pass(&mut self, pass: Pass<'_>) -> Result<f64, TrainError> {
        let Pass { examples: part, step: rows, number, padded } = pass;
        let arguments = &self.plan.arguments;
        let tdpo = matches!(&self.plan.objective, Objective::Preference(p) if p.loss == PreferenceLoss::Tdpo);
        let options = PassOptions {
            dropout: [arguments.seed, self.step as u64, number as u64],
            divergence: tdpo,
            checkpointing: arguments.gradient_checkpointing,
        };
        let Self { base, plan, examples, learner, parameters, window, references, .. } = self;
        let mut total = 0.0;
        match (*examples, &plan.objective) {
            (Examples::Completions(all), Objective::Sft) => {
                let batch = Batch::of_completions(part.iter().map(|&row| &all[row]));
                // As transformers does, over the tokens of the whole step.
                let count = rows.iter().map(|&row| all[row].response().len()).sum::<usize>() as f64;
                let mut loss = |predictions: &Predictions| {
                    total = -predictions.logprobs.iter().copied().map(f64::from).sum::<f64>() / count;
                    let logprob = vec![(-1.0 / count) as f32; predictions.logprobs.len()];
                    Ok(Slopes { logprob, divergence: Vec::new() })
                };
                base.install(|| learner.pass(parameters, &batch, options, &mut loss))?;
            }
            (Examples::Pairs(all), Objective::Preference(settings)) => {
                let pairs: Vec<(&Pair, &[Vec<f32>; 2])> =
                    part.iter().map(|&row| (&all[row], references.get(row))).collect();
                let batch = Batch::of_pairs(pairs.iter().map(|(pair, _)| *pair));
                let mut loss = |predictions: &Predictions| {
                    let (losses, slopes) = losses(settings, &batch, predictions, &pairs, (rows.len(), padded));
                    losses.iter().for_each(|pair| window.pair(pair));
                    total = losses.iter().map(|pair| pair.loss).sum::<f64>() / rows.len() as f64;
                    Ok(slopes)
                };
                base.install(|| learner.pass(parameters, &batch, options, &mut loss))?;
            }
            (Examples::Completions(_), Objective::Preference(_)) | (Examples::Pairs(_), Objective::Sft) => {
                return Err(TrainError::Internal("the examples are of another objective".to_owned()));
            }
        }
        Ok(total)
    }

    /// One whole optimizer step.
    pub(super) fn advance(&mut self, rows: &[usize], total: usize, go_on: GoOn<'_>) -> Result<Step, TrainError> {
        let arguments = &self.plan.arguments;
        let learning_rate = arguments.learning_rate * arguments.schedule(self.step, total);
        let grad_norm = self.gradients(rows, go_on)?;
        let Self { base, learner, parameters, optimizer, .. } = self;
        let finite = base.install(|| {
            clip(parameters, grad_norm, arguments.max_grad_norm);
            let finite = optimizer.step(parameters, arguments, learning_rate);
            learner.update(parameters).map(|()| finite)
        })?;
        if !finite {
            return Err(self.diverged(rows, "a weight"));
        }
        self.step += 1;
        Ok(Step { grad_norm, learning_rate })
    }

    /// Notes how long the last step took, rests aside.
    pub(super) fn took(&mut self, seconds: f64) {
        self.window.took(seconds);
    }

    pub(super) fn rows_of_step(&self, step: usize) -> Vec<usize> {
        super::order::of_step(&self.plan.arguments, step, &self.lengths)
    }

    /// The metrics since the last report.
    pub(super) fn report(&mut self, step: Step) -> StepMetrics {
        let per_epoch = self.plan.arguments.steps_per_epoch(self.examples.len());
        let Step { grad_norm, learning_rate } = step;
        let epoch = self.step as f64 / per_epoch as f64;
        self.window.report(Last { step: self.step, epoch, grad_norm, learning_rate })
    }
}

/// The losses of a pass's pairs, and the slopes of their mean over the `step`'s pairs. `padded` is [`Pass::padded`].
fn losses<'a>(
    settings: &Preference,
    batch: &Batch,
    predictions: &'a Predictions,
    pairs: &[(&'a Pair, &'a [Vec<f32>; 2])],
    (step, padded): (usize, usize),
) -> (Vec<PairLoss>, Slopes) {
    let mut slopes = Slopes::default();
    let losses: Vec<PairLoss> = pairs
        .iter()
        .zip(batch.responses.chunks_exact(2))
        .map(|((pair, reference), responses)| {
            let side = |number: usize, weights: &'a Option<Vec<f32>>| Side {
                policy: &predictions.logprobs[responses[number].clone()],
                reference: &reference[number],
                weights: weights.as_deref(),
                divergence: predictions.divergences.get(responses[number].clone()).unwrap_or(&[]),
            };
            pair_loss(settings, side(0, &pair.chosen_weights), side(1, &pair.rejected_weights), padded)
        })
        .collect();
    let mean = 1.0 / step as f32;
    for side in losses.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]) {
        slopes.logprob.extend(side.logprob.iter().map(|slope| slope * mean));
        slopes.divergence.extend(side.divergence.iter().map(|slope| slope * mean));
    }
    (losses, slopes)
}

/// A batch in runs of examples that have at most `most` tokens together, or are one.
fn within<'a>(most: usize, batch: &'a [usize], lengths: &[usize]) -> Vec<&'a [usize]> {
    let mut parts = Vec::new();
    let (mut begin, mut tokens) = (0, 0);
    for (index, &row) in batch.iter().enumerate() {
        if index > begin && tokens + lengths[row] > most {
            parts.push(&batch[begin..index]);
            (begin, tokens) = (index, 0);
        }
        tokens += lengths[row];
    }
    parts.push(&batch[begin..]);
    parts
}

/// Refuses examples that the plan or the base cannot use.
fn check_examples(base: &Base, plan: &TrainingPlan, examples: &Examples) -> Result<(), TrainError> {
    if examples.is_empty() {
        return Err(TrainError::NoExamples);
    }
    let sound = |completion: &Completion| {
        base.check_tokens(&completion.token_ids)?;
        match (1..completion.token_ids.len()).contains(&completion.response_start) {
            true => Ok(()),
            false => Err(TrainError::invalid("dataset", "a response needs a token, and a prompt before it")),
        }
    };
    match examples {
        Examples::Completions(rows) => rows.iter().try_for_each(sound),
        Examples::Pairs(pairs) => {
            for (row, pair) in pairs.iter().enumerate() {
                sound(&pair.chosen)?;
                sound(&pair.rejected)?;
                check_weights(row, plan, pair)?;
            }
            Ok(())
        }
    }
}

/// Weights that the loss uses are one a token; a response without any has them all 1.
fn check_weights(row: usize, plan: &TrainingPlan, pair: &Pair) -> Result<(), TrainError> {
    let Objective::Preference(preference) = &plan.objective else { return Ok(()) };
    let (chosen, rejected) = match preference.loss {
        PreferenceLoss::Cdpo => (false, true),
        PreferenceLoss::TokenWeighted => (true, true),
        PreferenceLoss::Dpo | PreferenceLoss::Rpo | PreferenceLoss::Tdpo => (false, false),
    };
    let sides = [
        ("chosen_weights", chosen, &pair.chosen_weights, &pair.chosen),
        ("rejected_weights", rejected, &pair.rejected_weights, &pair.rejected),
    ];
    for (field, used, weights, completion) in sides {
        let len = completion.response().len();
        match weights {
            Some(weights) if used && weights.len() != len => {
                let message = format!("pair {row} has {} {field} for {len} tokens", weights.len());
                return Err(TrainError::invalid("dataset", message));
            }
            Some(weights) if used && weights.iter().any(|weight| !weight.is_finite()) => {
                return Err(TrainError::invalid("dataset", format!("pair {row} has {field} that are not finite")));
            }
            None | Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
