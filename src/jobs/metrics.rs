//! Curves of a job's metrics: as points, as CSV, as an artifact.

use std::path::Path;

use super::error::StageError;
use super::stages::write_bytes;
use super::{Jobs, JobsError};
use crate::domain::job_event::{MetricPoint, curve};

/// The artifact's name.
pub(super) const FILE: &str = "metrics.csv";

impl Jobs {
    /// The points of a job's curves, stage by stage, each step once.
    pub async fn metrics(&self, id: &str) -> Result<Vec<MetricPoint>, JobsError> {
        self.get(id).await?;
        Ok(curve(self.store().job_metrics(id).await?))
    }
}

/// A row for each value: stage, step, epoch, name, value.
pub fn metrics_csv(points: &[MetricPoint]) -> Result<Vec<u8>, JobsError> {
    let wrong = |error: csv::Error| JobsError::Internal(format!("metrics are not CSV: {error}"));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["stage", "step", "epoch", "name", "value"]).map_err(wrong)?;
    for point in points {
        let epoch = point.epoch.map_or(String::new(), |epoch| epoch.to_string());
        for (name, value) in &point.values {
            let row = [&point.stage, &point.step.to_string(), &epoch, name, &value.to_string()];
            table.write_record(row).map_err(wrong)?;
        }
    }
    table.into_inner().map_err(|error| JobsError::Internal(format!("metrics are not CSV: {error}")))
}

/// Blocking.
pub(super) fn write(path: &Path, points: Vec<MetricPoint>) -> Result<(), StageError> {
    write_bytes(path, &metrics_csv(&curve(points))?)
}
