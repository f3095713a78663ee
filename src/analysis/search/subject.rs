//! What a search knows of its trajectory before anything is drawn: tokens, reference answer, scores, and how likely the
//! model makes each token.

use crate::analysis::admission::{Place, placed, same_model};
use crate::analysis::source::{Located, drawing};
use crate::analysis::{Analysis, AnalysisError};
use crate::domain::critical::CriticalRule;
use crate::domain::model::{ModelRef, PerModel};
use crate::domain::search::{Candidates, SearchSettings, Strategy, least_likelihood};
use crate::domain::trace::Trace;
use crate::engine::{Fork, ScoreRequest, ScoredResponse, Scorers};

/// A trajectory that is searched.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Prompt and response.
    pub(super) sequence: Vec<u32>,
    /// How many of them are the prompt's.
    pub(super) prompt: usize,
    /// The reference answer.
    pub(super) answer: String,
    pub(super) trace_id: Option<String>,
    /// Of each response token: the least probability that the sampling distribution gives it.
    pub(super) likelihood: Vec<f64>,
    /// The positions to look at, ascending.
    pub(super) positions: Vec<usize>,
    pub(super) scores: Option<Scores>,
    /// The place in the engine's queue that the search asks for next.
    pub(super) place: Place,
}

/// The contrastive scores of a response, and the candidates that they name.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    pub(super) values: Vec<Option<f64>>,
    pub(super) candidates: Vec<usize>,
}

/// What is known of a response by position, of one model: log probabilities and ranks.
struct Known {
    logprobs: Vec<f32>,
    ranks: Vec<u32>,
}

impl Subject {
    pub(super) fn response(&self) -> &[u32] {
        &self.sequence[self.prompt..]
    }
}

impl Analysis {
    /// Asks the engine for the scores and probabilities that the search needs and no trace has.
    pub(super) async fn subject(
        &self,
        located: Located,
        model: &ModelRef,
        settings: &SearchSettings,
        place: Place,
    ) -> Result<Subject, AnalysisError> {
        let Located { prompt, response, answer, fields: (prompt_field, response_field), trace } = located;
        let mut subject = Subject {
            prompt: prompt.len(),
            sequence: prompt.into_iter().chain(response).collect(),
            answer,
            trace_id: trace.as_ref().map(|trace| trace.id.clone()),
            likelihood: Vec::new(),
            positions: Vec::new(),
            scores: None,
            place,
        };
        // The engine says the same, but only of the round that reaches so far.
        let longest = Fork { keep: subject.sequence.len(), forced: None, banned: None, samples: 0..1 };
        self.engine
            .check(&drawing(model, (&subject.sequence, subject.prompt), vec![longest], &settings.sampling))
            .map_err(|error| {
                let text = |max| if subject.prompt < max { response_field } else { prompt_field };
                AnalysisError::of_length(error, "sampling.max_tokens", text)
            })?;
        let mut known = None;
        if let Some(trace) = &trace {
            known = of_trace(trace, model);
            let values: Vec<Option<f64>> = trace.tokens.iter().map(|token| token.score).collect();
            if values.iter().any(Option::is_some) {
                subject.scores = Some(Scores { values, candidates: trace.critical.clone() });
            }
        } else if matches!(settings.candidates, Candidates::LowestScores(_)) {
            let scored = placed(subject.place, || self.engine.score(request(&subject, Scorers::Roles))).await?;
            subject.place = Place::Later;
            known = of_score(&scored, model);
            let values: Vec<Option<f64>> = scored.tokens.iter().map(|token| token.score).collect();
            if values.iter().any(Option::is_some) {
                subject.scores = Some(Scores { values, candidates: Vec::new() });
            }
        }
        subject.choose(settings.candidates, trace.is_some())?;
        if settings.strategy == Strategy::Exhaustive {
            // It draws everything, whatever is likely.
            subject.likelihood = vec![1.0; subject.response().len()];
            return Ok(subject);
        }
        let known = match known {
            Some(known) => known,
            None => {
                let ask = || self.engine.score(request(&subject, Scorers::Alone(model.id.clone())));
                let scored = placed(subject.place, ask).await?;
                subject.place = Place::Later;
                same_model(&scored.models.base, model)?;
                base_of(&scored)
            }
        };
        let (vocabulary, draws) = (self.engine.text().vocab_size(), settings.sampling.draws());
        let least = |(logprob, rank): (&f32, &u32)| least_likelihood(f64::from(*logprob), *rank, vocabulary, &draws);
        subject.likelihood = known.logprobs.iter().zip(&known.ranks).map(least).collect();
        match subject.likelihood.len() == subject.response().len() {
            true => Ok(subject),
            false => Err(AnalysisError::Internal("the engine scored another number of tokens".to_owned())),
        }
    }
}

impl Subject {
    /// Chooses the positions to look at.
    fn choose(&mut self, candidates: Candidates, stored: bool) -> Result<(), AnalysisError> {
        let m = match candidates {
            Candidates::All => {
                self.positions = (0..self.response().len()).collect();
                return Ok(());
            }
            Candidates::LowestScores(m) => m,
        };
        let Some(scores) = &mut self.scores else {
            let message = match stored {
                true => "needs scores, and the trace has none: it was scored without a positive and a negative model",
                false => "needs scores: load a positive and a negative model, and give them their roles",
            };
            return Err(AnalysisError::invalid("candidates.lowest_scores", message));
        };
        scores.candidates = CriticalRule::Lowest { k: m }.select(&scores.values);
        self.positions = scores.candidates.clone();
        Ok(())
    }
}

fn request(subject: &Subject, scorers: Scorers) -> ScoreRequest {
    let token_ids = subject.sequence.clone();
    ScoreRequest { scorers, token_ids, response_start: subject.prompt, beta: 1.0, top: 0, watch: Vec::new() }
}

/// Picks a model's value of three.
type Pick = fn(&PerModel<f32>, &PerModel<u32>) -> Option<(f32, u32)>;

/// Which of the models that scored is this one, with the very same weights.
fn pick(models: &PerModel<ModelRef>, model: &ModelRef) -> Option<Pick> {
    let same = |scored: &ModelRef| scored == model;
    if same(&models.base) {
        return Some(|logprob, rank| Some((logprob.base, rank.base)));
    }
    if models.positive.as_ref().is_some_and(same) {
        return Some(|logprob, rank| logprob.positive.zip(rank.positive));
    }
    if models.negative.as_ref().is_some_and(same) {
        return Some(|logprob, rank| logprob.negative.zip(rank.negative));
    }
    None
}

fn of_trace(trace: &Trace, model: &ModelRef) -> Option<Known> {
    let pick = pick(&trace.models, model)?;
    let values = trace.tokens.iter().map(|token| pick(&token.logprob, &token.rank)).collect::<Option<Vec<_>>>()?;
    let (logprobs, ranks) = values.into_iter().unzip();
    Some(Known { logprobs, ranks })
}

fn of_score(scored: &ScoredResponse, model: &ModelRef) -> Option<Known> {
    let pick = pick(&scored.models, model)?;
    let values = scored.tokens.iter().map(|token| pick(&token.logprob, &token.rank)).collect::<Option<Vec<_>>>()?;
    let (logprobs, ranks) = values.into_iter().unzip();
    Some(Known { logprobs, ranks })
}

/// A model that scored alone stands as the base.
fn base_of(scored: &ScoredResponse) -> Known {
    let (logprobs, ranks) = scored.tokens.iter().map(|token| (token.logprob.base, token.rank.base)).unzip();
    Known { logprobs, ranks }
}
