//! Which credentials a run uses, by the rules of botocore (`credentials.py`): pure, from the files and the variables.
//!
//! The order: keys of the environment; a role of the profile, through its `source_profile`; a web identity; SSO; keys in
//! `credentials`; `aws login`; `credential_process`; keys in `config`; at last the container and the instance metadata.

use std::path::PathBuf;

use aws_credential_types::Credentials;
use thiserror::Error;

use super::files::{AwsFiles, FileProblem, Part, Profile};
use super::role::Role;
use super::variables::CredentialVariables;

/// Where the credentials of a run come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// The source of the first credentials.
    pub base: Base,
    /// The roles to assume, in the order of the calls; the last is that of the user's profile.
    pub roles: Vec<Role>,
}

/// The source of the first credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Keys of the environment.
    Environment(Credentials),
    /// Keys of a profile.
    Keys {
        /// The profile.
        profile: String,
        /// The keys.
        keys: Credentials,
    },
    /// The output of a command.
    Process {
        /// The profile.
        profile: String,
        /// The command and its arguments.
        words: Vec<String>,
    },
    /// A login by IAM Identity Center, `aws sso login`.
    Sso(Sso),
    /// A login by `aws login`.
    Login {
        /// The profile.
        profile: String,
        /// The session's ARN.
        session: String,
    },
    /// A token of another identity provider, with a role.
    WebIdentity {
        /// The file with the token.
        file: PathBuf,
        /// The role's ARN.
        role_arn: String,
        /// The name of the role's session.
        session_name: Option<String>,
    },
    /// The container that the process runs in.
    Container,
    /// The metadata of the instance that the process runs on.
    Metadata,
    /// Nothing is configured: the container, else the instance metadata.
    Ambient {
        /// The profile that has no credentials.
        profile: String,
        /// The half of its keys that is missing, if it has the other.
        missing: Option<&'static str>,
    },
}

/// A login by IAM Identity Center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sso {
    /// The profile.
    pub profile: String,
    /// The name of its `[sso-session NAME]`.
    pub session: Option<String>,
    /// The portal's URL.
    pub start_url: String,
    /// The portal's region.
    pub region: String,
    /// The account's id.
    pub account: String,
    /// The role's name.
    pub role: String,
}

/// Why the credentials that are configured cannot be used: what is missing or wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceError {
    /// A line of a profile that is used cannot be read.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// One of two variables is missing.
    #[error("`AWS_ACCESS_KEY_ID` is set in the environment, but `AWS_SECRET_ACCESS_KEY` is not")]
    HalfEnvironment,
    /// One of two keys is missing.
    #[error("profile `{profile}` has no `{missing}` beside its `{present}` in `{}`", file.display())]
    HalfKeys {
        /// The profile.
        profile: String,
        /// The file with the other key.
        file: PathBuf,
        /// The key that is missing.
        missing: &'static str,
        /// The key that is there.
        present: &'static str,
    },
    /// The `source_profile` does not exist.
    #[error(
        "profile `{profile}` has `source_profile = {source_profile}`, but there is no profile `{source_profile}`"
    )]
    NoSourceProfile {
        /// The profile with the role.
        profile: String,
        /// The name that does not exist.
        source_profile: String,
    },
    /// The `source_profile` has no credentials.
    #[error("profile `{source_profile}`, the `source_profile` of `{profile}`, has no credentials")]
    EmptySourceProfile {
        /// The profile with the role.
        profile: String,
        /// Its source.
        source_profile: String,
    },
    /// The profiles name each other.
    #[error("the `source_profile` of `{profile}` leads back to `{source_profile}`")]
    Loop {
        /// The last profile.
        profile: String,
        /// The profile that was there before.
        source_profile: String,
    },
    /// A role without a source.
    #[error("profile `{0}` has `role_arn`, but neither `source_profile` nor `credential_source`")]
    NoSource(String),
    /// A role with two sources.
    #[error("profile `{0}` has both `source_profile` and `credential_source`")]
    TwoSources(String),
    /// The `credential_source` is not known.
    #[error(
        "profile `{profile}` has `credential_source = {value}`, \
         which is not `Environment`, `EcsContainer` or `Ec2InstanceMetadata`"
    )]
    UnknownSource {
        /// The profile.
        profile: String,
        /// The value.
        value: String,
    },
    /// `credential_source = Environment` without keys there.
    #[error("profile `{0}` has `credential_source = Environment`, but `AWS_ACCESS_KEY_ID` is not set")]
    NoEnvironment(String),
    /// The session does not exist.
    #[error(
        "profile `{profile}` has `sso_session = {session}`, but there is no section `[sso-session {session}]`"
    )]
    NoSsoSession {
        /// The profile.
        profile: String,
        /// The session.
        session: String,
    },
    /// A setting of SSO is missing.
    #[error("profile `{profile}` uses SSO, but has no `{key}`")]
    NoSsoSetting {
        /// The profile.
        profile: String,
        /// The setting.
        key: &'static str,
    },
    /// The profile contradicts its session.
    #[error("profile `{profile}` and its `[sso-session]` have different values of `{key}`")]
    SsoConflict {
        /// The profile.
        profile: String,
        /// The setting.
        key: &'static str,
    },
    /// A web identity without a role.
    #[error("`web_identity_token_file` of profile `{0}`, or its variable, is set without a role's ARN")]
    NoRoleArn(String),
    /// The command has an open quote.
    #[error("`credential_process` of profile `{0}` has a quote that is not closed")]
    OpenQuote(String),
}

