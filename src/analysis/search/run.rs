//! One search under way: a round of samples, their grades, the next round, and the record at the end.
//!
//! The run is a stream that owns the engine's generation. Whoever drops it cancels what was not drawn, and as storing is
//! its last step, nothing is left behind. Whoever stops it by its [`Conduct`] gets what was drawn until then, stored.

use std::collections::{BTreeSet, HashMap, VecDeque};

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::subject::{Scores, Subject};
use super::{SearchEvent, SearchEvents, SearchSoFar, SearchSummary};
use crate::analysis::admission::{Place, admitted, same_model};
use crate::analysis::runs::Conduct;
use crate::analysis::source::drawing;
use crate::analysis::{Analysis, AnalysisError, off_the_reactor, unix_seconds};
use crate::domain::model::ModelRef;
use crate::domain::search::{
    Contrast, CriticalToken, Draw, Search, SearchObject, SearchRecord, SearchSettings, SearchUsage,
};
use crate::domain::verdict::VerdictStatus;
use crate::domain::verifier;
use crate::engine::{EngineError, Fork, GenerateRequest, GenerationEvent, GenerationUsage, Sample};
use crate::store::{AttachmentRow, StoreError};

/// Most samples that are graded in one go: enough to be worth a thread, few enough to tell of them soon.
const GRADED_AT_ONCE: usize = 64;

/// A search that is checked and ready to begin.
pub(super) struct Order {
    pub(super) subject: Subject,
    /// The model that the request's name means.
    pub(super) model: ModelRef,
    pub(super) settings: SearchSettings,
    pub(super) save: bool,
}

type EngineEvents = BoxStream<'static, Result<GenerationEvent, EngineError>>;

struct Run {
    analysis: Analysis,
    order: Order,
    search: Search,
    /// After the response's first token that ends a sequence nothing is drawn: this position, if there is one.
    end: Option<usize>,
    usage: SearchUsage,
    /// The id that the record gets.
    id: String,
    /// Ends the run with what it has.
    stop: CancellationToken,
    stage: Stage,
    /// Events that happened and were not given out yet.
    ready: VecDeque<SearchEvent>,
}

enum Stage {
    Planning,
    Drawing(Drawing),
    Ended,
}

/// A round being drawn.
struct Drawing {
    events: EngineEvents,
    /// The position of each of the request's forks, and the samples that it has still to give.
    forks: Vec<(usize, usize)>,
}

/// A sample to grade.
struct Drawn {
    position: usize,
    text: String,
    tokens: usize,
}

/// Plans the first round and takes its place in the engine's queue, and gives the stream of what follows.
pub(super) async fn begin(
    analysis: Analysis,
    order: Order,
    conduct: Conduct<SearchSoFar>,
) -> Result<SearchEvents, AnalysisError> {
    let Conduct { id, stop, so_far, place: _ } = conduct;
    let subject = &order.subject;
    let text = analysis.engine.text();
    let end = subject.response().iter().position(|id| text.eos_ids().contains(id));
    let mut search = Search::new(order.settings.plan(), &subject.likelihood, subject.positions.clone());
    let mut usage = SearchUsage::default();
    if let Some(so_far) = so_far {
        same_model(&order.model, &so_far.model)?;
        search.take_up(&so_far.drawn);
        usage = so_far.usage;
    }
    let place = subject.place;
    let id = id.unwrap_or_else(|| analysis.ids.next_search());
    let mut run = Run { analysis, order, search, end, usage, id, stop, stage: Stage::Planning, ready: VecDeque::new() };
    run.plan(place).await?;
    Ok(stream::try_unfold(run, Run::next).boxed())
}

