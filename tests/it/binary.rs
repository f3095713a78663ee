//! The real binary without a model: how it starts, fails, waits and stops.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::{Process, linchpin};

fn serve(folder: &Path, model: &str) -> Command {
    let mut command = linchpin();
    command.args(["serve", "--listen", "127.0.0.1:0", "--model", model]).arg("--data-dir").arg(folder.join("data"));
    command
}

/// A server whose model never comes: its Hub takes the connection and does not answer. Lives as long as the listener.
fn endless_load(folder: &Path) -> (Command, TcpListener) {
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve(folder, "some/model");
    command.env("HF_ENDPOINT", format!("http://{}", hub.local_addr().unwrap())).env("HF_HOME", folder.join("hub"));
    (command, hub)
}

#[tokio::test]
async fn it_listens_before_the_models_are_loaded_and_stops_on_sigterm() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (command, _hub) = endless_load(folder.path());
        let server = Process::start(command);
        let status = async |path: &str| reqwest::get(format!("{}{path}", server.url)).await.unwrap().status().as_u16();
        assert_eq!(status("/health").await, 200);
        assert_eq!(status("/ready").await, 503);
        assert_eq!(status("/v1/models").await, 503);
        let began = Instant::now();
        server.signal(signal);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_process_with_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (status, log) = Process::start(serve(folder.path(), "/no/such/model")).wait();
    assert!(!status.success());
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("/no/such/model"), "{log}");
    assert!(!log.contains("panicked") && !log.contains("backtrace"), "{log}");
}

#[test]
fn an_address_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = linchpin();
    command.args(["serve", "--model", "m", "--listen", &address]).arg("--data-dir").arg(folder.path());
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains(&address), "{error}");
}

#[test]
fn the_log_is_json_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, _hub) = endless_load(folder.path());
    command.args(["--log", "json"]);
    let server = Process::start(command);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(!log.is_empty());
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()), "{line}");
    }
}

#[test]
fn scoring_a_file_says_what_is_wrong_with_it() {
    let mut empty = tempfile::NamedTempFile::new().unwrap();
    writeln!(empty).unwrap();
    let path = empty.path().to_str().unwrap();
    for (file, expected) in [("/no/such/file.jsonl", "/no/such/file.jsonl"), (path, "holds no trajectory")] {
        let output = linchpin().args(["score", file, "--model", "/no/such/model"]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(expected), "{error}");
    }
}
