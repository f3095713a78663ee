//! The tables of what belongs to a trace and goes with it: rollouts and searches.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Sqlite, Transaction};

use super::{Store, StoreError};
use crate::domain::rollout::RolloutSet;
use crate::domain::search::SearchRecord;

/// A record that belongs to a trace, in a table of its kind.
pub trait Attachment: Serialize + DeserializeOwned + Send + 'static {
    /// Where records of this kind are.
    const KIND: AttachmentKind;

    /// What the record is found by.
    fn key(&self) -> Key<'_>;
}

/// The columns of a record beside its body.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    pub id: &'a str,
    /// The trace that it belongs to, if to any.
    pub trace_id: Option<&'a str>,
    /// Unix seconds.
    pub created: i64,
}

/// What kinds of records belong to traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentKind {
    Rollouts,
    Search,
}

impl AttachmentKind {
    fn insert(self) -> &'static str {
        match self {
            Self::Rollouts => "INSERT INTO rollouts (id, trace_id, created, body) VALUES ($1, $2, $3, $4)",
            Self::Search => "INSERT INTO searches (id, trace_id, created, body) VALUES ($1, $2, $3, $4)",
        }
    }

    fn by_id(self) -> &'static str {
        match self {
            Self::Rollouts => "SELECT body FROM rollouts WHERE id = $1",
            Self::Search => "SELECT body FROM searches WHERE id = $1",
        }
    }

    fn of_trace(self) -> &'static str {
        match self {
            Self::Rollouts => "SELECT body FROM rollouts WHERE trace_id = $1 ORDER BY id",
            Self::Search => "SELECT body FROM searches WHERE trace_id = $1 ORDER BY id",
        }
    }

    /// The error of an id that is taken.
    pub fn taken(self, id: String) -> StoreError {
        match self {
            Self::Rollouts => StoreError::RolloutsExist { id },
            Self::Search => StoreError::SearchExists { id },
        }
    }
}

impl Attachment for RolloutSet {
    const KIND: AttachmentKind = AttachmentKind::Rollouts;

    fn key(&self) -> Key<'_> {
        Key { id: &self.id, trace_id: self.trace_id.as_deref(), created: self.created }
    }
}

impl Attachment for SearchRecord {
    const KIND: AttachmentKind = AttachmentKind::Search;

    fn key(&self) -> Key<'_> {
        Key { id: &self.id, trace_id: self.trace_id.as_deref(), created: self.created }
    }
}

/// A record in the form in which it is stored. Making one is pure computation, so that it can be done off the reactor.
#[derive(Debug, Clone)]
pub struct AttachmentRow {
    kind: AttachmentKind,
    id: String,
    trace_id: String,
    created: i64,
    body: String,
}

impl AttachmentRow {
    /// Fails on a record that names no trace: it belongs nowhere.
    pub fn new<A: Attachment>(record: &A) -> Result<Self, StoreError> {
        let Key { id, trace_id, created } = record.key();
        let Some(trace_id) = trace_id else {
            return Err(StoreError::Internal(format!("{id} belongs to no trace")));
        };
        Ok(Self {
            kind: A::KIND,
            id: id.to_owned(),
            trace_id: trace_id.to_owned(),
            created,
            body: serde_json::to_string(record)
                .map_err(|error| StoreError::Internal(format!("{id} is not JSON: {error}")))?,
        })
    }

    pub(super) async fn insert(self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        let Self { kind, id, trace_id, created, body } = self;
        let insert = sqlx::query(kind.insert()).bind(&id).bind(&trace_id).bind(created).bind(body);
        match insert.execute(&mut **transaction).await {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Err(kind.taken(id)),
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
    /// Stores records with their traces, all or none. Fails with [`StoreError::TraceGone`] if a trace is not there, and
    /// with [`StoreError::RolloutsExist`] or [`StoreError::SearchExists`] if an id is taken.
    pub async fn attach(&self, rows: Vec<AttachmentRow>) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for row in rows {
            row.insert(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The record of an id.
    pub async fn attachment<A: Attachment>(&self, id: &str) -> Result<Option<A>, StoreError> {
        let body: Option<String> = sqlx::query_scalar(A::KIND.by_id()).bind(id).fetch_optional(&self.pool).await?;
        match body {
            Some(body) => Ok(parse(id, vec![body]).await?.pop()),
            None => Ok(None),
        }
    }

    /// The JSON of a trace's records of a kind, exactly as they were stored, oldest first.
    pub async fn attachments_json(&self, kind: AttachmentKind, trace_id: &str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(kind.of_trace()).bind(trace_id).fetch_all(&self.pool).await?)
    }

    /// A trace's records of a kind, oldest first.
    pub async fn attachments<A: Attachment>(&self, trace_id: &str) -> Result<Vec<A>, StoreError> {
        let bodies = self.attachments_json(A::KIND, trace_id).await?;
        parse(trace_id, bodies).await
    }
}

/// Reads records away from the threads that serve requests: many rollouts are megabytes of JSON.
async fn parse<A: Attachment>(id: &str, bodies: Vec<String>) -> Result<Vec<A>, StoreError> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let damaged = |error: serde_json::Error| StoreError::Damaged { id: id.to_owned(), reason: error.to_string() };
    let read = move || bodies.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>();
    let outcome: Result<Vec<A>, serde_json::Error> =
        tokio::task::spawn_blocking(read).await.map_err(|error| StoreError::Internal(error.to_string()))?;
    outcome.map_err(damaged)
}
