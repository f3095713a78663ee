//! What the server counts about itself, in Prometheus' text form.
//!
//! Each server has a recorder of its own instead of the process-wide one, so that two in one process do not mix.

use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::analysis::GenerationState;
use crate::domain::sampling::FinishReason;
use crate::domain::trace::Trace;

const REQUESTS: &str = "linchpin_http_requests_total";
const REQUEST_SECONDS: &str = "linchpin_http_request_duration_seconds";
const IN_FLIGHT: &str = "linchpin_http_requests_in_flight";
const TRAJECTORIES: &str = "linchpin_scored_trajectories_total";
const TOKENS: &str = "linchpin_scored_tokens_total";
const COMPUTE_SECONDS: &str = "linchpin_engine_compute_seconds";
const QUEUE_SECONDS: &str = "linchpin_engine_queue_seconds";
const COMPLETIONS: &str = "linchpin_completions_total";
const DRAWN_TOKENS: &str = "linchpin_completion_tokens_total";
const FIRST_TOKEN_SECONDS: &str = "linchpin_time_to_first_token_seconds";
const QUEUE_WAITING: &str = "linchpin_queue_waiting";
const QUEUE_CAPACITY: &str = "linchpin_queue_capacity";
const GENERATIONS: &str = "linchpin_generations_running";
const CACHE_BYTES: &str = "linchpin_cache_bytes";
const CACHE_BUDGET: &str = "linchpin_cache_budget_bytes";

/// Upper bounds in seconds: a tokenise call takes milliseconds, a long trajectory on a CPU takes a minute.
const BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The recorder and the handle that renders it.
pub(super) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let recorder = builder().unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        with_local_recorder(&recorder, || {
            describe_counter!(REQUESTS, "HTTP requests by method, route and status; `cancelled` is a client that left");
            describe_histogram!(REQUEST_SECONDS, "Seconds from a request's header to its answer's header");
            describe_gauge!(IN_FLIGHT, "HTTP requests being answered");
            describe_counter!(TRAJECTORIES, "Trajectories scored, by outcome");
            describe_counter!(TOKENS, "Tokens of scored trajectories, by part (prompt or response)");
            describe_histogram!(COMPUTE_SECONDS, "Seconds on the device for a trajectory");
            describe_histogram!(QUEUE_SECONDS, "Seconds that a trajectory waited for the device");
            describe_counter!(
                COMPLETIONS,
                "Completions by outcome: why a choice ended, or the code of a request's error"
            );
            describe_counter!(DRAWN_TOKENS, "Tokens drawn for completions");
            describe_histogram!(FIRST_TOKEN_SECONDS, "Seconds from a streamed request's body to its first token");
            describe_gauge!(QUEUE_WAITING, "Requests waiting for the device");
            describe_gauge!(QUEUE_CAPACITY, "Requests that may wait for the device before 429");
            describe_gauge!(GENERATIONS, "Requests that are drawn for at this moment");
            describe_gauge!(CACHE_BYTES, "Bytes of keys and values held for generation, those kept for reuse included");
            describe_gauge!(CACHE_BUDGET, "The most bytes that keys and values may take");
        });
        Self { recorder, handle }
    }

    pub(super) fn request_started(&self) {
        with_local_recorder(&self.recorder, || gauge!(IN_FLIGHT).increment(1.0));
    }

    /// `route` is the route's pattern, never the path, so that the number of series stays bounded.
    pub(super) fn request_finished(&self, method: &'static str, route: String, status: String, took: Duration) {
        with_local_recorder(&self.recorder, || {
            gauge!(IN_FLIGHT).decrement(1.0);
            counter!(REQUESTS, "method" => method, "route" => route.clone(), "status" => status.clone()).increment(1);
            histogram!(REQUEST_SECONDS, "method" => method, "route" => route, "status" => status).record(took);
        });
    }

    pub(super) fn scored(&self, trace: &Trace) {
        with_local_recorder(&self.recorder, || {
            counter!(TRAJECTORIES, "outcome" => "scored").increment(1);
            counter!(TOKENS, "part" => "prompt").increment(trace.usage.prompt_tokens as u64);
            counter!(TOKENS, "part" => "response").increment(trace.usage.response_tokens as u64);
            histogram!(COMPUTE_SECONDS).record(trace.timing.compute_ms / 1e3);
            histogram!(QUEUE_SECONDS).record(trace.timing.queue_ms / 1e3);
        });
    }

    /// `code` is the error's stable code.
    pub(super) fn refused(&self, code: &'static str) {
        with_local_recorder(&self.recorder, || counter!(TRAJECTORIES, "outcome" => code).increment(1));
    }

    /// A part of a completion: its tokens, why the completion ended if it did, and how long the first token took if it is
    /// in this part.
    pub(super) fn drawn(&self, tokens: usize, finish: Option<FinishReason>, first: Option<Duration>) {
        with_local_recorder(&self.recorder, || {
            counter!(DRAWN_TOKENS).increment(tokens as u64);
            if let Some(finish) = finish {
                counter!(COMPLETIONS, "outcome" => finish.name()).increment(1);
            }
            if let Some(first) = first {
                histogram!(FIRST_TOKEN_SECONDS).record(first);
            }
        });
    }

    /// `code` is the error's stable code.
    pub(super) fn completion_failed(&self, code: &'static str) {
        with_local_recorder(&self.recorder, || counter!(COMPLETIONS, "outcome" => code).increment(1));
    }

    pub(super) fn queue(&self, waiting: usize, capacity: usize) {
        with_local_recorder(&self.recorder, || {
            gauge!(QUEUE_WAITING).set(waiting as f64);
            gauge!(QUEUE_CAPACITY).set(capacity as f64);
        });
    }

    pub(super) fn generating(&self, state: GenerationState) {
        let GenerationState { running, cache_bytes, cache_budget } = state;
        with_local_recorder(&self.recorder, || {
            gauge!(GENERATIONS).set(running as f64);
            gauge!(CACHE_BYTES).set(cache_bytes as f64);
            gauge!(CACHE_BUDGET).set(cache_budget as f64);
        });
    }

    /// Folds what was recorded into the histograms; without it, measurements would pile up between reads.
    pub(super) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(super) fn render(&self) -> String {
        self.handle.render()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets(BUCKETS)
}
