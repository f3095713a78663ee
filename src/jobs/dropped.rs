//! The artifact that lists every row that was left out, and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::StageError;
use super::prepare::DroppedRow;
use super::stages::write_lines;
use crate::store::JobFolder;

/// `dropped.jsonl`. It is there only if a row was left out.
pub(super) struct DroppedFile {
    path: PathBuf,
}

impl DroppedFile {
    pub(super) fn of(folder: &JobFolder) -> Self {
        Self { path: folder.artifacts().join("dropped.jsonl") }
    }

    /// Puts a stage's rows in place of those that it had, and counts all rows by reason. Blocking.
    pub(super) fn replace(&self, stage: &str, dropped: Vec<DroppedRow>) -> Result<BTreeMap<String, u64>, StageError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(StageError::io(&self.path)(error)),
        };
        let mut rows = Vec::new();
        for line in text.lines() {
            let row: DroppedRow = serde_json::from_str(line).map_err(|error| StageError::internal(&error))?;
            if row.stage != stage {
                rows.push(row);
            }
        }
        rows.extend(dropped);
        if !(rows.is_empty() && text.is_empty()) {
            write_lines(&self.path, &rows)?;
        }
        let mut counts = BTreeMap::new();
        for row in rows {
            *counts.entry(row.reason.name().to_owned()).or_default() += 1;
        }
        Ok(counts)
    }
}
