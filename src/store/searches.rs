//! The table of searches: they belong to a trace, and go with it.

use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::domain::search::SearchRecord;

/// A search in the form in which it is stored.
#[derive(Debug, Clone)]
pub struct SearchRow {
    id: String,
    trace_id: String,
    created: i64,
    body: String,
}

impl SearchRow {
    /// Fails on a search that says no trace: it belongs nowhere.
    pub fn new(search: &SearchRecord) -> Result<Self, StoreError> {
        let Some(trace_id) = search.trace_id.clone() else {
            return Err(StoreError::Internal(format!("the search {} belongs to no trace", search.id)));
        };
        Ok(SearchRow {
            id: search.id.clone(),
            trace_id,
            created: search.created,
            body: serde_json::to_string(search)
                .map_err(|error| StoreError::Internal(format!("a search is not JSON: {error}")))?,
        })
    }

    pub(super) async fn insert(self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let SearchRow { id, trace_id, created, body } = self;
        let inserted = sqlx::query("INSERT INTO searches (id, trace_id, created, body) VALUES ($1, $2, $3, $4)")
            .bind(&id)
            .bind(&trace_id)
            .bind(created)
            .bind(body)
            .execute(&mut **transaction)
            .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(StoreError::SearchExists { id }),
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
    /// Stores searches, all or none. Fails with [`StoreError::TraceGone`] if a trace is not there, and with
    /// [`StoreError::SearchExists`] if an id is taken.
    pub async fn insert_searches(&self, rows: Vec<SearchRow>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            row.insert(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// A search.
    pub async fn search(&self, id: &str) -> Result<Option<SearchRecord>, StoreError> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM searches WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        body.map(|body| read(id, &body)).transpose()
    }

    /// The JSON of a trace's searches, exactly as they were stored, oldest first.
    pub async fn searches_json(&self, trace_id: &str) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar("SELECT body FROM searches WHERE trace_id = $1 ORDER BY id");
        Ok(query.bind(trace_id).fetch_all(&self.pool).await?)
    }

    /// A trace's searches, oldest first.
    pub async fn searches_of(&self, trace_id: &str) -> Result<Vec<SearchRecord>, StoreError> {
        self.searches_json(trace_id).await?.iter().map(|body| read(trace_id, body)).collect()
    }
}

fn read(id: &str, body: &str) -> Result<SearchRecord, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged { id: id.to_owned(), reason: error.to_string() })
}
