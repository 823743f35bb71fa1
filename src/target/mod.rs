//! What a session is opened to: `[USER@]TARGET[--REGION]` as a type.
//!
//! Owns the forms a target may be written in and nothing of AWS: a [`Target`] that exists is well-formed, whether the
//! service knows it is the service's to say. Ids keep their case and their length is not judged, since AWS has used
//! several; [`Target::doubt`] words what looks odd, for the moment when the service refuses. Called by `cli`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest run of letters and digits that is taken for an instance id.
const LONGEST_ID: usize = 40;

/// Something that the service can open a session to, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    id: String,
    kind: TargetKind,
    user: Option<String>,
    region: Option<Region>,
}

/// What a target is, by the form of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// An EC2 instance, `i-…`.
    Instance,
    /// A machine registered by hybrid activation, `mi-…`.
    ManagedInstance,
    /// A container of an ECS task, `ecs:CLUSTER_TASK_RUNTIME`.
    Container,
}

impl Target {
    /// Returns the id without user and region, in the form that StartSession takes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns what the id names.
    pub fn kind(&self) -> TargetKind {
        self.kind
    }

    /// Returns the user before the last `@`.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the region of a `--REGION` suffix; it overrides every other setting.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Words what is odd about an id that has a valid form, for a hint once the service refuses it.
    pub fn doubt(&self) -> Option<String> {
        let (name, digits, lengths): (&str, &str, &[usize]) = match self.kind {
            TargetKind::Instance => ("`i-`", self.id.strip_prefix("i-")?, &[8, 17]),
            TargetKind::ManagedInstance => ("`mi-`", self.id.strip_prefix("mi-")?, &[17]),
            TargetKind::Container => return None,
        };
        let usual = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
        if digits.chars().any(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Some(format!("AWS writes {name} and {usual} digits `0-9a-f`, in lower case"));
        }
        let count = digits.len();
        (!lengths.contains(&count)).then(|| format!("AWS writes {name} and {usual} digits, here are {count}"))
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (user, rest) = match text.rsplit_once('@') {
            Some(("", _)) => return Err(TargetError::NoUser { text: text.to_owned() }),
            Some((user, rest)) => (Some(user.to_owned()), rest),
            None => (None, text),
        };
        let (id, region) = split_region(rest);
        if id.is_empty() {
            return Err(TargetError::Empty { text: text.to_owned() });
        }
        let kind = kind_of(id)?;
        Ok(Self { id: id.to_owned(), kind, user, region })
    }
}

impl fmt::Display for Target {
    /// Writes the form that parses back to the same target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.id)?;
        match &self.region {
            Some(region) => write!(f, "--{region}"),
            None => Ok(()),
        }
    }
}

/// The name of an AWS region, such as `eu-central-1` or `us-gov-west-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// Takes the text if it has a region's form.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [area, middle @ .., number] = parts.as_slice() else { return None };
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        let is_region = (2..=4).contains(&area.len())
            && is_word(area)
            && !middle.is_empty()
            && middle.iter().all(is_word)
            && is_number;
        is_region.then(|| Self(text.to_owned()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no target; every one is the user's to correct.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// Nothing is left for the id: write one.
    #[error("`{text}` names no target")]
    Empty {
        /// What was typed.
        text: String,
    },
    /// There is an `@` and nothing before it: name the user or leave out the `@`.
    #[error("`{text}` has no user before the `@`")]
    NoUser {
        /// What was typed.
        text: String,
    },
    /// An instance id is too short or too long.
    #[error(
        "`{id}` is no instance id: 1 to {LONGEST_ID} letters and digits follow `{prefix}`, here are {count}"
    )]
    IdLength {
        /// The id, without user and region.
        id: String,
        /// `i-` or `mi-`.
        prefix: &'static str,
        /// How many characters follow the prefix.
        count: usize,
    },
    /// An instance id holds something else than letters and digits.
    #[error("`{id}` is no instance id: only letters and digits follow `{prefix}`, not `{found}`")]
    IdCharacter {
        /// The id, without user and region.
        id: String,
        /// `i-` or `mi-`.
        prefix: &'static str,
        /// The first character that does not belong.
        found: char,
    },
    /// It starts with `ecs:` but has not three parts.
    #[error("`{id}` is no container: the form is `ecs:CLUSTER_TASK_RUNTIME`")]
    Container {
        /// The id, without user and region.
        id: String,
    },
    /// None of the forms that this version takes.
    #[error("`{name}` is no target: write `i-…`, `mi-…` or `ecs:CLUSTER_TASK_RUNTIME`")]
    Unsupported {
        /// The name, without user and region.
        name: String,
        /// A target that was probably meant.
        suggestion: Option<String>,
    },
}

