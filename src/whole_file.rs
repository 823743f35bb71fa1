//! Files that are replaced as a whole or not at all.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;

/// Puts a whole new file in the place of the old one, with the same owner, group and mode. A file with other names, or with
/// an owner that we cannot give, is written in place.
///
/// # Errors
/// The system's; what was there is whole.
pub fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let before = fs::metadata(file).ok();
    match &before {
        Some(before) if has_other_names(before) => overwrite(file, text),
        Some(_) | None => exchange(file, text, before.as_ref()),
    }
}

/// Writes a file that was not there before, for the user alone.
///
/// # Errors
/// There is such a file, or the system's.
pub fn write_new(file: &Path, text: &[u8]) -> io::Result<()> {
    write_as(file, text, None)
}

/// Returns true if a name is that of a file which a killed process did not put in its place: `.NAME.PID.new`.
pub fn is_leftover(name: &str) -> bool {
    let number = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new"));
    number.and_then(|name| name.rsplit_once('.')).is_some_and(|(_, pid)| pid.parse::<u32>().is_ok())
}

fn exchange(file: &Path, text: &[u8], before: Option<&Metadata>) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.{}.new", std::process::id()));
    // A killed process of the same id may have left it.
    let _ = fs::remove_file(&new);
    let written = write_as(&new, text, before).and_then(|()| fs::rename(&new, file));
    let Err(error) = written else { return Ok(()) };
    let _ = fs::remove_file(&new);
    // The owner cannot be given, or the folder cannot be written.
    match error.kind() == io::ErrorKind::PermissionDenied && before.is_some() {
        true => overwrite(file, text),
        false => Err(error),
    }
}

/// Writes a file in place; after a failure, such as of a full disk, its old text is written back: it has the space for that.
fn overwrite(file: &Path, text: &[u8]) -> io::Result<()> {
    let before = fs::read(file)?;
    let mut opened = OpenOptions::new().write(true).open(file)?;
    let written = fill(&mut opened, text);
    if written.is_err() {
        fill(&mut opened, &before)?;
    }
    written
}

fn fill(file: &mut fs::File, text: &[u8]) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

#[cfg(unix)]
fn has_other_names(file: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(file) > 1
}

#[cfg(not(unix))]
fn has_other_names(_file: &Metadata) -> bool {
    false
}

/// Gives a new file the owner, group and mode of the one that it replaces.
#[cfg(unix)]
fn take_after(file: &fs::File, before: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};

    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
        fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(before.permissions())
}

#[cfg(not(unix))]
fn take_after(file: &fs::File, before: &Metadata) -> io::Result<()> {
    file.set_permissions(before.permissions())
}

/// Writes a file that was not there before, for the user alone unless it replaces another.
fn write_as(file: &Path, text: &[u8], before: Option<&Metadata>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(file)?;
    opened.write_all(text)?;
    if let Some(before) = before {
        take_after(&opened, before)?;
    }
    opened.sync_all()
}
