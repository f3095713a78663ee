//! Files that jobs made: listed, and read as streams.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::io::AsyncReadExt;

use super::{Jobs, JobsError, Missing, off_the_reactor};
use crate::store::{Artifact, StoreError};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// A file on its way out.
pub struct ArtifactFile {
    /// The last part of its name.
    pub file_name: String,
    pub bytes: u64,
    pub content: BoxStream<'static, std::io::Result<Vec<u8>>>,
}

impl Jobs {
    /// The files that a job has made so far, by name.
    pub async fn artifacts(&self, id: &str) -> Result<Vec<Artifact>, JobsError> {
        self.get(id).await?;
        let folder = self.store().job_folder(id);
        Ok(off_the_reactor(move || folder.list()).await??)
    }

    /// One of these files.
    pub async fn artifact(&self, id: &str, name: &str) -> Result<ArtifactFile, JobsError> {
        // Only what is listed is given out: whatever a name leads to, it leads nowhere else.
        let known = self.artifacts(id).await?.into_iter().find(|artifact| artifact.name == name);
        let path = self.store().job_folder(id).artifact(name);
        let (Some(Artifact { name, bytes }), Some(path)) = (known, path) else {
            return Err(JobsError::NotFound { what: Missing::Artifact, id: name.to_owned() });
        };
        let file = tokio::fs::File::open(&path).await.map_err(|source| StoreError::Disk { path, source })?;
        let content = stream::try_unfold(file.take(bytes), |mut file| async move {
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk).await?;
            chunk.truncate(read);
            Ok((read > 0).then_some((chunk, file)))
        });
        let file_name = name.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(ArtifactFile { file_name, bytes, content: content.boxed() })
    }
}
