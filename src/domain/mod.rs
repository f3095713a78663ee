//! The words of the field as plain values: trajectories, contrastive scores, critical tokens, verdicts, traces,
//! rollouts, searches, data sets, jobs.
//!
//! This room knows no tensors, no async, no database and no HTTP. Equation numbers follow arXiv 2411.19943.

pub mod critical;
pub mod dataset;
pub mod invariants;
pub mod job;
pub mod job_event;
pub mod model;
pub mod rollout;
pub mod run;
pub mod sampling;
pub mod score;
pub mod search;
pub mod selection;
pub mod statistics;
pub mod summary;
pub mod trace;
pub mod trajectory;
pub mod verdict;
pub mod verifier;
