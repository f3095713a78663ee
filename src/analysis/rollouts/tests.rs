use futures::TryStreamExt;

use super::super::fixture::{Fixture, input};
use super::super::{EngineError, PromptInput, ResponseInput, ScoreInput, StoreError};
use super::*;
use crate::domain::model::ModelRef;
use crate::domain::rollout::{AlternativesPlan, GivenTokens, RolloutSampling};
use crate::domain::sampling::FinishReason;
use crate::domain::trace::Trace;
use crate::domain::verdict::VerdictStatus;
use crate::engine::{DrawnToken, GenerationEvent, GenerationUsage, Sample};

/// A sample that spells a text, one token a byte.
fn sample(fork: usize, number: usize, text: &str) -> GenerationEvent {
    let token =
        |byte: u8| DrawnToken { id: byte.into(), logprob: -1.0, top: vec![], text: char::from(byte).to_string() };
    GenerationEvent::Sample(Sample {
        fork,
        number,
        tokens: text.bytes().map(token).collect(),
        finish: FinishReason::Stop,
    })
}

fn done(prefill_tokens: usize, reused_tokens: usize, generated_tokens: usize) -> GenerationEvent {
    let usage = GenerationUsage { prefill_tokens, reused_tokens, generated_tokens, queue_ms: 0.0, compute_ms: 0.0 };
    GenerationEvent::Done(usage)
}

fn plan(position: usize, alternatives: AlternativesPlan) -> RolloutPlan {
    let sampling = RolloutSampling { max_tokens: 16, ..RolloutSampling::default() };
    RolloutPlan { position, model: "base".to_owned(), alternatives, samples: 1, original_samples: 2, sampling }
}

fn sampled(count: usize) -> AlternativesPlan {
    AlternativesPlan::Sampled { count, temperature: 1.0 }
}

fn given(ids: &[u32]) -> AlternativesPlan {
    AlternativesPlan::Given(GivenTokens::Ids(ids.to_vec()))
}

fn of_trace(trace: &Trace, plan: RolloutPlan) -> RolloutInput {
    RolloutInput { source: RolloutSource::Trace(trace.id.clone()), answer: None, plan, fit_context: false, save: true }
}

fn refusal<T>(outcome: Result<T, AnalysisError>) -> (String, String) {
    match outcome {
        Err(AnalysisError::Invalid { param, message }) => (param, message),
        Err(error) => panic!("expected a refusal, got {error:?}"),
        Ok(_) => panic!("expected a refusal"),
    }
}

#[tokio::test]
async fn draws_are_merged_and_every_rollout_is_graded_where_it_stands() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", " é X 20").await;
    fixture.engine.will(vec![sample(0, 2, "-"), sample(0, 0, "\n"), sample(0, 1, "-"), done(5, 0, 3)]);
    fixture.engine.will(vec![
        GenerationEvent::Forced { fork: 1, logprob: -2.0 },
        GenerationEvent::Forced { fork: 0, logprob: f32::NEG_INFINITY },
        sample(1, 1, " A: 18."),
        sample(2, 0, "A: 18."),
        sample(0, 0, " A: 20."),
        sample(0, 1, " hm"),
        sample(1, 0, " A: 20."),
        done(0, 5, 32),
    ]);
    let events: Vec<RolloutEvent> =
        fixture.analysis.rollouts(of_trace(&trace, plan(4, sampled(3)))).await.unwrap().try_collect().await.unwrap();

    let kinds: String = events
        .iter()
        .map(|event| match event {
            RolloutEvent::Summary(_) => 's',
            RolloutEvent::Rollout(_) => 'r',
            RolloutEvent::Done(_) => 'd',
        })
        .collect();
    // The summary of a token's last rollout follows it, but for the very last.
    assert_eq!(kinds, "srrsrrsrd");
    let RolloutEvent::Summary(first) = &events[0] else { panic!("{:?}", events[0]) };
    assert_eq!((first.alternatives.len(), first.original.samples, first.original.rate), (2, 0, None));
    let Some(RolloutEvent::Done(set)) = events.last() else { panic!("{events:?}") };

    assert_eq!((set.original.token.id, set.original.token.text.as_str()), (u32::from(b'X'), "X"));
    assert_eq!((set.original.samples, set.original.correct, set.original.unparsed), (2, 0, 1));
    assert!(set.original.logprob.is_empty(), "JSON has no infinity");
    let groups: Vec<_> = set
        .alternatives
        .iter()
        .map(|group| (group.token.text.as_str(), group.drawn, group.samples, group.correct, group.logprob["base"]))
        .collect();
    assert_eq!(groups, [("-", Some(2), 2, 1, -2.0), ("\n", Some(1), 1, 1, -1.0)]);
    assert_eq!((set.without_token.samples, set.without_token.correct), (3, 2));
    assert_eq!((set.usage.prefill_tokens, set.usage.reused_tokens, set.usage.generated_tokens), (5, 5, 35));
    let rollout = set.rollouts.last().unwrap();
    assert_eq!((rollout.alternative, rollout.text.as_str()), (Some(1), "A: 18."));
    // " é " has four bytes, and the newline one.
    assert_eq!((rollout.start, rollout.verdict.span), (5, Some([8, 10])));
    assert_eq!(set.trace_id.as_deref(), Some(trace.id.as_str()));
    assert_eq!(fixture.analysis.stored_rollouts(&set.id).await.unwrap(), **set);
    assert_eq!(fixture.analysis.trace(&trace.id).await.unwrap().rollouts, [(**set).clone()]);

    let requests = fixture.engine.requests.lock().unwrap().clone();
    assert_eq!(requests[0].token_ids, b"Q \xc3\xa9 ".map(u32::from));
    assert_eq!((requests[0].forks[0].banned, requests[0].max_tokens), (Some(u32::from(b'X')), 1));
    assert_eq!((requests[0].sampling.temperature, requests[0].sampling.top_p), (1.0, 1.0));
    assert_eq!(requests[1].token_ids, requests[0].token_ids);
    let forced: Vec<_> =
        requests[1].forks.iter().map(|fork| (fork.keep, fork.forced.unwrap(), fork.samples.clone())).collect();
    assert_eq!(forced, [(5, u32::from(b'X'), 0..2), (5, u32::from(b'-'), 0..2), (5, u32::from(b'\n'), 0..1)]);
}

