//! `linchpin score`: score a file of trajectories without a server. JSONL in, JSONL out, line for line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use futures::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use linchpin::analysis::Analysis;
use linchpin::config::{ModelArgs, ModelConfig};
use linchpin::domain::trace::Trace;
use linchpin::http::{ApiError, parse_trajectory};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::lines::{Line, Lines, MAX_LINE_BYTES};
use super::wiring::{self, Folders, Rooms};

/// Trajectories under way at once: enough to share passes, few enough to hold in memory.
const IN_FLIGHT: usize = 8;

#[derive(clap::Args)]
pub(super) struct ScoreArgs {
    /// Trajectories, one JSON object a line, with the fields of `POST /v1/score`
    #[arg(value_name = "FILE.jsonl")]
    input: PathBuf,
    /// Write the traces to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Keep the traces in this data folder too, where a server finds them
    #[arg(long, value_name = "DIR")]
    save_to: Option<PathBuf>,
    #[command(flatten)]
    models: ModelArgs,
}

pub(super) fn run(args: ScoreArgs) -> anyhow::Result<ExitCode> {
    let config = ModelConfig::resolve(args.models)?;
    wiring::start_log(config.log)?;
    let lines = count_lines(&args.input)?;
    let concurrency = config.queue.min(IN_FLIGHT);
    // Opened before the models are loaded: a path that cannot be written should not cost minutes.
    let input = BufReader::new(open(&args.input)?);
    let output: Box<dyn Write> = match &args.output {
        Some(path) => Box::new(File::create(path).with_context(|| format!("{} cannot be written", path.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let save = args.save_to.is_some();
        let folders = Folders { data: args.save_to, adapters: None };
        let Rooms { analysis, .. } = wiring::start(config, folders, CancellationToken::new()).await?;
        let job = Job { analysis, save, concurrency, lines };
        job.run(input, BufWriter::new(output)).await
    })
}

/// A run over one file.
struct Job {
    analysis: Analysis,
    save: bool,
    concurrency: usize,
    lines: u64,
}

impl Job {
    /// Scores every line, writes one line for each in the same order, and reports the sum on stderr.
    async fn run(&self, input: impl BufRead, mut output: impl Write) -> anyhow::Result<ExitCode> {
        let bar = progress_bar(self.lines)?;
        let began = Instant::now();
        let mut sum = Summary::default();
        let mut outcomes = stream::iter(Lines::new(input))
            .map(|line| async {
                let (number, text) = line?;
                Ok::<_, std::io::Error>((number, self.score(text).await))
            })
            .buffered(self.concurrency);
        while let Some(outcome) = outcomes.next().await {
            let (number, outcome) = outcome.context("the input cannot be read")?;
            sum.count(&outcome);
            write_outcome(&mut output, number, outcome).context("the output cannot be written")?;
            bar.inc(1);
        }
        output.flush().context("the output cannot be written")?;
        bar.finish_and_clear();
        sum.report(began.elapsed().as_secs_f64());
        Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn score(&self, line: Line) -> Result<Trace, ApiError> {
        let mut input = match line {
            Line::Whole(text) => parse_trajectory(&without_label(text))?,
            Line::TooLong => return Err(ApiError::line_too_long(MAX_LINE_BYTES)),
        };
        input.save = self.save;
        Ok(self.analysis.score(input).await?)
    }
}

/// Trajectory files may carry `correct`, a label that scoring has no use for; anything else unknown stays an error.
fn without_label(line: Vec<u8>) -> Vec<u8> {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(&line) else {
        return line;
    };
    match fields.shift_remove("correct") {
        Some(_) => Value::Object(fields).to_string().into_bytes(),
        None => line,
    }
}

fn write_outcome(output: &mut impl Write, number: u64, outcome: Result<Trace, ApiError>) -> std::io::Result<()> {
    match outcome {
        Ok(trace) => serde_json::to_writer(&mut *output, &trace)?,
        Err(error) => serde_json::to_writer(&mut *output, &json!({"error": error.body().error, "line": number}))?,
    }
    output.write_all(b"\n")
}

/// What a run came to.
#[derive(Default)]
struct Summary {
    scored: u64,
    failed: u64,
    response_tokens: u64,
    critical: u64,
}

impl Summary {
    fn count(&mut self, outcome: &Result<Trace, ApiError>) {
        match outcome {
            Ok(trace) => {
                self.scored += 1;
                self.response_tokens += trace.usage.response_tokens as u64;
                self.critical += trace.critical.len() as u64;
            }
            Err(_) => self.failed += 1,
        }
    }

    fn report(&self, seconds: f64) {
        let Self { scored, failed, response_tokens, critical } = self;
        // A closed stderr loses the summary, not the scores.
        let _ = writeln!(
            std::io::stderr(),
            "{scored} scored, {failed} failed; {response_tokens} response tokens, {critical} critical; {seconds:.1} s"
        );
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// A first pass over the file, so that the bar knows its end.
fn count_lines(path: &Path) -> anyhow::Result<u64> {
    let mut count = 0;
    for line in Lines::new(BufReader::new(open(path)?)) {
        line.with_context(|| format!("{} cannot be read", path.display()))?;
        count += 1;
    }
    match count {
        0 => bail!("{} holds no trajectory", path.display()),
        count => Ok(count),
    }
}

/// Drawn on stderr, and only where that is a terminal.
fn progress_bar(lines: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} trajectories, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(lines).with_style(style))
}
