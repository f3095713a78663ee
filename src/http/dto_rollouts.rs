//! Rollouts as the API shows them: the domain's [`RolloutSet`] with the schema that the domain does not know of.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::dto_trace::{ModelRefDto, VerdictDto};
use crate::analysis::RolloutEvent;
use crate::domain::rollout::{
    AlternativesSource, ForcedToken, Group, Pool, Rollout, RolloutSampling, RolloutSet, RolloutUsage, RolloutsObject,
};
use crate::domain::sampling::FinishReason;

/// What came of a response's token, and of others in its place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollouts)]
pub(super) struct RolloutsDto {
    #[schema(example = "roll_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    id: String,
    object: RolloutsObjectDto,
    /// Unix seconds.
    created: i64,
    /// The trace that these rollouts are stored with; null when they are not stored.
    trace_id: Option<String>,
    /// The model that drew the rollouts.
    model: ModelRefDto,
    position: usize,
    /// The reference answer.
    answer: String,
    sampling: RolloutSamplingDto,
    alternatives_source: AlternativesSourceDto,
    /// Whether it was ended before all was drawn: short rollouts are drawn first, so its rates lean to them.
    stopped: bool,
    /// The response's own token.
    original: OriginalDto,
    alternatives: Vec<AlternativeDto>,
    /// All rollouts with the response's own token.
    with_token: PoolDto,
    /// All rollouts with another token in its place.
    without_token: PoolDto,
    /// The original's first, then those of each alternative in turn. Left out of streamed summaries, and of the end of a
    /// stream, which has sent them one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rollouts: Option<Vec<RolloutDto>>,
    usage: RolloutUsageDto,
}

/// The constant `rollouts`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RolloutsObject)]
enum RolloutsObjectDto {
    Rollouts,
}

/// How the rollouts were drawn.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutSampling)]
pub(super) struct RolloutSamplingDto {
    temperature: f64,
    top_p: f64,
    top_k: usize,
    min_p: f64,
    max_tokens: usize,
    stop: Vec<String>,
    seed: u64,
}

/// Where the alternatives come from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AlternativesSource)]
enum AlternativesSourceDto {
    Sampled,
    Top,
    Given,
}

/// A token by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ForcedToken)]
struct ForcedTokenDto {
    id: u32,
    text: String,
}

/// The rollouts after the response's own token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutsOriginal)]
struct OriginalDto {
    token: ForcedTokenDto,
    /// Natural log of the token's probability at the fork, by the model as the request named it; empty without samples.
    logprob: BTreeMap<String, f32>,
    samples: usize,
    correct: usize,
    /// Samples without a final answer; not correct.
    unparsed: usize,
    /// Samples whose grading took too long; not counted as correct.
    timeout: usize,
    /// correct / samples; null without samples.
    rate: Option<f64>,
    /// Wilson's interval for the rate at 95%.
    interval: [f64; 2],
    /// The unbiased estimate for k = 1, 2, 4, … and for k = samples.
    pass_at_k: BTreeMap<usize, f64>,
}

/// The rollouts after another token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutsAlternative)]
struct AlternativeDto {
    token: ForcedTokenDto,
    /// Natural log of the token's probability at the fork, by the model as the request named it.
    logprob: BTreeMap<String, f32>,
    /// How often the token was drawn; null unless alternatives were sampled.
    drawn: Option<usize>,
    samples: usize,
    correct: usize,
    /// Samples without a final answer; not correct.
    unparsed: usize,
    /// Samples whose grading took too long; not counted as correct.
    timeout: usize,
    /// correct / samples; null while there are none.
    rate: Option<f64>,
    /// Wilson's interval for the rate at 95%.
    interval: [f64; 2],
    /// The unbiased estimate for k = 1, 2, 4, … and for k = samples.
    pass_at_k: BTreeMap<usize, f64>,
}

/// Several tokens' rollouts taken as one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutsPool)]
struct PoolDto {
    samples: usize,
    correct: usize,
    /// The unbiased estimate for k = 1, 2, 4, … and for k = samples.
    pass_at_k: BTreeMap<usize, f64>,
}

/// One completion of the response. The full response is the text of the kept tokens and the forced one, and `text`, which begins
/// with the whole of a character that the fork parts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(super) struct RolloutDto {
    /// Null for the response's own token, else an index into `alternatives`.
    alternative: Option<usize>,
    /// Number within its token's rollouts.
    index: usize,
    /// What follows the forced token, without the stop string that ended it.
    text: String,
    /// Every token drawn after the forced one.
    token_ids: Vec<u32>,
    /// Byte offset of `text` in the full response.
    start: usize,
    finish_reason: FinishReasonDto,
    /// Its `span` lies in the full response: subtract `start` for a place in `text`.
    verdict: VerdictDto,
}

