//! Lines of data sets as rows: JSON that is one of the three kinds, each field named when it is wrong.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::error::StageError;
use crate::domain::dataset::{DatasetKind, MAX_LINE, Row};

/// A row and its line, counted from 1.
pub(super) type Numbered = (usize, Row);

/// Reads a line that is not blank; the error says what is wrong with it.
pub(super) fn parse_line(line: &[u8]) -> Result<Row, String> {
    let fields: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err("is not a JSON object".to_owned()),
        Err(error) => return Err(format!("is not JSON: {}", within_line(&error))),
    };
    let row = match kind_of(&fields)? {
        DatasetKind::Problems => Row::Problem(read(fields)?),
        DatasetKind::Trajectories => Row::Response(read(fields)?),
        DatasetKind::Preferences => Row::Preference(read(fields)?),
    };
    row.check().map_err(|error| error.to_string())?;
    Ok(row)
}

/// The kind that a row's fields make it.
fn kind_of(fields: &Map<String, Value>) -> Result<DatasetKind, String> {
    let has = |field: &str| fields.contains_key(field);
    let kinds = [
        (DatasetKind::Problems, has("question")),
        (DatasetKind::Trajectories, has("response")),
        (DatasetKind::Preferences, has("chosen") || has("rejected")),
    ];
    let mut found = kinds.into_iter().filter(|(_, found)| *found).map(|(kind, _)| kind);
    match (found.next(), found.next()) {
        (Some(kind), None) => Ok(kind),
        (Some(first), Some(second)) => {
            Err(format!("has fields of {} and of {}; a row is one of them", first.name(), second.name()))
        }
        (None, _) => Err("is no row: a problem has `question` and `answer`, a trajectory `prompt` and `response`, a \
                          preference `prompt`, `chosen` and `rejected`"
            .to_owned()),
    }
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        // What is missing or unknown is named by the message.
        match message.contains(&format!("`{path}`")) || path == "." {
            true => message,
            false => format!("`{path}`: {message}"),
        }
    })
}

/// serde_json counts lines within the line, which would only confuse.
fn within_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(cause) => format!("{cause} at column {}", error.column()),
        None => text,
    }
}

/// The rows of a file that was checked when it was stored, or written by a stage, until somebody cancels. Blocking.
pub(super) struct Rows<'a> {
    input: BufReader<File>,
    line: usize,
    cancel: &'a CancellationToken,
}

impl<'a> Rows<'a> {
    pub(super) fn open(path: &Path, cancel: &'a CancellationToken) -> Result<Self, StageError> {
        let file = File::open(path).map_err(StageError::io(path))?;
        Ok(Self { input: BufReader::new(file), line: 0, cancel })
    }

    fn read(&mut self) -> Result<Option<Numbered>, StageError> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(StageError::Cancelled);
            }
            let mut line = Vec::new();
            let limit = MAX_LINE as u64 + 2;
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut line);
            if read.map_err(|error| StageError::failed("disk_failed", error.to_string()))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !line.trim_ascii().is_empty() {
                let damaged = |message| StageError::failed("invalid_row", format!("line {}: {message}", self.line));
                return Ok(Some((self.line, parse_line(&line).map_err(damaged)?)));
            }
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Numbered, StageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        parse_line(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn each_kind_is_told_by_its_fields() {
        for (line, kind) in [
            (r#"{"question": "1 + 1?", "answer": "2"}"#, DatasetKind::Problems),
            (r#"{"prompt": "p", "response": "r", "answer": "2", "correct": true}"#, DatasetKind::Trajectories),
            (
                r#"{"prompt": "p", "chosen": "a", "rejected": "b", "rejected_weights": [0, 0.5]}"#,
                DatasetKind::Preferences,
            ),
        ] {
            assert_eq!(parse_line(line.as_bytes()).unwrap().kind(), kind);
        }
    }

    #[test]
    fn the_field_at_fault_is_named() {
        for (line, expected) in [
            ("{", "not JSON: EOF"),
            ("[1]", "not a JSON object"),
            (r#"{"question": "q"}"#, "missing field `answer`"),
            (r#"{"question": "q", "answer": 7}"#, "`answer`: invalid type"),
            (r#"{"question": "q", "answer": " "}"#, "`answer` is empty"),
            (r#"{"question": "q", "answer": "7", "level": 5}"#, "unknown field `level`"),
            (r#"{"question": "q", "response": "7"}"#, "fields of problems and of trajectories"),
            (r#"{"text": "q"}"#, "is no row"),
            (r#"{"prompt": "p", "chosen": "a"}"#, "missing field `rejected`"),
            (r#"{"prompt": "p", "chosen": "a", "rejected": "a"}"#, "`rejected` is the same as `chosen`"),
            (
                r#"{"prompt": "p", "chosen": "a", "rejected": "b", "rejected_weights": [1, "x"]}"#,
                "`rejected_weights[1]`: ",
            ),
            (
                r#"{"prompt": "p", "chosen": "a", "rejected": "b", "rejected_weights": [-1]}"#,
                "`rejected_weights[0]` must",
            ),
            (
                r#"{"prompt": "p", "chosen": "a", "rejected": "b", "rejected_weights": [1e39]}"#,
                "`rejected_weights[0]` must",
            ),
            (r#"{"prompt": "p", "response": "r", "correct": "yes"}"#, "`correct`: invalid type"),
        ] {
            assert!(error(line).contains(expected), "{line}: {}", error(line));
        }
    }
}
