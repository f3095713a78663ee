//! What the HTTP tests share: a server on a free port, over a temporary store and an engine that makes up its numbers.
//! Only the shape of answers is tested with it; numbers are tested on real models.

pub(crate) mod engine;
pub(crate) mod generation;
pub(crate) mod process;
pub(crate) mod trainer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use linchpin::analysis::{Analysis, Runs};
use linchpin::http::{ApiKeys, AppState, HttpOptions, ServerLimits, serve};
use linchpin::jobs::Jobs;
use linchpin::store::{Store, StoreOptions};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use engine::FakeEngine;
use trainer::FakeTrainer;

/// How a test's server differs from the default.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) keys: Vec<&'static str>,
    pub(crate) max_body_bytes: Option<usize>,
    /// Without models, as in the first seconds of a server.
    pub(crate) loading: bool,
    pub(crate) adapters_dir: Option<PathBuf>,
    pub(crate) drain: Option<Duration>,
    /// Jobs wait for ever.
    pub(crate) no_jobs: bool,
    /// Records that outlive the server.
    pub(crate) database: Option<PathBuf>,
}

/// A server that ends with the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) trainer: Arc<FakeTrainer>,
    pub(crate) client: reqwest::Client,
    pub(crate) stop: CancellationToken,
    /// Gives the number of connections that the drain cut off.
    pub(crate) running: JoinHandle<std::io::Result<usize>>,
    _stop_on_drop: DropGuard,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let engine = Arc::new(FakeEngine::new());
        let keys = setup.keys.iter().map(|key| Sha256::digest(key.as_bytes()).into()).collect();
        let mut options = HttpOptions { keys: ApiKeys::new(keys), ..HttpOptions::default() };
        options.max_body_bytes = setup.max_body_bytes.unwrap_or(options.max_body_bytes);
        let state = AppState::new(options);
        let stop = CancellationToken::new();
        let folder = tempfile::tempdir().unwrap();
        let trainer = Arc::new(FakeTrainer::default());
        if !setup.loading {
            // A file, as it is served: a database in memory goes with its one connection, which a client that leaves in
            // the middle of a statement takes along.
            let path = setup.database.unwrap_or_else(|| folder.path().join("linchpin.db"));
            let store = Store::open(StoreOptions { path }).await.unwrap();
            let jobs = Jobs::new(engine.clone(), store.clone(), trainer.clone(), stop.clone());
            if !setup.no_jobs {
                tokio::spawn(linchpin::jobs::run(jobs.clone()));
            }
            let analysis = Analysis::new(engine.clone(), store, setup.adapters_dir);
            let runs = Runs::new(analysis.clone(), stop.clone());
            tokio::spawn(runs.clone().take_up());
            state.open(analysis, runs, jobs);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = setup.drain.unwrap_or(Duration::from_secs(10));
        let limits = ServerLimits { drain, ..ServerLimits::default() };
        let running = tokio::spawn(serve(listener, state, limits, stop.clone().cancelled_owned()));
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let _stop_on_drop = stop.clone().drop_guard();
        Self { address, engine, trainer, client, _stop_on_drop, stop, running, _folder: folder }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Response {
        self.request(Method::PUT, path).json(body).send().await.unwrap()
    }

    /// Posts a text as a JSON body, whatever it is.
    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    }

    /// Scores a trajectory that is fine, with the fields of `changes` on top.
    pub(crate) async fn score(&self, changes: Value) -> Response {
        self.post("/v1/score", &trajectory(changes)).await
    }

    /// A trace as it is stored now.
    pub(crate) async fn stored(&self, trace: &Value) -> Value {
        ok(self.get(&format!("/v1/traces/{}", trace["id"].as_str().unwrap())).await).await
    }

    /// A trace as a line to import.
    pub(crate) async fn export(&self, trace: &Value) -> String {
        let path = format!("/v1/traces/{}/export", trace["id"].as_str().unwrap());
        self.get(&path).await.text().await.unwrap()
    }

    /// Uploads lines of traces.
    pub(crate) async fn import(&self, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, "/v1/traces/import").header("content-type", "application/x-ndjson");
        request.body(body).send().await.unwrap()
    }

    /// Posts to a route that draws, with a client that reads the first of a stream and leaves, and with one that waits for
    /// the whole and leaves: the engine must stop, and nothing be kept.
    pub(crate) async fn leave(&self, path: &str, request: Value, trace: &Value) {
        let generating = || self.engine.generating.load(SeqCst);
        let held = self.engine.draws.clone().acquire_many_owned(1 << 20).await.unwrap();

        let mut streamed = self.post(path, &changed(request.clone(), json!({"stream": true}))).await;
        let first = streamed.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(b"data: {\"event\":\"summary\""), "{first:?}");
        until(|| generating() == 1).await;
        drop(streamed);
        until(|| generating() == 0).await;

        let client = tokio::spawn(self.request(Method::POST, path).json(&request).send());
        until(|| generating() == 1).await;
        client.abort();
        until(|| generating() == 0).await;

        drop(held);
        assert_eq!(&self.stored(trace).await, trace);
        ok(self.post(path, &request).await).await;
    }
}

