//! `linchpin job`: the thin client, against a server of this process.

use std::process::Output;

use serde_json::json;

use crate::support::process::linchpin;
use crate::support::{Server, Setup};

/// Runs the command beside the server's own threads.
async fn job(server: &Server, arguments: &[&str]) -> Output {
    let mut command = linchpin();
    command.arg("job").args(arguments).env("LINCHPIN_SERVER", format!("http://{}/", server.address));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_followed_and_listed() {
    let server = Server::start().await;
    server.upload_rows("responses", &[json!({"prompt": "1 + 1 =", "response": " 2"})]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.json");
    std::fs::write(&file, json!({"kind": "sft", "config": {"dataset": "responses"}}).to_string()).unwrap();
    let file = file.to_str().unwrap();

    let output = job(&server, &["submit", file, "--watch"]).await;
    let (out, log) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{log}");
    assert!(log.contains("state: running\n") && log.contains("trained for 1 steps"), "{log}");
    let id = out.lines().next().unwrap();
    assert_eq!(out.lines().nth(1).unwrap(), format!("{id}\tsft\tsucceeded\tsft\t1/1\t"));
    let list = job(&server, &["list"]).await;
    assert_eq!(text(&list.stdout), format!("{id}\tsft\tsucceeded\tsft\t1/1\t\n"));

    let plan = job(&server, &["submit", file, "--dry-run"]).await;
    assert!(text(&plan.stdout).contains("\"object\": \"job_plan\""), "{plan:?}");
    let again = job(&server, &["watch", id]).await;
    assert!(again.status.success());
    let cancel = job(&server, &["cancel", id]).await;
    assert!(
        !cancel.status.success() && text(&cancel.stderr).contains("succeeded: it cannot be cancelled"),
        "{cancel:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_one_line() {
    let server = Server::with(Setup { keys: vec!["secret"], ..Setup::default() }).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, "{\"learning_rate\": 1}").unwrap();
    let file = file.to_str().unwrap();
    let refused = job(&server, &["submit", file, "--kind", "sft"]).await;
    assert!(text(&refused.stderr).contains("needs a key"), "{refused:?}");
    let named = job(&server, &["submit", file, "--kind", "sft", "--api-key", "secret"]).await;
    let error = text(&named.stderr);
    assert!(error.starts_with("error: config.dataset: ") && error.lines().count() == 1, "{error}");
    for arguments in [&["submit", "/no/such/file"][..], &["list", "--server", "http://127.0.0.1:9"]] {
        assert!(!job(&server, arguments).await.status.success());
    }
}
