use futures::stream;
use serde_json::{Value, json};

use super::super::fixture::{Fixture, input};
use super::super::{ExportFormat, ScoreInput};
use super::*;
use crate::domain::critical::CriticalRule;

async fn import(analysis: &Analysis, chunks: &[&[u8]]) -> ImportReport {
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = chunks.iter().map(|chunk| Ok(chunk.to_vec())).collect();
    analysis.import(stream::iter(chunks)).await.unwrap()
}

async fn exported(fixture: &Fixture, prompt: &str, response: &str) -> (Trace, String) {
    let trace = fixture.saved(prompt, response).await;
    let file = fixture.analysis.export(&trace.id, ExportFormat::Jsonl).await.unwrap();
    (trace, String::from_utf8(file.bytes).unwrap())
}

#[tokio::test]
async fn what_is_exported_comes_back_to_the_last_bit() {
    let here = Fixture::new().await;
    let there = Fixture::new().await;
    let (one, first) = exported(&here, "Question: é\u{0}\n", " “18” \u{1f600} is 18.").await;
    let (two, second) = exported(&here, "Q", "<script>\r\n\t").await;
    let file = format!("{first}\n{second}");
    // Chunks end wherever the network likes, also inside a character.
    let pieces: Vec<&[u8]> = file.as_bytes().chunks(7).collect();
    let report = import(&there.analysis, &pieces).await;
    assert_eq!((report.imported, report.errors.len()), (2, 0), "{:?}", report.errors);
    assert_eq!(report.ids, [one.id.clone(), two.id.clone()]);
    for trace in [one, two] {
        let back = there.analysis.trace(&trace.id).await.unwrap();
        assert_eq!(back, trace);
        for (a, b) in back.tokens.iter().zip(&trace.tokens) {
            assert_eq!(a.logprob.base.to_bits(), b.logprob.base.to_bits());
            assert_eq!(a.score.map(f64::to_bits), b.score.map(f64::to_bits));
            assert_eq!(a.top[1].logprob.negative.map(f32::to_bits), b.top[1].logprob.negative.map(f32::to_bits));
        }
        let again = there.analysis.export(&trace.id, ExportFormat::Jsonl).await.unwrap();
        assert_eq!(again, here.analysis.export(&trace.id, ExportFormat::Jsonl).await.unwrap());
    }
}

#[tokio::test]
async fn the_same_trace_again_changes_nothing_and_another_under_its_id_is_a_conflict() {
    let fixture = Fixture::new().await;
    let (trace, line) = exported(&fixture, "Q", " 18").await;
    let other = line.replacen("\"created\":", "\"created\":1", 1);
    let report = import(&fixture.analysis, &[line.as_bytes(), other.as_bytes(), b"\n"]).await;
    assert_eq!((report.imported, report.unchanged), (0, 1));
    assert_eq!(report.errors.len(), 1);
    assert!(report.errors[0].message.starts_with("line 2: conflict"), "{:?}", report.errors);
    assert_eq!(fixture.analysis.trace(&trace.id).await.unwrap(), trace);
}

