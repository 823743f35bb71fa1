//! The files of the built-in ssh server: the part of SFTP version 3 that `scp` and `sftp` use.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::path::{Component, Path, PathBuf};

use russh_sftp::protocol::{
    Attrs, Data, File as Entry, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode,
};
use russh_sftp::server::Handler;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// The most bytes of one read.
const LONGEST_READ: u32 = 128 * 1024;

/// The open files and folders of one connection.
pub(super) struct Files {
    directory: PathBuf,
    open: HashMap<String, Open>,
    next_handle: u64,
}

enum Open {
    File(File),
    Folder(Vec<Entry>),
}

impl Files {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, open: HashMap::new(), next_handle: 0 }
    }

    /// Makes a path absolute and takes `.` and `..` out of it.
    fn resolve(&self, path: &str) -> PathBuf {
        let mut resolved = PathBuf::new();
        for component in self.directory.join(path).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    resolved.pop();
                }
                Component::Prefix(_) | Component::RootDir | Component::Normal(_) => resolved.push(component),
            }
        }
        resolved
    }

    fn keep(&mut self, id: u32, open: Open) -> Handle {
        let handle = self.next_handle.to_string();
        self.next_handle += 1;
        self.open.insert(handle.clone(), open);
        Handle { id, handle }
    }

    fn file(&mut self, handle: &str) -> Result<&mut File, StatusCode> {
        match self.open.get_mut(handle) {
            Some(Open::File(file)) => Ok(file),
            Some(Open::Folder(_)) | None => Err(StatusCode::Failure),
        }
    }
}

impl Handler for Files {
    type Error = StatusCode;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        _attrs: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let options: std::fs::OpenOptions = pflags.into();
        let file = fs::OpenOptions::from(options).open(self.resolve(&filename)).await.map_err(code)?;
        Ok(self.keep(id, Open::File(file)))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        match self.open.remove(&handle).ok_or(StatusCode::Failure)? {
            Open::File(mut file) => file.flush().await.map_err(code)?,
            Open::Folder(_) => {}
        }
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Self::Error> {
        let file = self.file(&handle)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(code)?;
        let mut data = Vec::new();
        file.take(u64::from(len.min(LONGEST_READ))).read_to_end(&mut data).await.map_err(code)?;
        if data.is_empty() { Err(StatusCode::Eof) } else { Ok(Data { id, data }) }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(code)?;
        file.write_all(&data).await.map_err(code)?;
        Ok(done(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = fs::symlink_metadata(self.resolve(&path)).await.map_err(code)?;
        Ok(Attrs { id, attrs: (&metadata).into() })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = fs::metadata(self.resolve(&path)).await.map_err(code)?;
        Ok(Attrs { id, attrs: (&metadata).into() })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let metadata = self.file(&handle)?.metadata().await.map_err(code)?;
        Ok(Attrs { id, attrs: (&metadata).into() })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        let path = self.resolve(&path);
        if let Some(size) = attrs.size {
            let file = fs::OpenOptions::new().write(true).open(&path).await.map_err(code)?;
            file.set_len(size).await.map_err(code)?;
        }
        if let Some(permissions) = permissions(&attrs) {
            fs::set_permissions(&path, permissions).await.map_err(code)?;
        }
        Ok(done(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?;
        if let Some(size) = attrs.size {
            file.set_len(size).await.map_err(code)?;
        }
        if let Some(permissions) = permissions(&attrs) {
            file.set_permissions(permissions).await.map_err(code)?;
        }
        Ok(done(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let mut folder = fs::read_dir(self.resolve(&path)).await.map_err(code)?;
        let mut entries = Vec::new();
        while let Some(entry) = folder.next_entry().await.map_err(code)? {
            let metadata = entry.metadata().await.map_err(code)?;
            entries.push(Entry::new(entry.file_name().to_string_lossy(), (&metadata).into()));
        }
        Ok(self.keep(id, Open::Folder(entries)))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        match self.open.get_mut(&handle) {
            Some(Open::Folder(entries)) if entries.is_empty() => Err(StatusCode::Eof),
            Some(Open::Folder(entries)) => Ok(Name { id, files: std::mem::take(entries) }),
            Some(Open::File(_)) | None => Err(StatusCode::Failure),
        }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        fs::remove_file(self.resolve(&filename)).await.map_err(code)?;
        Ok(done(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, _attrs: FileAttributes) -> Result<Status, Self::Error> {
        fs::create_dir(self.resolve(&path)).await.map_err(code)?;
        Ok(done(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        fs::remove_dir(self.resolve(&path)).await.map_err(code)?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        let path = self.resolve(&path).to_string_lossy().into_owned();
        Ok(Name { id, files: vec![Entry::dummy(path)] })
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Self::Error> {
        let (old, new) = (self.resolve(&oldpath), self.resolve(&newpath));
        if exists(&new).await {
            return Err(StatusCode::Failure);
        }
        fs::rename(old, new).await.map_err(code)?;
        Ok(done(id))
    }
}

async fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).await.is_ok()
}

#[cfg(unix)]
fn permissions(attrs: &FileAttributes) -> Option<std::fs::Permissions> {
    use std::os::unix::fs::PermissionsExt;
    attrs.permissions.map(|mode| std::fs::Permissions::from_mode(mode & 0o7777))
}

#[cfg(not(unix))]
fn permissions(_attrs: &FileAttributes) -> Option<std::fs::Permissions> {
    None
}

fn done(id: u32) -> Status {
    let (error_message, language_tag) = ("Ok".to_owned(), "en-US".to_owned());
    Status { id, status_code: StatusCode::Ok, error_message, language_tag }
}

fn code(error: io::Error) -> StatusCode {
    if error.kind() == io::ErrorKind::NotFound {
        StatusCode::NoSuchFile
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        StatusCode::PermissionDenied
    } else {
        StatusCode::Failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_written_read_renamed_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path().to_owned());
        let flags = OpenFlags::READ | OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let handle = files.open(1, "a".to_owned(), flags, FileAttributes::empty()).await.unwrap().handle;
        files.write(2, handle.clone(), 0, b"hello world".to_vec()).await.unwrap();
        assert_eq!(files.read(3, handle.clone(), 6, 100).await.unwrap().data, b"world");
        assert_eq!(files.read(4, handle.clone(), 11, 100).await.unwrap_err(), StatusCode::Eof);
        files.close(5, handle).await.unwrap();
        files.rename(6, "a".to_owned(), "b".to_owned()).await.unwrap();
        assert_eq!(files.stat(7, "b".to_owned()).await.unwrap().attrs.size, Some(11));
        files.remove(8, "b".to_owned()).await.unwrap();
        assert_eq!(files.stat(9, "b".to_owned()).await.unwrap_err(), StatusCode::NoSuchFile);
    }

    #[tokio::test]
    async fn folders_are_listed_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::new(directory.path().to_owned());
        files.mkdir(1, "sub".to_owned(), FileAttributes::empty()).await.unwrap();
        let handle = files.opendir(2, ".".to_owned()).await.unwrap().handle;
        assert_eq!(files.readdir(3, handle.clone()).await.unwrap().files[0].filename, "sub");
        assert_eq!(files.readdir(4, handle).await.unwrap_err(), StatusCode::Eof);
    }

    #[test]
    fn paths_are_relative_to_the_folder() {
        let files = Files::new(PathBuf::from("/srv/demo"));
        assert_eq!(files.resolve("a/../b/./c"), PathBuf::from("/srv/demo/b/c"));
        assert_eq!(files.resolve("/etc/hosts"), PathBuf::from("/etc/hosts"));
    }
}
