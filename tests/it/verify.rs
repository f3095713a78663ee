//! `POST /v1/verify` and `linchpin verify`: verdicts without a model.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::process::linchpin;
use crate::support::{Server, Setup, assert_refused, ok, refusal};

const VERIFY: &str = "/v1/verify";

#[tokio::test]
async fn one_response_gets_one_verdict() {
    let server = Server::start().await;
    let request = json!({"response": "It is $\\boxed{\\frac{3}{4}}$.", "answer": "0.75"});
    let verdict = ok(server.post(VERIFY, &request).await).await;
    let expected = json!({"status": "correct", "extracted": "\\frac{3}{4}", "reference": "0.75", "span": [14, 25]});
    assert_eq!(verdict, expected);
    for (response, answer, status) in [
        ("The answer is 7.", "A long solution.\n#### 8", "wrong"),
        ("I do not know.", "8", "unparsed"),
        ("", "8", "unparsed"),
        ("\\boxed{10^{10^{10}}}", "8", "timeout"),
    ] {
        let verdict = ok(server.post(VERIFY, &json!({"response": response, "answer": answer})).await).await;
        assert_eq!((&verdict["status"], &verdict["reference"]), (&json!(status), &json!("8")));
        let fields: Vec<_> = verdict.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["status", "extracted", "reference", "span"]);
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let server = Server::start().await;
    let items: Vec<Value> =
        (0..1024).map(|i| json!({"response": format!("#### {i}"), "answer": format!("{}", i / 2 * 2)})).collect();
    let answer = ok(server.post(VERIFY, &json!({"items": items})).await).await;
    let data = answer["data"].as_array().unwrap();
    assert_eq!((answer.as_object().unwrap().len(), data.len()), (1, 1024));
    for (index, verdict) in data.iter().enumerate() {
        assert_eq!(verdict["extracted"], index.to_string());
        assert_eq!(verdict["status"], if index % 2 == 0 { "correct" } else { "wrong" });
    }
}

#[tokio::test]
async fn it_answers_before_the_models_are_loaded_and_only_with_the_key() {
    let server = Server::with(Setup { loading: true, keys: vec!["secret"], ..Setup::default() }).await;
    let request = json!({"response": "#### 1", "answer": "1"});
    assert_eq!(refusal(server.post(VERIFY, &request).await).await.status, 401);
    let keyed = server.request(reqwest::Method::POST, VERIFY).bearer_auth("secret").json(&request);
    assert_eq!(ok(keyed.send().await.unwrap()).await["status"], "correct");
}

#[tokio::test]
async fn every_invalid_field_is_named() {
    let server = Server::start().await;
    let good = json!({"response": "a", "answer": "1"});
    let many = vec![good.clone(); 1025];
    let long = "x".repeat((4 << 20) + 1);
    for (body, code, param) in [
        (json!({}), "missing_field", "response"),
        (json!({"response": "a"}), "missing_field", "answer"),
        (json!({"answer": "1"}), "missing_field", "response"),
        (json!({"response": "a", "answer": ""}), "out_of_range", "answer"),
        (json!({"response": "a", "answer": " \n"}), "out_of_range", "answer"),
        (json!({"response": "a", "answer": "1".repeat((64 << 10) + 1)}), "out_of_range", "answer"),
        (json!({"response": long, "answer": "1"}), "out_of_range", "response"),
        (json!({"response": "a", "answer": 5}), "invalid_value", "answer"),
        (json!({"response": null, "answer": "1"}), "invalid_value", "response"),
        (json!({"response": "a", "answer": "1", "prompt": "b"}), "unknown_field", "prompt"),
        (json!({"items": []}), "invalid_batch_size", "items"),
        (json!({"items": many}), "invalid_batch_size", "items"),
        (json!({"items": "a"}), "invalid_value", "items"),
        (json!({"items": [good, good, good, {"response": "a"}]}), "missing_field", "items[3].answer"),
        (json!({"items": [good, {"response": "a", "answer": ""}]}), "out_of_range", "items[1].answer"),
        (json!({"items": [{"response": 1, "answer": "1"}]}), "invalid_value", "items[0].response"),
        (json!({"items": [{"response": "a", "answer": "1", "id": 3}]}), "unknown_field", "items[0].id"),
        (json!({"items": [good], "response": "a"}), "unknown_field", "response"),
    ] {
        assert_refused(&refusal(server.post(VERIFY, &body).await).await, 422, code, Some(param));
    }
    assert_eq!(refusal(server.post_raw(VERIFY, "{").await).await.status, 400);
    assert_eq!(refusal(server.post_raw(VERIFY, "[]").await).await.status, 422);
}

