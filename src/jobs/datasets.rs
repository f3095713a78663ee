//! Data sets: uploaded as streams, checked line by line, stored whole or not at all.

use futures::{Stream, StreamExt};

use super::rows::parse_line;
use super::{Jobs, JobsError, Missing, off_the_reactor, unix_seconds};
use crate::domain::dataset::{DatasetInfo, DatasetKind, MAX_LINE, is_dataset_name};
use crate::store::{DatasetWriter, Page, StoreError};

/// Bytes of lines that are checked together, away from the threads that serve requests.
const TOGETHER: usize = 256 << 10;

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
        if !is_dataset_name(&name) {
            let message = "a name is 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`, and begins with no dot";
            return Err(JobsError::invalid("name", message));
        }
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
        Ok(self.store().finish_dataset(writer, (name, unix_seconds()), (kind, rows)).await?)
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
