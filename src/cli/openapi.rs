//! `linchpin openapi`: the description that `openapi/openapi.json` commits.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

#[derive(clap::Args)]
pub(super) struct OpenApiArgs {
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: OpenApiArgs) -> anyhow::Result<ExitCode> {
    let mut text = linchpin::http::openapi().to_pretty_json()?;
    text.push('\n');
    match args.output {
        Some(path) => std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?,
        None => std::io::stdout().write_all(text.as_bytes()).context("stdout cannot be written")?,
    }
    Ok(ExitCode::SUCCESS)
}
