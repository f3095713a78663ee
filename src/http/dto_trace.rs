//! A trace as the API shows it: the domain's [`Trace`] with the schema that the domain does not know of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::dto_rollouts::RolloutsDto;
use super::dto_searches::SearchDto;
use crate::domain::critical::CriticalRule;
use crate::domain::model::{ModelRef, PerModel};
use crate::domain::score::Normalizer;
use crate::domain::trace::{Prompt, Response, Timing, Token, TopToken, Trace, TraceObject, Usage};
use crate::domain::verdict::{Verdict, VerdictStatus};

/// The analysis of one trajectory.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trace)]
pub(super) struct TraceDto {
    #[schema(example = "trace_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    id: String,
    object: TraceObjectDto,
    /// Unix seconds.
    created: i64,
    beta: f64,
    /// Whether the normaliser of s_t was summed over the whole vocabulary.
    normalizer: NormalizerDto,
    models: PerModelRef,
    prompt: PromptDto,
    response: ResponseDto,
    /// One entry a response token.
    tokens: Vec<TokenDto>,
    /// The rule that chose the critical tokens.
    rule: CriticalRuleDto,
    /// Positions of the critical tokens, ascending.
    critical: Vec<usize>,
    /// Null without a reference answer.
    verdict: Option<VerdictDto>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    usage: UsageDto,
    timing: TimingDto,
    /// The stored rollouts, oldest first; left out while there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rollouts: Vec<RolloutsDto>,
    /// The stored searches, oldest first; left out while there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    searches: Vec<SearchDto>,
}

/// The constant `trace`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = TraceObject)]
enum TraceObjectDto {
    Trace,
}

/// `exact`: over the whole vocabulary. `truncated`: over the top of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Normalizer)]
enum NormalizerDto {
    Exact,
    Truncated,
}

/// The rule that chose the critical tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[schema(as = CriticalRule)]
enum CriticalRuleDto {
    /// Every token with s_t <= value.
    Threshold { value: f64 },
    /// The k tokens with the lowest s_t.
    Lowest { k: usize },
    /// The tokens in the lowest `value` share of the response.
    Quantile { value: f64 },
}

/// A model's name and the SHA-256 of its weights.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelRef)]
pub(super) struct ModelRefDto {
    id: String,
    sha256: String,
}

/// The models that scored; null for a role that was empty.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelRefs)]
pub(super) struct PerModelRef {
    base: ModelRefDto,
    positive: Option<ModelRefDto>,
    negative: Option<ModelRefDto>,
}

/// One number of each model; null for a role that was empty.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PerModelNumber)]
struct PerModelNumber {
    base: f32,
    positive: Option<f32>,
    negative: Option<f32>,
}

/// One rank of each model; null for a role that was empty.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PerModelRank)]
struct PerModelRank {
    base: u32,
    positive: Option<u32>,
    negative: Option<u32>,
}

/// The prompt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Prompt)]
struct PromptDto {
    text: String,
    token_ids: Vec<u32>,
}

/// The response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Response)]
struct ResponseDto {
    text: String,
    /// The first token began inside the prompt's text.
    straddles_boundary: bool,
}

/// A response token with what the models say of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Token)]
struct TokenDto {
    /// 0 is the response's first token.
    position: usize,
    id: u32,
    text: String,
    /// Byte offset of the token's first byte in the response.
    start: usize,
    /// Byte offset after the token's last byte.
    end: usize,
    /// Natural log of the token's probability.
    logprob: PerModelNumber,
    /// How many tokens are likelier; 0 is the greedy choice.
    rank: PerModelRank,
    /// Entropy of the next-token distribution in nats.
    entropy: PerModelNumber,
    /// s_t, between 0 and 1; null while a role is empty.
    score: Option<f64>,
    critical: bool,
    /// The base's likeliest tokens, then the caller's own.
    top: Vec<TopTokenDto>,
}

/// An alternative at a position: its log probability by model, and the score it would have had.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopToken)]
struct TopTokenDto {
    id: u32,
    text: String,
    base: f32,
    positive: Option<f32>,
    negative: Option<f32>,
    score: Option<f64>,
}

/// Whether the response reaches the reference answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub(super) struct VerdictDto {
    status: VerdictStatusDto,
    /// The final answer as the response wrote it.
    extracted: Option<String>,
    reference: String,
    /// Byte offsets of `extracted` in the response.
    span: Option<[usize; 2]>,
}

/// `unparsed`: no final answer was found. `timeout`: the comparison would take more than its
/// budget of steps.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = VerdictStatus)]
pub(super) enum VerdictStatusDto {
    Correct,
    Wrong,
    Unparsed,
    Timeout,
}

/// Tokens read.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Usage)]
pub(super) struct UsageDto {
    prompt_tokens: usize,
    response_tokens: usize,
}

