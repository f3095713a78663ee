//! `select`: from graded responses to the positive set, the negative set and the pairs (method.md, "select").

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::lines::{write, write_all};
use crate::domain::dataset::{PreferenceRow, Row, SampledResponse};
use crate::domain::selection::{Judgement, select};
use crate::jobs::config::SelectConfig;
use crate::jobs::error::StageError;
use crate::jobs::plan::Stage;
use crate::jobs::prepare::wrong_kind;
use crate::jobs::rows::parse_line;
use crate::jobs::work::Work;

/// Between two looks at how far the selection has come.
const LOOK: Duration = Duration::from_millis(250);

/// What all problems come to.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counts {
    problems: u64,
    right: u64,
    wrong: u64,
    unparsed: u64,
    /// Problems without a right and without a wrong response: they give no pair.
    without_right: u64,
    without_wrong: u64,
    positive: u64,
    negative: u64,
    preferences: u64,
}

/// The selected rows.
#[derive(Default)]
struct Selected {
    positive: Vec<SampledResponse>,
    negative: Vec<SampledResponse>,
    preferences: Vec<PreferenceRow>,
    counts: Counts,
}

pub(super) async fn run(work: &mut Work, stage: &Stage, config: &SelectConfig) -> Result<(), StageError> {
    let done = Arc::new(AtomicU64::new(0));
    let total = Arc::new(AtomicU64::new(0));
    // Whatever ends this future ends the selection.
    let cancel = work.cancelled().child_token();
    let _end = cancel.clone().drop_guard();
    let task = {
        let (stage, coverage) = (stage.clone(), config.coverage);
        let (done, total, cancel) = (done.clone(), total.clone(), cancel.clone());
        tokio::task::spawn_blocking(move || select_all(&stage, coverage, [&done, &total], &cancel))
    };
    tokio::pin!(task);
    work.begin_steps(0, 0).await?;
    let counts = loop {
        tokio::select! {
            outcome = &mut task => break outcome.unwrap_or_else(|error| Err(StageError::internal(&error)))?,
            () = tokio::time::sleep(LOOK) => {
                work.step(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed)).await?;
            }
        }
    };
    work.step(counts.problems, counts.problems).await?;
    let Counts { problems, positive, negative, preferences, without_right, without_wrong, .. } = counts;
    work.log(format!(
        "{problems} problems gave {positive} positive rows, {negative} negative rows and {preferences} pairs; \
         {without_right} have no right response, {without_wrong} no wrong one"
    ))
    .await?;
    let values = [("positive", positive), ("negative", negative), ("preferences", preferences)];
    work.metric(problems.max(1), None, values.map(|(name, value)| (name, value as f64))).await
}

fn select_all(
    stage: &Stage,
    coverage: f64,
    [done, total]: [&AtomicU64; 2],
    cancel: &CancellationToken,
) -> Result<Counts, StageError> {
    let problems = index(&stage.input, cancel)?;
    total.store(problems.len() as u64, Ordering::Relaxed);
    let mut input = BufReader::new(File::open(&stage.input).map_err(StageError::io(&stage.input))?);
    let mut selected = Selected::default();
    for places in &problems {
        if cancel.is_cancelled() {
            return Err(StageError::Cancelled);
        }
        let rows = places.iter().map(|place| read(&mut input, *place, &stage.input)).collect::<Result<Vec<_>, _>>()?;
        selected.add(rows, coverage)?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    let Selected { positive, negative, preferences, mut counts } = selected;
    counts.positive = positive.len() as u64;
    counts.negative = negative.len() as u64;
    counts.preferences = preferences.len() as u64;
    write_all(&stage.output.join("positive.jsonl"), &positive)?;
    write_all(&stage.output.join("negative.jsonl"), &negative)?;
    write_all(&stage.output.join("preferences.jsonl"), &preferences)?;
    let text = serde_json::to_vec_pretty(&counts).map_err(|error| StageError::internal(&error))?;
    write(&stage.output.join("selection.json"), &text)?;
    Ok(counts)
}

/// A row's first byte in the file, and its line.
#[derive(Debug, Clone, Copy)]
struct PlaceInFile {
    offset: u64,
    line: usize,
}

/// Where the responses to each problem are, problems in the order in which they come up. The rows themselves stay in the
/// file: there may be more than fit in memory.
fn index(input: &Path, cancel: &CancellationToken) -> Result<Vec<Vec<PlaceInFile>>, StageError> {
    #[derive(PartialEq, Eq, Hash)]
    enum Key {
        Problem(u64),
        Prompt(String),
    }
    let mut reader = BufReader::new(File::open(input).map_err(StageError::io(input))?);
    let mut problems: Vec<Vec<PlaceInFile>> = Vec::new();
    let mut known: HashMap<Key, usize> = HashMap::new();
    let (mut offset, mut line) = (0, 0);
    let mut bytes = Vec::new();
    loop {
        if cancel.is_cancelled() {
            return Err(StageError::Cancelled);
        }
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes).map_err(StageError::io(input))?;
        if read == 0 {
            return Ok(problems);
        }
        line += 1;
        if !bytes.trim_ascii().is_empty() {
            let row = response(&bytes, line)?;
            let key = row.problem.map_or(Key::Prompt(row.prompt), Key::Problem);
            let at = *known.entry(key).or_insert_with(|| {
                problems.push(Vec::new());
                problems.len() - 1
            });
            problems[at].push(PlaceInFile { offset, line });
        }
        offset += read as u64;
    }
}