/// What the source of a run depends on.
pub struct Setting<'a> {
    /// The files.
    pub files: &'a AwsFiles,
    /// The variables.
    pub variables: &'a CredentialVariables,
    /// Whether the profile overrides the variables, as the AWS CLI's `--profile` does.
    pub ignores_variables: bool,
}

impl CredentialSource {
    /// Finds the credentials of a profile.
    ///
    /// # Errors
    /// [`SourceError`] if what is configured first is not complete. As in the AWS CLI nothing else is tried then.
    pub fn find(setting: &Setting<'_>, name: &str) -> Result<Self, SourceError> {
        let variables = setting.variables;
        if !setting.ignores_variables && variables.access_key_id.is_some() {
            let keys = variables.keys().ok_or(SourceError::HalfEnvironment)?;
            return Ok(Base::Environment(keys).into());
        }
        let empty = Profile::default();
        let profile = setting.files.profile(name).unwrap_or(&empty);
        if let Some(problem) = profile.problem() {
            return Err(problem.clone().into());
        }
        if Role::of(name, profile).is_some() {
            return setting.roles(name, profile);
        }
        let web = if setting.ignores_variables { &CredentialVariables::default() } else { variables };
        let base = setting.base(name, profile, web)?;
        Ok(base.unwrap_or_else(|| Base::Ambient { profile: name.to_owned(), missing: half(profile) }).into())
    }

    /// Returns the profile of a login that may have ended, and how to log in again.
    pub fn login(&self) -> Option<(&str, LoginKind)> {
        match &self.base {
            Base::Sso(sso) => Some((&sso.profile, LoginKind::Sso)),
            Base::Login { profile, .. } => Some((profile, LoginKind::Console)),
            Base::Environment(_)
            | Base::Keys { .. }
            | Base::Process { .. }
            | Base::WebIdentity { .. }
            | Base::Container
            | Base::Metadata
            | Base::Ambient { .. } => None,
        }
    }

    /// Returns whose keys sign, if they are long-lived keys that a user has written down.
    pub fn owner(&self) -> KeyOwner {
        match &self.base {
            Base::Environment(_) => KeyOwner::Environment,
            Base::Keys { profile, .. } => KeyOwner::Profile(profile.clone()),
            Base::Process { profile, .. } => KeyOwner::Process(profile.clone()),
            Base::Sso(Sso { profile, .. }) => KeyOwner::Login(profile.clone(), LoginKind::Sso),
            Base::Login { profile, .. } => KeyOwner::Login(profile.clone(), LoginKind::Console),
            Base::WebIdentity { .. } | Base::Container | Base::Metadata | Base::Ambient { .. } => {
                KeyOwner::Machine
            }
        }
    }
}

/// How to log in again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginKind {
    /// `aws sso login`.
    Sso,
    /// `aws login`.
    Console,
}

/// The command that logs a profile in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginCommand {
    /// The profile.
    pub profile: String,
    /// How to log in.
    pub kind: LoginKind,
}