#[tokio::test]
async fn a_token_that_ends_the_sequence_has_nothing_after_it() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "A: 18 X").await;
    fixture.engine.will(vec![sample(0, 0, "\0"), sample(0, 1, "\0"), done(7, 0, 2)]);
    fixture.engine.will(vec![sample(0, 0, " A: 2"), sample(0, 1, " A: 2"), done(0, 7, 10)]);
    let set = fixture.analysis.finished_rollouts(of_trace(&trace, plan(6, sampled(2)))).await.unwrap();
    assert_eq!(fixture.engine.requests.lock().unwrap()[1].forks.len(), 1);
    let ended = &set.rollouts[2];
    assert_eq!((ended.finish_reason, ended.text.as_str(), ended.start), (FinishReason::Eos, "", 6));
    assert_eq!(ended.verdict.status, VerdictStatus::Correct);
    assert_eq!((set.alternatives[0].samples, set.alternatives[0].correct), (2, 2));
    assert_eq!(
        refusal(fixture.analysis.rollouts(of_trace(&trace, plan(6, given(&[0])))).await).0,
        "alternatives.token_ids[0]"
    );
}

#[tokio::test]
async fn the_likeliest_are_asked_of_the_model_that_is_named() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    let top = vec![(u32::from(b'X'), -0.1), (65, -2.5), (66, -3.5)];
    let greedy = Sample {
        fork: 0,
        number: 0,
        tokens: vec![DrawnToken { id: 88, logprob: -0.1, top, text: "X".to_owned() }],
        finish: FinishReason::Length,
    };
    fixture.engine.will(vec![GenerationEvent::Sample(greedy), done(2, 0, 1)]);
    fixture.engine.will(vec![sample(0, 0, " A: 18"), sample(1, 0, " A: 18"), done(0, 2, 12)]);
    let alternatives = AlternativesPlan::Top { model: Some("base".to_owned()), k: 2 };
    let plan = RolloutPlan { original_samples: 0, ..plan(1, alternatives) };
    let set = fixture.analysis.finished_rollouts(of_trace(&trace, plan)).await.unwrap();
    let groups: Vec<_> =
        set.alternatives.iter().map(|group| (group.token.id, group.drawn, group.logprob["base"])).collect();
    assert_eq!(groups, [(65, None, -2.5), (66, None, -3.5)]);
    assert_eq!((set.original.samples, set.original.rate, set.original.interval), (0, None, [0.0, 1.0]));
    assert_eq!(set.check(), Ok(()));
    let requests = fixture.engine.requests.lock().unwrap();
    assert_eq!(
        (requests[0].top_logprobs, requests[0].sampling.temperature, requests[0].forks[0].banned),
        (3, 0.0, None)
    );
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_a_request_but_not_its_second_half() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    let full = EngineError::Overloaded { capacity: 1 };
    fixture.engine.refuses(full.clone());
    let refused = fixture.analysis.rollouts(of_trace(&trace, plan(1, sampled(1)))).await;
    assert!(matches!(refused, Err(AnalysisError::Engine(EngineError::Overloaded { .. }))));

    fixture.engine.will(vec![sample(0, 0, "b"), done(2, 0, 1)]);
    fixture.engine.refuses(full);
    fixture.engine.will(vec![sample(0, 0, "1"), sample(0, 1, "1"), sample(1, 0, "1"), done(0, 2, 3)]);
    assert!(fixture.analysis.finished_rollouts(of_trace(&trace, plan(1, sampled(1)))).await.is_ok());
}

