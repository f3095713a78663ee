//! What happened to jobs: appended, never changed, read from any place on.

use super::{Store, StoreError};
use crate::domain::job_event::{JobEvent, JobEventBody, MetricPoint};

impl Store {
    /// Adds an event to a job, and gives its number.
    pub async fn append_job_event(&self, id: &str, created: i64, body: &JobEventBody) -> Result<i64, StoreError> {
        let text = serde_json::to_string(body).map_err(|error| StoreError::Internal(error.to_string()))?;
        let query = sqlx::query_scalar(
            "INSERT INTO job_events (job_id, seq, created, kind, body) \
             SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3, $4 FROM job_events WHERE job_id = $1 RETURNING seq",
        );
        Ok(query.bind(id).bind(created).bind(body.kind()).bind(text).fetch_one(&self.pool).await?)
    }

    /// A job's events from behind `after`, at most `limit`.
    pub async fn job_events(&self, id: &str, after: i64, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        let query = sqlx::query_as(
            "SELECT seq, created, body FROM job_events WHERE job_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<(i64, i64, String)> = query.bind(id).bind(after).bind(limit).fetch_all(&self.pool).await?;
        rows.into_iter().map(|(seq, created, body)| Ok(JobEvent { seq, created, body: parse(id, &body)? })).collect()
    }

    /// Every metric that a job logged, in the order of logging.
    pub async fn job_metrics(&self, id: &str) -> Result<Vec<MetricPoint>, StoreError> {
        let query =
            sqlx::query_scalar("SELECT body FROM job_events WHERE job_id = $1 AND kind = 'metric' ORDER BY seq");
        let bodies: Vec<String> = query.bind(id).fetch_all(&self.pool).await?;
        let mut points = Vec::with_capacity(bodies.len());
        for body in bodies {
            if let JobEventBody::Metric(point) = parse(id, &body)? {
                points.push(point);
            }
        }
        Ok(points)
    }
}

fn parse(id: &str, body: &str) -> Result<JobEventBody, StoreError> {
    serde_json::from_str(body).map_err(|error| StoreError::Damaged { id: id.to_owned(), reason: error.to_string() })
}
