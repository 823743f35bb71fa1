//! The forms of a target's name: `[USER@]NAME[--REGION]` as a type.
//!
//! Parsing checks only the form; AWS decides whether the target exists. Called by `cli` and `config`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use super::near_miss::{id_beside_region, is_hexadecimal, near_id};
use super::region::Region;
use super::{Target, TargetKind};

/// Maximum number of letters and digits after an id's prefix.
const MAX_ID_LENGTH: usize = 40;
/// The start of a tag.
const TAG: &str = "tag:";
/// The start of a node of a SageMaker HyperPod cluster.
const SAGEMAKER: &str = "sagemaker-cluster:";

/// A parsed `[USER@]NAME[--REGION]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    name: Name,
    user: Option<String>,
    region: Option<Region>,
}

/// The name of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An id, which needs no lookup.
    Id(Target),
    /// A container of an ECS service or task.
    Container(ContainerName),
    /// A tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
    /// An address, private or public.
    Address(IpAddr),
    /// A DNS name, private or public; a Name tag may look like one.
    Dns(String),
    /// Any other text: a Name tag.
    Named(String),
}

/// A container of an ECS service or task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerName {
    /// The cluster's name.
    pub cluster: String,
    /// The service or task.
    pub tasks: TaskName,
    /// The container's name; `None` selects the only container of the task.
    pub container: Option<String>,
}

/// A service or task of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskName {
    /// Any running task of that service.
    Service(String),
    /// The task with that id.
    Task(String),
}

impl Destination {
    /// Makes a destination of a name without user and region.
    ///
    /// # Errors
    /// [`TargetError`]
    pub fn of_name(name: &str) -> Result<Self, TargetError> {
        Ok(Self { name: name_of(name)?, user: None, region: None })
    }

    /// Replaces the user and the region, if there are new ones.
    #[must_use]
    pub fn with(self, user: Option<&str>, region: Option<&Region>) -> Self {
        let user = user.map(str::to_owned).or(self.user);
        Self { user, region: region.cloned().or(self.region), name: self.name }
    }

    /// Returns the name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the user before the last `@`.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the region of a `--REGION` suffix; it overrides every other setting.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }
}

impl FromStr for Destination {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (user, rest) = split_user(text);
        if user == Some("") {
            return Err(TargetError::NoUser { text: text.to_owned() });
        }
        let (name, region) = split_region(rest);
        if name.is_empty() {
            return Err(TargetError::Empty { text: text.to_owned() });
        }
        Ok(Self { name: name_of(name)?, user: user.map(str::to_owned), region })
    }
}

/// Splits `USER@REST` at the last `@`. In a tag every `@` is part of its key or value.
pub fn split_user(text: &str) -> (Option<&str>, &str) {
    if text.starts_with(TAG) {
        return (None, text);
    }
    if let Some(at) = text.find(&format!("@{TAG}")) {
        return (Some(&text[..at]), &text[at + 1..]);
    }
    text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest))
}

/// Splits `NAME--REGION`, if the suffix has a region's form. A tag has no suffix: all of it is key and value.
pub fn split_region(text: &str) -> (&str, Option<Region>) {
    let suffixed = text.rsplit_once("--").filter(|_| !text.starts_with(TAG));
    let split = suffixed.and_then(|(name, suffix)| Some((name, Region::parse(suffix)?)));
    split.map_or((text, None), |(name, region)| (name, Some(region)))
}

impl fmt::Display for Destination {
    /// Writes the form that parses back to the same destination, except for a tag with a region.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", self.name)?;
        match &self.region {
            Some(region) => write!(f, "--{region}"),
            None => Ok(()),
        }
    }
}

