//! The SHA-256 that names a model's weights.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use crate::engine::EngineError;

/// The hash of one file, or of the sorted lines `name NUL hash LF` of several.
pub(super) fn of_files(files: &[PathBuf]) -> Result<String, EngineError> {
    if let [only] = files {
        return of_file(only);
    }
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let hash_some = || {
        let mut done = Vec::new();
        while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((path, of_file(path)?));
        }
        Ok::<_, EngineError>(done)
    };
    let hashed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(hash_some)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| EngineError::Internal("a hashing thread panicked".to_owned()))??);
        }
        Ok::<_, EngineError>(all)
    })?;
    let mut lines: Vec<_> = hashed
        .into_iter()
        .map(|(path, hash)| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            format!("{name}\0{hash}\n")
        })
        .collect();
    lines.sort();
    Ok(hex(Sha256::digest(lines.concat().as_bytes()).as_slice()))
}

/// Reads through a small buffer and not through the map, so that hashing leaves no pages in memory.
fn of_file(path: &Path) -> Result<String, EngineError> {
    let fail = |error: std::io::Error| EngineError::Load(format!("{}: {error}", path.display()));
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let mut buffer = vec![0; 1 << 20];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(hex(hasher.finalize().as_slice())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
