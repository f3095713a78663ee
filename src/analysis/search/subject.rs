//! What a search knows of its trajectory before anything is drawn: tokens, reference answer, scores, and how likely the
//! model makes each token.

use super::super::rollouts::same_tokenizer;
use super::super::score::tokenised;
use super::super::traces::no_trace;
use super::super::{Analysis, AnalysisError, RolloutSource, off_the_reactor};
use crate::domain::critical::CriticalRule;
use crate::domain::model::{ModelInfo, ModelRef, PerModel};
use crate::domain::search::{Candidates, SearchSettings, Strategy, least_likelihood};
use crate::domain::trace::Trace;
use crate::engine::{ScoreRequest, ScoredResponse};

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
    /// Finds the trajectory, and asks the engine for the scores and probabilities that the search needs and no trace has.
    pub(super) async fn subject(
        &self,
        source: RolloutSource,
        answer: Option<String>,
        model: &ModelInfo,
        settings: &SearchSettings,
    ) -> Result<Subject, AnalysisError> {
        let engine = self.engine.clone();
        let (prompt_ids, response, trace) = match source {
            RolloutSource::Trace(id) => {
                let Some(mut trace) = self.store.trace(&id).await? else { return Err(no_trace(&id)) };
                same_tokenizer(engine.text(), &trace)?;
                let response: Vec<u32> = trace.tokens.iter().map(|token| token.id).collect();
                (std::mem::take(&mut trace.prompt.token_ids), response, Some(trace))
            }
            RolloutSource::Trajectory { prompt, response } => {
                let trajectory = off_the_reactor(move || tokenised(engine.text(), prompt, response)).await?;
                (trajectory.prompt_ids, trajectory.response.iter().map(|token| token.id).collect(), None)
            }
        };
        let reference = trace.as_ref().and_then(|trace| trace.verdict.as_ref()).map(|verdict| &verdict.reference);
        let Some(answer) = answer.or_else(|| reference.cloned()) else {
            let message = match trace {
                Some(_) => "is needed to grade rollouts: the trace was scored without one",
                None => "is needed to grade rollouts",
            };
            return Err(AnalysisError::invalid("answer", message));
        };
        if answer.trim().is_empty() {
            return Err(AnalysisError::invalid("answer", "the reference answer is empty"));
        }
        let mut subject = Subject {
            prompt: prompt_ids.len(),
            sequence: prompt_ids.into_iter().chain(response).collect(),
            answer,
            trace_id: trace.as_ref().map(|trace| trace.id.clone()),
            likelihood: Vec::new(),
            positions: Vec::new(),
            scores: None,
        };
        let mut known = None;
        if let Some(trace) = &trace {
            known = of_trace(trace, model);
            let values: Vec<Option<f64>> = trace.tokens.iter().map(|token| token.score).collect();
            if values.iter().any(Option::is_some) {
                subject.scores = Some(Scores { values, candidates: trace.critical.clone() });
            }
        } else if matches!(settings.candidates, Candidates::LowestScores(_)) {
            let scored = self.engine.score(request(&subject, None)).await?;
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
                let scored = self.engine.score(request(&subject, Some(model.id.clone()))).await?;
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

fn request(subject: &Subject, model: Option<String>) -> ScoreRequest {
    let token_ids = subject.sequence.clone();
    ScoreRequest { model, token_ids, response_start: subject.prompt, beta: 1.0, top: 0, watch: Vec::new() }
}

/// Picks a model's value of three.
type Pick = fn(&PerModel<f32>, &PerModel<u32>) -> Option<(f32, u32)>;

/// Which of the models that scored is this one, with the very same weights.
fn pick(models: &PerModel<ModelRef>, model: &ModelInfo) -> Option<Pick> {
    let same = |scored: &ModelRef| scored.id == model.id && scored.sha256 == model.sha256;
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

fn of_trace(trace: &Trace, model: &ModelInfo) -> Option<Known> {
    let pick = pick(&trace.models, model)?;
    let values = trace.tokens.iter().map(|token| pick(&token.logprob, &token.rank)).collect::<Option<Vec<_>>>()?;
    let (logprobs, ranks) = values.into_iter().unzip();
    Some(Known { logprobs, ranks })
}

fn of_score(scored: &ScoredResponse, model: &ModelInfo) -> Option<Known> {
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
