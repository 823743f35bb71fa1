//! A small JSON file of the cache folder that only its owner reads.
//!
//! Nothing here may fail anything: what cannot be read is nothing, what cannot be written is a line in the log.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The file; without a folder nothing is kept.
#[derive(Clone, Debug)]
pub struct CacheFile {
    folder: Option<PathBuf>,
    name: &'static str,
}

impl CacheFile {
    /// The file of that name in the folder.
    pub fn new(folder: Option<PathBuf>, name: &'static str) -> Self {
        Self { folder, name }
    }

    /// Returns what is in it.
    pub fn read<T: DeserializeOwned + Default>(&self) -> T {
        let text = self.folder.as_ref().and_then(|folder| fs::read(folder.join(self.name)).ok());
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Puts something else into it, in one step, so that a reader never sees half of it.
    pub fn write<T: Serialize>(&self, content: &T) {
        let Some(folder) = &self.folder else { return };
        if let Err(error) = replace(folder, self.name, content) {
            tracing::debug!(%error, folder = %folder.display(), file = self.name, "the cache is not kept");
        }
    }
}

fn replace(folder: &Path, name: &str, content: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".{name}.{}", std::process::id()));
    let text = serde_json::to_vec(content)?;
    let done = create_private(&fresh)
        .and_then(|mut file| file.write_all(&text))
        .and_then(|()| fs::rename(&fresh, folder.join(name)));
    if done.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    done
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
