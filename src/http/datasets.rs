//! `/v1/datasets`: upload, list, look at and delete data sets.

use axum::body::Body;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Query, ReadyJobs};
use super::models::Deleted;
use super::upload::{bounded, broken_off, refuse_other_than_json_lines};
use crate::domain::dataset::{DatasetInfo, DatasetKind, MAX_BYTES};
use crate::jobs::{JobsError, Page, StoreError};

/// A stored data set.
#[derive(Serialize, ToSchema)]
pub(super) struct Dataset {
    #[schema(example = "gsm8k-train")]
    name: String,
    #[schema(example = "dataset")]
    object: &'static str,
    kind: DatasetKindDto,
    rows: u64,
    bytes: u64,
    /// SHA-256 of the file as it was uploaded.
    sha256: String,
    /// Unix seconds.
    created: i64,
}

/// What the rows are: `problems` have `question` and `answer`, `trajectories` `prompt` and `response`, `preferences`
/// `prompt`, `chosen` and `rejected`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DatasetKind)]
pub(super) enum DatasetKindDto {
    Problems,
    Trajectories,
    Preferences,
}

/// A page of data sets, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct DatasetList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<Dataset>,
    has_more: bool,
    /// For `cursor`; null on the last page.
    next_cursor: Option<String>,
}

/// Rows to add, each as a line of an upload would have it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RowsRequest {
    #[schema(value_type = Vec<Object>, min_items = 1)]
    rows: Vec<Value>,
}

/// Which rows to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RowQuery {
    /// Longest page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of rows as they were uploaded.
#[derive(Serialize, ToSchema)]
pub(super) struct RowList {
    #[schema(example = "list")]
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Value>,
    has_more: bool,
    /// For `cursor`; null on the last page.
    next_cursor: Option<String>,
}

/// Which data sets to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DatasetQuery {
    /// Longest page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Upload a data set
///
/// JSON lines, all of one kind: problems `{"question", "answer"}`, trajectories `{"prompt", "response", "answer"?,
/// "correct"?}`, or preferences `{"prompt", "chosen", "rejected"}` with `chosen_weights` and `rejected_weights` per token.
/// The body is checked line by line as it arrives, and stored only if every line is right; a data set that had the name
/// before is replaced then. Jobs that read the old one keep it.
#[utoipa::path(
    put, path = "/v1/datasets/{name}", tag = "datasets", security(("api_key" = [])),
    params(("name" = String, Path, description = "1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`")),
    request_body(content = String, content_type = "application/x-ndjson", description = "Rows, one a line"),
    responses(
        (status = 200, description = "The data set is stored", body = Dataset),
        (status = 400, description = "The upload broke off, or is sent as another content type", body = ErrorBody),
        (status = 413, description = "The upload is longer than 4 GiB", body = ErrorBody),
        (status = 422, description = "A line is wrong; the message begins `line 17: `", body = ErrorBody),
        (status = 507, description = "The server's disk is full", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn put_dataset(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(name): PathPart,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Dataset>, ApiError> {
    refuse_other_than_json_lines(&headers)?;
    match jobs.put_dataset(name, bounded(body, MAX_BYTES)).await {
        Ok(info) => Ok(axum::Json(info.into())),
        Err(JobsError::Upload(cause)) => Err(broken_off(cause)),
        Err(error) => Err(error.into()),
    }
}

/// List the data sets
#[utoipa::path(
    get, path = "/v1/datasets", tag = "datasets", security(("api_key" = [])), params(DatasetQuery),
    responses(
        (status = 200, description = "A page of data sets, by name", body = DatasetList),
        (status = 422, description = "A parameter is unknown or invalid", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_datasets(
    ReadyJobs(jobs): ReadyJobs,
    Query(DatasetQuery { limit, cursor }): Query<DatasetQuery>,
) -> Result<axum::Json<DatasetList>, ApiError> {
    let (found, has_more) =
        jobs.datasets(cursor.as_deref().unwrap_or_default(), limit.unwrap_or(Page::DEFAULT)).await?;
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.name.clone());
    let data = found.into_iter().map(Dataset::from).collect();
    Ok(axum::Json(DatasetList { object: "list", data, has_more, next_cursor }))
}

/// Get a data set
#[utoipa::path(
    get, path = "/v1/datasets/{name}", tag = "datasets", security(("api_key" = [])),
    params(("name" = String, Path, description = "The data set's name")),
    responses(
        (status = 200, description = "What is known of it", body = Dataset),
        (status = 404, description = "No data set has this name", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn get_dataset(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(name): PathPart,
) -> Result<axum::Json<Dataset>, ApiError> {
    Ok(axum::Json(jobs.dataset(&name).await?.into()))
}

/// Delete a data set
///
/// Jobs that read it keep its rows.
#[utoipa::path(
    delete, path = "/v1/datasets/{name}", tag = "datasets", security(("api_key" = [])),
    params(("name" = String, Path, description = "The data set's name")),
    responses(
        (status = 200, description = "The data set is gone", body = Deleted),
        (status = 404, description = "No data set has this name", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn delete_dataset(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(name): PathPart,
) -> Result<axum::Json<Deleted>, ApiError> {
    jobs.delete_dataset(&name).await?;
    Ok(axum::Json(Deleted { id: name, object: "dataset", deleted: true }))
}

/// Add rows to a data set
///
/// All of them or none; the data set is made if there is none. For rows that come one by one: the lines that are there are
/// copied, so many rows are better uploaded at once. Jobs that read the data set keep the rows that it had.
#[utoipa::path(
    post, path = "/v1/datasets/{name}/rows", tag = "datasets", security(("api_key" = [])),
    params(("name" = String, Path, description = "1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`")),
    request_body = RowsRequest,
    responses(
        (status = 200, description = "The data set as it is now", body = Dataset),
        (status = 507, description = "The server's disk is full", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn append_rows(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(name): PathPart,
    Json(RowsRequest { rows }): Json<RowsRequest>,
) -> Result<axum::Json<Dataset>, ApiError> {
    Ok(axum::Json(jobs.append_rows(&name, rows).await?.into()))
}

/// List a data set's rows
#[utoipa::path(
    get, path = "/v1/datasets/{name}/rows", tag = "datasets", security(("api_key" = [])),
    params(("name" = String, Path, description = "The data set's name"), RowQuery),
    responses(
        (status = 200, description = "A page of rows, in the order of the lines", body = RowList),
        (status = 404, description = "No data set has this name", body = ErrorBody),
        (status = 422, description = "A parameter is unknown or invalid", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn list_rows(
    ReadyJobs(jobs): ReadyJobs,
    PathPart(name): PathPart,
    Query(RowQuery { limit, cursor }): Query<RowQuery>,
) -> Result<axum::Json<RowList>, ApiError> {
    let after = match cursor {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| ApiError::from(StoreError::BadCursor))?,
    };
    let (data, has_more) = jobs.dataset_rows(&name, after, limit.unwrap_or(Page::DEFAULT)).await?;
    let next_cursor = has_more.then(|| (after + data.len()).to_string());
    Ok(axum::Json(RowList { object: "list", data, has_more, next_cursor }))
}

impl From<DatasetInfo> for Dataset {
    fn from(info: DatasetInfo) -> Self {
        let DatasetInfo { name, kind, rows, bytes, sha256, created } = info;
        let kind = match kind {
            DatasetKind::Problems => DatasetKindDto::Problems,
            DatasetKind::Trajectories => DatasetKindDto::Trajectories,
            DatasetKind::Preferences => DatasetKindDto::Preferences,
        };
        Self { name, object: "dataset", kind, rows, bytes, sha256, created }
    }
}
