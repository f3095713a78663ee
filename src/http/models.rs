//! `/v1/models`, `/v1/adapters` and `/v1/roles`: what is loaded, and who plays which part.

use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::error::{ApiError, BodyErrors, CommonErrors, ErrorBody};
use super::extract::{Json, PathPart, Ready, ReadyJobs};
use crate::domain::model::{ModelInfo, ModelKind, Role, Roles};
use crate::jobs::ArtifactRef;

/// The loaded models: the base first, then the others in the order of loading.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<Model>,
    has_more: bool,
    next_cursor: Option<String>,
}

/// A loaded model or adapter.
#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// Unix seconds of its loading.
    created: i64,
    #[schema(example = "linchpin")]
    owned_by: &'static str,
    /// The first of `roles`; null for an adapter without one.
    role: Option<RoleName>,
    /// Every part that it plays now; an adapter may play two.
    roles: Vec<RoleName>,
    kind: Kind,
    #[schema(example = "llama")]
    architecture: String,
    /// Number of weights; an adapter counts its own only.
    parameters: u64,
    /// Bytes of its matrices as they are held; those that are read in place from a file count too.
    memory_bytes: u64,
    #[schema(example = "bf16")]
    dtype: String,
    #[schema(example = "cpu")]
    device: String,
    /// SHA-256 of the weights.
    sha256: String,
    /// Longest trajectory in tokens.
    max_context: usize,
}

/// Whether a model stands alone or rides on the base.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ModelKind)]
enum Kind {
    Checkpoint,
    Adapter,
}

/// A part in the contrast.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Role)]
enum RoleName {
    Base,
    Positive,
    Negative,
}

/// A PEFT adapter to load: from a folder (`path`), or from what a job made (`job` and `artifact`).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdapterRequest {
    /// The name it will be known by.
    #[schema(example = "positive-2")]
    id: String,
    /// A PEFT folder inside the configured adapters' folder.
    #[schema(example = "gsm8k/positive")]
    path: Option<String>,
    /// Instead of `path`: the job that made the adapter.
    #[schema(example = "job_01K7P0C0H4T5G9S1M2N3P4Q5R6")]
    job: Option<String>,
    /// With `job`: the adapter's folder among the job's artifacts.
    #[schema(example = "adapter")]
    artifact: Option<String>,
}

/// What was deleted.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) deleted: bool,
}

/// Which models contrast.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Roles)]
pub(super) struct RolesDto {
    /// The model fine-tuned on right solutions; null leaves the role empty.
    #[serde(deserialize_with = "present")]
    #[schema(required = true)]
    positive: Option<String>,
    /// The model fine-tuned on wrong solutions; null leaves the role empty.
    #[serde(deserialize_with = "present")]
    #[schema(required = true)]
    negative: Option<String>,
}

/// Null empties a role and must be written: a role is not emptied because a field was forgotten.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

/// List the models
#[utoipa::path(
    get, path = "/v1/models", tag = "models", security(("api_key" = [])),
    responses((status = 200, description = "Base and adapters", body = ModelList), CommonErrors)
)]
pub(super) async fn list_models(Ready(analysis): Ready) -> axum::Json<ModelList> {
    let data = analysis.models().into_iter().map(Model::from).collect();
    axum::Json(ModelList { object: "list", data, has_more: false, next_cursor: None })
}

