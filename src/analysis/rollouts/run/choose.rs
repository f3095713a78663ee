//! How the alternatives are chosen: by drawing at the fork, or by asking for the likeliest tokens there.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use super::{Run, Stage, note};
use crate::analysis::AnalysisError;
use crate::domain::rollout::{AlternativesPlan, Group};
use crate::domain::sampling::Sampling;
use crate::engine::{DrawnToken, Fork, GenerateRequest, GenerationEvent};

impl Run {
    /// One token at the fork: drawn with the original banned, or the likeliest ones beside a greedy one.
    pub(super) fn choice(&self) -> GenerateRequest {
        let keep = self.site.sequence.len();
        let seed = self.plan.sampling.seed;
        let (temperature, top_logprobs, banned, samples) = match &self.plan.alternatives {
            AlternativesPlan::Sampled { count, temperature } => (*temperature, 0, Some(self.site.original), *count),
            // The original may be among the likeliest.
            AlternativesPlan::Top { model: _, k } => (0.0, k + 1, None, 1),
            AlternativesPlan::Given(_) => (0.0, 0, None, 0),
        };
        GenerateRequest {
            model: self.asked.id.clone(),
            token_ids: self.site.sequence.clone(),
            forks: vec![Fork { keep, forced: None, banned, samples: 0..samples }],
            sampling: Sampling { temperature, seed, ..Sampling::default() },
            max_tokens: 1,
            stop: Vec::new(),
            stop_from: keep,
            ignore_eos: false,
            top_logprobs,
            every_token: false,
        }
    }

    /// Takes the engine's next word on the alternatives.
    pub(super) async fn choose(&mut self) -> Result<(), AnalysisError> {
        let Stage::Choosing { events, samples } = &mut self.stage else { return Ok(()) };
        let Some(next) = self.stop.run_until_cancelled(events.try_next()).await else {
            return self.end_early().await;
        };
        match next? {
            Some(GenerationEvent::Sample(sample)) => samples.push(sample),
            Some(GenerationEvent::Forced { .. } | GenerationEvent::Token { .. }) => {}
            Some(GenerationEvent::Done(usage)) => {
                let samples = std::mem::take(samples);
                self.spend(usage);
                let drawn: Vec<DrawnToken> =
                    samples.into_iter().filter_map(|sample| sample.tokens.into_iter().next()).collect();
                self.set.alternatives = self.alternatives(drawn)?;
                self.stage = Stage::Chosen;
            }
            None => return Err(AnalysisError::unasked()),
        }
        Ok(())
    }

    /// The alternatives from the engine's draws, or from the likeliest tokens beside its one draw.
    fn alternatives(&self, drawn: Vec<DrawnToken>) -> Result<Vec<Group>, AnalysisError> {
        let named = |model: &str, id: u32, logprob: f32, drawn: Option<usize>| {
            let mut group = self.group(id, drawn);
            note(&mut group, model, logprob);
            group
        };
        match &self.plan.alternatives {
            AlternativesPlan::Sampled { count, .. } => {
                if drawn.len() != *count || drawn.iter().any(|token| token.id == self.site.original) {
                    return Err(AnalysisError::unasked());
                }
                let mut merged: BTreeMap<u32, (usize, f32)> = BTreeMap::new();
                for token in drawn {
                    merged.entry(token.id).or_insert((0, token.logprob)).0 += 1;
                }
                let mut merged: Vec<_> = merged.into_iter().collect();
                // Stable: of equals, the lower id comes first.
                merged.sort_by(|(_, a), (_, b)| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)));
                let group = |(id, (drawn, logprob))| named(&self.plan.model, id, logprob, Some(drawn));
                Ok(merged.into_iter().map(group).collect())
            }
            AlternativesPlan::Top { model, k } => {
                let model = model.as_ref().unwrap_or(&self.plan.model);
                let Some(token) = drawn.into_iter().next() else { return Err(AnalysisError::unasked()) };
                let others = token.top.into_iter().filter(|(id, _)| *id != self.site.original).take(*k);
                Ok(others.map(|(id, logprob)| named(model, id, logprob, None)).collect())
            }
            AlternativesPlan::Given(_) => Ok(self.set.alternatives.clone()),
        }
    }
}
