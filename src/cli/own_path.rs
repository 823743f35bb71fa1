//! The path by which other programs start this one.

use std::io;
use std::path::{Path, PathBuf, absolute};

use crate::config::Environment;

/// Returns the path of this program: that of `PATH` if it has this very file, since an update replaces what a link leads to,
/// and may remove the file itself.
pub(super) fn own_path(environment: &Environment) -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    Ok(found_by_name(&path, environment).unwrap_or(path))
}

/// Returns the path by which `PATH` has this very file.
pub(super) fn found_by_name(program: &Path, environment: &Environment) -> Option<PathBuf> {
    let paths = environment.path("PATH").unwrap_or_default();
    let named: Option<PathBuf> =
        std::env::split_paths(&paths).map(|folder| folder.join("fumidai")).find(|path| path.is_file());
    let same = |path: &PathBuf| Some(path.canonicalize().ok()? == program.canonicalize().ok()?);
    let named = named.filter(|path| same(path) == Some(true))?;
    absolute(named).ok()
}
