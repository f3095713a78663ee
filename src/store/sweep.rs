//! Uploads that were cut off by the process's end: parts of files that nothing will ever name.
//!
//! Nothing else is swept. What a job made and what was once a data set are not named by a database that was lost or set back, and
//! their owner may still want them.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::datasets::{UPLOAD_PREFIX, UPLOAD_SUFFIX};
use super::{Store, StoreError};

/// How long a part must have been left alone. Another process may be writing one that is younger.
const ALONE: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Removes uploads that were cut off; says how many there were.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        let folder = self.files.datasets();
        tokio::task::spawn_blocking(move || sweep(folder, SystemTime::now() - ALONE))
            .await
            .map_err(|error| StoreError::Internal(error.to_string()))?
    }
}

/// Blocking.
fn sweep(folder: PathBuf, before: SystemTime) -> Result<usize, StoreError> {
    let disk = |source| StoreError::Disk { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(disk(error)),
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(disk)?;
        // The folder may have been a user's before: only names that this store gives are its own.
        let ours = |name: &str| name.starts_with(UPLOAD_PREFIX) && name.ends_with(UPLOAD_SUFFIX);
        let old = entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at < before);
        if old && entry.file_name().to_str().is_some_and(ours) {
            std::fs::remove_file(entry.path()).map_err(disk)?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_that_were_cut_off_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".upload-AbC.part", "theirs.part", "01K7P0C0H4T5G9S1M2N3P4Q5R6.jsonl"];
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let now = SystemTime::now();
        assert_eq!(sweep(folder.path().to_owned(), now - ALONE).unwrap(), 0, "what is young may be in use");
        assert_eq!(sweep(folder.path().to_owned(), now + ALONE).unwrap(), 1);
        assert_eq!(names.map(|name| folder.path().join(name).exists()), [false, true, true]);
        assert_eq!(sweep(folder.path().join("none"), now).unwrap(), 0);
    }
}
