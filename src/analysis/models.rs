//! Models, adapters and roles.

use std::path::{Component, Path, PathBuf};

use super::{Analysis, AnalysisError, off_the_reactor};
use crate::domain::model::{ModelInfo, Role, Roles};
use crate::engine::{AdapterSource, EngineError};

/// Longest name of an adapter.
const MAX_ID: usize = 64;

impl Analysis {
    /// The base first, then the others in the order of loading.
    pub fn models(&self) -> Vec<ModelInfo> {
        self.engine.models()
    }

    /// The model under study, which is what a request means that names none. An adapter may be called `base`, too.
    pub(super) fn base(&self) -> Result<ModelInfo, EngineError> {
        let unknown = || EngineError::UnknownModel { id: Role::Base.name().to_owned() };
        self.engine.models().into_iter().next().ok_or_else(unknown)
    }

    /// The model of an id, or the one that plays the role of that name. Resolved once a request: roles may be swapped while
    /// it is served.
    pub(super) fn model_named(&self, name: &str) -> Result<ModelInfo, EngineError> {
        let models = self.engine.models();
        let plays = |model: &&ModelInfo| model.roles.iter().copied().map(Role::name).any(|role| role == name);
        let found = models.iter().find(|model| model.id == name).or_else(|| models.iter().find(plays));
        found.cloned().ok_or_else(|| EngineError::UnknownModel { id: name.to_owned() })
    }

    /// Who plays the positive and the negative part.
    pub fn roles(&self) -> Roles {
        self.engine.roles()
    }

    /// Swaps the roles and gives them as they are now.
    pub async fn set_roles(&self, roles: Roles) -> Result<Roles, AnalysisError> {
        self.engine.set_roles(roles).await?;
        Ok(self.engine.roles())
    }

    /// Loads a PEFT folder from inside the configured folder of adapters. `path` is relative to that folder, or
    /// absolute and inside it; a link that leads out of it is refused.
    pub async fn load_adapter(&self, id: String, path: String) -> Result<ModelInfo, AnalysisError> {
        check_adapter_id(&id)?;
        let Some(root) = self.adapters.clone() else {
            let message = "this server has no folder of adapters: loading while serving is off";
            return Err(AnalysisError::invalid("path", message));
        };
        let path = off_the_reactor(move || inside(&root, &path)).await?;
        Ok(self.engine.load_adapter(AdapterSource { id, path }).await?)
    }

    /// Unloads an adapter. Refused while it has a role.
    pub async fn unload_adapter(&self, id: &str) -> Result<(), AnalysisError> {
        Ok(self.engine.unload_adapter(id).await?)
    }
}

/// Refuses a text that cannot name an adapter.
pub(crate) fn check_adapter_id(id: &str) -> Result<(), AnalysisError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match (1..=MAX_ID).contains(&id.len()) && id.chars().all(plain) {
        true => Ok(()),
        false => {
            let message = format!("a name is 1 to {MAX_ID} of the characters A-Z, a-z, 0-9, `.`, `_` and `-`");
            Err(AnalysisError::invalid("id", message))
        }
    }
}

/// The real path of the folder `path` names inside `root`.
///
/// The answer is the same for whatever is outside, there or not: nobody learns from it what this machine has elsewhere.
fn inside(root: &Path, path: &str) -> Result<PathBuf, AnalysisError> {
    let refused = |message: &str| AnalysisError::invalid("path", message);
    let outside = || refused("the path leads out of the server's folder of adapters");
    let missing = || refused("there is no such folder in the server's folder of adapters");
    if path.is_empty() || path.contains('\0') {
        return Err(refused("the path is empty or holds a NUL"));
    }
    let real_root = root
        .canonicalize()
        .map_err(|error| AnalysisError::Internal(format!("the folder of adapters {}: {error}", root.display())))?;
    let path = Path::new(path);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(outside());
    }
    if path.is_absolute() && !path.starts_with(root) && !path.starts_with(&real_root) {
        return Err(outside());
    }
    let real = real_root.join(path).canonicalize().map_err(|_| missing())?;
    if !real.starts_with(&real_root) {
        return Err(outside());
    }
    if !real.is_dir() {
        return Err(refused("the path is not a folder: an adapter is a folder with adapter_config.json in it"));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(outcome: Result<PathBuf, AnalysisError>) -> String {
        match outcome {
            Err(AnalysisError::Invalid { param, message }) => {
                assert_eq!(param, "path");
                message
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn adapters_come_from_inside_their_folder_only() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("adapters");
        std::fs::create_dir_all(root.join("pos/inner")).unwrap();
        std::fs::create_dir_all(outer.path().join("secret")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let real = root.canonicalize().unwrap();

        assert_eq!(inside(&root, "pos").unwrap(), real.join("pos"));
        assert_eq!(inside(&root, "./pos/inner/").unwrap(), real.join("pos/inner"));
        assert_eq!(inside(&root, root.join("pos").to_str().unwrap()).unwrap(), real.join("pos"));
        for path in ["../secret", "pos/../../secret", "/etc", "/no/such/folder", "../nothing"] {
            assert!(message(inside(&root, path)).contains("leads out"), "{path}");
        }
        for path in ["", "po\0s"] {
            assert!(message(inside(&root, path)).contains("empty or holds a NUL"), "{path:?}");
        }
        assert!(message(inside(&root, "nothing")).contains("no such folder"));
        assert!(message(inside(&root, "file")).contains("not a folder"));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_within_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("adapters");
        std::fs::create_dir_all(root.join("pos")).unwrap();
        std::fs::create_dir_all(outer.path().join("secret")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret"), root.join("escape")).unwrap();
        std::os::unix::fs::symlink("pos", root.join("alias")).unwrap();
        assert!(message(inside(&root, "escape")).contains("leads out"));
        assert_eq!(inside(&root, "alias").unwrap(), root.canonicalize().unwrap().join("pos"));
    }
}
