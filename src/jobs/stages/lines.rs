//! A file of lines that grows as a stage goes on, and that a stage which was cut off goes on with.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::blocking;
use crate::jobs::error::StageError;

/// The file while it grows: it has its name only once it is whole.
pub(super) struct LineFile {
    path: PathBuf,
    part: PathBuf,
    file: tokio::fs::File,
}

impl LineFile {
    /// Opens the file and keeps its whole groups of `group` lines; says how many there are.
    pub(super) async fn resume(path: PathBuf, group: usize) -> Result<(Self, usize), StageError> {
        let part = with_part(&path);
        let (whole, growing) = (path.clone(), part.clone());
        let (file, groups) = blocking(move || open(&whole, &growing, group)).await?;
        Ok((Self { path, part, file: tokio::fs::File::from_std(file) }, groups))
    }

    /// Appends whole groups at once.
    pub(super) async fn append<T: Serialize>(&mut self, rows: &[T]) -> Result<(), StageError> {
        let text = text(rows)?;
        self.file.write_all(&text).await.map_err(StageError::io(&self.part))?;
        self.file.flush().await.map_err(StageError::io(&self.part))
    }

    /// Gives the whole file its name.
    pub(super) async fn finish(self) -> Result<(), StageError> {
        self.file.sync_all().await.map_err(StageError::io(&self.part))?;
        tokio::fs::rename(&self.part, &self.path).await.map_err(StageError::io(&self.path))
    }
}

/// Writes a file in one go, whole or not at all. Blocking.
pub(in crate::jobs) fn write_all<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), StageError> {
    write(path, &text(rows)?)
}

/// As above, of any bytes.
pub(in crate::jobs) fn write(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    let part = with_part(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(StageError::io(folder))?;
    }
    let written = std::fs::File::create(&part).and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    });
    written.map_err(StageError::io(&part))?;
    std::fs::rename(&part, path).map_err(StageError::io(path))
}

fn text<T: Serialize>(rows: &[T]) -> Result<Vec<u8>, StageError> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).map_err(|error| StageError::internal(&error))?;
        text.push(b'\n');
    }
    Ok(text)
}

fn with_part(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

fn open(path: &Path, part: &Path, group: usize) -> Result<(std::fs::File, usize), StageError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(StageError::io(folder))?;
    }
    // The stage was cut off after its last line and before it was marked as done.
    if path.exists() {
        std::fs::rename(path, part).map_err(StageError::io(path))?;
    }
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(part);
    let file = file.map_err(StageError::io(part))?;
    let (mut lines, mut end, mut kept) = (0usize, 0u64, 0u64);
    let mut reader = BufReader::new(&file);
    loop {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line).map_err(StageError::io(part))?;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        lines += 1;
        end += read as u64;
        if lines.is_multiple_of(group) {
            kept = end;
        }
    }
    file.set_len(kept).map_err(StageError::io(part))?;
    let mut file = file;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(kept)).map_err(StageError::io(part))?;
    Ok((file, lines / group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_was_cut_off_keeps_its_whole_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/rows.jsonl");
        let (mut file, groups) = LineFile::resume(path.clone(), 2).await.unwrap();
        assert_eq!(groups, 0);
        file.append(&[1, 2, 3, 4]).await.unwrap();
        drop(file);
        let part = folder.path().join("deep/rows.jsonl.part");
        for torn in ["5\n", "5", "5\n6"] {
            std::fs::write(&part, format!("1\n2\n3\n4\n{torn}")).unwrap();
            let (_, groups) = LineFile::resume(path.clone(), 2).await.unwrap();
            assert_eq!((groups, std::fs::read_to_string(&part).unwrap().as_str()), (2, "1\n2\n3\n4\n"));
        }
        let (mut file, _) = LineFile::resume(path.clone(), 2).await.unwrap();
        file.append(&[5, 6]).await.unwrap();
        file.finish().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n5\n6\n");
        // Finished, and not yet marked so: it is gone through again without a change.
        let (file, groups) = LineFile::resume(path.clone(), 2).await.unwrap();
        assert_eq!(groups, 3);
        file.finish().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n4\n5\n6\n");
    }
}
