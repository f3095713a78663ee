//! What happens to a job, in the order in which it happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::job::{JobFailure, JobState, Progress};

/// An event of a job as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// From 1, without gaps.
    pub seq: i64,
    /// Unix seconds.
    pub created: i64,
    #[serde(flatten)]
    pub body: JobEventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum JobEventBody {
    State {
        state: JobState,
        error: Option<JobFailure>,
    },
    Log {
        level: LogLevel,
        message: String,
    },
    Metric(MetricPoint),
    Progress {
        stage: String,
        #[serde(flatten)]
        step: Progress,
    },
}

impl JobEventBody {
    /// The name used on the wire and in the store.
    pub fn kind(&self) -> &'static str {
        match self {
            JobEventBody::State { .. } => "state",
            JobEventBody::Log { .. } => "log",
            JobEventBody::Metric(_) => "metric",
            JobEventBody::Progress { .. } => "progress",
        }
    }
}

/// How much a line of a job's log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Info,
    Warning,
}

/// The metrics of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    pub stage: String,
    /// From 1.
    pub step: u64,
    pub epoch: Option<f64>,
    /// By TRL's names.
    pub values: BTreeMap<String, f64>,
}

/// Points of a curve, each step once: a run that was cut off logs some steps again, and the last time counts.
pub fn curve(points: impl IntoIterator<Item = MetricPoint>) -> Vec<MetricPoint> {
    let mut stages: Vec<(String, BTreeMap<u64, MetricPoint>)> = Vec::new();
    for point in points {
        let at = stages.iter().position(|(stage, _)| *stage == point.stage).unwrap_or_else(|| {
            stages.push((point.stage.clone(), BTreeMap::new()));
            stages.len() - 1
        });
        let steps = &mut stages[at].1;
        match steps.get_mut(&point.step) {
            Some(known) => {
                known.epoch = point.epoch.or(known.epoch);
                known.values.extend(point.values);
            }
            None => {
                steps.insert(point.step, point);
            }
        }
    }
    stages.into_iter().flat_map(|(_, steps)| steps.into_values()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_logged_again_counts_once() {
        let point = |stage: &str, step: u64, loss: f64| MetricPoint {
            stage: stage.to_owned(),
            step,
            epoch: None,
            values: BTreeMap::from([("loss".to_owned(), loss)]),
        };
        let points =
            [point("a", 1, 0.5), point("a", 2, 0.4), point("a", 3, 0.3), point("a", 2, 0.41), point("b", 1, 9.0)];
        let expected = [point("a", 1, 0.5), point("a", 2, 0.41), point("a", 3, 0.3), point("b", 1, 9.0)];
        assert_eq!(curve(points), expected);
    }
}
