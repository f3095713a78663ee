//! What every handler shares. Knows of the use cases, and of no engine or database behind them.

use std::sync::{Arc, OnceLock};

use super::auth::ApiKeys;
use super::metrics::Metrics;
use crate::analysis::{Analysis, Runs};
use crate::jobs::Jobs;

/// The HTTP room's part of the configuration.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Who may call; empty lets everybody in and serves loopback host names only.
    pub keys: ApiKeys,
    /// Longest request body that is read into memory, in bytes. The import of traces and
    /// the upload of data sets are streamed and not bound by it.
    pub max_body_bytes: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { keys: ApiKeys::default(), max_body_bytes: 32 << 20 }
    }
}

/// Shared by all handlers; cheap to clone. It exists before the models are loaded, so that probes are answered at once.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    options: HttpOptions,
    rooms: OnceLock<(Analysis, Runs, Jobs)>,
    metrics: Metrics,
}

impl AppState {
    /// A state without models: every model route answers `models_not_ready` until [`AppState::open`].
    pub fn new(options: HttpOptions) -> Self {
        Self(Arc::new(Shared { options, rooms: OnceLock::new(), metrics: Metrics::new() }))
    }

    /// Opens the model routes. The first call counts; models are not exchanged as a whole while serving.
    pub fn open(&self, analysis: Analysis, runs: Runs, jobs: Jobs) {
        if self.0.rooms.set((analysis, runs, jobs)).is_err() {
            tracing::warn!("the model routes are open already");
        }
    }

    pub(super) fn analysis(&self) -> Option<&Analysis> {
        self.0.rooms.get().map(|(analysis, ..)| analysis)
    }

    pub(super) fn runs(&self) -> Option<&Runs> {
        self.0.rooms.get().map(|(_, runs, _)| runs)
    }

    pub(super) fn jobs(&self) -> Option<&Jobs> {
        self.0.rooms.get().map(|(.., jobs)| jobs)
    }

    pub(super) fn keys(&self) -> &ApiKeys {
        &self.0.options.keys
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn max_body_bytes(&self) -> usize {
        self.0.options.max_body_bytes
    }
}