impl LoginCommand {
    /// Returns the program and its arguments.
    pub fn words(&self) -> Vec<&str> {
        let mut words = match self.kind {
            LoginKind::Sso => vec!["aws", "sso", "login"],
            LoginKind::Console => vec!["aws", "login"],
        };
        words.extend(["--profile", &self.profile]);
        words
    }
}

/// Whose credentials a call was signed with, or a role was assumed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOwner {
    /// The environment's.
    Environment,
    /// Keys of a profile.
    Profile(String),
    /// The `credential_process` of a profile.
    Process(String),
    /// The login of a profile.
    Login(String, LoginKind),
    /// An approval of the access request of that id.
    Approval(String),
    /// The machine's own role.
    Machine,
}

impl From<Base> for CredentialSource {
    fn from(base: Base) -> Self {
        Self { base, roles: Vec::new() }
    }
}

impl Setting<'_> {
    /// Follows `source_profile` from a profile with a role to the first credentials.
    fn roles(&self, name: &str, profile: &Profile) -> Result<CredentialSource, SourceError> {
        let (mut name, mut profile) = (name.to_owned(), profile);
        let mut roles: Vec<Role> = Vec::new();
        let base = loop {
            let Some(role) = Role::of(&name, profile) else {
                break self.source_base(&roles, &name, profile)?;
            };
            if !roles.is_empty() && has_key(profile) {
                break self.source_base(&roles, &name, profile)?;
            }
            roles.push(role);
            match (profile.get("source_profile"), profile.get("credential_source")) {
                (Some(_), Some(_)) => return Err(SourceError::TwoSources(name)),
                (None, None) => return Err(SourceError::NoSource(name)),
                (None, Some(source)) => break self.named(&name, source)?,
                (Some(source), None) => {
                    let source = source.to_owned();
                    profile = self.source_profile(&roles, &name, &source)?;
                    name = source;
                }
            }
        };
        roles.reverse();
        Ok(CredentialSource { base, roles })
    }

    /// Finds the `source_profile` of a profile. A profile may name itself if it has keys.
    fn source_profile(&self, roles: &[Role], name: &str, source: &str) -> Result<&Profile, SourceError> {
        let (profile, source_profile) = (name.to_owned(), source.to_owned());
        let Some(found) = self.files.profile(source) else {
            let error = SourceError::NoSourceProfile { profile, source_profile };
            return Err(self.files.problem().map_or(error, |problem| problem.clone().into()));
        };
        if let Some(problem) = found.problem() {
            return Err(problem.clone().into());
        }
        let was_there = roles.iter().any(|role| role.profile == source);
        if was_there && !(source == name && has_key(found)) {
            return Err(SourceError::Loop { profile, source_profile });
        }
        Ok(found)
    }

    fn source_base(&self, roles: &[Role], name: &str, profile: &Profile) -> Result<Base, SourceError> {
        let base = self.base(name, profile, &CredentialVariables::default())?;
        base.ok_or_else(|| {
            let by = roles.last().map(|role| role.profile.clone()).unwrap_or_default();
            match half(profile) {
                Some(missing) => half_keys(name, profile, missing),
                None => SourceError::EmptySourceProfile { profile: by, source_profile: name.to_owned() },
            }
        })
    }

    fn named(&self, name: &str, source: &str) -> Result<Base, SourceError> {
        match source.to_ascii_lowercase().as_str() {
            "environment" if self.variables.access_key_id.is_none() => {
                Err(SourceError::NoEnvironment(name.to_owned()))
            }
            "environment" => self.variables.keys().map(Base::Environment).ok_or(SourceError::HalfEnvironment),
            "ecscontainer" => Ok(Base::Container),
            "ec2instancemetadata" => Ok(Base::Metadata),
            _ => Err(SourceError::UnknownSource { profile: name.to_owned(), value: source.to_owned() }),
        }
    }

    /// Finds the credentials of a profile without a role, in botocore's order.
    fn base(
        &self,
        name: &str,
        profile: &Profile,
        variables: &CredentialVariables,
    ) -> Result<Option<Base>, SourceError> {
        if let Some(base) = web_identity(name, profile, variables)? {
            return Ok(Some(base));
        }
        if let Some(sso) = self.sso(name, profile)? {
            return Ok(Some(Base::Sso(sso)));
        }
        if let Some(keys) = keys(name, profile.credentials())? {
            return Ok(Some(keys));
        }
        if let Some(session) = profile.get("login_session") {
            return Ok(Some(Base::Login { profile: name.to_owned(), session: session.to_owned() }));
        }
        if let Some(command) = profile.get("credential_process") {
            return process(name, command).map(Some);
        }
        keys(name, profile.config())
    }

    fn sso(&self, name: &str, profile: &Profile) -> Result<Option<Sso>, SourceError> {
        if !profile.has("sso_role_name") && !profile.has("sso_account_id") {
            return Ok(None);
        }
        let session = profile.get("sso_session");
        let of_session = session.map(|session| {
            self.files.sso_session(session).ok_or_else(|| {
                let (profile, session) = (name.to_owned(), session.to_owned());
                SourceError::NoSsoSession { profile, session }
            })
        });
        let of_session = of_session.transpose()?;
        let value = |key: &'static str| {
            let own = profile.get(key);
            let shared = of_session.as_ref().and_then(|session| session.get(key));
            match (own, shared) {
                (Some(own), Some(shared)) if own != shared => {
                    Err(SourceError::SsoConflict { profile: name.to_owned(), key })
                }
                (own, shared) => {
                    let missing = || SourceError::NoSsoSetting { profile: name.to_owned(), key };
                    let value = own.or(shared).filter(|value| !value.is_empty()).ok_or_else(missing);
                    value.map(str::to_owned)
                }
            }
        };
        Ok(Some(Sso {
            profile: name.to_owned(),
            session: session.map(str::to_owned),
            role: value("sso_role_name")?,
            account: value("sso_account_id")?,
            start_url: value("sso_start_url")?,
            region: value("sso_region")?,
        }))
    }
}

