//! One integration binary: the real router over a real store, the real binary, and real models, all on this machine.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod auth;
mod binary;
mod chat;
mod completions;
mod completions_refused;
mod config;
mod datasets;
mod drain;
mod job_command;
mod jobs;
mod jobs_pipeline;
mod jobs_refused;
mod models;
mod observe;
mod openapi;
mod page;
mod requests;
mod rollouts;
mod rooms;
mod runs;
mod score;
mod searches;
mod support;
mod text;
mod traces;
mod verify;