impl Name {
    /// Returns the IAM actions that the lookup of the name needs.
    pub fn lookup_actions(&self) -> &'static [&'static str] {
        match self {
            Self::Id(_) => &[],
            Self::Container(ContainerName { tasks: TaskName::Service(_), .. }) => {
                &["ecs:ListTasks", "ecs:DescribeTasks"]
            }
            Self::Container(ContainerName { tasks: TaskName::Task(_), .. }) => &["ecs:DescribeTasks"],
            Self::Tag { .. } | Self::Address(_) | Self::Dns(_) | Self::Named(_) => {
                &["ec2:DescribeInstances", "ssm:DescribeInstanceInformation"]
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(target) => f.write_str(&target.id),
            Self::Container(name) => write!(f, "{name}"),
            Self::Tag { key, value } => write!(f, "tag:{key}={value}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Dns(name) | Self::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (TaskName::Service(tasks) | TaskName::Task(tasks)) = &self.tasks;
        write!(f, "ecs:{}/{tasks}", self.cluster)?;
        self.container.iter().try_for_each(|container| write!(f, "/{container}"))
    }
}

/// Why a text is not a valid target. The user must correct the text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// The name is empty: add one.
    #[error("no target in \"{text}\"")]
    Empty {
        /// What was typed.
        text: String,
    },
    /// The user before `@` is empty: add the user or remove the `@`.
    #[error("no user before `@` in \"{text}\"")]
    NoUser {
        /// What was typed.
        text: String,
    },
    /// An instance id is too short or too long.
    #[error(
        "\"{id}\" is not a valid instance id (expected {prefix} and 1 to {MAX_ID_LENGTH} letters and digits, not {count})"
    )]
    IdLength {
        /// The id, without user and region.
        id: String,
        /// `i-` or `mi-`.
        prefix: &'static str,
        /// The number of characters after the prefix.
        count: usize,
    },
    /// An instance id has a character that is not a letter or digit.
    #[error(
        "\"{id}\" is not a valid instance id (expected {prefix} and letters and digits, not \"{found}\")"
    )]
    IdCharacter {
        /// The id, without user and region.
        id: String,
        /// `i-` or `mi-`.
        prefix: &'static str,
        /// The first invalid character.
        found: char,
    },
    /// It starts with `ecs:` but has none of a container's forms.
    #[error("\"{id}\" is not a valid container name (expected {ECS_FORMS})")]
    Container {
        /// The name, without user and region.
        id: String,
    },
    /// It starts with `sagemaker-cluster:` but is not a node of a cluster.
    #[error("\"{id}\" is not a valid SageMaker node (expected `sagemaker-cluster:CLUSTER-ID_GROUP-i-…`)")]
    SageMaker {
        /// The name, without user and region.
        id: String,
    },
    /// It starts with `tag:` but has no key, or no `=`.
    #[error("\"{name}\" is not a valid tag (expected `tag:KEY=VALUE`)")]
    Tag {
        /// The name, without user and region.
        name: String,
    },
    /// It is an id in upper case or an ARN: write the id.
    #[error("\"{name}\" is not a valid id (expected \"{meant}\")")]
    NearMiss {
        /// The name, without user and region.
        name: String,
        /// The id that the user probably meant.
        meant: String,
    },
}

/// The forms of a container's name.
const ECS_FORMS: &str = "`ecs:CLUSTER/SERVICE[/CONTAINER]`, `ecs:CLUSTER/TASK/CONTAINER` or \
                         `ecs:CLUSTER_TASK_RUNTIME`";

fn name_of(text: &str) -> Result<Name, TargetError> {
    if let Some(tag) = text.strip_prefix(TAG) {
        return match tag.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Name::Tag { key: key.into(), value: value.into() }),
            Some(_) | None => Err(TargetError::Tag { name: text.to_owned() }),
        };
    }
    if let Some(parts) = text.strip_prefix("ecs:") {
        return if parts.contains('/') { container(text, parts) } else { raw_container(text, parts) };
    }
    if let Some(node) = text.strip_prefix(SAGEMAKER) {
        return match is_sagemaker_node(node) {
            true => Ok(Name::Id(Target::new(text, TargetKind::SageMakerNode))),
            false => Err(TargetError::SageMaker { id: text.to_owned() }),
        };
    }
    if let Ok(address) = text.parse() {
        return Ok(Name::Address(address));
    }
    if let Some(meant) = id_beside_region(text) {
        return Err(TargetError::NearMiss { name: text.to_owned(), meant });
    }
    if is_dns_name(text) {
        return Ok(Name::Dns(text.to_owned()));
    }
    let kinds = [("i-", TargetKind::Instance), ("mi-", TargetKind::ManagedInstance)];
    for (prefix, kind) in kinds {
        if let Some(digits) = text.strip_prefix(prefix) {
            return check_digits(text, prefix, digits).map(|()| Name::Id(Target::new(text, kind)));
        }
    }
    let is_id = |meant: &String| matches!(name_of(meant), Ok(Name::Id(_) | Name::Container(_)));
    match near_id(text).filter(is_id) {
        Some(meant) => Err(TargetError::NearMiss { name: text.to_owned(), meant }),
        None => Ok(Name::Named(text.to_owned())),
    }
}

