//! Records that outlive a request: stored traces with their rollouts and searches, data sets and jobs. Records are in SQLite,
//! what is large is in files beside it.
//!
//! This room knows SQL and the domain's values. It knows neither models nor HTTP.

mod attachments;
mod datasets;
mod error;
mod files;
mod job_events;
mod jobs;
mod runs;
mod sweep;
mod traces;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use attachments::{Attachment, AttachmentKind, AttachmentRow, Key};
pub use datasets::{DatasetWriter, Replaced};
pub use error::StoreError;
pub use files::{Artifact, JobFolder};
pub use jobs::{Claim, JobFilter, JobPage, Lease, StoredJob};
pub use runs::{RunFilter, RunPage, StoredRun};
pub use traces::{Page, TraceFilter, TraceOrder, TracePage, TraceQuery, TraceRecord, TraceSort};

use self::files::Files;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// How long a writer waits for another, in this process or not.
const BUSY: Duration = Duration::from_secs(10);
/// SQLite has one writer at a time; the rest of the connections read beside it.
const CONNECTIONS: u32 = 4;

/// Where the records are.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file. Its folder is made if it is missing; data sets and jobs have folders beside it.
    pub path: PathBuf,
}

/// A handle on the records. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(self) pool: SqlitePool,
    pub(self) files: Files,
}

impl Store {
    /// Opens the database, makes it if it is missing, and brings it to this version's schema.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let path = options.path;
        let unusable = |reason: String| StoreError::Unusable { path: path.clone(), reason };
        if path.is_dir() {
            return Err(unusable("it is a folder".to_owned()));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder)
                .await
                .map_err(|error| unusable(format!("its folder cannot be made: {error}")))?;
        }
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With a write-ahead log, NORMAL survives a killed process; only a power cut may lose the last writes.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .connect_with(connect)
            .await
            .map_err(|error| unusable(error.to_string()))?;
        Self::migrated(pool, Files::beside(&path), &path).await
    }

    /// A store that is forgotten with the process: for runs that save nothing, and for tests.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let files = Files::temporary()?;
        let connect = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // Every connection to `:memory:` is a database of its own, so there is one, and it is never closed.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(connect)
            .await
            .map_err(|error| StoreError::Unusable { path: path.clone(), reason: error.to_string() })?;
        Self::migrated(pool, files, &path).await
    }

    async fn migrated(pool: SqlitePool, files: Files, path: &Path) -> Result<Self, StoreError> {
        match MIGRATIONS.run(&pool).await {
            Ok(()) => Ok(Store { pool, files }),
            Err(error) => {
                pool.close().await;
                Err(migration_error(error, path))
            }
        }
    }

    /// Fails unless the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Waits for running statements and closes the database; later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn migration_error(error: MigrateError, path: &Path) -> StoreError {
    let path = path.to_owned();
    if let MigrateError::VersionMissing(found) = error {
        let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        return StoreError::Newer { path, found, known };
    }
    StoreError::Unusable { path, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