/// Runs `linchpin verify -` over lines, and gives the rows that it wrote, its log, and whether it succeeded.
fn verify(lines: &str) -> (Vec<Value>, String, bool) {
    let mut child = linchpin();
    child.args(["verify", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    read(child.wait_with_output().unwrap())
}

fn read(output: Output) -> (Vec<Value>, String, bool) {
    let rows = String::from_utf8(output.stdout).unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (rows, String::from_utf8(output.stderr).unwrap(), output.status.success())
}

#[test]
fn a_file_of_rows_keeps_their_fields() {
    let (rows, log, success) = verify(
        "{\"id\": 7, \"response\": \"#### 18\", \"answer\": \"18\"}\n\n{\"prompt\": \"q\", \"response\": \"\", \"answer\": \"1\"}\n",
    );
    assert!(success, "{log}");
    assert_eq!(
        rows[0],
        json!({"id": 7, "response": "#### 18", "answer": "18",
               "verdict": {"status": "correct", "extracted": "18", "reference": "18", "span": [5, 7]}})
    );
    assert_eq!((&rows[1]["prompt"], &rows[1]["verdict"]["status"]), (&json!("q"), &json!("unparsed")));
    assert!(log.starts_with("1 correct, 0 wrong, 1 unparsed, 0 timeout, 0 bad lines"), "{log}");
    assert!(!log.contains("labels"), "{log}");
}

#[test]
fn labels_are_compared_with_the_verdicts() {
    let row =
        |answer: &str, correct: Value| json!({"response": "#### 18", "answer": answer, "correct": correct}).to_string();
    let lines =
        [row("18", json!(true)), row("18", json!(false)), row("17", json!(false)), row("17", Value::Null)].join("\n");
    let (rows, log, success) = verify(&lines);
    assert!(success && rows.len() == 4, "{log}");
    assert!(log.contains("2 of 3 labels agree; not those of lines 2"), "{log}");
}

#[test]
fn bad_lines_are_told_by_number_and_fail_the_run() {
    let good = "{\"response\": \"#### 18\", \"answer\": \"18\"}";
    let bad = [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        ("{\"response\": \"a\"}", "line 2: `answer` is missing"),
        ("{\"response\": 1, \"answer\": \"1\"}", "line 2: `response` must be a string"),
        ("{\"response\": \"a\", \"answer\": \" \"}", "line 2: `answer` is empty"),
        ("{\"response\": \"a\", \"answer\": \"1\", \"correct\": \"yes\"}", "line 2: `correct` must be true or false"),
    ];
    for (line, message) in bad {
        let (rows, log, success) = verify(&format!("{good}\n{line}\n{good}\n"));
        assert!(!success && rows.len() == 2 && log.contains(message), "{log}");
        assert!(log.contains("2 correct, 0 wrong, 0 unparsed, 0 timeout, 1 bad lines"), "{log}");
    }
}

#[test]
fn files_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    std::fs::write(&input, "{\"response\": \"#### 18\", \"answer\": \"18\"}").unwrap();
    let run = linchpin().arg("verify").arg(&input).arg("--output").arg(&output).output().unwrap();
    assert!(run.status.success() && run.stdout.is_empty());
    assert_eq!(std::fs::read_to_string(&output).unwrap().lines().count(), 1);
    std::fs::write(&input, "\n").unwrap();
    for (path, expected) in [(input.to_str().unwrap(), "holds no row"), ("/no/such/file.jsonl", "/no/such/file.jsonl")]
    {
        let (_, log, success) = read(linchpin().args(["verify", path]).output().unwrap());
        assert!(!success && log.contains(expected), "{log}");
    }
}
