//! Searches as the API shows them: the domain's [`SearchRecord`] with the schema that the domain does not know of.

use serde::Serialize;
use utoipa::ToSchema;

use super::dto_rollouts::RolloutSamplingDto;
use super::dto_trace::ModelRefDto;
use crate::analysis::{SearchEvent, SearchSummary};
use crate::domain::search::{
    Candidates, Contrast, CriticalToken, Decided, Fallback, InLowest, PositionOutcome, Reason, SearchObject,
    SearchProgress, SearchRecord, SearchSettings, SearchUsage, Strategy,
};

/// A finished search for the critical token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Search)]
pub(super) struct SearchDto {
    #[schema(example = "search_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    id: String,
    object: SearchObjectDto,
    /// Unix seconds.
    created: i64,
    /// The trace that this search is stored with; null when it is not stored.
    trace_id: Option<String>,
    /// The model that drew the rollouts.
    model: ModelRefDto,
    /// The reference answer.
    answer: String,
    settings: SearchSettingsDto,
    /// The critical position; null if there is none.
    critical: Option<usize>,
    /// The critical position's token.
    token: Option<CriticalTokenDto>,
    reason: ReasonDto,
    /// How likely an exhaustive search gives the same answer, as the search itself sees it; 1 when it was exhaustive.
    confidence: f64,
    /// The positions that were looked at, ascending.
    positions: Vec<SearchPositionDto>,
    /// How the contrastive scores' candidates compare with what was found; null without scores.
    contrast: Option<ContrastDto>,
    usage: SearchUsageDto,
}

/// The constant `search`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SearchObject)]
enum SearchObjectDto {
    Search,
}

/// What was asked for, every default filled in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchSettings)]
struct SearchSettingsDto {
    samples: usize,
    tail: f64,
    strategy: StrategyDto,
    candidates: CandidatesDto,
    fallback: FallbackDto,
    confidence: f64,
    budget: f64,
    sampling: RolloutSamplingDto,
}

/// How the search drew.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SearchStrategy)]
enum StrategyDto {
    Adaptive,
    Exhaustive,
}

/// `all` positions, or the m with the lowest s_t.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SearchCandidates)]
enum CandidatesDto {
    All,
    LowestScores(usize),
}

/// What is answered if no position satisfies the rule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SearchFallback)]
enum FallbackDto {
    None,
    LastZero,
}

/// A token by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CriticalToken)]
struct CriticalTokenDto {
    id: u32,
    text: String,
}

/// `found`: the rule holds at `critical`. `no_critical`: no position satisfies it. `last_zero`: no position satisfies
/// it, and `critical` is the fallback. `budget_spent`, and `stopped` where somebody ended it: `critical` is the likeliest
/// answer so far.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SearchReason)]
enum ReasonDto {
    Found,
    NoCritical,
    LastZero,
    BudgetSpent,
    Stopped,
}

/// A position that was looked at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchPosition)]
pub(super) struct SearchPositionDto {
    position: usize,
    /// Rollouts drawn after it.
    samples: usize,
    /// Those that reach the right answer.
    correct: usize,
    /// correct / samples.
    rate: f64,
    /// Wilson's interval for the rate at 95%.
    interval: [f64; 2],
    decided: DecidedDto,
}

/// What is known of the position's count were all rollouts drawn, for certain or (adaptive) at the confidence asked for.
/// `hopeful`: above the tail. `zero`: all were drawn and none is right. `tail`: not above the tail. `open`: neither is
/// known, and the answer did not hang on it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SearchDecided)]
enum DecidedDto {
    Hopeful,
    Zero,
    Tail,
    Open,
}

/// How contrastive estimation's candidates compare with what the rollouts found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchContrast)]
struct ContrastDto {
    /// The positions searched if only the lowest scores were, else those that the trace flags.
    candidates: Vec<usize>,
    /// How many positions have a lower s_t than the critical one; null without a critical position.
    rank: Option<usize>,
    in_lowest: Option<InLowestDto>,
    /// The share of the candidates that is the critical position; null without either.
    precision: Option<f64>,
}

/// Whether the critical position is among the 1, 3 and 5 with the lowest s_t.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchInLowest)]
struct InLowestDto {
    #[serde(rename = "1")]
    one: bool,
    #[serde(rename = "3")]
    three: bool,
    #[serde(rename = "5")]
    five: bool,
}

/// What the search cost, summed over its rounds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchUsage)]
struct SearchUsageDto {
    /// Tokens of prompt and response that were read.
    prefill_tokens: usize,
    /// Tokens of prompt and response that were known from before and not read again.
    reused_tokens: usize,
    /// Tokens drawn.
    generated_tokens: usize,
    /// Rollouts drawn.
    samples: usize,
    /// Generations asked of the engine, one after the other.
    rounds: usize,
    /// Tokens that the exhaustive search over every position draws: estimated from the mean lengths of the rollouts drawn,
    /// unless all of them were.
    exhaustive_tokens: usize,
    /// generated_tokens / exhaustive_tokens.
    share: f64,
    /// Milliseconds that rounds waited for the device.
    queue_ms: f64,
    /// Milliseconds that rounds were on the device.
    compute_ms: f64,
}

