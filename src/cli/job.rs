//! `linchpin job`: submit, follow, end and list a server's offline jobs.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};

/// Before a connection that broke is made again.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections in a row that may fail.
const PATIENCE: usize = 60;

#[derive(clap::Args)]
pub(super) struct JobArgs {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Subcommand)]
enum JobCommand {
    /// Submit a job
    Submit(SubmitArgs),
    /// Follow a job until it is over
    Watch {
        /// The job's id
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Cancel a job
    Cancel {
        /// The job's id
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take up a job that failed or was cancelled
    Resume {
        /// The job's id
        id: String,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// List the newest jobs
    List {
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(clap::Args)]
struct SubmitArgs {
    /// The body of `POST /v1/jobs`, or with --kind its `config` alone. `-` reads stdin
    #[arg(value_name = "FILE.json")]
    input: PathBuf,
    /// What the job does: sample, select, sft, contrast, preference, evaluate or pipeline
    #[arg(long)]
    kind: Option<String>,
    /// A name for people
    #[arg(long, requires = "kind")]
    name: Option<String>,
    /// Only say what the job would do
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Follow the job until it is over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: JobArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            JobCommand::Submit(args) => submit(args).await,
            JobCommand::Watch { id, client } => watch(&Client::new(client)?, &id).await,
            JobCommand::Cancel { id, client } => act(&Client::new(client)?, &id, "cancel").await,
            JobCommand::Resume { id, client } => act(&Client::new(client)?, &id, "resume").await,
            JobCommand::List { client } => list(&Client::new(client)?).await,
        }
    })
}

async fn submit(args: SubmitArgs) -> anyhow::Result<ExitCode> {
    let SubmitArgs { input, kind, name, dry_run, watch: follow, client } = args;
    let text = match input.to_str() {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("stdin cannot be read")?;
            text
        }
        _ => std::fs::read_to_string(&input).with_context(|| format!("{} cannot be read", input.display()))?,
    };
    let given: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", input.display()))?;
    let mut request = match kind {
        Some(kind) => json!({"kind": kind, "name": name, "config": given}),
        None => given,
    };
    if dry_run {
        let Some(fields) = request.as_object_mut() else { bail!("{} is not a JSON object", input.display()) };
        fields.insert("dry_run".to_owned(), json!(true));
    }
    let client = Client::new(client)?;
    let answer = client.post("/v1/jobs", Some(&request)).await?;
    if dry_run {
        print(&serde_json::to_string_pretty(&answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let id = answer["id"].as_str().context("the server's answer names no job")?;
    print(id)?;
    if follow { watch(&client, id).await } else { Ok(ExitCode::SUCCESS) }
}

async fn act(client: &Client, id: &str, action: &str) -> anyhow::Result<ExitCode> {
    let job = client.post(&format!("/v1/jobs/{id}/{action}"), None).await?;
    print(&line(&job))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client) -> anyhow::Result<ExitCode> {
    let page = client.get("/v1/jobs?limit=100").await?;
    for job in page["data"].as_array().into_iter().flatten() {
        print(&line(job))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A job in one line: id, kind, state, stage, steps, name.
fn line(job: &Value) -> String {
    let text = |field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let stage = job["stage"]["name"].as_str().unwrap_or("-");
    let steps = format!("{}/{}", job["step"]["done"], job["step"]["total"]);
    format!("{}\t{}\t{}\t{stage}\t{steps}\t{}", text("id"), text("kind"), text("state"), text("name"))
}

/// Follows a job; the exit code says whether it succeeded. A connection that breaks is made again where it broke.
async fn watch(client: &Client, id: &str) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/jobs/{id}/events");
    let bar =
        ProgressBar::no_length().with_style(ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}")?);
    let mut seen: Option<String> = None;
    let mut failures = 0;
    loop {
        let outcome = follow(client, &path, &bar, &mut seen, &mut failures).await;
        match outcome {
            Ok(true) => break,
            Ok(false) if failures >= PATIENCE => bail!("the server keeps ending the stream of events"),
            Ok(false) => {}
            Err(error) if failures >= PATIENCE || seen.is_none() => return Err(error),
            Err(_) => {}
        }
        failures += 1;
        tokio::time::sleep(PAUSE).await;
    }
    bar.finish_and_clear();
    let job = client.get(&format!("/v1/jobs/{id}")).await?;
    print(&line(&job))?;
    if let Some(message) = job["error"]["message"].as_str() {
        bail!("{}: {message}", job["error"]["code"].as_str().unwrap_or("failed"));
    }
    Ok(if job["state"] == json!("succeeded") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows events until the connection ends; true when the job is over.
async fn follow(
    client: &Client,
    path: &str,
    bar: &ProgressBar,
    seen: &mut Option<String>,
    failures: &mut usize,
) -> anyhow::Result<bool> {
    let mut events = std::pin::pin!(client.events(path, seen.as_deref()).await?);
    let mut failed = false;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.data == "[DONE]" {
            return Ok(!failed);
        }
        let body: Value = serde_json::from_str(&event.data).context("the server's event is not JSON")?;
        // The server goes down and the job with it, until the next process goes on.
        failed = body.get("error").is_some() && body.get("event").is_none();
        if !failed {
            *failures = 0;
            *seen = event.id.or(seen.take());
            show(&body, bar);
        }
    }
    Ok(false)
}

fn show(event: &Value, bar: &ProgressBar) {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    match text("event") {
        "progress" => {
            bar.set_prefix(text("stage").to_owned());
            bar.set_length(event["total"].as_u64().unwrap_or(0));
            bar.set_position(event["done"].as_u64().unwrap_or(0));
        }
        "metric" => {
            let values = event["values"].as_object().into_iter().flatten();
            let shown: Vec<String> = values
                .filter_map(|(name, value)| value.as_f64().map(|value| format!("{name} {value:.4}")))
                .take(3)
                .collect();
            bar.set_message(shown.join(", "));
        }
        "state" => tell(&format!("state: {}", text("state")), bar),
        "log" => tell(text("message"), bar),
        _ => {}
    }
}

/// Above the bar, or where there is no terminal for one, on stderr all the same.
fn tell(line: &str, bar: &ProgressBar) {
    if bar.is_hidden() {
        // A closed stderr loses the log, and the job goes on.
        let _ = writeln!(std::io::stderr(), "{line}");
    } else {
        bar.println(line);
    }
}

fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout cannot be written")
}
