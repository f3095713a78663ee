use std::sync::atomic::Ordering;

use super::super::fixture::{Fixture, input};
use super::*;
use crate::analysis::RecordKind;
use crate::domain::model::Roles;
use crate::domain::verdict::VerdictStatus;
use crate::engine::EngineError;

fn refusal<T: std::fmt::Debug>(outcome: Result<T, AnalysisError>) -> (String, String) {
    match outcome {
        Err(AnalysisError::Invalid { param, message }) => (param, message),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_trace_holds_what_the_engine_the_rule_and_the_verifier_said() {
    let fixture = Fixture::new().await;
    let trace = fixture.saved("Question: é?\nAnswer:", " So “é” is 9 * 2.\nThe answer is 18.").await;
    assert_eq!(trace.check(), Ok(()));
    assert_eq!(trace.tokens.len(), trace.response.text.len());
    assert_eq!(trace.usage.response_tokens, trace.tokens.len());
    let scores: Vec<_> = trace.tokens.iter().map(|token| token.score).collect();
    assert_eq!(trace.critical, CriticalRule::Lowest { k: 2 }.select(&scores));
    assert_eq!(trace.critical.len(), 2);
    let verdict = trace.verdict.clone().unwrap();
    assert_eq!((verdict.status, verdict.extracted.as_deref()), (VerdictStatus::Correct, Some("18")));
    assert_eq!(trace.tokens[0].top.iter().map(|top| top.id).collect::<Vec<_>>(), [32, 33, 65]);
    assert_eq!(trace.tokens[0].top[2].text, "A");
    assert_eq!(fixture.analysis.trace(&trace.id).await.unwrap(), trace);
}

#[tokio::test]
async fn without_roles_nothing_is_scored_or_critical() {
    let fixture = Fixture::new().await;
    fixture.analysis.set_roles(Roles::default()).await.unwrap();
    let trace = fixture.saved("Q", " 18").await;
    assert!(trace.tokens.iter().all(|token| token.score.is_none() && !token.critical));
    assert!(trace.critical.is_empty());
    assert_eq!(trace.models.positive, None);
    let summary = &fixture.analysis.traces(Default::default(), Default::default()).await.unwrap().summaries[0];
    assert_eq!((summary.min_score, summary.sparkline.len()), (None, 0));
}

#[tokio::test]
async fn what_is_not_saved_is_not_found() {
    let fixture = Fixture::new().await;
    let trace = fixture.analysis.score(ScoreInput { save: false, ..input("Q", " 18") }).await.unwrap();
    assert!(matches!(
        fixture.analysis.trace(&trace.id).await,
        Err(AnalysisError::NotFound { kind: RecordKind::Trace, .. })
    ));
    assert!(matches!(fixture.analysis.delete_trace(&trace.id).await, Err(AnalysisError::NotFound { .. })));
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_and_not_a_lost_trace() {
    let fixture = Fixture::new().await;
    fixture.analysis.store.close().await;
    assert!(matches!(fixture.analysis.score(input("Q", " 18")).await, Err(AnalysisError::Store(_))));
    assert!(fixture.analysis.ready().await.is_err());
}

#[tokio::test]
async fn mistakes_name_their_field() {
    let fixture = Fixture::new().await;
    let good = || input("Q", " 18");
    let text = |text: &str| text.to_owned();
    let cases: Vec<(&str, ScoreInput)> = vec![
        ("response", ScoreInput { response: ResponseInput::Text(text("")), ..good() }),
        ("response_token_ids", ScoreInput { response: ResponseInput::Ids(vec![]), ..good() }),
        ("prompt", ScoreInput { prompt: PromptInput::Text(text("")), ..good() }),
        ("prompt_token_ids", ScoreInput { prompt: PromptInput::Ids(vec![]), ..good() }),
        ("token_ids[2]", ScoreInput { token_ids: vec![1, 255, 259], ..good() }),
        ("token_ids", ScoreInput { token_ids: vec![1; 257], ..good() }),
        ("top_logprobs", ScoreInput { top_logprobs: 101, ..good() }),
        ("beta", ScoreInput { beta: f64::NAN, ..good() }),
        ("beta", ScoreInput { beta: -0.5, ..good() }),
        ("critical.value", ScoreInput { rule: CriticalRule::Threshold { value: 2.0 }, ..good() }),
        ("answer", ScoreInput { answer: Some(text("  ")), ..good() }),
        ("tags[0]", ScoreInput { tags: vec![text("")], ..good() }),
        ("tags[1]", ScoreInput { tags: vec![text("a"), text("a")], ..good() }),
        ("tags", ScoreInput { tags: (0..33).map(|i| i.to_string()).collect(), ..good() }),
    ];
    for (field, input) in cases {
        assert_eq!(refusal(fixture.analysis.score(input).await).0, field);
    }
    let message = refusal(fixture.analysis.score(input("", " 18")).await).1;
    assert!(message.contains("needs a prefix"), "{message}");
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_each_items_own_error() {
    let fixture = Fixture::new().await;
    let inputs = vec![input("Q", " 1"), input("Q", ""), input("Q", &"9".repeat(1200)), input("Q", " 4")];
    let traces = fixture.analysis.score_batch(inputs).await.unwrap();
    assert_eq!(traces[0].as_ref().unwrap().response.text, " 1");
    assert!(matches!(&traces[1], Err(AnalysisError::Invalid { param, .. }) if param == "response"));
    assert!(matches!(&traces[2], Err(AnalysisError::Engine(EngineError::TooLong { .. }))));
    assert_eq!(traces[3].as_ref().unwrap().response.text, " 4");
    assert!(fixture.analysis.score_batch(vec![]).await.unwrap().is_empty());

    fixture.engine.full.store(true, Ordering::Relaxed);
    let refused = fixture.analysis.score_batch(vec![input("Q", " 1")]).await;
    assert!(matches!(refused, Err(AnalysisError::Engine(EngineError::Overloaded { .. }))));
    // Nothing asked of the engine: its queue does not matter.
    assert!(fixture.analysis.score_batch(vec![input("Q", "")]).await.unwrap()[0].is_err());
}

#[tokio::test]
async fn numbers_that_json_cannot_hold_do_not_reach_the_store() {
    let fixture = Fixture::new().await;
    fixture.engine.broken.store(true, Ordering::Relaxed);
    let outcome = fixture.analysis.score(input("Q", " 18")).await;
    assert!(
        matches!(&outcome, Err(AnalysisError::Internal(text)) if text.contains("tokens[0].logprob.base")),
        "{outcome:?}"
    );
    assert!(fixture.analysis.traces(Default::default(), Default::default()).await.unwrap().summaries.is_empty());
}
