//! What the engine without models draws: `" A: 18."` or another answer, byte by byte, then byte 0 as the end.
//!
//! After an `X` the answer is never right; before one it is in half of the samples.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures::StreamExt;
use futures::stream::BoxStream;
use linchpin::domain::sampling::FinishReason;
use linchpin::engine::{DrawnToken, EngineError, Fork, GenerateRequest, GenerationEvent, GenerationUsage, Sample};

/// The token that ends a sequence.
const END: u32 = 0;

/// Every event of a request, in order of forks and samples.
pub(crate) fn events(request: &GenerateRequest) -> BoxStream<'static, Result<GenerationEvent, EngineError>> {
    let mut events = vec![];
    let mut generated = 0;
    for (fork, at) in request.forks.iter().enumerate() {
        events.extend(at.forced.map(|id| GenerationEvent::Forced { fork, logprob: logprob(id) }));
        for number in at.samples.clone() {
            let sample = draw(request, fork, at, number);
            generated += sample.tokens.len();
            if request.every_token {
                let token = |token: &DrawnToken| GenerationEvent::Token { fork, sample: number, token: token.clone() };
                events.extend(sample.tokens.iter().map(token));
            }
            events.push(GenerationEvent::Sample(sample));
        }
    }
    events.push(GenerationEvent::Done(GenerationUsage {
        prefill_tokens: request.forks.iter().map(|fork| fork.keep).max().unwrap_or(0),
        reused_tokens: 0,
        generated_tokens: generated,
        queue_ms: 0.25,
        compute_ms: 1.5,
    }));
    futures::stream::iter(events.into_iter().map(Ok)).boxed()
}

fn draw(request: &GenerateRequest, fork: usize, at: &Fork, number: usize) -> Sample {
    let before: Vec<u32> = request.token_ids[..at.keep].iter().copied().chain(at.forced).collect();
    let mut hasher = DefaultHasher::new();
    (request.sampling.seed, &before, number).hash(&mut hasher);
    let chance = hasher.finish();
    let lost = before.contains(&u32::from(b'X'));
    let answer = if !lost && chance.is_multiple_of(2) { 18 } else { 20 + chance % 70 };
    let ids = format!(" A: {answer}.").into_bytes().into_iter().map(u32::from);
    let first = at.banned.map(|banned| (b'a'..=b'z').map(u32::from).filter(|&id| id != banned).collect::<Vec<_>>());
    let first = first.map(|choices| choices[chance as usize % choices.len()]);
    let mut sample = Sample { fork, number, tokens: vec![], finish: FinishReason::Length };
    for id in first.into_iter().chain(ids).chain([END]).take(request.max_tokens) {
        let text = if id == END { String::new() } else { char::from(id as u8).to_string() };
        let top = (0..request.top_logprobs as u32).map(|step| (id + step, logprob(id + step))).collect();
        sample.tokens.push(DrawnToken { id, logprob: logprob(id), top, text });
        let text = sample.text();
        if let Some(stop) = request.stop.iter().find(|stop| text.ends_with(*stop)) {
            let mut rest = text.len() - stop.len();
            for token in &mut sample.tokens {
                let kept = token.text.len().min(rest);
                token.text.truncate(kept);
                rest -= kept;
            }
            sample.finish = FinishReason::Stop;
            break;
        }
        if id == END {
            sample.finish = FinishReason::Eos;
        }
    }
    sample
}

fn logprob(id: u32) -> f32 {
    -(id as f32) / 64.0
}
