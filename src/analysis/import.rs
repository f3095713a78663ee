//! Takes exported traces back in: JSON lines, read as they arrive, each checked and stored on its own.

use std::collections::HashMap;

use futures::{Stream, StreamExt};

use super::{Analysis, AnalysisError, off_the_reactor};
use crate::domain::sampling::MAX_DRAWN;
use crate::domain::trace::Trace;
use crate::store::{Attachment, AttachmentRow, StoreError, TraceRecord};

/// Longest line in bytes: room for the most tokens that one request draws, each with its id and its text, and for the trace
/// itself, of which 4,096 tokens with 20 alternatives each are about 12 MB. A drawn token takes some 12 bytes of the 32.
pub const MAX_IMPORT_LINE: usize = 32 * MAX_DRAWN;
/// Lines that may be wrong before the rest is not read.
pub const MAX_IMPORT_ERRORS: usize = 100;

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Traces stored now, or given rollouts or searches that they lacked.
    pub imported: usize,
    /// Traces that were stored already, exactly so, with all the rollouts and searches that came along.
    pub unchanged: usize,
    /// The ids of both, in the order of the lines.
    pub ids: Vec<String>,
    /// Lines that were refused. After [`MAX_IMPORT_ERRORS`] the rest is not read, which the last error says.
    pub errors: Vec<ImportError>,
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// The first line is 1.
    pub line: usize,
    /// Begins with the line: `line 17: …`.
    pub message: String,
}

/// What became of one line.
enum Line {
    Stored(String),
    Unchanged(String),
    Refused(String),
}

impl Analysis {
    /// Stores the traces of a JSON-lines upload. A line that is wrong is reported and does not stop the others; blank
    /// lines do not count as wrong. An id that is taken is refused, unless the stored trace is the same; rollouts and
    /// searches that it lacks are then added to it.
    ///
    /// Fails when the upload breaks off or the store fails; the lines before that stay stored.
    pub async fn import<S, B, E>(&self, upload: S) -> Result<ImportReport, AnalysisError>
    where
        S: Stream<Item = Result<B, E>> + Send,
        B: AsRef<[u8]> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut upload = std::pin::pin!(upload);
        let mut report = ImportReport::default();
        let mut lines = Lines::default();
        while let Some(chunk) = upload.next().await {
            let chunk = chunk.map_err(|error| AnalysisError::Upload(error.into()))?;
            let mut rest = chunk.as_ref();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                lines.push(&rest[..end]);
                rest = &rest[end + 1..];
                if !self.import_line(lines.take(), &mut report).await? {
                    return Ok(report);
                }
            }
            lines.push(rest);
        }
        self.import_line(lines.take(), &mut report).await?;
        Ok(report)
    }

    /// Imports one line into the report; false when there were too many errors to go on.
    async fn import_line(&self, line: Taken, report: &mut ImportReport) -> Result<bool, AnalysisError> {
        let Taken { number, content } = line;
        let outcome = match content {
            Some(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return Ok(true),
            Some(bytes) => self.import_trace(bytes).await?,
            None => Line::Refused(format!("is longer than {MAX_IMPORT_LINE} bytes")),
        };
        match outcome {
            Line::Stored(id) => {
                report.imported += 1;
                report.ids.push(id);
            }
            Line::Unchanged(id) => {
                report.unchanged += 1;
                report.ids.push(id);
            }
            Line::Refused(message) => {
                report.errors.push(ImportError { line: number, message: format!("line {number}: {message}") });
            }
        }
        if report.errors.len() < MAX_IMPORT_ERRORS {
            return Ok(true);
        }
        let message = format!("line {number}: {MAX_IMPORT_ERRORS} lines were wrong; the rest was not read");
        report.errors.push(ImportError { line: number, message });
        Ok(false)
    }

    async fn import_trace(&self, bytes: Vec<u8>) -> Result<Line, AnalysisError> {
        let read = off_the_reactor(move || {
            let trace: Trace = match serde_json::from_slice(&bytes) {
                Ok(trace) => trace,
                Err(error) => return Ok(Err(json_error(&error))),
            };
            if let Err(defect) = trace.check() {
                return Ok(Err(defect.to_string()));
            }
            let record = TraceRecord::new(&trace)?;
            Ok(Ok((trace, record)))
        });
        let (trace, record) = match read.await? {
            Ok(read) => read,
            Err(message) => return Ok(Line::Refused(message)),
        };
        let taken = match self.store.insert_trace(record).await {
            Ok(()) => return Ok(Line::Stored(trace.id)),
            Err(StoreError::Exists { id }) => id,
            Err(error) => return refused(error),
        };
        match self.store.trace(&taken).await? {
            Some(stored) => self.merge(stored, trace).await,
            None => refused(StoreError::TraceGone { id: taken }),
        }
    }

    /// Adds what an import of a stored trace brings along, all or nothing.
    async fn merge(&self, mut stored: Trace, mut given: Trace) -> Result<Line, AnalysisError> {
        let rollouts = (std::mem::take(&mut stored.rollouts), std::mem::take(&mut given.rollouts));
        let searches = (std::mem::take(&mut stored.searches), std::mem::take(&mut given.searches));
        if stored != given {
            return Ok(Line::Refused(format!("conflict: another trace is stored as {}", stored.id)));
        }
        let mut rows = Vec::new();
        for missing in [missing(&rollouts.0, &rollouts.1), missing(&searches.0, &searches.1)] {
            match missing {
                Ok(missing) => rows.extend(missing),
                Err(error) => return refused(error),
            }
        }
        if rows.is_empty() {
            return Ok(Line::Unchanged(stored.id));
        }
        match self.store.attach(rows).await {
            Ok(()) => Ok(Line::Stored(stored.id)),
            Err(error) => refused(error),
        }
    }
}