fn read(input: &mut BufReader<File>, place: PlaceInFile, path: &Path) -> Result<SampledResponse, StageError> {
    let mut bytes = Vec::new();
    input.seek(SeekFrom::Start(place.offset)).map_err(StageError::io(path))?;
    input.read_until(b'\n', &mut bytes).map_err(StageError::io(path))?;
    response(&bytes, place.line)
}

fn response(bytes: &[u8], line: usize) -> Result<SampledResponse, StageError> {
    match parse_line(bytes) {
        Ok(Row::Response(row)) => Ok(row),
        Ok(Row::Problem(_) | Row::Preference(_)) => Err(wrong_kind(line, "a trajectory")),
        Err(message) => Err(StageError::failed("invalid_row", format!("line {line}: {message}"))),
    }
}

impl Selected {
    /// Adds what is selected of one problem's responses.
    fn add(&mut self, rows: Vec<SampledResponse>, coverage: f64) -> Result<(), StageError> {
        let judged = rows
            .iter()
            .map(|row| match (&row.answer, row.correct) {
                (Some(answer), _) => Ok((row.response.as_str(), Judgement::Reference(answer))),
                (None, Some(correct)) => Ok((row.response.as_str(), Judgement::Label(correct))),
                (None, None) => {
                    let message = "a response has neither `answer` nor `correct` to judge it by";
                    Err(StageError::failed("no_verdict", message))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let selection = select(&judged, coverage);
        let counts = &mut self.counts;
        counts.problems += 1;
        counts.right += selection.right as u64;
        counts.wrong += selection.wrong as u64;
        counts.unparsed += selection.unparsed as u64;
        counts.without_right += u64::from(selection.right == 0);
        counts.without_wrong += u64::from(selection.wrong == 0);
        let labelled = |index: usize, correct| SampledResponse { correct: Some(correct), ..rows[index].clone() };
        self.positive.extend(selection.positive.map(|index| labelled(index, true)));
        self.negative.extend(selection.negative.iter().map(|&index| labelled(index, false)));
        self.preferences.extend(selection.pair().map(|(chosen, rejected)| pair(&rows[chosen], &rows[rejected])));
        Ok(())
    }
}

fn pair(chosen: &SampledResponse, rejected: &SampledResponse) -> PreferenceRow {
    let ids = (chosen.prompt_token_ids.clone())
        .zip(chosen.response_token_ids.clone())
        .zip(rejected.response_token_ids.clone());
    let (prompt_token_ids, chosen_token_ids, rejected_token_ids) = match ids {
        Some(((prompt, chosen), rejected)) => (Some(prompt), Some(chosen), Some(rejected)),
        None => (None, None, None),
    };
    PreferenceRow {
        prompt: chosen.prompt.clone(),
        chosen: chosen.response.clone(),
        rejected: rejected.response.clone(),
        answer: chosen.answer.clone(),
        prompt_token_ids,
        chosen_token_ids,
        rejected_token_ids,
        ..PreferenceRow::default()
    }
}