/// An event of a streamed search. `summary` comes before each round, `position` tells how a position stands as its
/// rollouts are graded, `done` is the answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
#[schema(as = SearchEvent)]
pub(super) enum SearchEventDto {
    Summary(SearchSummaryDto),
    Position(SearchPositionDto),
    Done(Box<SearchDto>),
}

/// How a search stands before a round.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchSummary)]
pub(super) struct SearchSummaryDto {
    /// The round that begins, from 1 on.
    round: usize,
    /// The positions that it draws after.
    drawing: Vec<usize>,
    /// The likeliest critical position so far; null in an exhaustive search.
    leading: Option<usize>,
    /// How likely it is.
    confidence: Option<f64>,
    samples: usize,
    generated_tokens: usize,
    /// What the exhaustive search draws, as far as can be told by now.
    exhaustive_tokens: usize,
}

// Every conversion takes its source apart by name: a new field of the domain does not compile until it has a place here.

impl From<SearchEvent> for SearchEventDto {
    fn from(event: SearchEvent) -> Self {
        match event {
            SearchEvent::Summary(SearchSummary { round, drawing, progress, so_far: _ }) => {
                let SearchProgress { leading, confidence, samples, generated_tokens, exhaustive_tokens } = progress;
                Self::Summary(SearchSummaryDto {
                    round,
                    drawing,
                    leading,
                    confidence,
                    samples,
                    generated_tokens,
                    exhaustive_tokens,
                })
            }
            SearchEvent::Position(outcome) => Self::Position(outcome.into()),
            SearchEvent::Done(search) => Self::Done(Box::new((*search).into())),
        }
    }
}

impl From<SearchRecord> for SearchDto {
    fn from(search: SearchRecord) -> Self {
        let SearchRecord {
            id,
            object: SearchObject::Search,
            created,
            trace_id,
            model,
            answer,
            settings,
            critical,
            token,
            reason,
            confidence,
            positions,
            contrast,
            usage,
        } = search;
        Self {
            id,
            object: SearchObjectDto::Search,
            created,
            trace_id,
            model: model.into(),
            answer,
            settings: settings.into(),
            critical,
            token: token.map(|CriticalToken { id, text }| CriticalTokenDto { id, text }),
            reason: match reason {
                Reason::Found => ReasonDto::Found,
                Reason::NoCritical => ReasonDto::NoCritical,
                Reason::LastZero => ReasonDto::LastZero,
                Reason::BudgetSpent => ReasonDto::BudgetSpent,
                Reason::Stopped => ReasonDto::Stopped,
            },
            confidence,
            positions: positions.into_iter().map(SearchPositionDto::from).collect(),
            contrast: contrast.map(ContrastDto::from),
            usage: usage.into(),
        }
    }
}

impl From<SearchSettings> for SearchSettingsDto {
    fn from(settings: SearchSettings) -> Self {
        let SearchSettings { samples, tail, strategy, candidates, fallback, confidence, budget, sampling } = settings;
        Self {
            samples,
            tail,
            strategy: match strategy {
                Strategy::Adaptive => StrategyDto::Adaptive,
                Strategy::Exhaustive => StrategyDto::Exhaustive,
            },
            candidates: match candidates {
                Candidates::All => CandidatesDto::All,
                Candidates::LowestScores(m) => CandidatesDto::LowestScores(m),
            },
            fallback: match fallback {
                Fallback::None => FallbackDto::None,
                Fallback::LastZero => FallbackDto::LastZero,
            },
            confidence,
            budget,
            sampling: sampling.into(),
        }
    }
}

impl From<PositionOutcome> for SearchPositionDto {
    fn from(outcome: PositionOutcome) -> Self {
        let PositionOutcome { position, samples, correct, rate, interval, decided } = outcome;
        let decided = match decided {
            Decided::Hopeful => DecidedDto::Hopeful,
            Decided::Zero => DecidedDto::Zero,
            Decided::Tail => DecidedDto::Tail,
            Decided::Open => DecidedDto::Open,
        };
        Self { position, samples, correct, rate, interval, decided }
    }
}

impl From<Contrast> for ContrastDto {
    fn from(Contrast { candidates, rank, in_lowest, precision }: Contrast) -> Self {
        let in_lowest = in_lowest.map(|InLowest { one, three, five }| InLowestDto { one, three, five });
        Self { candidates, rank, in_lowest, precision }
    }
}

impl From<SearchUsage> for SearchUsageDto {
    fn from(usage: SearchUsage) -> Self {
        let SearchUsage {
            prefill_tokens,
            reused_tokens,
            generated_tokens,
            samples,
            rounds,
            exhaustive_tokens,
            share,
            queue_ms,
            compute_ms,
        } = usage;
        Self {
            prefill_tokens,
            reused_tokens,
            generated_tokens,
            samples,
            rounds,
            exhaustive_tokens,
            share,
            queue_ms,
            compute_ms,
        }
    }
}
