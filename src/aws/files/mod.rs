//! AWS's two files, `~/.aws/config` and `~/.aws/credentials`, as the AWS CLI reads them.
//!
//! The SDK's own parser reads less: it refuses indented options and quoted names, and takes ` #` in a value for a comment.
//! So the files are read here, once for every attempt, and the SDK gets what it needs as plain values. The reference is
//! botocore (`configloader.py`, `session.py`), and a test compares both on generated files. What cannot be read is kept as
//! a [`FileProblem`]: it ends a run only if the run needs it.

pub mod ini;
pub mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use self::ini::{Ini, LineError, LineProblem, SectionOptions, Value};

/// Where the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePaths {
    /// `AWS_CONFIG_FILE`, else `~/.aws/config`.
    pub config: Option<FilePath>,
    /// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    pub credentials: Option<FilePath>,
}

/// Where one of the files is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    /// The path.
    pub path: PathBuf,
    /// Whether a variable names it. Else it need not exist.
    pub is_named: bool,
}

/// Why a file, or a part of it, cannot be read: correct it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileProblem {
    /// The system cannot read the file.
    #[error("cannot read the AWS file `{}`: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        cause: String,
    },
    /// The file has another encoding.
    #[error("the AWS file `{}` is UTF-16, not UTF-8", file.display())]
    Utf16 {
        /// The file.
        file: PathBuf,
    },
    /// A line cannot be read.
    #[error("{}:{line}: {cause}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: LineError,
    },
}

/// The files' profiles and the sections that profiles name.
#[derive(Clone, Default)]
pub struct AwsFiles {
    profiles: BTreeMap<String, Profile>,
    sso_sessions: BTreeMap<String, SectionOptions>,
    services: BTreeMap<String, SectionOptions>,
    problems: Vec<FileProblem>,
}

/// A profile of both files.
#[derive(Clone, Default)]
pub struct Profile {
    /// Its options in `config`.
    config: Option<Part>,
    /// Its options in `credentials`.
    credentials: Option<Part>,
}

/// A profile's section of one file.
#[derive(Clone)]
pub struct Part {
    /// The file.
    pub file: PathBuf,
    options: SectionOptions,
    /// The first of its lines that cannot be read.
    problem: Option<FileProblem>,
}

/// A section `[sso-session NAME]`.
pub struct SsoSession<'a>(&'a SectionOptions);

impl<'a> SsoSession<'a> {
    /// Returns a text.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        text(self.0, key)
    }
}

impl AwsFiles {
    /// Reads both files. A file that does not exist is empty, unless a variable names it.
    pub fn read(paths: &FilePaths) -> Self {
        let mut files = Self::default();
        for part in files.load(paths.config.as_ref()) {
            files.add_config(part.0, part.1);
        }
        for (name, part) in files.load(paths.credentials.as_ref()) {
            files.profiles.entry(name).or_default().credentials = Some(part);
        }
        files
    }

    /// Returns a profile.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Returns the names of all profiles.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// Returns the section `[sso-session NAME]`.
    pub fn sso_session(&self, name: &str) -> Option<SsoSession<'_>> {
        self.sso_sessions.get(name).map(SsoSession)
    }

    /// Returns the endpoint of a service in `[services NAME]`, or `None` if there is no such section. The service's id is
    /// botocore's: lower case, `_` for a space.
    pub fn service_endpoint(&self, name: &str, service: &str) -> Option<Option<&str>> {
        Some(match self.services.get(name)?.get(service) {
            Some(Value::Nested(nested)) => nested.get("endpoint_url").map(String::as_str),
            Some(Value::Text(_)) | None => None,
        })
    }

    /// Returns the first problem: it may be the reason why something was not found.
    pub fn problem(&self) -> Option<&FileProblem> {
        self.problems.first()
    }

    /// Returns all problems.
    pub fn problems(&self) -> &[FileProblem] {
        &self.problems
    }

    /// Reads one file into its sections, and keeps its problems.
    fn load(&mut self, path: Option<&FilePath>) -> Vec<(String, Part)> {
        let Some(path) = path else { return Vec::new() };
        let ini = match read_ini(path) {
            Ok(ini) => ini,
            Err(problem) => {
                self.problems.push(problem);
                return Vec::new();
            }
        };
        let problems = ini.problems.iter().map(|problem| at_line(&path.path, problem));
        self.problems.extend(problems);
        let part = |(name, options): (String, SectionOptions)| {
            let problem = ini.problems.iter().find(|problem| problem.section.as_ref() == Some(&name));
            let problem = problem.map(|problem| at_line(&path.path, problem));
            (name, Part { file: path.path.clone(), options, problem })
        };
        ini.sections.into_iter().map(part).collect()
    }

    /// Adds a section of `config`. Of two sections for one profile the later holds, as in botocore.
    fn add_config(&mut self, header: String, part: Part) {
        let of_kind = |kind: &str| header.starts_with(kind).then(|| second_word(&header)).flatten();
        if header == "default" {
            self.profiles.entry(header).or_default().config = Some(part);
        } else if header.starts_with("profile") {
            let Some(name) = of_kind("profile") else { return };
            self.profiles.entry(name).or_default().config = Some(part);
        } else if let Some(name) = of_kind("sso-session") {
            self.sso_sessions.insert(name, part.options);
        } else if let Some(name) = of_kind("services") {
            self.services.insert(name, part.options);
        }
    }
}

