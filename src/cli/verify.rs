//! `linchpin verify`: grade a file of responses. JSONL in, JSONL out, line for line; no model and no server involved.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use linchpin::domain::verdict::{Verdict, VerdictStatus};
use linchpin::domain::verifier;
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::lines::{Line, Lines, MAX_LINE_BYTES};

/// Rows that are graded together: enough for every core.
const TOGETHER: usize = 256;
/// Bytes of rows after which no more are graded together, so that the longest rows are not held all at once.
const TOGETHER_BYTES: usize = 64 << 20;
/// Most bad lines that are told one by one.
const TOLD: usize = 20;

#[derive(clap::Args)]
pub(super) struct VerifyArgs {
    /// Rows, one JSON object a line, with `response` and `answer`; other fields are kept, and `correct`, if there, is
    /// compared with the verdict. `-` reads stdin
    #[arg(value_name = "FILE.jsonl")]
    input: PathBuf,
    /// Write the verdicts to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let name = args.input.display();
    let input: Box<dyn BufRead> = match args.input.to_str() {
        Some("-") => Box::new(BufReader::new(std::io::stdin())),
        _ => Box::new(BufReader::new(File::open(&args.input).with_context(|| format!("{name} cannot be read"))?)),
    };
    let output: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).with_context(|| format!("{} cannot be written", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let mut output = BufWriter::new(output);
    let began = Instant::now();
    let mut sum = Summary::default();
    let mut lines = Lines::new(input);
    loop {
        let some = together(&mut lines, TOGETHER_BYTES).context("the input cannot be read")?;
        if some.is_empty() {
            break;
        }
        let graded: Vec<_> = some.into_par_iter().map(|(number, line)| (number, grade(line))).collect();
        for (number, outcome) in graded {
            match sum.count(number, outcome) {
                Some(row) => {
                    serde_json::to_writer(&mut output, &row).context("the output cannot be written")?;
                    output.write_all(b"\n").context("the output cannot be written")?;
                }
                None => continue,
            }
        }
    }
    output.flush().context("the output cannot be written")?;
    if sum.rows == 0 {
        bail!("{name} holds no row");
    }
    sum.report(began.elapsed().as_secs_f64());
    Ok(if sum.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The next lines with their numbers, up to the one that reaches `most` bytes; none at the end.
fn together(lines: &mut Lines<impl BufRead>, most: usize) -> std::io::Result<Vec<(u64, Line)>> {
    let (mut some, mut bytes) = (Vec::new(), 0);
    while some.len() < TOGETHER && bytes < most {
        let Some(line) = lines.next().transpose()? else { break };
        bytes += match &line.1 {
            Line::Whole(text) => text.len(),
            Line::TooLong => 0,
        };
        some.push(line);
    }
    Ok(some)
}

/// A row with its verdict.
struct Graded {
    row: Map<String, Value>,
    status: VerdictStatus,
    /// The row's own label.
    correct: Option<bool>,
}

/// Grades a line; the error says what is wrong with it.
fn grade(line: Line) -> Result<Graded, String> {
    let text = match line {
        Line::Whole(text) => text,
        Line::TooLong => return Err(format!("the line is longer than {MAX_LINE_BYTES} bytes")),
    };
    let mut row = match serde_json::from_slice(&text) {
        Ok(Value::Object(row)) => row,
        Ok(_) => return Err("not a JSON object".to_owned()),
        Err(error) => return Err(format!("not JSON: {error}")),
    };
    let response = field(&row, "response")?;
    let answer = field(&row, "answer")?;
    if answer.trim().is_empty() {
        return Err("`answer` is empty".to_owned());
    }
    let correct = match row.get("correct") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(correct)) => Some(*correct),
        Some(_) => return Err("`correct` must be true or false".to_owned()),
    };
    let verdict = verifier::grade(response, answer);
    let status = verdict.status;
    row.insert("verdict".to_owned(), as_json(verdict)?);
    Ok(Graded { row, status, correct })
}

fn as_json(verdict: Verdict) -> Result<Value, String> {
    serde_json::to_value(verdict).map_err(|error| error.to_string())
}

fn field<'a>(row: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match row.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` must be a string")),
        None => Err(format!("`{name}` is missing")),
    }
}

/// What a run came to.
#[derive(Default)]
struct Summary {
    rows: u64,
    statuses: [u64; VerdictStatus::ALL.len()],
    labelled: u64,
    agreed: u64,
    /// Lines that disagree with their label, the first few.
    disagreed: Vec<u64>,
    bad: u64,
}

impl Summary {
    /// Counts an outcome; gives the row to write. A bad line is told on stderr by its number.
    fn count(&mut self, number: u64, outcome: Result<Graded, String>) -> Option<Map<String, Value>> {
        self.rows += 1;
        let graded = match outcome {
            Ok(graded) => graded,
            Err(message) => {
                self.bad += 1;
                if self.bad <= TOLD as u64 {
                    let _ = writeln!(std::io::stderr(), "line {number}: {message}");
                }
                return None;
            }
        };
        if let Some(place) = VerdictStatus::ALL.iter().position(|status| *status == graded.status) {
            self.statuses[place] += 1;
        }
        if let Some(correct) = graded.correct {
            self.labelled += 1;
            if correct == (graded.status == VerdictStatus::Correct) {
                self.agreed += 1;
            } else if self.disagreed.len() < TOLD {
                self.disagreed.push(number);
            }
        }
        Some(graded.row)
    }

    fn report(&self, seconds: f64) {
        let counts: Vec<String> = VerdictStatus::ALL
            .iter()
            .zip(self.statuses)
            .map(|(status, count)| format!("{count} {}", status.name()))
            .collect();
        let mut report = format!("{}, {} bad lines; {seconds:.1} s", counts.join(", "), self.bad);
        if self.labelled > 0 {
            report += &format!("\n{} of {} labels agree", self.agreed, self.labelled);
            if !self.disagreed.is_empty() {
                let lines: Vec<String> = self.disagreed.iter().map(u64::to_string).collect();
                let more = if (self.disagreed.len() as u64) < self.labelled - self.agreed { ", …" } else { "" };
                report += &format!("; not those of lines {}{more}", lines.join(", "));
            }
        }
        // A closed stderr loses the summary, not the verdicts.
        let _ = writeln!(std::io::stderr(), "{report}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_taken_together_up_to_a_number_and_a_size() {
        let text = "0123456789\n".repeat(300);
        let sizes = |most: usize| {
            let mut lines = Lines::new(text.as_bytes());
            std::iter::from_fn(|| Some(together(&mut lines, most).unwrap().len()).filter(|&size| size > 0))
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(usize::MAX), [256, 44]);
        assert_eq!(sizes(1100), [100, 100, 100]);
        assert_eq!(sizes(1), [1; 300]);
    }
}
