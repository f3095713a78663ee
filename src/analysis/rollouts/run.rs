//! One request under way: choose the alternatives, draw after each, grade, count, store.
//!
//! The run is a stream that owns the engine's generation. Whoever drops it cancels what was not drawn, and as storing is
//! its last step, nothing is left behind.

mod choose;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::{Analysis, AnalysisError, RolloutEvent, RolloutEvents, Site, given, off_the_reactor};
use crate::analysis::unix_seconds;
use crate::domain::model::{ModelInfo, ModelRef};
use crate::domain::rollout::{
    AlternativesPlan, ForcedToken, Group, Pool, Rollout, RolloutPlan, RolloutSet, RolloutUsage, RolloutsObject,
};
use crate::domain::sampling::FinishReason;
use crate::domain::verifier;
use crate::engine::{Engine, EngineError, Fork, GenerateRequest, Generation, GenerationEvent, GenerationUsage, Sample};
use crate::store::{AttachmentRow, StoreError};

/// Most summaries on the way: each lists every alternative, and there may be thousands.
const SUMMARIES: usize = 32;
/// How often, and how long between, rollouts ask again for a place in the queue once their alternatives are drawn.
pub(in crate::analysis) const ATTEMPTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

type EngineEvents = BoxStream<'static, Result<GenerationEvent, EngineError>>;

struct Run {
    analysis: Analysis,
    site: Site,
    plan: RolloutPlan,
    set: RolloutSet,
    stage: Stage,
    /// Events that happened and were not given out yet.
    ready: VecDeque<RolloutEvent>,
}

enum Stage {
    /// The engine draws, or names, alternatives.
    Choosing {
        events: EngineEvents,
        samples: Vec<Sample>,
    },
    /// The alternatives are known, and nothing is drawn after them yet.
    Chosen,
    Rolling(Rolling),
    Ended,
}

/// Rollouts being drawn.
struct Rolling {
    events: EngineEvents,
    /// The alternative of each of the request's forks; `None` for the response's own token.
    forks: Vec<Option<usize>>,
    /// Samples that each fork has still to give.
    open: Vec<usize>,
    /// Groups that are finished since the last summary, and how many make the next.
    finished: usize,
    stride: usize,
}

/// A set before anything is drawn.
pub(super) fn empty_set(id: String, model: &ModelInfo, site: &Site, plan: &RolloutPlan, save: bool) -> RolloutSet {
    RolloutSet {
        id,
        object: RolloutsObject::Rollouts,
        created: unix_seconds(),
        trace_id: site.trace_id.clone().filter(|_| save),
        model: ModelRef { id: model.id.clone(), sha256: model.sha256.clone() },
        position: plan.position,
        answer: site.answer.clone(),
        sampling: plan.sampling.clone(),
        alternatives_source: plan.alternatives.source(),
        // Its text follows with those of the alternatives.
        original: Group::new(ForcedToken { id: site.original, text: String::new() }, None),
        alternatives: Vec::new(),
        with_token: Pool::default(),
        without_token: Pool::default(),
        rollouts: Vec::new(),
        usage: RolloutUsage::default(),
    }
}

/// Takes the first place in the engine's queue, and gives the stream of what follows.
pub(super) async fn begin(
    analysis: Analysis,
    site: Site,
    plan: RolloutPlan,
    mut set: RolloutSet,
) -> Result<RolloutEvents, AnalysisError> {
    set.original.token.text = analysis.engine.text().piece(site.original);
    let mut run = Run { analysis, site, plan, set, stage: Stage::Chosen, ready: VecDeque::new() };
    if let AlternativesPlan::Given(tokens) = &run.plan.alternatives {
        let (engine, tokens, original) = (run.analysis.engine.clone(), tokens.clone(), run.site.original);
        let ids = off_the_reactor(move || given::resolve(engine.text(), tokens, original)).await?;
        run.set.alternatives = ids.into_iter().map(|id| run.group(id, None)).collect();
        run.roll(1).await?;
    } else {
        let Generation { model: _, events } = run.analysis.engine.generate(run.choice())?;
        run.stage = Stage::Choosing { events, samples: Vec::new() };
    }
    Ok(stream::try_unfold(run, Run::next).boxed())
}

