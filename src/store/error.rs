//! What can go wrong in the store.

use std::path::PathBuf;

/// A failure of the store, or a request that it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made, or the file cannot be opened or written.
    #[error("the database {} cannot be used: {reason}", .path.display())]
    Unusable { path: PathBuf, reason: String },
    /// A newer version of this program has changed the database.
    #[error("the database {} was written by a newer version (schema {found}; this version knows up to {known})", .path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// A trace of this id is stored already.
    #[error("a trace {id:?} is stored already")]
    Exists { id: String },
    /// Rollouts of this id are stored already.
    #[error("rollouts {id:?} are stored already")]
    RolloutsExist { id: String },
    /// A search of this id is stored already.
    #[error("a search {id:?} is stored already")]
    SearchExists { id: String },
    /// The trace that a record belongs to is not there, or not any more.
    #[error("there is no trace {id:?}")]
    TraceGone { id: String },
    /// A file cannot be written or read.
    #[error("{} cannot be written or read: {source}", .path.display())]
    Disk { path: PathBuf, source: std::io::Error },
    /// Another worker holds the job or the run.
    #[error("{id:?} is held by another worker")]
    LeaseLost { id: String },
    /// The cursor did not come from a list.
    #[error("the cursor is not one that a list gave")]
    BadCursor,
    /// A page must hold 1 to 100 rows.
    #[error("a page holds 1 to {max} entries, not {limit}")]
    BadLimit { limit: usize, max: usize },
    /// A stored record does not read back; the text is for the log.
    #[error("the stored record of {id:?} is damaged: {reason}")]
    Damaged { id: String, reason: String },
    /// The database failed; the text is for the log.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}