/// Returns true for labels of letters, digits, dashes and underscores with dots between them. Such a name may start
/// with `i-`: EC2's resource names do.
fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.contains('.') && text.trim_end_matches('.').split('.').all(is_label)
}

fn container(text: &str, parts: &str) -> Result<Name, TargetError> {
    let parts: Vec<&str> = parts.split('/').collect();
    let (cluster, tasks, container) = match parts.as_slice() {
        [cluster, tasks] => (cluster, tasks, None),
        [cluster, tasks, container] => (cluster, tasks, Some((*container).to_owned())),
        [..] => return Err(TargetError::Container { id: text.to_owned() }),
    };
    if !parts.iter().all(is_ecs_name) {
        return Err(TargetError::Container { id: text.to_owned() });
    }
    let tasks = (*tasks).to_owned();
    let tasks = if is_task_id(&tasks) { TaskName::Task(tasks) } else { TaskName::Service(tasks) };
    Ok(Name::Container(ContainerName { cluster: (*cluster).to_owned(), tasks, container }))
}

/// Returns true for 32 hexadecimal digits, or a UUID (older task ids). A service with such a name is not supported.
fn is_task_id(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && (text.len() == 32 || (text.len() == 36 && text.matches('-').count() == 4))
}

fn is_ecs_name(part: &&str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn check_digits(id: &str, prefix: &'static str, digits: &str) -> Result<(), TargetError> {
    if let Some(found) = digits.chars().find(|c| !c.is_ascii_alphanumeric()) {
        return Err(TargetError::IdCharacter { id: id.to_owned(), prefix, found });
    }
    let count = digits.len();
    if !(1..=MAX_ID_LENGTH).contains(&count) {
        return Err(TargetError::IdLength { id: id.to_owned(), prefix, count });
    }
    Ok(())
}

/// Parses `ecs:CLUSTER_TASK_RUNTIME` from the right, since a cluster's name may contain underscores.
fn raw_container(id: &str, parts: &str) -> Result<Name, TargetError> {
    let parts: Vec<&str> = parts.rsplitn(3, '_').collect();
    if parts.len() == 3 && parts.iter().all(is_ecs_name) {
        return Ok(Name::Id(Target::new(id, TargetKind::Container)));
    }
    Err(TargetError::Container { id: id.to_owned() })
}

/// Returns true for `CLUSTER-ID_GROUP-i-…`; the group's name may contain dashes.
fn is_sagemaker_node(text: &str) -> bool {
    let parts = text.split_once('_').and_then(|(cluster, rest)| Some((cluster, rest.rsplit_once("-i-")?)));
    parts.is_some_and(|(cluster, (group, digits))| {
        is_ecs_name(&cluster) && is_ecs_name(&group) && is_hexadecimal(digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Destination {
        text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
    }

    fn target(text: &str) -> Target {
        let Name::Id(target) = parse(text).name else { panic!("`{text}` is not an id") };
        target
    }

    fn refuse(text: &str) -> TargetError {
        text.parse::<Destination>().expect_err(text)
    }

    #[test]
    fn every_id_has_its_kind() {
        for (text, kind) in [
            ("i-01234567", TargetKind::Instance),
            ("i-0123456789abcdef0", TargetKind::Instance),
            ("i-1", TargetKind::Instance),
            ("i-0123456789abcdef0123456789abcdef01234567", TargetKind::Instance),
            ("mi-0123456789abcdef0", TargetKind::ManagedInstance),
            ("ecs:prod_0123456789abcdef_0123456789abcdef-265927825", TargetKind::Container),
            ("ecs:my_prod_cluster_0123_0123-1", TargetKind::Container),
            ("sagemaker-cluster:abc123_worker-group-1-i-0123456789abcdef0", TargetKind::SageMakerNode),
        ] {
            assert_eq!(target(text).kind(), kind, "{text}");
            assert_eq!(target(text).id(), text);
        }
    }

    #[test]
    fn every_other_form_is_a_name() {
        const TASK: &str = "0123456789abcdef0123456789abcdef";
        let named = |text: &str| Name::Named(text.to_owned());
        let dns = |text: &str| Name::Dns(text.to_owned());
        let tag = |key: &str, value: &str| Name::Tag { key: key.into(), value: value.into() };
        let ecs = |tasks: TaskName, container: Option<&str>| {
            let container = container.map(str::to_owned);
            Name::Container(ContainerName { cluster: "prod".into(), tasks, container })
        };
        let service = || TaskName::Service("web".into());
        let old = "01234567-89ab-cdef-0123-456789abcdef";
        for (text, name) in [
            ("web-prod", named("web-prod")),
            ("Web Server (1)", named("Web Server (1)")),
            ("web--blue", named("web--blue")),
            ("踏み台", named("踏み台")),
            ("I am a server", named("I am a server")),
            ("mind", named("mind")),
            ("I-love-tags", named("I-love-tags")),
            ("tag:Name=web", tag("Name", "web")),
            ("tag:a:b=c=d", tag("a:b", "c=d")),
            ("tag:Empty=", tag("Empty", "")),
            ("10.0.0.115", Name::Address([10, 0, 0, 115].into())),
            ("198.51.100.7", Name::Address([198, 51, 100, 7].into())),
            ("2001:db8::7", Name::Address("2001:db8::7".parse().expect("IPv6"))),
            ("ip-10-0-0-1.eu-central-1.compute.internal", dns("ip-10-0-0-1.eu-central-1.compute.internal")),
            ("i-0123.eu-central-1.compute.internal", dns("i-0123.eu-central-1.compute.internal")),
            ("ec2-198-51-100-7.compute-1.amazonaws.com", dns("ec2-198-51-100-7.compute-1.amazonaws.com")),
            ("ecs:prod/web", ecs(service(), None)),
            ("ecs:prod/web/nginx", ecs(service(), Some("nginx"))),
            (&format!("ecs:prod/{TASK}/nginx"), ecs(TaskName::Task(TASK.into()), Some("nginx"))),
            (&format!("ecs:prod/{old}/nginx"), ecs(TaskName::Task(old.into()), Some("nginx"))),
        ] {
            assert_eq!(parse(text).name, name, "{text}");
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn everything_after_the_tags_prefix_is_key_and_value() {
        for (text, user, value) in [
            ("tag:owner=alice@example.com", None, "alice@example.com"),
            ("me@tag:owner=alice@example.com", Some("me"), "alice@example.com"),
            ("a@b@tag:owner=c@tag:d=e", Some("a@b"), "c@tag:d=e"),
            ("tag:owner=web--eu-west-1", None, "web--eu-west-1"),
            ("tag:owner=a:b/c=d e", None, "a:b/c=d e"),
        ] {
            let destination = parse(text);
            assert_eq!(destination.name, Name::Tag { key: "owner".into(), value: value.into() }, "{text}");
            assert_eq!((destination.user(), destination.region()), (user, None), "{text}");
        }
        assert_eq!(refuse("@tag:a=b"), TargetError::NoUser { text: "@tag:a=b".into() });
    }

    #[test]
    fn a_node_of_a_sagemaker_cluster_has_one_form() {
        for text in [
            "sagemaker-cluster:",
            "sagemaker-cluster:abc",
            "sagemaker-cluster:a_b-i-",
            "sagemaker-cluster:a_b-i-xyz",
        ] {
            assert_eq!(refuse(text), TargetError::SageMaker { id: text.into() });
        }
        assert_eq!(
            parse("me@sagemaker-cluster:a_b-i-0123--us-east-1").region().map(Region::as_str),
            Some("us-east-1")
        );
    }

    #[test]
    fn case_of_an_id_is_kept() {
        assert_eq!(target("i-0123456789ABCDEF0").id(), "i-0123456789ABCDEF0");
        assert_eq!(target("ecs:Prod_aB_c-1").id(), "ecs:Prod_aB_c-1");
    }

    #[test]
    fn the_user_is_the_text_before_the_last_at() {
        assert_eq!(parse("ec2-user@i-01234567").user(), Some("ec2-user"));
        assert_eq!(parse("me@corp.example@web").user(), Some("me@corp.example"));
        assert_eq!(parse("i-01234567").user(), None);
        assert_eq!(refuse("@i-01234567"), TargetError::NoUser { text: "@i-01234567".into() });
    }

    #[test]
    fn a_suffix_with_a_regions_form_is_the_region() {
        for (text, name, region) in [
            ("i-0123--eu-central-1", "i-0123", "eu-central-1"),
            ("mi-0123--us-gov-west-1", "mi-0123", "us-gov-west-1"),
            ("u@i-0123--cn-north-1", "i-0123", "cn-north-1"),
            ("ecs:a_b_c--ap-southeast-2", "ecs:a_b_c", "ap-southeast-2"),
            ("ecs:a/b--ap-southeast-2", "ecs:a/b", "ap-southeast-2"),
            ("i-0123--eusc-de-east-1", "i-0123", "eusc-de-east-1"),
            ("web--prod--eu-west-1", "web--prod", "eu-west-1"),
            ("10.0.0.1--eu-west-1", "10.0.0.1", "eu-west-1"),
        ] {
            let found = parse(text);
            assert_eq!(found.name().to_string(), name);
            assert_eq!(found.region().map(Region::as_str), Some(region));
        }
    }

    #[test]
    fn another_suffix_stays_in_the_name() {
        for suffix in
            ["", "prod", "eu-central", "eu-central-100", "EU-central-1", "europe-central-1", "eu--1"]
        {
            assert_eq!(Region::parse(suffix), None, "{suffix}");
        }
        let error = refuse("i-0123--prod");
        assert_eq!(error, TargetError::IdCharacter { id: "i-0123--prod".into(), prefix: "i-", found: '-' });
    }

    #[test]
    fn display_parses_back() {
        for text in
            ["i-0123", "u@i-0123", "a@b@mi-0123--eu-west-3", "ecs:a_b_c-1--us-east-1", "u@web--eu-west-1"]
        {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn an_invalid_name_is_refused_with_the_cause() {
        for (text, message) in [
            ("", "no target in \"\""),
            ("me@", "no target in \"me@\""),
            ("me@--eu-west-1", "no target in \"me@--eu-west-1\""),
            ("i-", "\"i-\" is not a valid instance id (expected i- and 1 to 40 letters and digits, not 0)"),
            (
                "i-01 23",
                "\"i-01 23\" is not a valid instance id (expected i- and letters and digits, not \" \")",
            ),
            (
                "mi-01é",
                "\"mi-01é\" is not a valid instance id (expected mi- and letters and digits, not \"é\")",
            ),
            ("tag:Name", "\"tag:Name\" is not a valid tag (expected `tag:KEY=VALUE`)"),
            ("tag:=x", "\"tag:=x\" is not a valid tag (expected `tag:KEY=VALUE`)"),
        ] {
            assert_eq!(refuse(text).to_string(), message);
        }
        for text in ["ecs:a_b", "ecs:_b_c", "ecs:", "ecs:a", "ecs:a/", "ecs:/b", "ecs:a/b/c/d", "ecs:a/b c"] {
            assert_eq!(refuse(text), TargetError::Container { id: text.into() });
        }
    }

    #[test]
    fn an_id_in_another_form_is_not_looked_up() {
        for (text, meant) in [
            ("I-0123456789ABCDEF0", "i-0123456789abcdef0"),
            ("MI-0123", "mi-0123"),
            ("ECS:Prod_b_c", "ecs:Prod_b_c"),
            ("ECS:Prod/web", "ecs:Prod/web"),
            ("arn:aws:ec2:eu-west-1:1:instance/i-0123", "i-0123"),
            ("i-0123456789abcdef0.us-east-1", "i-0123456789abcdef0--us-east-1"),
            ("mi-0123.eu-central-1", "mi-0123--eu-central-1"),
            ("i-0123:us-east-1", "i-0123--us-east-1"),
            ("i-0123/us-east-1", "i-0123--us-east-1"),
            ("i-0123-us-gov-west-1", "i-0123--us-gov-west-1"),
            ("us-east-1:i-0123", "i-0123--us-east-1"),
            ("eu-west-1/mi-0123", "mi-0123--eu-west-1"),
            (
                "arn:aws:ecs:eu-west-1:1:task/prod/0123456789abcdef0123456789abcdef",
                "ecs:prod/0123456789abcdef0123456789abcdef",
            ),
            (
                "arn:aws:ecs:eu-west-1:1:container/prod/0123456789abcdef0123456789abcdef/9-8",
                "ecs:prod/0123456789abcdef0123456789abcdef",
            ),
            ("arn:aws-cn:ecs:cn-north-1:1:service/prod/web", "ecs:prod/web"),
        ] {
            assert_eq!(refuse(text), TargetError::NearMiss { name: text.into(), meant: meant.into() });
        }
    }

    #[test]
    fn an_unusual_id_is_accepted_with_a_description() {
        assert_eq!(target("i-0123456789abcdef0").unusual_form(), None);
        assert_eq!(target("i-01234567").unusual_form(), None);
        let short = target("i-0123").unusual_form().expect("too short");
        assert_eq!(short, "check the id: AWS ids are `i-` and 8 or 17 digits, this one has 4");
        let upper = target("mi-0123456789ABCDEF0").unusual_form().expect("upper case");
        assert_eq!(upper, "check the id: AWS ids are `mi-` and 17 digits `0-9a-f`, in lower case");
    }
}
