//! The commands. Each one reads its settings, builds what it needs of the library, and turns its outcome into an exit
//! code; nothing here is worth calling from elsewhere.

mod client;
mod demo;
mod gradients;
mod job;
mod lines;
mod openapi;
mod score;
mod serve;
mod signals;
mod verify;
mod wiring;
mod worker;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Find the critical token of a wrong chain of thought
#[derive(Parser)]
#[command(version, about, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the HTTP API and the web page
    Serve(serve::ServeArgs),
    /// Run offline jobs without serving
    Worker(worker::WorkerArgs),
    /// Submit, follow, cancel and list a server's offline jobs
    Job(job::JobArgs),
    /// Score a file of trajectories without a server
    Score(score::ScoreArgs),
    /// Grade a file of responses against their reference answers; no model involved
    Verify(verify::VerifyArgs),
    /// Compute one batch's loss and gradients, to check training against other software
    Gradients(gradients::GradientsArgs),
    /// Write the OpenAPI description of the HTTP API
    Openapi(openapi::OpenApiArgs),
}

pub(crate) fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Worker(args) => worker::run(args),
        Command::Job(args) => job::run(args),
        Command::Score(args) => score::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Gradients(args) => gradients::run(args),
        Command::Openapi(args) => openapi::run(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // One line, causes included. Nothing is left to try when stderr itself is closed.
            let line = format!("{error:#}").replace('\n', " ");
            let _ = writeln!(std::io::stderr(), "error: {line}");
            ExitCode::FAILURE
        }
    }
}
