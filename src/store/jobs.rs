//! The table of jobs: records, the queue in it, and leases on what is being worked on.
//!
//! Whoever works on a job holds a lease and renews it. A process that is killed renews nothing, so its job is claimed again
//! once the lease has run out. Only the holder writes the record of a job that is held.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::{QueryBuilder, Sqlite};

use super::files::JobFolder;
use super::traces::{decode_cursor, encode_cursor};
use super::{Page, Store, StoreError};
use crate::domain::job::{JobKind, JobRecord, JobState};

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredJob {
    pub record: JobRecord,
    /// The complete configuration as JSON.
    pub config: String,
}

/// Which jobs to list. Every field that is set must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub state: Option<JobState>,
    pub kind: Option<JobKind>,
}

/// A part of a list of jobs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    pub jobs: Vec<StoredJob>,
    pub has_more: bool,
    /// Set exactly when there is more.
    pub next_cursor: Option<String>,
}

/// What a worker looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A job whose files are to be checked.
    Check,
    /// A job that waits, or one whose worker is gone; none while another runs, for they share the device.
    Run,
}

/// A worker's name and how long it may be silent.
#[derive(Debug, Clone)]
pub struct Lease {
    pub holder: String,
    pub length: Duration,
}

type Row = (String, String, String);

impl Store {
    pub async fn insert_job(&self, job: &StoredJob) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO jobs (id, kind, state, cancel, holder, lease_until, record, config) \
             VALUES ($1, $2, $3, 0, NULL, 0, $4, $5)",
        )
        .bind(&job.record.id)
        .bind(job.record.kind.name())
        .bind(job.record.state.name())
        .bind(json(&job.record)?)
        .bind(&job.config)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub async fn job(&self, id: &str) -> Result<Option<StoredJob>, StoreError> {
        let query = sqlx::query_as("SELECT id, record, config FROM jobs WHERE id = $1").bind(id);
        let row: Option<Row> = query.fetch_optional(&self.pool).await?;
        row.map(parse).transpose()
    }

    /// A page of the jobs, newest first.
    pub async fn jobs(&self, filter: JobFilter, page: &Page) -> Result<JobPage, StoreError> {
        page.check()?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, record, config FROM jobs WHERE 1 = 1");
        if let Some(cursor) = &page.cursor {
            query.push(" AND id < ").push_bind(decode_cursor(cursor)?);
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        if let Some(kind) = filter.kind {
            query.push(" AND kind = ").push_bind(kind.name());
        }
        // One more than asked for tells whether there is more.
        query.push(" ORDER BY id DESC LIMIT ").push_bind(page.limit as i64 + 1);
        let mut rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|(id, ..)| encode_cursor(id));
        Ok(JobPage { jobs: rows.into_iter().map(parse).collect::<Result<_, _>>()?, has_more, next_cursor })
    }

    /// The oldest job that is to be worked on, held from now on. One to run is `running` then, in the row; the holder
    /// writes the record.
    pub async fn claim_job(&self, claim: Claim, lease: &Lease) -> Result<Option<StoredJob>, StoreError> {
        let claimed = match claim {
            Claim::Check => {
                "UPDATE jobs SET holder = $1, lease_until = $2 WHERE lease_until < $3 AND id = (SELECT id FROM jobs \
                 WHERE state = 'validating_files' AND lease_until < $3 ORDER BY id LIMIT 1) \
                 RETURNING id, record, config"
            }
            Claim::Run => {
                "UPDATE jobs SET holder = $1, lease_until = $2, state = 'running' WHERE lease_until < $3 AND id = \
                 (SELECT id FROM jobs WHERE state IN ('queued', 'running') AND lease_until < $3 ORDER BY id LIMIT 1) \
                 AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'running' AND lease_until >= $3) \
                 RETURNING id, record, config"
            }
        };
        let query = sqlx::query_as(claimed).bind(&lease.holder).bind(lease.until()).bind(milliseconds());
        let row: Option<Row> = query.fetch_optional(&self.pool).await?;
        row.map(parse).transpose()
    }

    /// Holds a job for longer, and says whether somebody asked for its end. Fails with [`StoreError::LeaseLost`] if
    /// another holds it now.
    pub async fn renew_lease(&self, id: &str, lease: &Lease) -> Result<bool, StoreError> {
        let query =
            sqlx::query_scalar("UPDATE jobs SET lease_until = $1 WHERE id = $2 AND holder = $3 RETURNING cancel")
                .bind(lease.until())
                .bind(id)
                .bind(&lease.holder);
        let cancel: Option<i64> = query.fetch_optional(&self.pool).await?;
        cancel.map(|cancel| cancel != 0).ok_or_else(|| StoreError::LeaseLost { id: id.to_owned() })
    }

    /// Writes the record of a job that is held.
    pub async fn save_job(&self, record: &JobRecord, lease: &Lease) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE jobs SET state = $1, record = $2 WHERE id = $3 AND holder = $4")
            .bind(record.state.name())
            .bind(json(record)?)
            .bind(&record.id)
            .bind(&lease.holder);
        held(query.execute(&self.pool).await?.rows_affected(), &record.id)
    }

    /// Writes the record of a job that is held, and lets go of it.
    pub async fn release_job(&self, record: &JobRecord, lease: &Lease) -> Result<(), StoreError> {
        let query = sqlx::query(
            "UPDATE jobs SET state = $1, record = $2, holder = NULL, lease_until = 0 WHERE id = $3 AND holder = $4",
        )
        .bind(record.state.name())
        .bind(json(record)?)
        .bind(&record.id)
        .bind(&lease.holder);
        held(query.execute(&self.pool).await?.rows_affected(), &record.id)
    }

    /// Puts a job that nobody holds and that is in state `from` into the record's state, and forgets that anybody asked
    /// for its end; false if it is not so any more.
    pub async fn move_job(&self, from: JobState, record: &JobRecord) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "UPDATE jobs SET state = $1, record = $2, cancel = 0, holder = NULL, lease_until = 0 \
             WHERE id = $3 AND state = $4 AND lease_until < $5",
        )
        .bind(record.state.name())
        .bind(json(record)?)
        .bind(&record.id)
        .bind(from.name())
        .bind(milliseconds());
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Asks the holder of a job for its end; false if nobody holds it.
    pub async fn ask_for_end(&self, id: &str) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE jobs SET cancel = 1 WHERE id = $1 AND lease_until >= $2");
        Ok(query.bind(id).bind(milliseconds()).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// The folder of a job. `id` must have a job's form.
    pub fn job_folder(&self, id: &str) -> JobFolder {
        self.files.job(id)
    }
}

impl Lease {
    /// When a lease that is taken now runs out, in Unix milliseconds.
    pub(super) fn until(&self) -> i64 {
        milliseconds() + i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX / 2)
    }
}

fn held(rows: u64, id: &str) -> Result<(), StoreError> {
    if rows > 0 { Ok(()) } else { Err(StoreError::LeaseLost { id: id.to_owned() }) }
}

fn json(record: &JobRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Internal(format!("a job is not JSON: {error}")))
}

fn parse((id, record, config): Row) -> Result<StoredJob, StoreError> {
    match serde_json::from_str(&record) {
        Ok(record) => Ok(StoredJob { record, config }),
        Err(error) => Err(StoreError::Damaged { id, reason: error.to_string() }),
    }
}

pub(super) fn milliseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests;
