//! Files that only the user may read, to which lines are appended: the log and the audit record.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for reading and appending; it and its folder come into being as the user's alone.
///
/// # Errors
/// The folder or the file cannot be made or opened.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        folder_builder().create(folder)?;
    }
    options().open(path)
}

/// Opens a file for reading. A named pipe in its place is empty: it does not hold up the process until there is a writer.
///
/// # Errors
/// The file does not exist or cannot be opened.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    non_blocking(options.read(true));
    options.open(path)
}

/// Makes named pipes fail or be empty when they are opened. For other files it changes nothing.
#[cfg(unix)]
pub fn non_blocking(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, rustix::fs::OFlags::NONBLOCK.bits() as i32);
}

#[cfg(not(unix))]
pub fn non_blocking(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn folder_builder() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;

    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

#[cfg(not(unix))]
fn folder_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder
}

/// Non-blocking, so that a named pipe without a reader fails instead of holding up the session.
#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    non_blocking(options.read(true).append(true).create(true).mode(0o600));
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // A lock needs the right to read or to write anywhere, which appending alone is not.
    options.read(true).append(true).create(true);
    options
}