#[tokio::test]
async fn an_engine_that_breaks_off_or_answers_something_else_is_an_error_and_stores_nothing() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    for events in [
        vec![],
        vec![sample(0, 0, "1")],
        vec![sample(0, 0, "1"), done(2, 0, 1)],
        vec![sample(7, 0, "1")],
        vec![sample(0, 0, "1"), sample(0, 0, "1"), sample(1, 0, "1"), done(2, 0, 3)],
        vec![sample(1, 0, "1"), sample(1, 1, "1")],
    ] {
        fixture.engine.will(events);
        let outcome = fixture.analysis.finished_rollouts(of_trace(&trace, plan(1, given(&[65])))).await;
        assert!(matches!(outcome, Err(AnalysisError::Internal(_))), "{outcome:?}");
    }
    assert_eq!(fixture.analysis.trace(&trace.id).await.unwrap().rollouts, []);
}

#[tokio::test]
async fn a_trace_that_goes_meanwhile_leaves_the_answer_and_no_row() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    fixture.engine.will(vec![sample(0, 0, "1"), sample(0, 1, "1"), sample(1, 0, "1"), done(2, 0, 3)]);
    let events = fixture.analysis.rollouts(of_trace(&trace, plan(1, given(&[65])))).await.unwrap();
    fixture.analysis.delete_trace(&trace.id).await.unwrap();
    let events: Vec<RolloutEvent> = events.try_collect().await.unwrap();
    let Some(RolloutEvent::Done(set)) = events.last() else { panic!("{events:?}") };
    assert_eq!((set.trace_id.as_ref(), set.rollouts.len()), (None, 3));
    assert!(matches!(
        fixture.analysis.stored_rollouts(&set.id).await,
        Err(AnalysisError::NotFound { kind: RecordKind::Rollouts, .. })
    ));
}

#[tokio::test]
async fn mistakes_name_their_field() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    let plain = fixture.analysis.score(ScoreInput { answer: None, ..input("Q", "aX") }).await.unwrap();
    let good = || of_trace(&trace, plan(1, given(&[65])));
    let inline = |prompt: &str| RolloutSource::Trajectory {
        prompt: PromptInput::Text(prompt.to_owned()),
        response: ResponseInput::Text("aX".to_owned()),
    };
    for (param, input) in [
        ("position", of_trace(&trace, plan(2, given(&[65])))),
        ("answer", of_trace(&plain, plan(1, given(&[65])))),
        ("answer", RolloutInput { answer: Some(" ".to_owned()), ..good() }),
        ("answer", RolloutInput { source: inline("Q"), ..good() }),
        ("prompt", RolloutInput { source: inline(""), answer: Some("1".to_owned()), ..good() }),
        ("alternatives.token_ids[1]", of_trace(&trace, plan(1, given(&[65, 65])))),
        ("samples", RolloutInput { plan: RolloutPlan { samples: 0, ..plan(1, given(&[65])) }, ..good() }),
    ] {
        assert_eq!(refusal(fixture.analysis.rollouts(input).await).0, param);
    }
    let model = |model: &str| RolloutPlan { model: model.to_owned(), ..plan(1, given(&[65])) };
    let unknown = fixture.analysis.rollouts(of_trace(&trace, model("who"))).await;
    assert!(matches!(unknown, Err(AnalysisError::Engine(EngineError::UnknownModel { id })) if id == "who"));
    let mut long = plan(1, sampled(1));
    long.sampling.max_tokens = 997;
    let long = fixture.analysis.rollouts(of_trace(&trace, long)).await;
    assert!(matches!(
        long,
        Err(AnalysisError::Refused {
            param,
            error: EngineError::ContextExceeded { tokens: 3, max_tokens: 997, max: 999 }
        }) if param == "sampling.max_tokens"
    ));
    assert!(fixture.engine.requests.lock().unwrap().is_empty(), "nothing was begun");

    // An import may bring a trace whose ids are another tokenizer's.
    let mut foreign = trace.clone();
    foreign.id = format!("trace_{:026}", 1);
    foreign.tokens[0].text = "b".to_owned();
    let record = crate::store::TraceRecord::new(&foreign).unwrap();
    fixture.analysis.store.insert_trace(record).await.unwrap();
    let (param, message) = refusal(fixture.analysis.rollouts(of_trace(&foreign, plan(1, given(&[65])))).await);
    assert!(param == "trace_id" && message.contains("another tokenizer"), "{param}: {message}");
}