fn split_region(text: &str) -> (&str, Option<Region>) {
    let Some((id, suffix)) = text.rsplit_once("--") else { return (text, None) };
    match Region::parse(suffix) {
        Some(region) => (id, Some(region)),
        None => (text, None),
    }
}

fn kind_of(id: &str) -> Result<TargetKind, TargetError> {
    if let Some(digits) = id.strip_prefix("i-") {
        return check_digits(id, "i-", digits).map(|()| TargetKind::Instance);
    }
    if let Some(digits) = id.strip_prefix("mi-") {
        return check_digits(id, "mi-", digits).map(|()| TargetKind::ManagedInstance);
    }
    if let Some(parts) = id.strip_prefix("ecs:") {
        return check_container(id, parts).map(|()| TargetKind::Container);
    }
    Err(TargetError::Unsupported { name: id.to_owned(), suggestion: suggest(id) })
}

fn check_digits(id: &str, prefix: &'static str, digits: &str) -> Result<(), TargetError> {
    if let Some(found) = digits.chars().find(|c| !c.is_ascii_alphanumeric()) {
        return Err(TargetError::IdCharacter { id: id.to_owned(), prefix, found });
    }
    let count = digits.len();
    if !(1..=LONGEST_ID).contains(&count) {
        return Err(TargetError::IdLength { id: id.to_owned(), prefix, count });
    }
    Ok(())
}

/// A cluster's name may hold underscores itself, so the parts are counted from the right.
fn check_container(id: &str, parts: &str) -> Result<(), TargetError> {
    let parts: Vec<&str> = parts.rsplitn(3, '_').collect();
    let well_formed = |part: &&str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if parts.len() == 3 && parts.iter().all(well_formed) {
        return Ok(());
    }
    Err(TargetError::Container { id: id.to_owned() })
}

/// Tries what people paste: the wrong case, an ARN, an id without its prefix.
fn suggest(name: &str) -> Option<String> {
    let last = name.rsplit(['/', ':']).next().unwrap_or(name);
    let is_bare = matches!(name.len(), 8 | 17) && name.bytes().all(|b| b.is_ascii_hexdigit());
    let bare = is_bare.then(|| format!("i-{}", name.to_ascii_lowercase()));
    [Some(lower_prefix(name)), Some(last.to_owned()), bare]
        .into_iter()
        .flatten()
        .find(|candidate| candidate != name && kind_is_known(candidate))
}

fn lower_prefix(name: &str) -> String {
    let end = name.find(['-', ':']).unwrap_or(name.len());
    let (prefix, rest) = name.split_at(end);
    match prefix.to_ascii_lowercase().as_str() {
        "ecs" => format!("ecs{rest}"),
        _ => name.to_ascii_lowercase(),
    }
}

