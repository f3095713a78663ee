//! Scores from logits in candle tensors, a chunk of positions at a time.

use candle_core::{D, DType, Tensor};

use super::decoder::TensorModel;
use crate::domain::model::{PerModel, Role};
use crate::domain::score::{Alternative, TokenScore};
use crate::engine::error::EngineError;
use crate::engine::local::decoder::{Decoder, Question, State};

/// Logits of one model that exist at a time.
const LOGITS: usize = 1 << 25;

/// Scores every position of a trajectory.
pub(super) fn score_positions(
    states: &PerModel<State<'_, TensorModel>>,
    question: Question<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<TokenScore>, EngineError> {
    let vocab = states.base.model.config().vocab_size;
    let size = (LOGITS / vocab).max(1);
    let mut scores = Vec::with_capacity(question.targets.len());
    for (number, targets) in question.targets.chunks(size).enumerate() {
        if stop() {
            return Err(EngineError::Cancelled);
        }
        let first = number * size;
        scores.extend(score_chunk(states, first, Question { targets, ..question })?);
    }
    Ok(scores)
}

/// One model's distribution at every position of a chunk.
struct Distribution {
    role: Role,
    /// `[positions, vocab]`
    logits: Tensor,
    /// `log sum of e^x`, `[positions]`
    log_z: Vec<f64>,
    entropy: Vec<f32>,
}

impl Distribution {
    fn new(role: Role, logits: Tensor) -> Result<Self, EngineError> {
        let max = logits.max_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&max)?;
        let exp = shifted.exp()?;
        let sum = exp.sum(D::Minus1)?;
        let mean = ((&shifted * &exp)?.sum(D::Minus1)? / &sum)?;
        let log_sum = sum.log()?;
        let entropy = (&log_sum - mean)?.to_vec1::<f32>()?;
        let max = max.squeeze(D::Minus1)?.to_vec1::<f32>()?;
        let log_z = max.iter().zip(log_sum.to_vec1::<f32>()?).map(|(&m, s)| f64::from(m) + f64::from(s)).collect();
        Ok(Self { role, logits, log_z, entropy })
    }

    /// The logits of one token a position, `[positions, 1]`.
    fn gather(&self, ids: &Tensor) -> Result<Tensor, EngineError> {
        Ok(self.logits.gather(ids, D::Minus1)?)
    }
}

fn score_chunk(
    states: &PerModel<State<'_, TensorModel>>,
    first: usize,
    question: Question<'_>,
) -> Result<Vec<TokenScore>, EngineError> {
    let positions = question.targets.len();
    let distribution = |role, state: &State<'_, TensorModel>| {
        let hidden = state.hidden.narrow(0, first, positions)?;
        let distribution = Distribution::new(role, state.model.logits(&hidden, state.adapter)?)?;
        match distribution.log_z.iter().position(|log_z| !log_z.is_finite()) {
            Some(position) => Err(EngineError::NonFinite { role, position: first + position }),
            None => Ok(distribution),
        }
    };
    let mut models = vec![distribution(Role::Base, &states.base)?];
    for (role, state) in [(Role::Positive, &states.positive), (Role::Negative, &states.negative)] {
        if let Some(state) = state {
            models.push(distribution(role, state)?);
        }
    }
    let device = models[0].logits.device().clone();
    let contrast = match &models[..] {
        [_, p, q] => {
            let logits = ((&p.logits * (1.0 + question.beta))? - (&q.logits * question.beta)?)?;
            Some(Distribution::new(Role::Base, logits)?)
        }
        _ => None,
    };
    let targets = Tensor::new(question.targets, &device)?.unsqueeze(1)?;
    let mut ranks: Vec<Vec<f32>> = Vec::with_capacity(models.len());
    for model in &models {
        let target = model.gather(&targets)?;
        let above = model.logits.broadcast_gt(&target)?.to_dtype(DType::F32)?.sum(D::Minus1)?;
        ranks.push(above.to_vec1()?);
    }
    let columns = reported(&models[0].logits, &question)?;
    let mut reported_ids = Vec::new();
    let mut reports: Vec<Report> = Vec::new();
    for ids in std::iter::once(&targets).chain(&columns) {
        reported_ids.push(ids.squeeze(1)?.to_vec1::<u32>()?);
        reports.push(Report::new(&models, contrast.as_ref(), ids)?);
    }
    let (target, alternatives) = (&reports[0], &reports[1..]);
    let per_model = |value: &dyn Fn(usize) -> f32| PerModel {
        base: value(0),
        positive: models.iter().position(|model| model.role == Role::Positive).map(value),
        negative: models.iter().position(|model| model.role == Role::Negative).map(value),
    };
    Ok((0..positions)
        .map(|position| TokenScore {
            logprob: per_model(&|model| target.logprobs[model][position]),
            rank: {
                let rank = per_model(&|model| ranks[model][position]);
                PerModel {
                    base: rank.base as u32,
                    positive: rank.positive.map(|rank| rank as u32),
                    negative: rank.negative.map(|rank| rank as u32),
                }
            },
            entropy: per_model(&|model| models[model].entropy[position].max(0.0)),
            score: target.scores.as_ref().map(|scores| scores[position]),
            top: alternatives
                .iter()
                .zip(&reported_ids[1..])
                .map(|(report, ids)| Alternative {
                    id: ids[position],
                    logprob: per_model(&|model| report.logprobs[model][position]),
                    score: report.scores.as_ref().map(|scores| scores[position]),
                })
                .collect(),
        })
        .collect())
}

/// What the models say of one token a position.
struct Report {
    /// By model, then by position.
    logprobs: Vec<Vec<f32>>,
    scores: Option<Vec<f64>>,
}

impl Report {
    fn new(models: &[Distribution], contrast: Option<&Distribution>, ids: &Tensor) -> Result<Self, EngineError> {
        let log_probabilities = |model: &Distribution| {
            let logits = model.gather(ids)?.squeeze(1)?.to_vec1::<f32>()?;
            Ok::<Vec<f64>, EngineError>(logits.iter().zip(&model.log_z).map(|(&x, z)| f64::from(x) - z).collect())
        };
        let logprobs = models
            .iter()
            .map(|model| Ok(log_probabilities(model)?.into_iter().map(|x| x as f32).collect()))
            .collect::<Result<_, EngineError>>()?;
        let scores = contrast.map(log_probabilities).transpose()?;
        Ok(Self { logprobs, scores: scores.map(|scores| scores.into_iter().map(f64::exp).collect()) })
    }
}

/// The tokens to report, as columns `[positions, 1]`: the base's likeliest, then the caller's own.
fn reported(base: &Tensor, question: &Question<'_>) -> Result<Vec<Tensor>, EngineError> {
    let mut columns = Vec::with_capacity(question.top + question.watch.len());
    if question.top > 0 {
        let rest = base.copy()?;
        let never = Tensor::full(f32::NEG_INFINITY, (base.dim(0)?, 1), base.device())?;
        for _ in 0..question.top.min(base.dim(1)?) {
            let best = rest.argmax_keepdim(D::Minus1)?;
            rest.scatter_set(&best, &never, D::Minus1)?;
            columns.push(best);
        }
    }
    for &id in question.watch {
        columns.push(Tensor::full(id, (base.dim(0)?, 1), base.device())?);
    }
    Ok(columns)
}
