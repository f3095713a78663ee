//! Adapters that jobs made: where they are, and loading them beside the served ones.

use std::path::PathBuf;

use super::config::{ArtifactRef, ModelSource};
use super::{Jobs, JobsError, Missing};
use crate::analysis::check_adapter_id;
use crate::domain::job::is_job_id;
use crate::domain::model::{ModelInfo, Role};
use crate::engine::{AdapterSource, EngineError};
use crate::store::Store;

/// What makes a folder an adapter.
const ADAPTER_CONFIG: &str = "adapter_config.json";

/// The folder of an adapter among a job's artifacts.
pub(super) fn adapter_folder(store: &Store, ArtifactRef { job, artifact }: &ArtifactRef) -> Result<PathBuf, JobsError> {
    if !is_job_id(job) {
        return Err(JobsError::NotFound { what: Missing::Job, id: job.clone() });
    }
    let missing = || JobsError::NotFound { what: Missing::Artifact, id: artifact.clone() };
    let folder = store.job_folder(job).artifact(artifact.trim_end_matches('/')).ok_or_else(missing)?;
    if folder.join(ADAPTER_CONFIG).is_file() { Ok(folder) } else { Err(missing()) }
}

impl Jobs {
    /// Loads an adapter that a job made, to be served under a name.
    pub async fn load_adapter(&self, id: String, artifact: &ArtifactRef) -> Result<ModelInfo, JobsError> {
        check_adapter_id(&id)?;
        let path = adapter_folder(self.store(), artifact)?;
        Ok(self.engine().load_adapter(AdapterSource { id, path }).await?)
    }

    /// Refuses a model that is not there; `param` names the field.
    pub(super) fn check_model(&self, param: &str, source: &ModelSource) -> Result<(), JobsError> {
        match source {
            ModelSource::Artifact(artifact) => self.check_artifact(param, artifact),
            ModelSource::Loaded(name) => {
                let models = self.engine().models();
                let plays = |role: Role| role.name() == name;
                let known = models.iter().any(|model| model.id == *name || model.roles.iter().copied().any(plays));
                match known {
                    true => Ok(()),
                    false => Err(JobsError::invalid(param, EngineError::UnknownModel { id: name.clone() }.to_string())),
                }
            }
        }
    }

    /// Refuses an adapter that no job made.
    pub(super) fn check_artifact(&self, param: &str, artifact: &ArtifactRef) -> Result<(), JobsError> {
        adapter_folder(self.store(), artifact).map(|_| ()).map_err(|error| JobsError::invalid(param, error.to_string()))
    }
}
