//! Data sets: uploaded as streams, checked line by line, stored whole or not at all.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::rows::parse_line;
use super::{Jobs, JobsError, Missing, off_the_reactor, unix_seconds};
use crate::domain::dataset::{DatasetInfo, DatasetKind, MAX_BYTES, MAX_LINE, is_dataset_name};
use crate::store::{DatasetWriter, Page, Replaced, StoreError};

/// Bytes of lines that are checked together, away from the threads that serve requests.
const TOGETHER: usize = 256 << 10;

/// A page of rows ends where it would hold more bytes than this: a row may be as long as [`MAX_LINE`].
const MAX_PAGE_BYTES: usize = 8 << 20;

/// How often an addition begins anew because the data set was replaced meanwhile.
const ATTEMPTS: usize = 8;

/// A part of a list, in the order of names.
pub type DatasetPage = (Vec<DatasetInfo>, bool);

/// An upload that is being checked and written.
struct Upload {
    writer: DatasetWriter,
    /// Bytes that are not checked yet; the last line may be incomplete.
    waiting: Vec<u8>,
    lines: usize,
    kind: Option<DatasetKind>,
    rows: u64,
}

impl Jobs {
    /// Stores an upload under a name; a data set that had it before is replaced once the new one is whole and right.
    pub async fn put_dataset<S, B, E>(&self, name: String, upload: S) -> Result<DatasetInfo, JobsError>
    where
        S: Stream<Item = Result<B, E>> + Send,
        B: AsRef<[u8]> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        check_name(&name)?;
        let mut chunks = std::pin::pin!(upload);
        let writer = self.store().begin_dataset().await?;
        let mut upload = Upload { writer, waiting: Vec::new(), lines: 0, kind: None, rows: 0 };
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| JobsError::Upload(error.into()))?;
            upload.writer.write(chunk.as_ref()).await?;
            upload.waiting.extend_from_slice(chunk.as_ref());
            // Without an end of a line there is nothing new to check, but that the line is too long.
            let ended = chunk.as_ref().contains(&b'\n') || upload.waiting.len() > MAX_LINE;
            if upload.waiting.len() >= TOGETHER && ended {
                upload = upload.checked(false).await?;
            }
        }
        let Upload { writer, kind, rows, .. } = upload.checked(true).await?;
        let Some(kind) = kind else {
            return Err(JobsError::invalid("body", "the data set has no row"));
        };
        let stored = self.store().finish_dataset(writer, (name, unix_seconds()), (kind, rows), Replaced::Any).await?;
        stored.ok_or_else(|| JobsError::Internal("a data set that may replace any other was not stored".to_owned()))
    }

    /// Adds rows to a data set, or makes one of them; all are added or none. The lines that it has are copied, so this
    /// is for pairs that are picked one by one and no way to upload many.
    pub async fn append_rows(&self, name: &str, rows: Vec<Value>) -> Result<DatasetInfo, JobsError> {
        check_name(name)?;
        let (kind, lines) = off_the_reactor(move || checked_rows(rows)).await??;
        for _ in 0..ATTEMPTS {
            let before = self.store().dataset(name).await?;
            let (mut writer, mut count) = (self.store().begin_dataset().await?, lines.len() as u64);
            if let Some((info, path)) = &before {
                if info.kind != kind {
                    let message = format!("are {}, and the data set holds {}", kind.name(), info.kind.name());
                    return Err(JobsError::invalid("rows", message));
                }
                let added: usize = lines.iter().map(String::len).sum();
                if info.bytes + added as u64 > MAX_BYTES as u64 {
                    let message = format!("make the data set longer than {MAX_BYTES} bytes");
                    return Err(JobsError::invalid("rows", message));
                }
                count += info.rows;
                match copy_lines(path, &mut writer).await {
                    // Another took its place between the look and the reading.
                    Err(StoreError::Disk { path: _, source }) if source.kind() == ErrorKind::NotFound => continue,
                    outcome => outcome?,
                }
            }
            for line in &lines {
                writer.write(line.as_bytes()).await?;
            }
            let file = before.as_ref().and_then(|(_, path)| path.file_name()).and_then(OsStr::to_str);
            let (named, held) = ((name.to_owned(), unix_seconds()), (kind, count));
            if let Some(info) = self.store().finish_dataset(writer, named, held, Replaced::Only(file)).await? {
                return Ok(info);
            }
        }
        Err(JobsError::Internal(format!("the data set {name:?} was replaced {ATTEMPTS} times while rows were added")))
    }

    /// Rows of a data set as they were uploaded, from behind the first `after`, and whether there are more. At most
    /// `limit`, and fewer where they are long.
    pub async fn dataset_rows(&self, name: &str, after: usize, limit: usize) -> Result<(Vec<Value>, bool), JobsError> {
        if !(1..=Page::MAX).contains(&limit) {
            return Err(StoreError::BadLimit { limit, max: Page::MAX }.into());
        }
        let (info, path) = self.store().dataset(name).await?.ok_or_else(|| no_dataset(name))?;
        if after as u64 >= info.rows {
            return Ok((Vec::new(), false));
        }
        off_the_reactor(move || rows_at(&path, after, limit)).await?
    }

    /// What is known of a data set.
    pub async fn dataset(&self, name: &str) -> Result<DatasetInfo, JobsError> {
        let found = self.store().dataset(name).await?;
        found.map(|(info, _)| info).ok_or_else(|| no_dataset(name))
    }

    /// Data sets by name, from behind `after`, and whether there are more.
    pub async fn datasets(&self, after: &str, limit: usize) -> Result<DatasetPage, JobsError> {
        if !(1..=Page::MAX).contains(&limit) {
            return Err(StoreError::BadLimit { limit, max: Page::MAX }.into());
        }
        let mut found = self.store().datasets(after, limit + 1).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Removes a data set. Jobs that use it keep its rows.
    pub async fn delete_dataset(&self, name: &str) -> Result<(), JobsError> {
        if self.store().delete_dataset(name).await? { Ok(()) } else { Err(no_dataset(name)) }
    }
}

