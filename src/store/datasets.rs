//! Data sets: uploads that are written as they arrive and appear whole or not at all.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::{Store, StoreError};
use crate::domain::dataset::{DatasetInfo, DatasetKind};

/// How the name of an upload begins and ends until it is whole.
pub(super) const UPLOAD_PREFIX: &str = ".upload-";
pub(super) const UPLOAD_SUFFIX: &str = ".part";

/// A data set that is being written. Dropping it leaves nothing behind.
pub struct DatasetWriter {
    file: BufWriter<tokio::fs::File>,
    /// Where it is until it is whole. Removed when dropped.
    part: tempfile::TempPath,
    hash: Sha256,
    bytes: u64,
}

impl DatasetWriter {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        let path: &Path = &self.part;
        self.file.write_all(bytes).await.map_err(|source| StoreError::Disk { path: path.to_owned(), source })
    }
}

/// What a data set may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced<'a> {
    /// Whatever has its name.
    Any,
    /// The data set with this file, or none.
    Only(Option<&'a str>),
}

impl Store {
    /// Begins a data set under no name yet.
    pub async fn begin_dataset(&self) -> Result<DatasetWriter, StoreError> {
        let folder = self.files.datasets();
        let disk = |source| StoreError::Disk { path: folder.clone(), source };
        tokio::fs::create_dir_all(&folder).await.map_err(disk)?;
        let mut named = tempfile::Builder::new();
        let named = named.prefix(UPLOAD_PREFIX).suffix(UPLOAD_SUFFIX);
        let (file, part) = named.tempfile_in(&folder).map_err(disk)?.into_parts();
        let file = BufWriter::new(tokio::fs::File::from_std(file));
        Ok(DatasetWriter { file, part, hash: Sha256::new(), bytes: 0 })
    }

    /// Gives a written data set its name; one that had it before is gone. `None`, and nothing is done, where the name has
    /// another file by now than it is to replace.
    pub async fn finish_dataset(
        &self,
        writer: DatasetWriter,
        (name, created): (String, i64),
        (kind, rows): (DatasetKind, u64),
        replaced: Replaced<'_>,
    ) -> Result<Option<DatasetInfo>, StoreError> {
        let DatasetWriter { mut file, part, hash, bytes } = writer;
        let folder = self.files.datasets();
        let disk = |source| StoreError::Disk { path: folder.clone(), source };
        file.flush().await.map_err(disk)?;
        file.get_ref().sync_all().await.map_err(disk)?;
        let file_name = format!("{}.jsonl", ulid::Ulid::generate());
        part.persist(folder.join(&file_name)).map_err(|error| disk(error.error))?;
        // The name is in the folder's own entry, which is written apart from the file.
        tokio::fs::File::open(&folder).await.map_err(disk)?.sync_all().await.map_err(disk)?;
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let info = DatasetInfo { name, kind, rows, bytes, sha256, created };
        let body = serde_json::to_string(&info).map_err(|error| StoreError::Internal(error.to_string()))?;
        // From the start a writer: one that reads first is refused if another writes in between.
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let before = sqlx::query_scalar("SELECT file FROM datasets WHERE name = $1").bind(&info.name);
        let before: Option<String> = before.fetch_optional(&mut *transaction).await?;
        if let Replaced::Only(expected) = replaced
            && before.as_deref() != expected
        {
            remove(&folder.join(&file_name)).await;
            return Ok(None);
        }
        sqlx::query(
            "INSERT INTO datasets (name, file, body) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET file = excluded.file, body = excluded.body",
        )
        .bind(&info.name)
        .bind(&file_name)
        .bind(body)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        if let Some(before) = before {
            remove(&folder.join(before)).await;
        }
        Ok(Some(info))
    }

    /// What is known of a data set, and where its lines are.
    pub async fn dataset(&self, name: &str) -> Result<Option<(DatasetInfo, PathBuf)>, StoreError> {
        let query = sqlx::query_as("SELECT file, body FROM datasets WHERE name = $1").bind(name);
        let row: Option<(String, String)> = query.fetch_optional(&self.pool).await?;
        row.map(|(file, body)| Ok((parse(name, &body)?, self.files.datasets().join(file)))).transpose()
    }

    /// Data sets in the order of their names, from behind `after`.
    pub async fn datasets(&self, after: &str, limit: usize) -> Result<Vec<DatasetInfo>, StoreError> {
        let query = sqlx::query_as("SELECT name, body FROM datasets WHERE name > $1 ORDER BY name LIMIT $2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<(String, String)> = query.bind(after).bind(limit).fetch_all(&self.pool).await?;
        rows.iter().map(|(name, body)| parse(name, body)).collect()
    }

    /// Removes a data set; false if there was none. Jobs that use it have their own hold on its lines.
    pub async fn delete_dataset(&self, name: &str) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar("DELETE FROM datasets WHERE name = $1 RETURNING file").bind(name);
        let file: Option<String> = query.fetch_optional(&self.pool).await?;
        if let Some(file) = &file {
            remove(&self.files.datasets().join(file)).await;
        }
        Ok(file.is_some())
    }
}

fn parse(name: &str, body: &str) -> Result<DatasetInfo, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged { id: name.to_owned(), reason: error.to_string() })
}

/// A file that nothing names any more costs space and nothing else.
async fn remove(path: &Path) {
    if let Err(error) = tokio::fs::remove_file(path).await {
        tracing::warn!(path = %path.display(), %error, "a data set's file was not removed");
    }
}