/// Those of `given` that are not among `stored`. Fails if another record has the id of one of them.
fn missing<A: Attachment + PartialEq>(stored: &[A], given: &[A]) -> Result<Vec<AttachmentRow>, StoreError> {
    let stored: HashMap<&str, &A> = stored.iter().map(|record| (record.key().id, record)).collect();
    let mut missing = Vec::new();
    for record in given {
        let id = record.key().id;
        match stored.get(id) {
            Some(known) if *known == record => {}
            Some(_) => return Err(A::KIND.taken(id.to_owned())),
            None => missing.push(AttachmentRow::new(record)?),
        }
    }
    Ok(missing)
}

/// What to say of a line that conflicts with what is stored; other errors are the store's.
fn refused(error: StoreError) -> Result<Line, AnalysisError> {
    let conflict = match error {
        StoreError::RolloutsExist { id } => format!("other rollouts are stored as {id}"),
        StoreError::SearchExists { id } => format!("another search is stored as {id}"),
        StoreError::TraceGone { id } => format!("the trace stored as {id} was removed just now; try again"),
        error @ (StoreError::Exists { id: _ }
        | StoreError::BadCursor
        | StoreError::BadLimit { limit: _, max: _ }
        | StoreError::Disk { path: _, source: _ }
        | StoreError::LeaseLost { id: _ }
        | StoreError::Unusable { path: _, reason: _ }
        | StoreError::Newer { path: _, found: _, known: _ }
        | StoreError::Damaged { id: _, reason: _ }
        | StoreError::Database(_)
        | StoreError::Internal(_)) => return Err(error.into()),
    };
    Ok(Line::Refused(format!("conflict: {conflict}")))
}

/// serde_json counts lines within the line, which would only confuse.
fn json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(cause) => format!("{cause} at column {}", error.column()),
        None => text,
    }
}

/// Gathers the line that is arriving. Of one that is too long, nothing is kept.
#[derive(Default)]
struct Lines {
    taken: usize,
    buffer: Vec<u8>,
    too_long: bool,
}

struct Taken {
    number: usize,
    /// `None` if the line was too long.
    content: Option<Vec<u8>>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        if self.too_long || self.buffer.len() + bytes.len() > MAX_IMPORT_LINE {
            self.too_long = true;
            self.buffer = Vec::new();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn take(&mut self) -> Taken {
        self.taken += 1;
        let buffer = std::mem::take(&mut self.buffer);
        let content = if std::mem::take(&mut self.too_long) { None } else { Some(buffer) };
        Taken { number: self.taken, content }
    }
}

#[cfg(test)]
mod tests;
