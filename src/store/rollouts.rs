//! The table of rollouts: sets that belong to a trace, and go with it.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::domain::rollout::RolloutSet;

/// A set of rollouts in the form in which it is stored.
#[derive(Debug, Clone)]
pub struct RolloutsRecord {
    id: String,
    trace_id: String,
    created: i64,
    position: i64,
    body: String,
}

impl RolloutsRecord {
    /// Fails on a set that says no trace: it belongs nowhere.
    pub fn new(set: &RolloutSet) -> Result<Self, StoreError> {
        let Some(trace_id) = set.trace_id.clone() else {
            return Err(StoreError::Internal(format!("the rollouts {} belong to no trace", set.id)));
        };
        Ok(RolloutsRecord {
            id: set.id.clone(),
            trace_id,
            created: set.created,
            position: i64::try_from(set.position).unwrap_or(i64::MAX),
            body: serde_json::to_string(set)
                .map_err(|error| StoreError::Internal(format!("rollouts are not JSON: {error}")))?,
        })
    }

    pub(super) async fn insert(self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let RolloutsRecord { id, trace_id, created, position, body } = self;
        let inserted =
            sqlx::query("INSERT INTO rollouts (id, trace_id, created, position, body) VALUES ($1, $2, $3, $4, $5)")
                .bind(&id)
                .bind(&trace_id)
                .bind(created)
                .bind(position)
                .bind(body)
                .execute(&mut **transaction)
                .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::RolloutsExist { id }),
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => {
                Err(StoreError::TraceGone { id: trace_id })
            }
            outcome => {
                outcome?;
                Ok(())
            }
        }
    }
}

impl Store {
    /// Stores sets of rollouts, all or none. Fails with [`StoreError::TraceGone`] if a trace is not there, and with
    /// [`StoreError::RolloutsExist`] if an id is taken.
    pub async fn insert_rollouts(&self, records: Vec<RolloutsRecord>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for record in records {
            record.insert(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A set of rollouts.
    pub async fn rollouts(&self, id: &str) -> Result<Option<RolloutSet>, StoreError> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM rollouts WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        match body {
            Some(body) => Ok(parse(id, vec![body]).await?.pop()),
            None => Ok(None),
        }
    }

    /// The JSON of a trace's rollouts, exactly as they were stored, oldest first.
    pub async fn rollouts_json(&self, trace_id: &str) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT body FROM rollouts WHERE trace_id = $1 ORDER BY id");
        Ok(query.bind(trace_id).fetch_all(&self.pool).await?)
    }

    /// A trace's rollouts, oldest first.
    pub async fn rollouts_of(&self, trace_id: &str) -> Result<Vec<RolloutSet>, StoreError> {
        let bodies = self.rollouts_json(trace_id).await?;
        parse(trace_id, bodies).await
    }
}

/// Reads sets away from the threads that serve requests: many rollouts are megabytes of JSON.
async fn parse(id: &str, bodies: Vec<String>) -> Result<Vec<RolloutSet>, StoreError> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let damaged = |error: serde_json::Error| StoreError::Damaged { id: id.to_owned(), reason: error.to_string() };
    let read = move || bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>();
    let outcome: Result<Vec<RolloutSet>, serde_json::Error> =
        tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Internal(error.to_string()))?;
    outcome.map_err(damaged)
}