#[tokio::test]
async fn a_drawn_id_that_is_no_token_spells_nothing() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    let token = DrawnToken { id: 257, logprob: -1.0, top: vec![], text: String::new() };
    let padding = Sample { fork: 0, number: 0, tokens: vec![token], finish: FinishReason::Length };
    fixture.engine.will(vec![GenerationEvent::Sample(padding), done(2, 0, 1)]);
    fixture.engine.will(vec![sample(0, 0, "1"), sample(0, 1, "1"), sample(1, 0, " A: 18"), done(0, 2, 3)]);
    let set = fixture.analysis.finished_rollouts(of_trace(&trace, plan(1, sampled(1)))).await.unwrap();
    let rollout = &set.rollouts[2];
    assert_eq!((set.alternatives[0].token.id, rollout.start), (257, 1));
    assert_eq!(rollout.verdict.status, VerdictStatus::Correct);
}

#[tokio::test]
async fn a_character_that_the_fork_parts_is_graded_whole() {
    let fixture = Fixture::new().await;
    let source = RolloutSource::Trajectory {
        prompt: PromptInput::Text("Q".to_owned()),
        response: ResponseInput::Text("A: 2√3".to_owned()),
    };
    // As the engine gives it: what is drawn begins with the character whose first two bytes are kept and forced.
    let drawn = |number, text: &str| {
        let token = DrawnToken { id: 51, logprob: -1.0, top: vec![], text: text.to_owned() };
        GenerationEvent::Sample(Sample { fork: 0, number, tokens: vec![token], finish: FinishReason::Eos })
    };
    fixture.engine.will(vec![drawn(0, "√3"), drawn(1, "√4"), sample(1, 0, "3"), done(6, 0, 3)]);
    let input = RolloutInput {
        source,
        answer: Some("2√3".to_owned()),
        plan: plan(5, given(&[65])),
        fit_context: false,
        save: false,
    };
    let set = fixture.analysis.finished_rollouts(input).await.unwrap();
    assert_eq!((set.rollouts[0].start, set.original.correct, set.original.samples), (4, 1, 2));
    let asked = fixture.engine.requests.lock().unwrap();
    assert_eq!((asked[0].token_ids.len(), asked[0].stop_from), (6, 1), "stop strings may begin in the kept response");
}

#[tokio::test]
async fn a_model_that_is_exchanged_meanwhile_is_refused() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Q", "aX").await;
    fixture.engine.will(vec![sample(0, 0, "b"), done(2, 0, 1)]);
    fixture.engine.will(vec![sample(0, 0, "1"), sample(0, 1, "1"), sample(1, 0, "1"), done(0, 2, 3)]);
    let events = fixture.analysis.rollouts(of_trace(&trace, plan(1, sampled(1)))).await.unwrap();
    fixture.engine.exchanged.store(true, std::sync::atomic::Ordering::Relaxed);
    let (param, message) = refusal(events.try_collect::<Vec<_>>().await);
    assert!(param == "model" && message.contains("exchanged"), "{param}: {message}");
}

#[tokio::test]
async fn rollouts_without_a_trace_are_not_stored() {
    let fixture = Fixture::new().await;
    let source = RolloutSource::Trajectory {
        prompt: PromptInput::Text("Q".to_owned()),
        response: ResponseInput::Text("aX".to_owned()),
    };
    fixture.engine.will(vec![sample(0, 0, " A: 18"), sample(0, 1, "1"), sample(1, 0, "1"), done(2, 0, 3)]);
    let input = RolloutInput {
        source,
        answer: Some("18".to_owned()),
        plan: plan(1, given(&[65])),
        fit_context: false,
        save: true,
    };
    let set = fixture.analysis.finished_rollouts(input).await.unwrap();
    assert_eq!((set.trace_id.as_ref(), set.original.correct), (None, 1));
    assert_eq!(set.model, ModelRef { id: "base".to_owned(), sha256: "sha-of-base".to_owned() });
    assert!(fixture.analysis.stored_rollouts(&set.id).await.is_err());
    let orphan = crate::store::AttachmentRow::new(&set);
    assert!(matches!(orphan, Err(StoreError::Internal(_))));
}
