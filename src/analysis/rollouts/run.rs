//! One request under way: choose the alternatives, draw after each, grade, count, store.
//!
//! The run is a stream that owns the engine's generation. Whoever drops it cancels what was not drawn, and as storing is
//! its last step, nothing is left behind. Whoever stops it by its [`Conduct`] gets what was drawn until then, stored.

mod choose;

use std::collections::{HashSet, VecDeque};
use std::ops::Range;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::{RolloutEvent, RolloutEvents, Site, given};
use crate::analysis::admission::{Place, admitted, same_model};
use crate::analysis::runs::Conduct;
use crate::analysis::source::drawing;
use crate::analysis::{Analysis, AnalysisError, off_the_reactor, unix_seconds};
use crate::domain::model::ModelRef;
use crate::domain::rollout::{
    AlternativesPlan, ForcedToken, Group, Pool, Rollout, RolloutPlan, RolloutSet, RolloutUsage, RolloutsObject,
};
use crate::domain::sampling::FinishReason;
use crate::domain::verifier;
use crate::engine::{EngineError, Fork, GenerationEvent, GenerationUsage, Sample};
use crate::store::{AttachmentRow, StoreError};

/// Most summaries on the way: each lists every alternative, and there may be thousands.
const SUMMARIES: usize = 32;

type EngineEvents = BoxStream<'static, Result<GenerationEvent, EngineError>>;

/// Rollouts that are checked and ready to begin.
pub(super) struct Order {
    pub(super) site: Site,
    pub(super) plan: RolloutPlan,
    /// The model that the plan's name means.
    pub(super) model: ModelRef,
    /// The model that chooses the alternatives.
    pub(super) asked: ModelRef,
    pub(super) save: bool,
}

struct Run {
    analysis: Analysis,
    site: Site,
    plan: RolloutPlan,
    asked: ModelRef,
    set: RolloutSet,
    /// Ends the run with what it has.
    stop: CancellationToken,
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
fn empty_set(
    analysis: &Analysis,
    Order { site, plan, model, asked: _, save }: &Order,
    id: Option<String>,
) -> RolloutSet {
    let text = analysis.engine.text().piece(site.original);
    RolloutSet {
        id: id.unwrap_or_else(|| analysis.ids.next_rollouts()),
        object: RolloutsObject::Rollouts,
        created: unix_seconds(),
        trace_id: site.trace_id.clone().filter(|_| *save),
        model: model.clone(),
        position: plan.position,
        answer: site.answer.clone(),
        sampling: plan.sampling.clone(),
        alternatives_source: plan.alternatives.source(),
        stopped: false,
        original: Group::new(ForcedToken { id: site.original, text }, None),
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
    order: Order,
    conduct: Conduct<RolloutSet>,
) -> Result<RolloutEvents, AnalysisError> {
    let Conduct { id, stop, so_far, place } = conduct;
    let known = so_far.is_some();
    let set = match so_far {
        Some(set) => {
            same_model(&order.model, &set.model)?;
            set
        }
        None => empty_set(&analysis, &order, id),
    };
    let Order { site, plan, model: _, asked, save: _ } = order;
    let mut run = Run { analysis, site, plan, asked, set, stop, stage: Stage::Chosen, ready: VecDeque::new() };
    if known {
        // The alternatives are chosen, and the next event asks for what is still to be drawn.
    } else if let AlternativesPlan::Given(tokens) = &run.plan.alternatives {
        let (engine, tokens, original) = (run.analysis.engine.clone(), tokens.clone(), run.site.original);
        let ids = off_the_reactor(move || given::resolve(engine.text(), tokens, original)).await?;
        run.set.alternatives = ids.into_iter().map(|id| run.group(id, None)).collect();
        run.roll(place).await?;
    } else {
        let chosen = admitted(&*run.analysis.engine, run.choice(), &run.asked, place).await?;
        run.stage = Stage::Choosing { events: chosen.events, samples: Vec::new() };
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
                Stage::Chosen => self.roll(Place::Later).await?,
                Stage::Rolling(_) => self.draw().await?,
                Stage::Ended => return Ok(None),
            }
        }
    }

    /// Ends with what was drawn; without a single rollout there is nothing to keep.
    async fn end_early(&mut self) -> Result<(), AnalysisError> {
        self.stage = Stage::Ended;
        if self.set.rollouts.is_empty() {
            return Ok(());
        }
        self.set.stopped = true;
        // The engine's own account comes at the end only.
        self.set.usage.generated_tokens +=
            self.set.rollouts.iter().map(|rollout| rollout.token_ids.len()).sum::<usize>();
        self.keep().await
    }

    fn group(&self, id: u32, drawn: Option<usize>) -> Group {
        Group::new(ForcedToken { id, text: self.analysis.engine.text().piece(id) }, drawn)
    }