impl Profile {
    /// Returns a text; that of `credentials` overrides that of `config`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parts().find_map(|part| part.options.get(key)).and_then(as_text)
    }

    /// Returns true if the option is set, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.parts().any(|part| part.options.contains_key(key))
    }

    /// Returns the texts of one line by key.
    pub fn settings(&self) -> BTreeMap<&str, &str> {
        let options = self.config.iter().chain(&self.credentials).flat_map(|part| &part.options);
        let merged: BTreeMap<_, _> = options.collect();
        merged.into_iter().filter_map(|(key, value)| Some((key.as_str(), as_text(value)?))).collect()
    }

    /// Returns its section in `config`.
    pub fn config(&self) -> Option<&Part> {
        self.config.as_ref()
    }

    /// Returns its section in `credentials`.
    pub fn credentials(&self) -> Option<&Part> {
        self.credentials.as_ref()
    }

    /// Returns the first line of its sections that cannot be read.
    pub fn problem(&self) -> Option<&FileProblem> {
        self.parts().find_map(|part| part.problem.as_ref())
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.credentials.iter().chain(&self.config)
    }
}

impl Part {
    /// Returns a text.
    pub fn get(&self, key: &str) -> Option<&str> {
        text(&self.options, key)
    }
}

impl fmt::Debug for AwsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.profile_names().collect();
        f.debug_struct("AwsFiles").field("profiles", &names).finish_non_exhaustive()
    }
}

fn read_ini(path: &FilePath) -> Result<Ini, FileProblem> {
    let file = path.path.clone();
    let unreadable =
        |cause: &dyn fmt::Display| FileProblem::Unreadable { file: file.clone(), cause: cause.to_string() };
    match std::fs::metadata(&path.path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_named => {
            return Ok(Ini::default());
        }
        Err(error) => return Err(unreadable(&error)),
        // A pipe could be read only once, and `/dev/null` is a way to have no file.
        Ok(metadata) if !metadata.is_file() => return Ok(Ini::default()),
        Ok(_) => {}
    }
    let bytes = std::fs::read(&path.path).map_err(|error| unreadable(&error))?;
    if is_utf16(&bytes) {
        return Err(FileProblem::Utf16 { file });
    }
    Ok(Ini::parse(&bytes))
}

fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0)
}

fn at_line(file: &Path, problem: &LineProblem) -> FileProblem {
    FileProblem::Line { file: file.to_owned(), line: problem.line, cause: problem.cause }
}

/// Returns the name of `[KIND NAME]`: exactly two words, each possibly quoted.
fn second_word(header: &str) -> Option<String> {
    let mut words = words::split(header)?;
    let name = words.pop()?;
    (words.len() == 1).then_some(name)
}

fn text<'a>(options: &'a SectionOptions, key: &str) -> Option<&'a str> {
    options.get(key).and_then(as_text)
}

fn as_text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        Value::Nested(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(config: &[u8], credentials: &[u8]) -> AwsFiles {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            Some(FilePath { path, is_named: true })
        };
        let config = write("config", config);
        AwsFiles::read(&FilePaths { config, credentials: write("credentials", credentials) })
    }

    #[test]
    fn names_may_be_quoted() {
        let files = files(
            b"[profile 'Foo Bar']\nregion = a\n[sso-session \"corp\"]\nsso_region = b\n\
              [services 'my local']\nssm =\n  endpoint_url = c\n[profile a b]\n[profile]\n",
            b"[profile x]\nregion = d\n",
        );
        assert_eq!(files.profile_names().collect::<Vec<_>>(), ["Foo Bar", "profile x"]);
        assert_eq!(files.sso_session("corp").expect("a section").get("sso_region"), Some("b"));
        assert_eq!(files.service_endpoint("my local", "ssm"), Some(Some("c")));
        assert_eq!(files.service_endpoint("my local", "ec2"), Some(None));
        assert_eq!(files.service_endpoint("other", "ssm"), None);
    }

    #[test]
    fn credentials_override_config() {
        let files = files(b"[default]\nregion = a\noutput = b\n", b"[default]\nregion = c\n");
        let profile = files.profile("default").expect("a profile");
        assert_eq!((profile.get("region"), profile.get("output")), (Some("c"), Some("b")));
    }

    #[test]
    fn a_problem_belongs_to_the_profile_that_it_is_in() {
        let files = files(b"[default]\nregion = a\n[profile b]\nregion\n", b"");
        assert_eq!(files.profile("default").and_then(Profile::problem), None);
        let problem = files.profile("b").and_then(Profile::problem).expect("a problem").to_string();
        assert!(problem.ends_with("config:4: expected `name = value`"), "{problem}");
    }

    #[test]
    fn another_encoding_is_named() {
        let bytes: Vec<u8> = "[default]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [[b"\xff\xfe", &bytes[..]].concat(), bytes] {
            let problem = files(&bytes, b"").problem().expect("a problem").to_string();
            assert!(problem.ends_with("config` is UTF-16, not UTF-8"), "{problem}");
        }
    }
}