fn web_identity(
    name: &str,
    profile: &Profile,
    variables: &CredentialVariables,
) -> Result<Option<Base>, SourceError> {
    let of_profile = |key: &str| profile.get(key).map(str::to_owned);
    let file = variables.web_identity_token_file.clone();
    let file = file.or_else(|| of_profile("web_identity_token_file").map(PathBuf::from));
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else { return Ok(None) };
    let role_arn = variables.role_arn.clone().or_else(|| of_profile("role_arn"));
    Ok(Some(Base::WebIdentity {
        file,
        role_arn: role_arn.ok_or_else(|| SourceError::NoRoleArn(name.to_owned()))?,
        session_name: variables.role_session_name.clone().or_else(|| of_profile("role_session_name")),
    }))
}

const ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";

fn keys(name: &str, part: Option<&Part>) -> Result<Option<Base>, SourceError> {
    let filled = |key| part?.get(key).filter(|value| !value.is_empty());
    let Some(part) = part.filter(|part| part.get(ID).is_some()) else { return Ok(None) };
    let half = |missing, present| {
        let (profile, file) = (name.to_owned(), part.file.clone());
        SourceError::HalfKeys { profile, file, missing, present }
    };
    let id = filled(ID).ok_or_else(|| half(ID, SECRET))?;
    let secret = filled(SECRET).ok_or_else(|| half(SECRET, ID))?;
    let token = filled("aws_security_token").or_else(|| filled("aws_session_token"));
    let keys = Credentials::new(id, secret, token.map(str::to_owned), None, "profile");
    Ok(Some(Base::Keys { profile: name.to_owned(), keys }))
}

fn process(name: &str, command: &str) -> Result<Base, SourceError> {
    let open = || SourceError::OpenQuote(name.to_owned());
    // Windows has other quotes, and its shell gets the command unchanged.
    let words = if cfg!(windows) {
        vec![command.to_owned()]
    } else {
        super::files::words::split(command).ok_or_else(open)?
    };
    Ok(Base::Process { profile: name.to_owned(), words })
}

fn has_key(profile: &Profile) -> bool {
    profile.has(ID) || profile.has(SECRET)
}

/// Returns the id of a key, if only the secret is there.
fn half(profile: &Profile) -> Option<&'static str> {
    (profile.has(SECRET) && !profile.has(ID)).then_some(ID)
}

fn half_keys(name: &str, profile: &Profile, missing: &'static str) -> SourceError {
    let part = profile.credentials().filter(|part| part.get(SECRET).is_some()).or(profile.config());
    let file = part.map(|part| part.file.clone()).unwrap_or_default();
    SourceError::HalfKeys { profile: name.to_owned(), file, missing, present: SECRET }
}
