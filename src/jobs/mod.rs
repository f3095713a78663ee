//! Offline jobs over data sets: sample, select, fine-tune, contrast, prefer, evaluate, and the pipeline of all of these.
//!
//! # A job's way
//! 1. [`Jobs::submit`] checks the [`config`], finds the data sets, links their files into the job's folder, so that they may be
//!    deleted or replaced meanwhile, and stores the record: `validating_files`.
//! 2. A [`runner`] looks through the rows by [`plan`], which is what a dry run reports too: `queued`.
//! 3. The same runner claims the oldest job that waits, under a lease, and runs its [`stages`] one after another: `running`. A
//!    stage that is done leaves a mark; one that is cut off goes on from what it has written. So a job whose process was killed
//!    goes on once its lease has run out, and one that failed or was cancelled goes on when it is resumed.
//! 4. What happens on the way is appended to the job's events, which [`Jobs::events`] replays and follows.
//!
//! One runner a process: only one job works at a time, and shares the engine with whoever calls the server. Training has a
//! thread of its own, behind the [`Trainer`] trait.
//!
//! This room knows neither HTTP nor tensors nor SQL.

mod adapters;
mod artifacts;
mod config;
mod datasets;
mod dropped;
mod error;
mod events;
mod manage;
mod metrics;
mod pace;
mod plan;
mod prepare;
mod prompts;
mod rows;
mod runner;
mod stages;
mod submit;
mod trainer;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

pub use artifacts::ArtifactFile;
pub use config::{ArtifactRef, Bound, ConfigField, FieldValues, config_fields};
pub use datasets::DatasetPage;
pub use error::{ConfigError, ConfigFault, JobsError, Missing};
pub use events::JobEvents;
pub use metrics::metrics_csv;
pub use plan::PlannedStage;
pub use prepare::{DropReason, DroppedRow};
pub use runner::run;
pub use submit::{DryRun, JobInput};
pub use trainer::{LocalTrainer, Trainer, TrainingWork};

pub use crate::store::{Artifact, JobFilter, JobPage, Page, StoreError, StoredJob};

use self::adapters::adapter_folder;
use crate::analysis::Ids;
use crate::engine::Engine;
use crate::store::{Lease, Store};

/// How long a process may be silent before its job is another's. A killed server's job waits this long.
const LEASE: Duration = Duration::from_secs(15);

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    engine: Arc<dyn Engine>,
    store: Store,
    trainer: Arc<dyn Trainer>,
    lease: Lease,
    ids: Ids,
    /// Jobs that this process works on.
    running: Mutex<HashMap<String, CancellationToken>>,
    /// Rung when something happens to a job here.
    changed: Arc<Notify>,
    /// Cancelled when the process ends.
    stop: CancellationToken,
}

impl Jobs {
    /// `stop` ends the runner and the streams of events, and nothing else.
    pub fn new(engine: Arc<dyn Engine>, store: Store, trainer: Arc<dyn Trainer>, stop: CancellationToken) -> Self {
        Jobs(Arc::new(Shared {
            engine,
            store,
            trainer,
            lease: Lease { holder: Ulid::generate().to_string(), length: LEASE },
            ids: Ids::default(),
            running: Mutex::default(),
            changed: Arc::new(Notify::new()),
            stop,
        }))
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn trainer(&self) -> &Arc<dyn Trainer> {
        &self.0.trainer
    }

    fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    fn lease(&self) -> &Lease {
        &self.0.lease
    }

    /// Wakes whoever waits for something to happen to a job.
    fn announce(&self) {
        self.0.changed.notify_waiters();
    }

    /// Notes that a job is worked on here.
    fn hold(&self, id: &str, cancel: CancellationToken) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), cancel);
    }

    /// Notes that a job is not worked on here any more.
    fn let_go(&self, id: &str) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Cancels a job that is worked on here, at once.
    fn interrupt(&self, id: &str) {
        if let Some(cancel) = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            cancel.cancel();
        }
    }
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Runs what would hold up other requests on a thread of its own.
async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JobsError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| JobsError::Internal(error.to_string()))
}