/// `stop`: a stop string. `eos`: the model ended the sequence. `length`: max_tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FinishReason)]
enum FinishReasonDto {
    Stop,
    Eos,
    Length,
}

/// What the rollouts cost, summed over the engine's passes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutUsage)]
struct RolloutUsageDto {
    /// Tokens of prompt and response that were read.
    prefill_tokens: usize,
    /// Tokens of prompt and response that were known from before and not read again.
    reused_tokens: usize,
    /// Tokens drawn, those that chose the alternatives included.
    generated_tokens: usize,
}

/// An event of streamed rollouts. First comes a summary with the alternatives; `rollout` tells of one that finished,
/// `summary` how things stand after some tokens' last rollout; `done` is the answer without what was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
#[schema(as = RolloutEvent)]
pub(super) enum RolloutEventDto {
    Rollout(RolloutDto),
    Summary(RolloutsDto),
    Done(RolloutsDto),
}

// Every conversion takes its source apart by name: a new field of the domain does not compile until it has a place here.

impl From<RolloutEvent> for RolloutEventDto {
    fn from(event: RolloutEvent) -> Self {
        let head = |set: RolloutSet| RolloutsDto { rollouts: None, ..set.into() };
        match event {
            RolloutEvent::Rollout(rollout) => Self::Rollout((*rollout).into()),
            RolloutEvent::Summary(set) => Self::Summary(head(*set)),
            RolloutEvent::Done(set) => Self::Done(head(*set)),
        }
    }
}

impl From<RolloutSet> for RolloutsDto {
    fn from(set: RolloutSet) -> Self {
        let RolloutSet {
            id,
            object: RolloutsObject::Rollouts,
            created,
            trace_id,
            model,
            position,
            answer,
            sampling,
            alternatives_source,
            stopped,
            original,
            alternatives,
            with_token,
            without_token,
            rollouts,
            usage: RolloutUsage { prefill_tokens, reused_tokens, generated_tokens },
        } = set;
        Self {
            id,
            object: RolloutsObjectDto::Rollouts,
            created,
            trace_id,
            model: model.into(),
            position,
            answer,
            sampling: sampling.into(),
            alternatives_source: alternatives_source.into(),
            stopped,
            original: original.into(),
            alternatives: alternatives.into_iter().map(AlternativeDto::from).collect(),
            with_token: with_token.into(),
            without_token: without_token.into(),
            rollouts: Some(rollouts.into_iter().map(RolloutDto::from).collect()),
            usage: RolloutUsageDto { prefill_tokens, reused_tokens, generated_tokens },
        }
    }
}

impl From<RolloutSampling> for RolloutSamplingDto {
    fn from(sampling: RolloutSampling) -> Self {
        let RolloutSampling { temperature, top_p, top_k, min_p, max_tokens, stop, seed } = sampling;
        Self { temperature, top_p, top_k, min_p, max_tokens, stop, seed }
    }
}

impl From<AlternativesSource> for AlternativesSourceDto {
    fn from(source: AlternativesSource) -> Self {
        match source {
            AlternativesSource::Sampled => Self::Sampled,
            AlternativesSource::Top => Self::Top,
            AlternativesSource::Given => Self::Given,
        }
    }
}

impl From<Group> for OriginalDto {
    fn from(group: Group) -> Self {
        let Group { token, logprob, drawn: _, samples, correct, unparsed, timeout, rate, interval, pass_at_k } = group;
        Self { token: token.into(), logprob, samples, correct, unparsed, timeout, rate, interval, pass_at_k }
    }
}

impl From<Group> for AlternativeDto {
    fn from(group: Group) -> Self {
        let Group { token, logprob, drawn, samples, correct, unparsed, timeout, rate, interval, pass_at_k } = group;
        Self { token: token.into(), logprob, drawn, samples, correct, unparsed, timeout, rate, interval, pass_at_k }
    }
}

impl From<ForcedToken> for ForcedTokenDto {
    fn from(ForcedToken { id, text }: ForcedToken) -> Self {
        Self { id, text }
    }
}

impl From<Pool> for PoolDto {
    fn from(Pool { samples, correct, pass_at_k }: Pool) -> Self {
        Self { samples, correct, pass_at_k }
    }
}

impl From<Rollout> for RolloutDto {
    fn from(rollout: Rollout) -> Self {
        let Rollout { alternative, index, text, token_ids, start, finish_reason, verdict } = rollout;
        let finish_reason = match finish_reason {
            FinishReason::Stop => FinishReasonDto::Stop,
            FinishReason::Eos => FinishReasonDto::Eos,
            FinishReason::Length => FinishReasonDto::Length,
        };
        Self { alternative, index, text, token_ids, start, finish_reason, verdict: verdict.into() }
    }
}
