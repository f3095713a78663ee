//! A trace as a table: a header and a row for each token. An absent number is an empty cell.

use super::AnalysisError;
use crate::domain::model::PerModel;
use crate::domain::trace::{Token, Trace};

const HEADER: [&str; 16] = [
    "position",
    "id",
    "text",
    "start",
    "end",
    "logprob_base",
    "logprob_positive",
    "logprob_negative",
    "rank_base",
    "rank_positive",
    "rank_negative",
    "entropy_base",
    "entropy_positive",
    "entropy_negative",
    "score",
    "critical",
];

pub(super) fn table(trace: &Trace) -> Result<Vec<u8>, AnalysisError> {
    let unwritable = |error: ::csv::Error| AnalysisError::Internal(format!("the table cannot be written: {error}"));
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER).map_err(unwritable)?;
    for token in &trace.tokens {
        writer.write_record(row(token)).map_err(unwritable)?;
    }
    writer.into_inner().map_err(|error| AnalysisError::Internal(format!("the table cannot be written: {error}")))
}

fn row(token: &Token) -> Vec<String> {
    let Token { position, id, text, start, end, logprob, rank, entropy, score, critical, top: _ } = token;
    let mut cells = vec![position.to_string(), id.to_string(), text.clone(), start.to_string(), end.to_string()];
    cells.extend(three(logprob));
    cells.extend(three(rank));
    cells.extend(three(entropy));
    cells.push(cell(score.as_ref()));
    cells.push(critical.to_string());
    cells
}

fn three<T: ToString>(values: &PerModel<T>) -> [String; 3] {
    [cell(Some(&values.base)), cell(values.positive.as_ref()), cell(values.negative.as_ref())]
}

/// Rust prints the shortest decimal that reads back as the same number.
fn cell<T: ToString>(value: Option<&T>) -> String {
    value.map(T::to_string).unwrap_or_default()
}