/// Load a PEFT adapter
#[utoipa::path(
    post, path = "/v1/adapters", tag = "models", security(("api_key" = [])), request_body = AdapterRequest,
    responses(
        (status = 201, description = "The adapter is loaded, without a role", body = Model),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 429, description = "The queue is full", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn load_adapter(
    Ready(analysis): Ready,
    ReadyJobs(jobs): ReadyJobs,
    Json(request): Json<AdapterRequest>,
) -> Result<(StatusCode, axum::Json<Model>), ApiError> {
    let AdapterRequest { id, path, job, artifact } = request;
    let missing = |field: &str, message: &str| Err(ApiError::invalid(field, "missing_field", message));
    let model = match (path, job, artifact) {
        (Some(path), None, None) => analysis.load_adapter(id, path).await?,
        (None, Some(job), Some(artifact)) => jobs.load_adapter(id, &ArtifactRef { job, artifact }).await?,
        (None, None, None) => {
            return missing("path", "an adapter comes from a `path`, or from a `job` and its `artifact`");
        }
        (None, Some(_), None) => return missing("artifact", "the job's artifact is missing"),
        (None, None, Some(_)) => return missing("job", "the job that made the artifact is missing"),
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
            return Err(ApiError::invalid(
                "path",
                "conflicting_fields",
                "`path` does not go with `job` and `artifact`",
            ));
        }
    };
    Ok((StatusCode::CREATED, axum::Json(model.into())))
}

/// Unload an adapter
#[utoipa::path(
    delete, path = "/v1/adapters/{id}", tag = "models", security(("api_key" = [])),
    params(("id" = String, Path, description = "The adapter's name")),
    responses(
        (status = 200, description = "The adapter is unloaded", body = Deleted),
        (status = 404, description = "No adapter has this name", body = ErrorBody),
        (status = 409, description = "The adapter has a role, or is the base", body = ErrorBody),
        (status = 429, description = "The queue is full", body = ErrorBody),
        CommonErrors,
    )
)]
pub(super) async fn unload_adapter(
    Ready(analysis): Ready,
    PathPart(id): PathPart,
) -> Result<axum::Json<Deleted>, ApiError> {
    analysis.unload_adapter(&id).await?;
    Ok(axum::Json(Deleted { id, object: "adapter", deleted: true }))
}

/// Show the roles
#[utoipa::path(
    get, path = "/v1/roles", tag = "models", security(("api_key" = [])),
    responses((status = 200, description = "Which models contrast", body = RolesDto), CommonErrors)
)]
pub(super) async fn get_roles(Ready(analysis): Ready) -> axum::Json<RolesDto> {
    axum::Json(analysis.roles().into())
}

/// Swap the roles
///
/// Work that has begun keeps the roles that it began with.
#[utoipa::path(
    put, path = "/v1/roles", tag = "models", security(("api_key" = [])), request_body = RolesDto,
    responses(
        (status = 200, description = "The roles as they are now", body = RolesDto),
        (status = 404, description = "No model has this name", body = ErrorBody),
        (status = 429, description = "The queue is full", body = ErrorBody),
        BodyErrors, CommonErrors,
    )
)]
pub(super) async fn set_roles(
    Ready(analysis): Ready,
    Json(roles): Json<RolesDto>,
) -> Result<axum::Json<RolesDto>, ApiError> {
    let roles = analysis.set_roles(roles.into()).await?;
    Ok(axum::Json(roles.into()))
}

impl From<RolesDto> for Roles {
    fn from(RolesDto { positive, negative }: RolesDto) -> Self {
        Self { positive, negative }
    }
}

impl From<Roles> for RolesDto {
    fn from(Roles { positive, negative }: Roles) -> Self {
        Self { positive, negative }
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        match role {
            Role::Base => Self::Base,
            Role::Positive => Self::Positive,
            Role::Negative => Self::Negative,
        }
    }
}

impl From<ModelInfo> for Model {
    fn from(info: ModelInfo) -> Self {
        let ModelInfo {
            id,
            roles,
            kind,
            architecture,
            parameters,
            memory_bytes,
            dtype,
            device,
            sha256,
            max_context,
            created,
        } = info;
        Self {
            id,
            object: "model",
            created,
            owned_by: "linchpin",
            role: roles.first().copied().map(RoleName::from),
            roles: roles.into_iter().map(RoleName::from).collect(),
            kind: match kind {
                ModelKind::Checkpoint => Kind::Checkpoint,
                ModelKind::Adapter => Kind::Adapter,
            },
            architecture,
            parameters,
            memory_bytes,
            dtype,
            device,
            sha256,
            max_context,
        }
    }
}