fn check_name(name: &str) -> Result<(), JobsError> {
    match is_dataset_name(name) {
        true => Ok(()),
        false => {
            let message = "a name is 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`, and begins with no dot";
            Err(JobsError::invalid("name", message))
        }
    }
}

/// The kind that rows have together, and each as a line.
fn checked_rows(rows: Vec<Value>) -> Result<(DatasetKind, Vec<String>), JobsError> {
    let mut kind = None;
    let mut lines = Vec::with_capacity(rows.len());
    for (index, row) in rows.into_iter().enumerate() {
        let refused = |message: String| JobsError::invalid(format!("rows[{index}]"), message);
        let line = format!("{row}\n");
        if line.len() > MAX_LINE {
            return Err(refused(too_long()));
        }
        let found = parse_line(line.as_bytes()).map_err(refused)?.kind();
        let expected = *kind.get_or_insert(found);
        if found != expected {
            return Err(refused(format!("is a row of {} among {}", found.name(), expected.name())));
        }
        lines.push(line);
    }
    kind.map(|kind| (kind, lines)).ok_or_else(|| JobsError::invalid("rows", "holds no row"))
}

/// Copies a data set's lines into one that is being written, the last of them ended.
async fn copy_lines(path: &Path, writer: &mut DatasetWriter) -> Result<(), StoreError> {
    let disk = |source| StoreError::Disk { path: path.to_owned(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(disk)?;
    let mut chunk = vec![0; TOGETHER];
    let mut last = b'\n';
    loop {
        match file.read(&mut chunk).await.map_err(disk)? {
            0 => break,
            read => {
                writer.write(&chunk[..read]).await?;
                last = chunk[read - 1];
            }
        }
    }
    if last != b'\n' {
        writer.write(b"\n").await?;
    }
    Ok(())
}

fn rows_at(path: &Path, after: usize, limit: usize) -> Result<(Vec<Value>, bool), JobsError> {
    let disk = |source| StoreError::Disk { path: path.to_owned(), source };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let lines = BufReader::new(std::fs::File::open(path).map_err(disk)?).split(b'\n');
    let wanted = lines.filter(|line| line.as_ref().map_or(true, |line| !line.trim_ascii().is_empty())).skip(after);
    for line in wanted {
        let line = line.map_err(disk)?;
        bytes += line.len();
        if rows.len() == limit || (bytes > MAX_PAGE_BYTES && !rows.is_empty()) {
            return Ok((rows, true));
        }
        let row = serde_json::from_slice(&line);
        rows.push(row.map_err(|error| JobsError::Internal(format!("{} is damaged: {error}", path.display())))?);
    }
    Ok((rows, false))
}

pub(super) fn no_dataset(name: &str) -> JobsError {
    JobsError::NotFound { what: Missing::Dataset, id: name.to_owned() }
}

impl Upload {
    /// Checks the whole lines that wait, at the `end` also the last one.
    async fn checked(mut self, end: bool) -> Result<Self, JobsError> {
        off_the_reactor(move || {
            self.check(end)?;
            Ok(self)
        })
        .await?
    }

    fn check(&mut self, end: bool) -> Result<(), JobsError> {
        let waiting = std::mem::take(&mut self.waiting);
        let whole = if end { waiting.len() } else { waiting.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) };
        for line in waiting[..whole].split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            self.check_line(line).map_err(|message| JobsError::Line { line: self.lines, message })?;
        }
        self.waiting = waiting[whole..].to_vec();
        match self.waiting.len() > MAX_LINE {
            true => Err(JobsError::Line { line: self.lines + 1, message: too_long() }),
            false => Ok(()),
        }
    }

    fn check_line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            return Err(too_long());
        }
        let kind = parse_line(line)?.kind();
        let expected = *self.kind.get_or_insert(kind);
        if kind != expected {
            return Err(format!("is a row of {} in a data set of {}", kind.name(), expected.name()));
        }
        self.rows += 1;
        Ok(())
    }
}

fn too_long() -> String {
    format!("is longer than {MAX_LINE} bytes")
}
