//! The tables of runs in the background: records, requests, events, and leases on what is being drawn.

use sqlx::{QueryBuilder, Sqlite, Transaction};

use super::jobs::milliseconds;
use super::traces::{decode_cursor, encode_cursor};
use super::{Lease, Page, Store, StoreError};
use crate::domain::run::{RunRecord, RunState};

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    pub record: RunRecord,
    /// What was asked for, as JSON.
    pub request: String,
}

/// Which runs to list. Every field that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub trace_id: Option<String>,
    pub state: Option<RunState>,
}

/// A part of a list of runs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPage {
    pub runs: Vec<RunRecord>,
    pub has_more: bool,
    /// Set exactly when there is more.
    pub next_cursor: Option<String>,
}

type Row = (String, String, String);

impl Store {
    /// Stores a run that is held from now on. Fails with [`StoreError::TraceGone`] if its trace is not there.
    pub async fn insert_run(&self, run: &StoredRun, lease: &Lease) -> Result<(), StoreError> {
        let insert = sqlx::query(
            "INSERT INTO runs (id, made, trace_id, state, cancel, holder, lease_until, record, request) \
             VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)",
        )
        .bind(&run.record.id)
        .bind(made(&run.record.id))
        .bind(&run.record.trace_id)
        .bind(run.record.state.name())
        .bind(&lease.holder)
        .bind(lease.until())
        .bind(json(&run.record)?)
        .bind(&run.request);
        match insert.execute(&self.pool).await {
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                Err(StoreError::TraceGone { id: run.record.trace_id.clone() })
            }
            outcome => {
                outcome?;
                Ok(())
            }
        }
    }

    pub async fn run(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        let query = sqlx::query_as("SELECT id, record, request FROM runs WHERE id = $1").bind(id);
        let row: Option<Row> = query.fetch_optional(&self.pool).await?;
        row.map(|row| Ok(parse(row)?.record)).transpose()
    }

    /// A page of the runs, newest first.
    pub async fn runs(&self, filter: &RunFilter, page: &Page) -> Result<RunPage, StoreError> {
        page.check()?;
        let mut query = QueryBuilder::<Sqlite>::new("SELECT id, record, request FROM runs WHERE 1 = 1");
        if let Some(cursor) = &page.cursor {
            query.push(" AND made < ").push_bind(decode_cursor(cursor)?);
        }
        if let Some(trace_id) = &filter.trace_id {
            query.push(" AND trace_id = ").push_bind(trace_id.clone());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.name());
        }
        query.push(" ORDER BY made DESC LIMIT ").push_bind(page.limit as i64 + 1);
        let mut rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next_cursor = rows.last().filter(|_| has_more).map(|(id, ..)| encode_cursor(made(id)));
        let runs = rows.into_iter().map(|row| Ok(parse(row)?.record)).collect::<Result<_, StoreError>>()?;
        Ok(RunPage { runs, has_more, next_cursor })
    }

    /// The oldest run whose process is gone, held from now on.
    pub async fn claim_run(&self, lease: &Lease) -> Result<Option<StoredRun>, StoreError> {
        let query = sqlx::query_as(
            "UPDATE runs SET holder = $1, lease_until = $2 WHERE lease_until < $3 AND id = (SELECT id FROM runs \
             WHERE state = 'running' AND lease_until < $3 ORDER BY made LIMIT 1) RETURNING id, record, request",
        );
        let row: Option<Row> =
            query.bind(&lease.holder).bind(lease.until()).bind(milliseconds()).fetch_optional(&self.pool).await?;
        row.map(parse).transpose()
    }

    /// Holds a run for longer, and says whether somebody asked for its end. Fails with [`StoreError::LeaseLost`] if
    /// another holds it now, or it went with its trace.
    pub async fn renew_run(&self, id: &str, lease: &Lease) -> Result<bool, StoreError> {
        let query =
            sqlx::query_scalar("UPDATE runs SET lease_until = $1 WHERE id = $2 AND holder = $3 RETURNING cancel");
        let cancel: Option<i64> =
            query.bind(lease.until()).bind(id).bind(&lease.holder).fetch_optional(&self.pool).await?;
        cancel.map(|cancel| cancel != 0).ok_or_else(|| StoreError::LeaseLost { id: id.to_owned() })
    }

    /// Lets go of a run that is not over, for another process to go on with.
    pub async fn release_run(&self, id: &str, lease: &Lease) -> Result<(), StoreError> {
        let query = sqlx::query("UPDATE runs SET holder = NULL, lease_until = 0 WHERE id = $1 AND holder = $2");
        query.bind(id).bind(&lease.holder).execute(&self.pool).await?;
        Ok(())
    }

    /// Asks for the end of a run; whoever holds it, or takes it up, sees to it.
    pub async fn ask_for_run_end(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET cancel = 1 WHERE id = $1").bind(id).execute(&self.pool).await?;
        Ok(())
    }

    /// Adds events to a run that is held.
    pub async fn append_run_events(&self, id: &str, bodies: &[String], lease: &Lease) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let held = "UPDATE runs SET lease_until = $1 WHERE id = $2 AND holder = $3";
        let held = sqlx::query(held).bind(lease.until()).bind(id).bind(&lease.holder);
        if held.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StoreError::LeaseLost { id: id.to_owned() });
        }
        append(&mut transaction, id, bodies).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Ends a run that is held with its last events. `forget` drops the events before them: the stored record has it all.
    pub async fn end_run(
        &self,
        record: &RunRecord,
        bodies: &[String],
        forget: bool,
        lease: &Lease,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let ended = sqlx::query(
            "UPDATE runs SET state = $1, record = $2, holder = NULL, lease_until = 0 WHERE id = $3 AND holder = $4",
        )
        .bind(record.state.name())
        .bind(json(record)?)
        .bind(&record.id)
        .bind(&lease.holder);
        if ended.execute(&mut *transaction).await?.rows_affected() == 0 {
            return Err(StoreError::LeaseLost { id: record.id.clone() });
        }
        let first = append(&mut transaction, &record.id, bodies).await?;
        if forget {
            let forget = sqlx::query("DELETE FROM run_events WHERE run_id = $1 AND seq < $2");
            forget.bind(&record.id).bind(first).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A run's events from behind `after`, at most `limit`.
    pub async fn run_events(&self, id: &str, after: i64, limit: usize) -> Result<Vec<(i64, String)>, StoreError> {
        let query =
            sqlx::query_as("SELECT seq, body FROM run_events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(query.bind(id).bind(after).bind(limit).fetch_all(&self.pool).await?)
    }
}

/// Adds events, and gives the number of the first.
async fn append(
    transaction: &mut Transaction<'static, Sqlite>,
    id: &str,
    bodies: &[String],
) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM run_events WHERE run_id = $1").bind(id);
    let first: i64 = last.fetch_one(&mut **transaction).await?;
    for (seq, body) in (first + 1..).zip(bodies) {
        let insert = sqlx::query("INSERT INTO run_events (run_id, seq, body) VALUES ($1, $2, $3)");
        insert.bind(id).bind(seq).bind(body).execute(&mut **transaction).await?;
    }
    Ok(first + 1)
}

/// The part of an id that sorts by time.
fn made(id: &str) -> &str {
    id.split_once('_').map_or(id, |(_, made)| made)
}

fn json(record: &RunRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Internal(format!("a run is not JSON: {error}")))
}

fn parse((id, record, request): Row) -> Result<StoredRun, StoreError> {
    match serde_json::from_str(&record) {
        Ok(record) => Ok(StoredRun { record, request }),
        Err(error) => Err(StoreError::Damaged { id, reason: error.to_string() }),
    }
}