    /// Asks the engine for the rollouts.
    async fn roll(&mut self, place: Place) -> Result<(), AnalysisError> {
        let keep = self.site.sequence.len();
        let text = self.analysis.engine.text().clone();
        let drawn: HashSet<(Option<usize>, usize)> =
            self.set.rollouts.iter().map(|rollout| (rollout.alternative, rollout.index)).collect();
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
            for samples in missing(samples, |index| drawn.contains(&(alternative, index))) {
                if text.eos_ids().contains(&token) {
                    // The response ends here: there is nothing to draw, and every rollout is what was kept.
                    ending.push((alternative, samples));
                } else {
                    request.push(Fork { keep, forced: Some(token), banned: None, samples });
                    forks.push(alternative);
                }
            }
        }
        let open: Vec<usize> = request.iter().map(|fork| fork.samples.len()).collect();
        let events = if request.is_empty() {
            stream::iter([Ok(GenerationEvent::Done(GenerationUsage::default()))]).boxed()
        } else {
            let request =
                drawing(&self.set.model, (&self.site.sequence, self.site.prompt), request, &self.plan.sampling);
            let begun = admitted(&*self.analysis.engine, request, &self.set.model, place);
            match self.stop.run_until_cancelled(begun).await {
                Some(generation) => generation?.events,
                None => return self.end_early().await,
            }
        };
        let stride = (forks.len() / SUMMARIES).max(1);
        self.summarise();
        self.stage = Stage::Rolling(Rolling { events, forks, open, finished: 0, stride });
        for (alternative, samples) in ending {
            let end = Drawn { text: String::new(), token_ids: Vec::new(), finish: FinishReason::Eos };
            // A token that ends the sequence is spelled in no response.
            let graded = self.graded(alternative, 0, end, None).await?;
            for index in samples {
                self.add(Rollout { index, ..graded.clone() })?;
            }
        }
        Ok(())
    }

    /// Takes the engine's next word on the rollouts.
    async fn draw(&mut self) -> Result<(), AnalysisError> {
        let Stage::Rolling(rolling) = &mut self.stage else { return Ok(()) };
        let Some(next) = self.stop.run_until_cancelled(rolling.events.try_next()).await else {
            return self.end_early().await;
        };
        match next? {
            Some(GenerationEvent::Forced { fork, logprob }) => {
                let alternative = *rolling.forks.get(fork).ok_or_else(AnalysisError::unasked)?;
                if let Some(group) = self.set.group_mut(alternative) {
                    note(group, &self.plan.model, logprob);
                }
                Ok(())
            }
            Some(GenerationEvent::Token { .. }) => Ok(()),
            Some(GenerationEvent::Sample(sample)) => {
                let alternative = *rolling.forks.get(sample.fork).ok_or_else(AnalysisError::unasked)?;
                let open = &mut rolling.open[sample.fork];
                *open = open.checked_sub(1).ok_or_else(AnalysisError::unasked)?;
                let ends_group = *open == 0;
                let forced = self.set.group_mut(alternative).ok_or_else(AnalysisError::unasked)?.token.id;
                let drawn = Drawn { text: sample.text(), token_ids: sample.token_ids(), finish: sample.finish };
                let rollout = self.graded(alternative, sample.number, drawn, Some(forced)).await?;
                self.add(rollout)?;
                if ends_group {
                    self.group_finished();
                }
                Ok(())
            }
            Some(GenerationEvent::Done(usage)) => {
                self.spend(usage);
                self.finish().await
            }
            None => Err(AnalysisError::unasked()),
        }
    }

    /// Grades what was drawn after the kept tokens and a forced one, on a thread of its own.
    fn graded(
        &self,
        alternative: Option<usize>,
        index: usize,
        drawn: Drawn,
        forced: Option<u32>,
    ) -> impl Future<Output = Result<Rollout, AnalysisError>> + use<> {
        let (engine, answer) = (self.analysis.engine.clone(), self.site.answer.clone());
        // Models have rows for more ids than there are tokens, and such a one may be drawn: it spells nothing.
        let forced = forced.filter(|&id| engine.text().piece_bytes(id).is_some());
        let before: Vec<u32> = self.site.kept().iter().copied().chain(forced).collect();
        off_the_reactor(move || {
            let mut full = engine.text().spell_whole(&before)?;
            let start = full.len();
            full.push_str(&drawn.text);
            let verdict = verifier::grade(&full, &answer);
            let Drawn { text, token_ids, finish } = drawn;
            Ok(Rollout { alternative, index, text, token_ids, start, finish_reason: finish, verdict })
        })
    }

    /// Counts a rollout, and tells of it.
    fn add(&mut self, rollout: Rollout) -> Result<(), AnalysisError> {
        let group = self.set.group_mut(rollout.alternative).ok_or_else(AnalysisError::unasked)?;
        group.count(rollout.verdict.status);
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

    /// Checks that all was drawn, and ends.
    async fn finish(&mut self) -> Result<(), AnalysisError> {
        let Stage::Rolling(Rolling { open, .. }) = std::mem::replace(&mut self.stage, Stage::Ended) else {
            return Err(AnalysisError::unasked());
        };
        if open.iter().any(|open| *open > 0) {
            return Err(AnalysisError::unasked());
        }
        self.keep().await
    }

    /// Stores the set, and tells of it.
    async fn keep(&mut self) -> Result<(), AnalysisError> {
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

/// What was drawn after a forced token.
struct Drawn {
    text: String,
    token_ids: Vec<u32>,
    finish: FinishReason,
}

/// The numbers below `samples` that were not drawn yet, as ranges.
fn missing(samples: usize, drawn: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for index in (0..samples).filter(|index| !drawn(*index)) {
        match ranges.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            Some(_) | None => ranges.push(index..index + 1),
        }
    }
    ranges
}

/// Notes what a model says of a group's token. JSON has no infinity, so an impossible token has no number.
fn note(group: &mut Group, model: &str, logprob: f32) {
    if logprob.is_finite() {
        group.logprob.insert(model.to_owned(), logprob);
    }
}
