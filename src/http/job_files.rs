//! What jobs made: curves of metrics, and files.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::dto_jobs::ArtifactDto;
use super::error::{ApiError, CommonErrors, ErrorBody};
use super::extract::{PathPart, PathParts, Query, ReadyJobs};
use crate::domain::job_event::MetricPoint;
use crate::jobs::{ArtifactFile, metrics_csv};

/// How metrics are written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MetricsQuery {
    /// `csv` has a row a value: stage, step, epoch, name, value.
    #[serde(default)]
    #[param(inline)]
    format: MetricsFormat,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MetricsFormat {
    #[default]
    Json,
    Csv,
}

/// The curves of a job.
#[derive(Serialize, ToSchema)]
pub(super) struct MetricList {
    #[schema(example = "list")]
    object: &'static str,
    /// Stage by stage, each step once.
    data: Vec<MetricPointDto>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// The metrics of one step, by TRL's names.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricPoint)]
struct MetricPointDto {
    stage: String,
    step: u64,
    epoch: Option<f64>,
    values: BTreeMap<String, f64>,
}

/// The files that a job made.
#[derive(Serialize, ToSchema)]
pub(super) struct ArtifactList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ArtifactDto>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// Get a job's metrics
#[utoipa::path(
    get, path = "/v1/jobs/{id}/metrics", tag = "jobs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The job's id"), MetricsQuery),
    responses(
        (status = 200, description = "The curves so far", content(
            (MetricList = "application/json"), (String = "text/csv")
        )),
        (status = 404, description = "No job has this id", body = ErrorBody),
        (status = 422, description = "The format is unknown", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn job_metrics(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
    Query(query): Query<MetricsQuery>,
) -> Result<Response, ApiError> {
    let points = jobs.metrics(&id).await?;
    match query.format {
        MetricsFormat::Json => {
            let data = points.into_iter().map(MetricPointDto::from).collect();
            Ok(axum::Json(MetricList { object: "list", data, has_more: false, next_cursor: None }).into_response())
        }
        MetricsFormat::Csv => {
            let content_type = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
            Ok((content_type, metrics_csv(&points)?).into_response())
        }
    }
}

/// List a job's files
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts", tag = "jobs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The files that the job has made so far, by name", body = ArtifactList),
        (status = 404, description = "No job has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_artifacts(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
) -> Result<axum::Json<ArtifactList>, ApiError> {
    let data = jobs.artifacts(&id).await?.into_iter().map(ArtifactDto::from).collect();
    Ok(axum::Json(ArtifactList { object: "list", data, has_more: false, next_cursor: None }))
}

/// Get a job's file
#[utoipa::path(
    get, path = "/v1/jobs/{id}/artifacts/{*name}", tag = "jobs", security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "The job's id"),
        ("name" = String, Path, description = "The file's name as listed; it may have slashes")
    ),
    responses(
        (status = 200, description = "The file, as an attachment", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 404, description = "No job has this id, or it has no such file", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_artifact(
    ReadyJobs(jobs): ReadyJobs,
    PathParts(id, name): PathParts,
) -> Result<Response, ApiError> {
    let ArtifactFile { file_name, bytes, content } = jobs.artifact(&id, &name).await?;
    // Names are those of files that jobs write, and so safe in a header.
    let plain: String = file_name.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
    let headers = [
        (header::CONTENT_TYPE, mime_guess::from_path(&file_name).first_or_octet_stream().to_string()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{plain}\"")),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}

impl From<MetricPoint> for MetricPointDto {
    fn from(MetricPoint { stage, step, epoch, values }: MetricPoint) -> Self {
        Self { stage, step, epoch, values }
    }
}