/// A score request that is fine, with the fields of `changes` on top; null removes a field.
pub(crate) fn trajectory(changes: Value) -> Value {
    changed(json!({"prompt": "Question: 3 + 4?\nAnswer:", "response": " It is 8."}), changes)
}

/// A request with the fields of `changes` on top; null removes a field.
pub(crate) fn changed(mut request: Value, changes: Value) -> Value {
    for (field, value) in changes.as_object().unwrap() {
        if value.is_null() {
            request.as_object_mut().unwrap().shift_remove(field);
        } else {
            request[field] = value.clone();
        }
    }
    request
}

/// The names of an object's fields, in their order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The values of an array.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Reads a success's server-sent events, which end with `[DONE]`, and leaves that out.
pub(crate) async fn events(response: Response) -> Vec<Value> {
    let (status, kind) = (response.status(), response.headers()["content-type"].to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    assert!(status == StatusCode::OK && kind.starts_with("text/event-stream"), "{status}: {text}");
    let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// Reads a success's JSON.
pub(crate) async fn ok(response: Response) -> Value {
    let status = response.status();
    let text = response.text().await.unwrap();
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// What a test expects of an error.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) code: String,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
}

/// Reads an error, and checks that it has the contract's form and nothing else.
pub(crate) async fn refusal(response: Response) -> Refusal {
    let status = response.status();
    assert!(!status.is_success(), "expected an error, got {status}");
    assert_eq!(response.headers()["content-type"], "application/json", "{status}");
    let retry = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(response.headers().contains_key("retry-after"), retry, "{status}");
    let body: Value = response.json().await.unwrap();
    let fields: Vec<_> = body["error"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["message", "type", "param", "code"], "{body}");
    let text = |field: &str| body["error"][field].as_str().map(str::to_owned);
    Refusal {
        status: status.as_u16(),
        kind: text("type").unwrap(),
        code: text("code").unwrap(),
        param: text("param"),
        message: text("message").unwrap(),
    }
}

/// Asserts an error's status, code and field.
#[track_caller]
pub(crate) fn assert_refused(refusal: &Refusal, status: u16, code: &str, param: Option<&str>) {
    let found = (refusal.status, refusal.code.as_str(), refusal.param.as_deref());
    assert_eq!(found, (status, code, param), "{refusal:?}");
    let kind = match status {
        401 => "authentication_error",
        404 => "not_found_error",
        409 => "conflict_error",
        429 | 503 => "overloaded_error",
        500 => "internal_error",
        _ => "invalid_request_error",
    };
    assert_eq!(refusal.kind, kind, "{refusal:?}");
}

/// Waits for a condition to come to hold.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the condition came to hold");
}

/// Jobs and their data sets.
impl Server {
    /// Uploads rows as a data set.
    pub(crate) async fn upload(&self, name: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::PUT, &format!("/v1/datasets/{name}"));
        request.header("content-type", "application/x-ndjson").body(body).send().await.unwrap()
    }

    /// Uploads rows that are right.
    pub(crate) async fn upload_rows(&self, name: &str, rows: &[Value]) -> Value {
        let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
        ok(self.upload(name, body).await).await
    }

    /// Submits a job and gives its id.
    pub(crate) async fn submit(&self, kind: &str, config: Value) -> String {
        let response = self.post("/v1/jobs", &json!({"kind": kind, "config": config})).await;
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let job = ok(response).await;
        assert_eq!(location, format!("/v1/jobs/{}", job["id"].as_str().unwrap()));
        job["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        ok(self.get(&format!("/v1/jobs/{id}")).await).await
    }

    /// Waits for a job to be in a state, and gives it.
    pub(crate) async fn job_in(&self, id: &str, state: &str) -> Value {
        for _ in 0..2000 {
            let job = self.job(id).await;
            if job["state"] == json!(state) {
                return job;
            }
            let over = ["succeeded", "failed", "cancelled"].contains(&job["state"].as_str().unwrap());
            assert!(!over, "the job is {} and not {state}: {job}", job["state"]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the job did not come to be {state}: {}", self.job(id).await);
    }

    /// Submits a job and waits for its success.
    pub(crate) async fn succeeds(&self, kind: &str, config: Value) -> Value {
        let id = self.submit(kind, config).await;
        self.job_in(&id, "succeeded").await
    }

    /// A text that a job made.
    pub(crate) async fn artifact(&self, id: &str, name: &str) -> String {
        let response = self.get(&format!("/v1/jobs/{id}/artifacts/{name}")).await;
        assert_eq!(response.status(), 200, "{name}");
        response.text().await.unwrap()
    }

    /// The rows of JSON lines that a job made.
    pub(crate) async fn artifact_rows(&self, id: &str, name: &str) -> Vec<Value> {
        self.artifact(id, name).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
