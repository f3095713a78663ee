//! `/v1/jobs`: submit, list, look at, end, take up and follow offline jobs.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

use super::dto_job_plan::JobPlanDto;
use super::dto_jobs::{JobDto, JobEventDto, JobKindDto, JobList, JobRequest, JobStateDto};
use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Query, ReadyJobs};
use super::sse;
use crate::jobs::{JobFilter, JobInput, JobPage, Jobs, Page, StoredJob};

/// Which jobs to list; every filter that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JobQuery {
    state: Option<JobStateDto>,
    kind: Option<JobKindDto>,
    /// Longest page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Submit a job
///
/// The job is checked and queued; one job runs at a time. With `dry_run` nothing is kept, and the answer says what the job
/// would do.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", security(("api_key" = [])), request_body = JobRequest,
    responses(
        (status = 200, description = "A dry run's report", body = JobPlanDto),
        (status = 202, description = "The job, which `Location` names", body = JobDto,
         headers(("location" = String, description = "The job's path"))),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn submit_job(
    ReadyJobs(jobs): ReadyJobs,
    Json(request): Json<JobRequest>,
) -> Result<Response, ApiError> {
    let dry_run = request.dry_run;
    let input = JobInput::from(request);
    if dry_run {
        return Ok(axum::Json(JobPlanDto::from(jobs.dry_run(input).await?)).into_response());
    }
    let job = jobs.submit(input).await?;
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.record.id))];
    Ok((StatusCode::ACCEPTED, location, axum::Json(whole(&jobs, job).await?)).into_response())
}

/// List the jobs
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", security(("api_key" = [])), params(JobQuery),
    responses(
        (status = 200, description = "A page of jobs, newest first", body = JobList),
        (status = 422, description = "A filter is unknown or invalid", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_jobs(
    ReadyJobs(jobs): ReadyJobs,
    Query(JobQuery { state, kind, limit, cursor }): Query<JobQuery>,
) -> Result<axum::Json<JobList>, ApiError> {
    let filter = JobFilter { state: state.map(JobStateDto::into), kind: kind.map(JobKindDto::into) };
    let page = Page { limit: limit.unwrap_or(Page::DEFAULT), cursor };
    let JobPage { jobs: found, has_more, next_cursor } = jobs.list(filter, page).await?;
    let mut data = Vec::with_capacity(found.len());
    for job in found {
        data.push(whole(&jobs, job).await?);
    }
    Ok(axum::Json(JobList { object: "list", data, has_more, next_cursor }))
}

/// Get a job
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobDto),
        (status = 404, description = "No job has this id", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_job(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
) -> Result<axum::Json<JobDto>, ApiError> {
    let job = jobs.get(&id).await?;
    Ok(axum::Json(whole(&jobs, job).await?))
}

/// Cancel a job
///
/// One that waits is cancelled at once, one that runs within its step: its events tell when. What it has made is kept.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "jobs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job as it is now", body = JobDto),
        (status = 404, description = "No job has this id", body = ErrorBody),
        (status = 409, description = "The job is over", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn cancel_job(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
) -> Result<axum::Json<JobDto>, ApiError> {
    let job = jobs.cancel(&id).await?;
    Ok(axum::Json(whole(&jobs, job).await?))
}

/// Resume a job
///
/// A job that failed or was cancelled goes on from what it has done: finished stages, drawn samples, the last checkpoint.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/resume", tag = "jobs", security(("api_key" = [])),
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job as it is now", body = JobDto),
        (status = 404, description = "No job has this id", body = ErrorBody),
        (status = 409, description = "The job is not over, or has succeeded", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn resume_job(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
) -> Result<(StatusCode, axum::Json<JobDto>), ApiError> {
    let job = jobs.resume(&id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(whole(&jobs, job).await?)))
}

/// Follow a job
///
/// Server-sent events: those that happened, then those that happen, and `[DONE]` when the job is over. With the
/// `Last-Event-ID` header, only those after it.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/events", tag = "jobs", security(("api_key" = [])),
    params(
        ("id" = String, Path, description = "The job's id"),
        ("last-event-id" = Option<i64>, Header, description = "The `id` of the last event that was seen")
    ),
    responses(
        (status = 200, description = "The job's events", content((JobEventDto = "text/event-stream"))),
        (status = 404, description = "No job has this id", body = ErrorBody),
        (status = 422, description = "`Last-Event-ID` is no event's", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn job_events(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(id): PathPart,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = sse::last_seen(&headers)?;
    let events = jobs.events(&id, after).await?;
    let events = events.map(|event| event.map(|event| (event.seq, JobEventDto::from(event))).map_err(ApiError::from));
    Ok(sse::numbered(events))
}

/// A job with its artifacts.
async fn whole(jobs: &Jobs, job: StoredJob) -> Result<JobDto, ApiError> {
    let artifacts = jobs.artifacts(&job.record.id).await?;
    JobDto::new(job, artifacts)
}