fn kind_is_known(name: &str) -> bool {
    let known = ["i-", "mi-", "ecs:"].iter().any(|prefix| name.starts_with(prefix));
    known && kind_of(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Target {
        text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"))
    }

    fn refuse(text: &str) -> TargetError {
        text.parse::<Target>().expect_err(text)
    }

    #[test]
    fn every_form_has_its_kind() {
        for (text, kind) in [
            ("i-01234567", TargetKind::Instance),
            ("i-0123456789abcdef0", TargetKind::Instance),
            ("i-1", TargetKind::Instance),
            ("i-0123456789abcdef0123456789abcdef01234567", TargetKind::Instance),
            ("mi-0123456789abcdef0", TargetKind::ManagedInstance),
            ("ecs:prod_0123456789abcdef_0123456789abcdef-265927825", TargetKind::Container),
            ("ecs:my_prod_cluster_0123_0123-1", TargetKind::Container),
        ] {
            assert_eq!(parse(text).kind(), kind, "{text}");
            assert_eq!(parse(text).id(), text);
        }
    }

    #[test]
    fn case_of_an_id_is_kept() {
        assert_eq!(parse("i-0123456789ABCDEF0").id(), "i-0123456789ABCDEF0");
        assert_eq!(parse("ecs:Prod_aB_c-1").id(), "ecs:Prod_aB_c-1");
    }

    #[test]
    fn user_is_what_stands_before_the_last_at() {
        assert_eq!(parse("ec2-user@i-01234567").user(), Some("ec2-user"));
        assert_eq!(parse("me@corp.example@i-01234567").user(), Some("me@corp.example"));
        assert_eq!(parse("i-01234567").user(), None);
        assert_eq!(refuse("@i-01234567"), TargetError::NoUser { text: "@i-01234567".into() });
    }

    #[test]
    fn a_suffix_with_a_regions_form_is_the_region() {
        for (text, id, region) in [
            ("i-0123--eu-central-1", "i-0123", "eu-central-1"),
            ("mi-0123--us-gov-west-1", "mi-0123", "us-gov-west-1"),
            ("u@i-0123--cn-north-1", "i-0123", "cn-north-1"),
            ("ecs:a_b_c--ap-southeast-2", "ecs:a_b_c", "ap-southeast-2"),
            ("i-0123--eusc-de-east-1", "i-0123", "eusc-de-east-1"),
        ] {
            let target = parse(text);
            assert_eq!((target.id(), target.region().map(Region::as_str)), (id, Some(region)));
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
        for text in ["i-0123", "u@i-0123", "a@b@mi-0123--eu-west-3", "ecs:a_b_c-1--us-east-1"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_id_says_what_is_wrong() {
        for (text, message) in [
            ("", "`` names no target"),
            ("me@", "`me@` names no target"),
            ("me@--eu-west-1", "`me@--eu-west-1` names no target"),
            ("i-", "`i-` is no instance id: 1 to 40 letters and digits follow `i-`, here are 0"),
            ("i-01 23", "`i-01 23` is no instance id: only letters and digits follow `i-`, not ` `"),
            ("mi-01é", "`mi-01é` is no instance id: only letters and digits follow `mi-`, not `é`"),
            ("ecs:prod/web", "`ecs:prod/web` is no container: the form is `ecs:CLUSTER_TASK_RUNTIME`"),
            ("ecs:a_b", "`ecs:a_b` is no container: the form is `ecs:CLUSTER_TASK_RUNTIME`"),
            ("ecs:_b_c", "`ecs:_b_c` is no container: the form is `ecs:CLUSTER_TASK_RUNTIME`"),
            ("web", "`web` is no target: write `i-…`, `mi-…` or `ecs:CLUSTER_TASK_RUNTIME`"),
            ("u@10.0.0.1", "`10.0.0.1` is no target: write `i-…`, `mi-…` or `ecs:CLUSTER_TASK_RUNTIME`"),
        ] {
            assert_eq!(refuse(text).to_string(), message);
        }
    }

    #[test]
    fn a_near_miss_is_suggested() {
        for (text, near) in [
            ("I-0123456789ABCDEF0", Some("i-0123456789abcdef0")),
            ("MI-0123", Some("mi-0123")),
            ("ECS:Prod_b_c", Some("ecs:Prod_b_c")),
            ("0123456789abcdef0", Some("i-0123456789abcdef0")),
            ("arn:aws:ec2:eu-west-1:1:instance/i-0123", Some("i-0123")),
            ("appserver", None),
            ("tag:Name=x", None),
        ] {
            let TargetError::Unsupported { suggestion, .. } = refuse(text) else { panic!("{text}") };
            assert_eq!(suggestion.as_deref(), near, "{text}");
        }
    }

    #[test]
    fn an_odd_id_is_doubted_but_taken() {
        assert_eq!(parse("i-0123456789abcdef0").doubt(), None);
        assert_eq!(parse("i-01234567").doubt(), None);
        let short = parse("i-0123").doubt().expect("too short");
        assert_eq!(short, "AWS writes `i-` and 8 or 17 digits, here are 4");
        let upper = parse("mi-0123456789ABCDEF0").doubt().expect("upper case");
        assert_eq!(upper, "AWS writes `mi-` and 17 digits `0-9a-f`, in lower case");
    }
}
