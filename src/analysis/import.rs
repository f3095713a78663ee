//! Takes exported traces back in: JSON lines, read as they arrive, each checked and stored on its own.

use std::collections::HashMap;

use futures::{Stream, StreamExt};

use super::{Analysis, AnalysisError, off_the_reactor};
use crate::domain::rollout::RolloutSet;
use crate::domain::trace::Trace;
use crate::store::{RolloutsRecord, SearchRow, StoreError, TraceRecord};

/// Longest line in bytes: a trace of 4,096 tokens with 20 alternatives each is about 12 MB, and the most rollouts that one
/// request draws, at their longest, some 50 MB.
pub const MAX_IMPORT_LINE: usize = 128 << 20;
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
            Err(StoreError::RolloutsExist { id }) => return Ok(rollouts_conflict(&id)),
            Err(StoreError::SearchExists { id }) => return Ok(search_conflict(&id)),
            Err(error) => return Err(error.into()),
        };
        match self.store.trace(&taken).await? {
            Some(stored) => self.merge(stored, trace).await,
            None => Ok(removed(&taken)),
        }
    }

    /// Adds what an import of a stored trace brings along.
    async fn merge(&self, mut stored: Trace, mut given: Trace) -> Result<Line, AnalysisError> {
        let (here, there) = (std::mem::take(&mut stored.rollouts), std::mem::take(&mut given.rollouts));
        let (known, brought) = (std::mem::take(&mut stored.searches), std::mem::take(&mut given.searches));
        if stored != given {
            return Ok(Line::Refused(format!("conflict: another trace is stored as {}", stored.id)));
        }
        let here: HashMap<&str, &RolloutSet> = here.iter().map(|set| (set.id.as_str(), set)).collect();
        let mut missing = Vec::new();
        for set in &there {
            match here.get(set.id.as_str()) {
                Some(known) if *known == set => {}
                Some(_) => return Ok(rollouts_conflict(&set.id)),
                None => missing.push(RolloutsRecord::new(set)?),
            }
        }
        let mut searches = Vec::new();
        for search in &brought {
            match known.iter().find(|known| known.id == search.id) {
                Some(known) if known == search => {}
                Some(known) => return Ok(search_conflict(&known.id)),
                None => searches.push(SearchRow::new(search)?),
            }
        }
        if missing.is_empty() && searches.is_empty() {
            return Ok(Line::Unchanged(stored.id));
        }
        match self.store.insert_rollouts(missing).await {
            Ok(()) => {}
            Err(StoreError::RolloutsExist { id }) => return Ok(rollouts_conflict(&id)),
            Err(StoreError::TraceGone { id }) => return Ok(removed(&id)),
            Err(error) => return Err(error.into()),
        }
        match self.store.insert_searches(searches).await {
            Ok(()) => Ok(Line::Stored(stored.id)),
            Err(StoreError::SearchExists { id }) => Ok(search_conflict(&id)),
            Err(StoreError::TraceGone { id }) => Ok(removed(&id)),
            Err(error) => Err(error.into()),
        }
    }
}

fn removed(id: &str) -> Line {
    Line::Refused(format!("conflict: the trace stored as {id} was removed just now; try again"))
}

fn rollouts_conflict(id: &str) -> Line {
    Line::Refused(format!("conflict: other rollouts are stored as {id}"))
}

fn search_conflict(id: &str) -> Line {
    Line::Refused(format!("conflict: another search is stored as {id}"))
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