impl Run {
    /// The next event, and the run after it.
    async fn next(mut self) -> Result<Option<(SearchEvent, Self)>, AnalysisError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some((event, self)));
            }
            match self.stage {
                Stage::Planning => self.plan(Place::Later).await?,
                Stage::Drawing(_) => self.draw().await?,
                Stage::Ended => return Ok(None),
            }
        }
    }

    /// Plans a round and asks the engine for it.
    async fn plan(&mut self, place: Place) -> Result<(), AnalysisError> {
        let mut search = self.search.clone();
        let (search, draws) = off_the_reactor(move || {
            let draws = search.next_round();
            Ok((search, draws))
        })
        .await?;
        self.search = search;
        if draws.is_empty() {
            return self.finish().await;
        }
        let so_far = SearchSoFar { model: self.order.model.clone(), drawn: self.search.drawn(), usage: self.usage };
        self.usage.rounds += 1;
        self.ready.push_back(SearchEvent::Summary(SearchSummary {
            round: self.usage.rounds,
            drawing: draws.iter().map(|draw| draw.position).collect(),
            progress: self.search.progress(),
            so_far,
        }));
        let (drawn, ended): (Vec<Draw>, Vec<Draw>) =
            draws.into_iter().partition(|draw| self.end.is_none_or(|end| draw.position < end));
        if let Some(end) = self.end.filter(|_| !ended.is_empty()) {
            // The response has ended there: every sample is the response itself.
            let samples = ended.into_iter().flat_map(|draw| draw.samples.map(move |_| draw.position));
            let whole = |position| Drawn { position, text: String::new(), tokens: 0 };
            self.grade(samples.map(whole).collect(), Some(end)).await?;
        }
        if drawn.is_empty() {
            return Ok(());
        }
        let forks: Vec<(usize, usize)> = drawn.iter().map(|draw| (draw.position, draw.samples.len())).collect();
        let begun = admitted(&*self.analysis.engine, self.request(drawn), &self.order.model, place);
        match self.stop.run_until_cancelled(begun).await {
            Some(round) => self.stage = Stage::Drawing(Drawing { events: round?.events, forks }),
            None => return self.end_early().await,
        }
        Ok(())
    }

    fn request(&self, draws: Vec<Draw>) -> GenerateRequest {
        let Order { subject, model, settings, save: _ } = &self.order;
        // The position's own token is the last that is kept.
        let fork = |Draw { position, samples }: Draw| Fork {
            keep: subject.prompt + position + 1,
            forced: None,
            banned: None,
            samples,
        };
        drawing(model, (&subject.sequence, subject.prompt), draws.into_iter().map(fork).collect(), &settings.sampling)
    }

    /// Takes what the engine has to say, as much as there is at once.
    async fn draw(&mut self) -> Result<(), AnalysisError> {
        let Stage::Drawing(Drawing { events, forks }) = &mut self.stage else { return Ok(()) };
        let mut drawn = Vec::new();
        let mut done = None;
        let Some(mut next) = self.stop.run_until_cancelled(events.next()).await else {
            return self.end_early().await;
        };
        loop {
            match next.ok_or_else(AnalysisError::unasked)?? {
                GenerationEvent::Forced { .. } | GenerationEvent::Token { .. } => {}
                GenerationEvent::Sample(sample) => drawn.push(take(forks, &sample)?),
                GenerationEvent::Done(usage) => {
                    done = Some(usage);
                    break;
                }
            }
            if drawn.len() >= GRADED_AT_ONCE {
                break;
            }
            next = match events.next().now_or_never() {
                Some(next) => next,
                None => break,
            };
        }
        let complete = forks.iter().all(|(_, left)| *left == 0);
        self.grade(drawn, None).await?;
        if let Some(usage) = done {
            if !complete {
                return Err(AnalysisError::unasked());
            }
            self.spend(usage);
            self.stage = Stage::Planning;
        }
        Ok(())
    }

    /// Grades samples on a thread of their own, counts them, and tells how their positions stand now. A response that
    /// has ended is graded up to its end.
    async fn grade(&mut self, drawn: Vec<Drawn>, end: Option<usize>) -> Result<(), AnalysisError> {
        if drawn.is_empty() {
            return Ok(());
        }
        let engine = self.analysis.engine.clone();
        let response = self.order.subject.response().to_vec();
        let answer = self.order.subject.answer.clone();
        let graded = off_the_reactor(move || {
            // Many samples share a prefix, and those of one text share a verdict.
            let mut prefixes: HashMap<usize, String> = HashMap::new();
            let mut verdicts: HashMap<(usize, String), bool> = HashMap::new();
            let mut graded = Vec::with_capacity(drawn.len());
            for Drawn { position, text, tokens } in drawn {
                if let std::collections::hash_map::Entry::Vacant(entry) = prefixes.entry(position) {
                    entry.insert(match end {
                        Some(end) => engine.text().spell(&response[..end])?,
                        None => engine.text().spell_whole(&response[..=position])?,
                    });
                }
                let prefix = &prefixes[&position];
                let right = *verdicts.entry((position, text)).or_insert_with_key(|(_, text)| {
                    verifier::grade(&format!("{prefix}{text}"), &answer).status == VerdictStatus::Correct
                });
                graded.push((position, right, tokens));
            }
            Ok(graded)
        })
        .await?;
        let mut touched = BTreeSet::new();
        self.usage.samples += graded.len();
        let mut outcomes = HashMap::new();
        for (position, right, tokens) in graded {
            touched.insert(position);
            outcomes.insert(position, self.search.record(position, right, tokens));
        }
        let updates = touched.into_iter().filter_map(|position| outcomes.remove(&position).flatten());
        self.ready.extend(updates.map(SearchEvent::Position));
        Ok(())
    }

    fn spend(&mut self, usage: GenerationUsage) {
        let GenerationUsage { prefill_tokens, reused_tokens, generated_tokens, queue_ms, compute_ms } = usage;
        self.usage.prefill_tokens += prefill_tokens;
        self.usage.reused_tokens += reused_tokens;
        self.usage.generated_tokens += generated_tokens;
        self.usage.queue_ms += queue_ms;
        self.usage.compute_ms += compute_ms;
    }

    /// Ends with what was drawn; without a single sample there is nothing to keep.
    async fn end_early(&mut self) -> Result<(), AnalysisError> {
        if self.usage.samples == 0 {
            self.stage = Stage::Ended;
            return Ok(());
        }
        self.search.stop();
        // The engine's own account of a round comes at its end only.
        self.usage.generated_tokens = self.usage.generated_tokens.max(self.search.progress().generated_tokens);
        self.finish().await
    }

    /// Makes the record, stores it, and ends.
    async fn finish(&mut self) -> Result<(), AnalysisError> {
        self.stage = Stage::Ended;
        let mut record = self.record()?;
        // What is wrong here is our own doing, and must not reach the store.
        record
            .check(self.order.subject.response().len())
            .map_err(|defect| AnalysisError::Internal(format!("the new search is unsound: {defect}")))?;
        if record.trace_id.is_some() {
            match self.analysis.store.attach(vec![AttachmentRow::new(&record)?]).await {
                // The trace was deleted meanwhile; what was found is worth its answer all the same.
                Err(StoreError::TraceGone { id: _ }) => record.trace_id = None,
                outcome => outcome?,
            }
        }
        self.ready.push_back(SearchEvent::Done(Box::new(record)));
        Ok(())
    }

    fn record(&self) -> Result<SearchRecord, AnalysisError> {
        let Some(conclusion) = self.search.conclusion().cloned() else { return Err(AnalysisError::unasked()) };
        let Order { subject, model, settings, save } = &self.order;
        let critical = conclusion.critical;
        let token = critical
            .and_then(|at| subject.response().get(at))
            .map(|&id| CriticalToken { id, text: self.analysis.engine.text().piece(id) });
        let contrast = subject
            .scores
            .as_ref()
            .map(|Scores { values, candidates }| Contrast::of(values, candidates.clone(), critical));
        let exhaustive_tokens = conclusion.exhaustive_tokens;
        let share = match exhaustive_tokens {
            // Nothing can be drawn after any position, and that was done in full.
            0 => 1.0,
            all => self.usage.generated_tokens as f64 / all as f64,
        };
        Ok(SearchRecord {
            id: self.id.clone(),
            object: SearchObject::Search,
            created: unix_seconds(),
            trace_id: subject.trace_id.clone().filter(|_| *save),
            model: model.clone(),
            answer: subject.answer.clone(),
            settings: settings.clone(),
            critical,
            token,
            reason: conclusion.reason,
            confidence: conclusion.confidence,
            positions: conclusion.positions,
            contrast,
            usage: SearchUsage { exhaustive_tokens, share, ..self.usage },
        })
    }
}

/// Takes a sample off what its fork has still to give.
fn take(forks: &mut [(usize, usize)], sample: &Sample) -> Result<Drawn, AnalysisError> {
    let (position, left) = forks.get_mut(sample.fork).ok_or_else(AnalysisError::unasked)?;
    *left = left.checked_sub(1).ok_or_else(AnalysisError::unasked)?;
    Ok(Drawn { position: *position, text: sample.text(), tokens: sample.tokens.len() })
}
