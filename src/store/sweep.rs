//! Files that nothing names: left behind by a process that was killed between writing a file and naming it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ulid::Ulid;

use super::datasets::{UPLOAD_PREFIX, UPLOAD_SUFFIX};
use super::{Store, StoreError};
use crate::domain::job::is_job_id;

/// How long a file must have been left alone. Another process may be writing one that is younger.
const ALONE: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Removes uploads that never got a name and folders of jobs that were never stored; says how many there were.
    pub async fn sweep(&self) -> Result<usize, StoreError> {
        self.sweep_before(SystemTime::now() - ALONE).await
    }

    async fn sweep_before(&self, before: SystemTime) -> Result<usize, StoreError> {
        // Listed before the database is asked: what is named in between is not among these.
        let (datasets, jobs) = (left_alone(self.files.datasets(), before), left_alone(self.files.jobs(), before));
        let named: HashSet<String> = sqlx::query_scalar("SELECT file FROM datasets UNION ALL SELECT id FROM jobs")
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .collect();
        let unnamed: Vec<PathBuf> = datasets
            .into_iter()
            .chain(jobs)
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !named.contains(name)))
            .collect();
        let mut removed = 0;
        for path in unnamed {
            match remove(&path) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(path = %path.display(), %error, "a leftover was not removed"),
            }
        }
        Ok(removed)
    }
}

/// What of ours is in a folder and has not changed since `before`. A folder that is not there has nothing.
fn left_alone(folder: PathBuf, before: SystemTime) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let ours = |entry: &std::fs::DirEntry| entry.file_name().to_str().is_some_and(is_ours);
    let old = |entry: &std::fs::DirEntry| entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at < before);
    entries.flatten().filter(ours).filter(old).map(|entry| entry.path()).collect()
}

/// Whether a name is one that this store gives. The folders may have been a user's before.
fn is_ours(name: &str) -> bool {
    let upload = name.strip_suffix(".jsonl").is_some_and(|id| Ulid::from_string(id).is_ok());
    upload || (name.starts_with(UPLOAD_PREFIX) && name.ends_with(UPLOAD_SUFFIX)) || is_job_id(name)
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dataset::DatasetKind;

    #[tokio::test]
    async fn only_what_nothing_names_is_removed() {
        let store = Store::in_memory().await.unwrap();
        let mut writer = store.begin_dataset().await.unwrap();
        writer.write(b"{}\n").await.unwrap();
        store.finish_dataset(writer, ("kept".to_owned(), 1), (DatasetKind::Problems, 1)).await.unwrap();
        let id = Ulid::generate();
        let (datasets, jobs) = (store.files.datasets(), store.files.jobs());
        let theirs = datasets.join("theirs.part");
        let ours =
            [datasets.join(".upload-AbC.part"), datasets.join(format!("{id}.jsonl")), jobs.join(format!("job_{id}/x"))];
        for file in ours.iter().chain([&theirs]) {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        assert_eq!(store.sweep().await.unwrap(), 0, "what is young may be in use");
        assert_eq!(store.sweep_before(SystemTime::now() + ALONE).await.unwrap(), 3);
        let (_, lines) = store.dataset("kept").await.unwrap().unwrap();
        assert!(lines.exists() && theirs.exists());
    }
}