impl Run {
    /// The next event, and the run after it.
    async fn next(mut self) -> Result<Option<(RolloutEvent, Self)>, AnalysisError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some((event, self)));
            }
            match self.stage {
                Stage::Choosing { .. } => self.choose().await?,
                Stage::Chosen => self.roll(ATTEMPTS).await?,
                Stage::Rolling(_) => self.draw().await?,
                Stage::Ended => return Ok(None),
            }
        }
    }

    fn group(&self, id: u32, drawn: Option<usize>) -> Group {
        Group::new(ForcedToken { id, text: self.analysis.engine.text().piece(id) }, drawn)
    }

    /// Asks the engine for the rollouts, up to `attempts` times while its queue is full.
    async fn roll(&mut self, attempts: usize) -> Result<(), AnalysisError> {
        let keep = self.site.sequence.len();
        let text = self.analysis.engine.text().clone();
        let mut forks = Vec::new();
        let mut ending = Vec::new();
        let mut request = Vec::new();
        let all = std::iter::once(None).chain((0..self.set.alternatives.len()).map(Some));
        for alternative in all {
            let (samples, token) = match alternative {
                None => (self.plan.original_samples, self.site.original),
                Some(index) => {
                    let group = &self.set.alternatives[index];
                    (group.drawn.unwrap_or(1) * self.plan.samples, group.token.id)
                }
            };
            if text.eos_ids().contains(&token) {
                // The response ends here: there is nothing to draw, and every rollout is what was kept.
                ending.push((alternative, samples));
            } else if samples > 0 {
                request.push(Fork { keep, forced: Some(token), banned: None, samples: 0..samples });
                forks.push(alternative);
            }
        }
        let open: Vec<usize> = request.iter().map(|fork| fork.samples.len()).collect();
        let events = if request.is_empty() {
            stream::iter([Ok(GenerationEvent::Done(GenerationUsage::default()))]).boxed()
        } else {
            let Generation { model, events } =
                admitted(self.analysis.engine.clone(), self.rollout_request(request), attempts).await?;
            self.set.model = model;
            events
        };
        let stride = (forks.len() / SUMMARIES).max(1);
        self.summarise();
        self.stage = Stage::Rolling(Rolling { events, forks, open, finished: 0, stride });
        for (alternative, samples) in ending {
            for index in 0..samples {
                let end = Drawn { text: String::new(), token_ids: Vec::new(), finish: FinishReason::Eos };
                self.grade(alternative, index, end, false).await?;
            }
        }
        Ok(())
    }

    fn rollout_request(&self, forks: Vec<Fork>) -> GenerateRequest {
        let sampling = &self.plan.sampling;
        GenerateRequest {
            model: self.plan.model.clone(),
            token_ids: self.site.sequence.clone(),
            forks,
            sampling: sampling.draws(),
            max_tokens: sampling.max_tokens,
            stop: sampling.stop.clone(),
            ignore_eos: false,
            top_logprobs: 0,
            every_token: false,
        }
    }

    /// Takes the engine's next word on the rollouts.
    async fn draw(&mut self) -> Result<(), AnalysisError> {
        let Stage::Rolling(rolling) = &mut self.stage else { return Ok(()) };
        match rolling.events.try_next().await? {
            Some(GenerationEvent::Forced { fork, logprob }) => {
                let alternative = *rolling.forks.get(fork).ok_or_else(short)?;
                if let Some(group) = self.set.group_mut(alternative) {
                    note(group, &self.plan.model, logprob);
                }
                Ok(())
            }
            Some(GenerationEvent::Token { .. }) => Ok(()),
            Some(GenerationEvent::Sample(sample)) => {
                let alternative = *rolling.forks.get(sample.fork).ok_or_else(short)?;
                let open = &mut rolling.open[sample.fork];
                *open = open.checked_sub(1).ok_or_else(short)?;
                let ends_group = *open == 0;
                let drawn = Drawn { text: sample.text(), token_ids: sample.token_ids(), finish: sample.finish };
                self.grade(alternative, sample.number, drawn, true).await?;
                if ends_group {
                    self.group_finished();
                }
                Ok(())
            }
            Some(GenerationEvent::Done(usage)) => {
                self.spend(usage);
                self.finish().await
            }
            None => Err(short()),
        }
    }

    /// Grades a rollout on a thread of its own, and counts it.
    async fn grade(
        &mut self,
        alternative: Option<usize>,
        index: usize,
        drawn: Drawn,
        forced: bool,
    ) -> Result<(), AnalysisError> {
        let Some(group) = self.set.group_mut(alternative) else { return Err(short()) };
        // A token that ends the sequence is spelled in no response.
        let forced = forced.then_some(group.token.id);
        let before: Vec<u32> = self.site.kept().iter().copied().chain(forced).collect();
        let (engine, answer) = (self.analysis.engine.clone(), self.site.answer.clone());
        let rollout = off_the_reactor(move || {
            let mut full = engine.text().spell(&before)?;
            let start = full.len();
            full.push_str(&drawn.text);
            let verdict = verifier::grade(&full, &answer);
            let Drawn { text, token_ids, finish } = drawn;
            Ok(Rollout { alternative, index, text, token_ids, start, finish_reason: finish, verdict })
        })
        .await?;
        if let Some(group) = self.set.group_mut(alternative) {
            group.count(rollout.verdict.status);
        }
        self.set.rollouts.push(rollout.clone());
        self.ready.push_back(RolloutEvent::Rollout(Box::new(rollout)));
        Ok(())
    }

    /// A group has all its rollouts: now and then that is worth a summary, the last time it is not.
    fn group_finished(&mut self) {
        let Stage::Rolling(rolling) = &mut self.stage else { return };
        rolling.finished += 1;
        let more = rolling.open.iter().any(|open| *open > 0);
        if more && rolling.finished >= rolling.stride {
            rolling.finished = 0;
            self.summarise();
        }
    }

    fn summarise(&mut self) {
        let rollouts = std::mem::take(&mut self.set.rollouts);
        let mut summary = self.set.clone();
        self.set.rollouts = rollouts;
        summary.settle();
        self.ready.push_back(RolloutEvent::Summary(Box::new(summary)));
    }

    fn spend(&mut self, usage: GenerationUsage) {
        let GenerationUsage { prefill_tokens, reused_tokens, generated_tokens, queue_ms: _, compute_ms: _ } = usage;
        self.set.usage.prefill_tokens += prefill_tokens;
        self.set.usage.reused_tokens += reused_tokens;
        self.set.usage.generated_tokens += generated_tokens;
    }

    /// Checks the whole, stores it, and ends.
    async fn finish(&mut self) -> Result<(), AnalysisError> {
        let Stage::Rolling(Rolling { open, .. }) = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return Err(short());
        };
        if open.iter().any(|open| *open > 0) {
            return Err(short());
        }
        self.set.settle();
        // What is wrong here is the engine's or the verifier's doing, and must not reach the store.
        let unsound = |defect| AnalysisError::Internal(format!("the new rollouts are unsound: {defect}"));
        let set = self.set.clone();
        let mut set = off_the_reactor(move || set.check().map(|()| set).map_err(unsound)).await?;
        if set.trace_id.is_some() {
            let record = {
                let set = set.clone();
                off_the_reactor(move || Ok(AttachmentRow::new(&set)?)).await?
            };
            match self.analysis.store.attach(vec![record]).await {
                // The trace was deleted meanwhile; what was drawn is worth its answer all the same.
                Err(StoreError::TraceGone { id: _ }) => set.trace_id = None,
                outcome => outcome?,
            }
        }
        self.ready.push_back(RolloutEvent::Done(Box::new(set)));
        Ok(())
    }
}

/// Begins a generation. A request that has drawn its alternatives was let in before, and a queue that is full for a
/// moment must not undo that: it asks up to `attempts` times.
pub(in crate::analysis) async fn admitted(
    engine: Arc<dyn Engine>,
    request: GenerateRequest,
    attempts: usize,
) -> Result<Generation, AnalysisError> {
    for _ in 1..attempts {
        match engine.generate(request.clone()) {
            Err(EngineError::Overloaded { capacity: _ }) => tokio::time::sleep(PAUSE).await,
            outcome => return Ok(outcome?),
        }
    }
    Ok(engine.generate(request)?)
}

/// What was drawn after a forced token.
struct Drawn {
    text: String,
    token_ids: Vec<u32>,
    finish: FinishReason,
}

/// Notes what a model says of a group's token. JSON has no infinity, so an impossible token has no number.
fn note(group: &mut Group, model: &str, logprob: f32) {
    if logprob.is_finite() {
        group.logprob.insert(model.to_owned(), logprob);
    }
}

fn short() -> AnalysisError {
    AnalysisError::Internal("the engine's answer is not what was asked for".to_owned())
}