#[tokio::test]
async fn corrupt_traces_are_refused_with_their_line_and_field() {
    let fixture = Fixture::new().await;
    let source = Fixture::new().await;
    let (_, line) = exported(&source, "Q", "é 18").await;
    let good: Value = serde_json::from_str(&line).unwrap();
    let with = |path: &str, value: Value| {
        let mut trace = good.clone();
        *trace.pointer_mut(path).unwrap_or_else(|| panic!("{path} is there")) = value;
        trace.to_string()
    };
    let mut extra = good.clone();
    extra["tokens"][0]["top"][0]["surprise"] = json!(1);
    let mut missing = good.clone();
    missing.as_object_mut().unwrap().remove("models");
    let cases = [
        ("{".to_owned(), "EOF"),
        ("[]".to_owned(), "invalid length"),
        ("\u{feff}{}".to_owned(), "expected value"),
        (extra.to_string(), "unknown field `surprise`"),
        (missing.to_string(), "missing field `models`"),
        (with("/id", json!("trace_x")), "id:"),
        (with("/id", json!("../../etc/passwd")), "id:"),
        (with("/object", json!("rollouts")), "unknown variant"),
        (with("/beta", json!(-1)), "beta:"),
        (with("/tokens", json!([])), "tokens:"),
        (with("/tokens/1/position", json!(7)), "tokens[1].position:"),
        (with("/tokens/4/end", json!(4000)), "tokens[4].end:"),
        (with("/tokens/4/start", json!(u64::MAX)), "tokens[4].end:"),
        (with("/tokens/2/start", json!(1)), "tokens[2].start:"),
        (with("/tokens/0/logprob/base", json!(null)), "invalid type"),
        (with("/tokens/0/logprob/base", json!(1e300)), "number out of range"),
        (with("/tokens/0/logprob/positive", json!(null)), "tokens[0].logprob"),
        (with("/tokens/0/score", json!(1.5)), "tokens[0].score:"),
        (with("/models/negative", json!(null)), "tokens[0].logprob"),
        (with("/critical", json!([400])), "critical:"),
        (with("/critical", json!([])), "critical:"),
        (with("/usage/response_tokens", json!(3)), "usage.response_tokens:"),
        (with("/usage/prompt_tokens", json!(3)), "usage.prompt_tokens:"),
        (with("/verdict/span", json!([0, 1])), "verdict.span:"),
        (with("/verdict/span", json!([9, 2])), "verdict.span:"),
        (with("/verdict/span", json!(null)), "verdict.span:"),
        (with("/tags", json!(["a\nb"])), "tags[0]:"),
        (with("/rule", json!({"rule": "threshold", "value": 3})), "rule.value:"),
    ];
    for (index, (bad, expected)) in cases.iter().enumerate() {
        let file = format!("\n{bad}\n");
        let report = import(&fixture.analysis, &[file.as_bytes()]).await;
        assert_eq!((report.imported, report.errors.len()), (0, 1), "case {index}: {expected}");
        let error = &report.errors[0];
        assert_eq!(error.line, 2);
        assert!(error.message.starts_with("line 2: ") && error.message.contains(expected), "{expected}: {error:?}");
    }
    // A bad line stops neither the ones before nor the ones after it.
    let file = format!("nonsense\n{line}\nmore\n");
    let report = import(&fixture.analysis, &[file.as_bytes()]).await;
    assert_eq!((report.imported, report.errors.len()), (1, 2));
}

#[tokio::test]
async fn an_endless_line_and_endless_errors_are_bounded() {
    let fixture = Fixture::new().await;
    let chunk = vec![b'x'; 1 << 20];
    let mut chunks: Vec<&[u8]> = vec![&chunk; 130];
    chunks.push(b"\n{}\n");
    let report = import(&fixture.analysis, &chunks).await;
    assert_eq!(report.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2]);
    assert!(report.errors[0].message.contains("longer than"));

    let report = import(&fixture.analysis, &["{}\n".repeat(10_000).as_bytes()]).await;
    assert_eq!(report.errors.len(), MAX_IMPORT_ERRORS + 1);
    assert!(report.errors[MAX_IMPORT_ERRORS].message.contains("the rest was not read"));
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_what_came_before() {
    let fixture = Fixture::new().await;
    let source = Fixture::new().await;
    let (trace, line) = exported(&source, "Q", " 18").await;
    let chunks = vec![Ok(line.into_bytes()), Err(std::io::Error::other("gone"))];
    assert!(matches!(fixture.analysis.import(stream::iter(chunks)).await, Err(AnalysisError::Upload(_))));
    assert_eq!(fixture.analysis.trace(&trace.id).await.unwrap(), trace);
}

#[tokio::test]
async fn a_trace_without_roles_or_verdict_comes_back_as_well() {
    let here = Fixture::new().await;
    here.analysis.set_roles(Default::default()).await.unwrap();
    let rule = CriticalRule::Quantile { value: 0.1 };
    let plain = ScoreInput { answer: None, tags: vec![], rule, ..input("Q", " 18") };
    let trace = here.analysis.score(plain).await.unwrap();
    let file = here.analysis.export(&trace.id, ExportFormat::Jsonl).await.unwrap();
    let there = Fixture::new().await;
    assert_eq!(import(&there.analysis, &[&file.bytes]).await.imported, 1);
    assert_eq!(there.analysis.trace(&trace.id).await.unwrap(), trace);
}