/// Milliseconds spent waiting for the device, and on it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timing)]
struct TimingDto {
    queue_ms: f64,
    compute_ms: f64,
}

// Every conversion takes its source apart by name: a new field of the domain does not compile until it has a place here.

impl From<Trace> for TraceDto {
    fn from(trace: Trace) -> Self {
        let Trace {
            id,
            object: TraceObject::Trace,
            created,
            beta,
            normalizer,
            models,
            prompt: Prompt { text: prompt, token_ids },
            response: Response { text: response, straddles_boundary },
            tokens,
            rule,
            critical,
            verdict,
            tags,
            usage,
            timing: Timing { queue_ms, compute_ms },
            rollouts,
            searches,
        } = trace;
        Self {
            id,
            object: TraceObjectDto::Trace,
            created,
            beta,
            normalizer: normalizer.into(),
            models: models.into(),
            prompt: PromptDto { text: prompt, token_ids },
            response: ResponseDto { text: response, straddles_boundary },
            tokens: tokens.into_iter().map(TokenDto::from).collect(),
            rule: rule.into(),
            critical,
            verdict: verdict.map(VerdictDto::from),
            tags,
            usage: usage.into(),
            timing: TimingDto { queue_ms, compute_ms },
            rollouts: rollouts.into_iter().map(RolloutsDto::from).collect(),
            searches: searches.into_iter().map(SearchDto::from).collect(),
        }
    }
}

impl From<Normalizer> for NormalizerDto {
    fn from(normalizer: Normalizer) -> Self {
        match normalizer {
            Normalizer::Exact => Self::Exact,
            Normalizer::Truncated => Self::Truncated,
        }
    }
}

impl From<CriticalRule> for CriticalRuleDto {
    fn from(rule: CriticalRule) -> Self {
        match rule {
            CriticalRule::Threshold { value } => Self::Threshold { value },
            CriticalRule::Lowest { k } => Self::Lowest { k },
            CriticalRule::Quantile { value } => Self::Quantile { value },
        }
    }
}

impl From<PerModel<ModelRef>> for PerModelRef {
    fn from(PerModel { base, positive, negative }: PerModel<ModelRef>) -> Self {
        Self { base: base.into(), positive: positive.map(ModelRefDto::from), negative: negative.map(ModelRefDto::from) }
    }
}

impl From<ModelRef> for ModelRefDto {
    fn from(ModelRef { id, sha256 }: ModelRef) -> Self {
        Self { id, sha256 }
    }
}

impl From<PerModel<f32>> for PerModelNumber {
    fn from(PerModel { base, positive, negative }: PerModel<f32>) -> Self {
        Self { base, positive, negative }
    }
}

impl From<PerModel<u32>> for PerModelRank {
    fn from(PerModel { base, positive, negative }: PerModel<u32>) -> Self {
        Self { base, positive, negative }
    }
}

impl From<Token> for TokenDto {
    fn from(token: Token) -> Self {
        let Token { position, id, text, start, end, logprob, rank, entropy, score, critical, top } = token;
        Self {
            position,
            id,
            text,
            start,
            end,
            logprob: logprob.into(),
            rank: rank.into(),
            entropy: entropy.into(),
            score,
            critical,
            top: top.into_iter().map(TopTokenDto::from).collect(),
        }
    }
}

impl From<TopToken> for TopTokenDto {
    fn from(TopToken { id, text, logprob, score }: TopToken) -> Self {
        let PerModel { base, positive, negative } = logprob;
        Self { id, text, base, positive, negative, score }
    }
}

impl From<Usage> for UsageDto {
    fn from(Usage { prompt_tokens, response_tokens }: Usage) -> Self {
        Self { prompt_tokens, response_tokens }
    }
}

impl From<Verdict> for VerdictDto {
    fn from(Verdict { status, extracted, reference, span }: Verdict) -> Self {
        Self { status: status.into(), extracted, reference, span }
    }
}

impl From<VerdictStatus> for VerdictStatusDto {
    fn from(status: VerdictStatus) -> Self {
        match status {
            VerdictStatus::Correct => Self::Correct,
            VerdictStatus::Wrong => Self::Wrong,
            VerdictStatus::Unparsed => Self::Unparsed,
            VerdictStatus::Timeout => Self::Timeout,
        }
    }
}

impl From<VerdictStatusDto> for VerdictStatus {
    fn from(status: VerdictStatusDto) -> Self {
        match status {
            VerdictStatusDto::Correct => Self::Correct,
            VerdictStatusDto::Wrong => Self::Wrong,
            VerdictStatusDto::Unparsed => Self::Unparsed,
            VerdictStatusDto::Timeout => Self::Timeout,
        }
    }
}
