//! Files beside the database: the lines of data sets, and what jobs read, keep and make.
//!
//! ```text
//! datasets/ULID.jsonl                 an upload, never changed once it has its name
//! jobs/ID/input.jsonl, eval.jsonl     the data sets of a job, as they were when it was submitted
//! jobs/ID/artifacts/...               what it made
//! jobs/ID/checkpoint/STAGE/...        what a stage goes on from
//! jobs/ID/done/STAGE                  marks of finished stages
//! ```

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::StoreError;

/// The folder that holds the files. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
    /// Removes the folder of a store that is forgotten with the process.
    _temporary: Option<Arc<tempfile::TempDir>>,
}

/// A file that a job made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its path inside the folder of artifacts, with `/` between parts.
    pub name: String,
    pub bytes: u64,
}

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFolder {
    root: PathBuf,
}

impl Files {
    pub(super) fn beside(database: &Path) -> Self {
        Self { root: database.parent().unwrap_or(Path::new("")).to_owned(), _temporary: None }
    }

    pub(super) fn temporary() -> Result<Self, StoreError> {
        let folder = tempfile::Builder::new().prefix("linchpin-").tempdir();
        let folder = folder.map_err(|source| StoreError::Disk { path: std::env::temp_dir(), source })?;
        Ok(Self { root: folder.path().to_owned(), _temporary: Some(Arc::new(folder)) })
    }

    pub(super) fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    pub(super) fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// `id` must be a job's.
    pub(super) fn job(&self, id: &str) -> JobFolder {
        JobFolder { root: self.jobs().join(id) }
    }
}

impl JobFolder {
    pub fn input(&self) -> PathBuf {
        self.root.join("input.jsonl")
    }

    pub fn eval_input(&self) -> PathBuf {
        self.root.join("eval.jsonl")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub fn checkpoint(&self, stage: &str) -> PathBuf {
        self.root.join("checkpoint").join(stage)
    }

    pub fn done(&self, stage: &str) -> PathBuf {
        self.root.join("done").join(stage)
    }

    /// Takes up room on the disk, so that there is some to say that it is full. Blocking.
    pub fn reserve(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.root)?;
        std::fs::write(self.root.join(RESERVE), vec![0u8; RESERVE_BYTES])
    }

    /// Gives the room back. Blocking.
    pub fn unreserve(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.root.join(RESERVE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// The path of the artifact of this name, there or not; `None` for a name that leads elsewhere.
    pub fn artifact(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        // `a//b` and `a/.` name what `a/b` and `a` do; one name a file is enough.
        let plain = name.split('/').all(|part| !part.is_empty() && part != ".") && !name.contains(['\\', '\0']);
        (inside && plain).then(|| self.artifacts().join(path))
    }

    /// Every artifact, by name. Files that are still being written (`*.part`) are left out. Blocking.
    pub fn list(&self) -> Result<Vec<Artifact>, StoreError> {
        let mut found = Vec::new();
        collect(&self.artifacts(), "", &mut found)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// A file that a job at work keeps, and what it holds: a few of the database's transactions.
const RESERVE: &str = "reserve";
const RESERVE_BYTES: usize = 512 << 10;

/// Ends of the names of files that are still being written.
const UNFINISHED: [&str; 2] = [".part", ".new"];

fn collect(folder: &Path, prefix: &str, found: &mut Vec<Artifact>) -> Result<(), StoreError> {
    let disk = |source| StoreError::Disk { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk(error)),
    };
    for entry in entries {
        let entry = entry.map_err(disk)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Links are not followed: artifacts are files that jobs wrote.
        let kind = entry.file_type().map_err(disk)?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), found)?;
        } else if kind.is_file() && !UNFINISHED.iter().any(|end| name.ends_with(end)) {
            let bytes = match entry.metadata() {
                Ok(metadata) => metadata.len(),
                // Moved to its name since the folder was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk(error)),
            };
            found.push(Artifact { name: format!("{prefix}{name}"), bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_inside_their_folder_only() {
        let outer = tempfile::tempdir().unwrap();
        let folder = JobFolder { root: outer.path().to_owned() };
        assert_eq!(folder.list().unwrap(), []);
        std::fs::create_dir_all(folder.artifacts().join("adapter")).unwrap();
        for name in ["metrics.csv", "adapter/a.json", "samples.jsonl.part"] {
            std::fs::write(folder.artifacts().join(name), "x").unwrap();
        }
        let names: Vec<String> = folder.list().unwrap().into_iter().map(|artifact| artifact.name).collect();
        assert_eq!(names, ["adapter/a.json", "metrics.csv"]);
        assert_eq!(folder.artifact("adapter/a.json"), Some(folder.artifacts().join("adapter/a.json")));
        for name in ["", "/etc/passwd", "../input.jsonl", "adapter/../../input.jsonl", "a//b", "./a", "a/.", "a\\b"] {
            assert_eq!(folder.artifact(name), None, "{name}");
        }
    }
}
